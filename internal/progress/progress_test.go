package progress

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal: what is written to tty comes out of screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminal on this machine (%v); mount devpts to run this test", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 120}); err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

func TestBarOnATerminal(t *testing.T) {
	screen, tty := terminal(t)
	b := New(slog.New(slog.DiscardHandler), tty, "extract", 10)
	b.Add(5)
	b.Status("2 rejected")
	b.show(time.Now())
	fmt.Fprintln(Writer(tty), "a log line")
	b.Add(5)
	b.Done()
	b.Done()
	fmt.Fprintln(tty, "END")

	var got bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), "END") {
		n, err := screen.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		got.Write(buf[:n])
	}
	for _, want := range []string{"50% 5/10", "2 rejected", clearLine + "a log line", "100% 10/10", "/s"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the terminal shows %q, without %q", got.String(), want)
		}
	}
	if n := strings.Count(got.String(), "100%"); n != 1 {
		t.Errorf("the final state is shown %d times, not once", n)
	}
}

func TestBarLogsEveryTenSecondsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		b := New(slog.New(slog.NewTextHandler(&out, nil)), nil, "extract", 100)
		time.Sleep(9 * time.Second)
		b.Add(20)
		synctest.Wait()
		if out.String() != "" {
			t.Fatalf("logged before 10 s: %s", out.String())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, want := range []string{"msg=extract", "done=20", "total=100", "rate=2/s", "left=0:40"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("log line %q lacks %s", out.String(), want)
			}
		}
		time.Sleep(20 * time.Second)
		b.Done()
		if n := strings.Count(out.String(), "\n"); n != 4 {
			t.Errorf("%d lines in 31 s with the end, want 4:\n%s", n, out.String())
		}
		if !strings.Contains(out.String(), `msg="extract ended" done=20`) || !strings.Contains(out.String(), "took=0:31 of=100") {
			t.Errorf("no final line in:\n%s", out.String())
		}
		b.Add(80)
		b.finish(time.Now())
		if !strings.Contains(out.String(), `msg="extract finished" done=100`) {
			t.Errorf("no line of a whole job in:\n%s", out.String())
		}
	})
}

func TestRateIsThatOfTheWindow(t *testing.T) {
	now := time.Now()
	b := &Bar{samples: []sample{{now.Add(-100 * time.Second), 0}, {now.Add(-40 * time.Second), 600}, {now.Add(-20 * time.Second), 620}}, done: 640}
	if got := b.rate(now); got != 1 {
		t.Errorf("rate %v, want 1 per second", got)
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0:00", 61 * time.Second: "1:01", 26*time.Hour + 3*time.Minute + 4*time.Second: "26:03:04"} {
		if got := clock(d); got != want {
			t.Errorf("clock(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestWriterOfAFileIsTheFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Writer(f) != io.Writer(f) {
		t.Error("a plain file was wrapped")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package shards

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leaseEnv makes the test binary a worker on a lease, so that tests can kill it. Its value is a lessor as text.
const leaseEnv = "SHARDS_TEST_LEASE"

func TestMain(m *testing.M) {
	if text := os.Getenv(leaseEnv); text != "" {
		leaseWorker(text)
		return
	}
	os.Exit(m.Run())
}

// leaseWorker takes the part as often as it is told, and shows each time that it is alone by creating a file that must not be there.
// In the end it holds the lease until it is killed.
func leaseWorker(text string) {
	var dir, where string
	var beat, stale, times int
	if _, err := fmt.Sscan(text, &dir, &where, &beat, &stale, &times); err != nil {
		panic(err)
	}
	l := lessor{dir: dir, part: "0/2", beat: time.Duration(beat), stale: time.Duration(stale), self: thisProcess()}
	if where != "here" {
		l.self.Where = where // as if it ran on another machine
	}
	for n := 0; ; n++ {
		lease, err := l.take(context.Background())
		var held *HeldError
		if errors.As(err, &held) {
			fmt.Println("held")
			n--
			continue
		} else if err != nil {
			panic(err)
		}
		alone := filepath.Join(dir, "alone")
		if times > 0 {
			if f, err := os.OpenFile(alone, os.O_CREATE|os.O_EXCL, 0o600); err != nil {
				fmt.Println("not alone")
			} else {
				f.Close()
			}
			time.Sleep(2 * time.Millisecond)
			os.Remove(alone)
		}
		if n >= times {
			fmt.Println("took", lease.number)
			<-lease.Lost()
			fmt.Println("lost")
			return
		}
		if err := lease.Release(); err != nil {
			panic(err)
		}
		if n == times-1 && times > 0 {
			fmt.Println("done")
			return
		}
	}
}

// child starts a worker; lines gives what it prints.
func child(t *testing.T, dir, where string, beat, stale time.Duration, times int) (cmd *exec.Cmd, lines <-chan string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d %d", leaseEnv, dir, where, beat, stale, times))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := make(chan string, 1000)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(out); s.Scan(); {
			c <- s.Text()
		}
	}()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, c
}

// next is the next line that is none of skip.
func next(t *testing.T, lines <-chan string, skip ...string) string {
	t.Helper()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return "ended"
			}
			if len(skip) == 0 || line != skip[0] {
				return line
			}
		case <-time.After(30 * time.Second):
			t.Fatal("a worker said nothing for 30 s")
		}
	}
}

func TestOneWorkerAtATime(t *testing.T) {
	dir := t.TempDir()
	var all []<-chan string
	for range 5 {
		_, lines := child(t, dir, "here", 20*time.Millisecond, time.Minute, 12)
		all = append(all, lines)
	}
	for i, lines := range all {
		if line := next(t, lines, "held"); line != "done" {
			t.Errorf("worker %d: %s", i, line)
		}
	}
	l := lessor{dir: dir, part: "0/2"}
	if _, newest, err := l.numbers(); err != nil || newest < 60 {
		t.Errorf("%d leases were taken, %v", newest, err)
	}
}

// The holder is killed. Workers of its machine see that at once; others watch the lease go stale. One of them takes it, whoever waits.
func TestAKilledWorkersPartIsTakenOver(t *testing.T) {
	for _, where := range []string{"here", "elsewhere"} {
		t.Run(where, func(t *testing.T) {
			stale := time.Hour // of no use here
			if where == "elsewhere" {
				stale = 2 * time.Second
			}
			dir := t.TempDir()
			holder, lines := child(t, dir, "here", 20*time.Millisecond, stale, 0)
			if line := next(t, lines); line != "took 1" {
				t.Fatal(line)
			}
			var waiting []<-chan string
			for range 3 {
				_, w := child(t, dir, where, 20*time.Millisecond, stale, 0)
				if line := next(t, w); line != "held" {
					t.Fatalf("beside a live holder: %s", line)
				}
				waiting = append(waiting, w)
			}
			holder.Process.Kill()
			holder.Wait()
			took := make(chan string)
			for _, w := range waiting {
				go func() {
					for line := range w {
						if line != "held" {
							took <- line
						}
					}
				}()
			}
			if line := <-took; line != "took 2" {
				t.Errorf("after the kill: %s", line)
			}
			select {
			case line := <-took:
				t.Errorf("another one: %s", line)
			case <-time.After(200 * time.Millisecond):
			}
		})
	}
}

// A worker that shows no life for too long loses its part and learns of it.
func TestALostLeaseIsNoticed(t *testing.T) {
	dir := t.TempDir()
	l := lessor{dir: dir, part: "0/2", beat: time.Hour, stale: 50 * time.Millisecond, self: thisProcess()}
	slow, err := l.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.beat = 20 * time.Millisecond
	fast, err := l.take(t.Context())
	if err != nil || fast.number != 2 {
		t.Fatalf("%+v, %v", fast, err)
	}
	slow.idle.Go(func() { slow.keep(time.Millisecond) }) // wakes up
	select {
	case <-slow.Lost():
	case <-time.After(10 * time.Second):
		t.Fatal("it did not learn that its lease is lost")
	}
	if err := slow.Release(); err != nil {
		t.Error(err)
	}
	if all, _, err := l.numbers(); err != nil || len(all) != 1 || all[0] != 2 {
		t.Errorf("leases %v, %v", all, err)
	}
	if err := fast.Release(); err != nil {
		t.Error(err)
	}
}

func TestLeaseErrors(t *testing.T) {
	s := newStore(t)
	lease, err := s.Lease(t.Context(), "3/8")
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	var r leaseRecord
	if raw, err := os.ReadFile(filepath.Join(s.Dir(), leasesDir, "3-of-8.1.json")); err != nil || json.Unmarshal(raw, &r) != nil || r.Process.PID != os.Getpid() {
		t.Errorf("the lease says %+v, %v", r, err)
	}
	other, err := s.Lease(t.Context(), "2/8")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Release(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lease(ctx, "3/8"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a held part: %v", err)
	}
	if _, err := s.Lease(t.Context(), "../x"); err == nil {
		t.Error("a part outside of the folder was taken")
	}
	held := (&HeldError{Part: "3/8", Host: "node7", PID: 12, Path: "x"}).Error()
	if !strings.Contains(held, "node7") || strings.Contains(held, "\n") {
		t.Error(held)
	}
	if report := verified(t, s); len(report.Problems) > 0 {
		t.Error(report.Problems)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mvptargets/internal/source"
	"mvptargets/shards"
)

// hostile makes a folder of files as they lie about in collected data: five that can be used, and those that cannot, with a word of the
// reason for each.
func hostile(t *testing.T) (dir string, bad map[string]string) {
	t.Helper()
	dir = t.TempDir()
	photo := func(name string) []byte {
		data, err := os.ReadFile("../../testdata/photos/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	rocket := photo("rocket.jpg")
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("good.jpg", rocket)
	write("a png.jpg", photo("chelsea.png"))
	write("caf\xe9 \\.jpg", rocket)
	write(strings.Repeat("long", 60)+".jpg", rocket)
	write("notes.txt", []byte("no image"))

	var bomb bytes.Buffer
	if err := png.Encode(&bomb, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	copy(bomb.Bytes()[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0})
	for name, data := range map[string][]byte{"cut.jpg": rocket[:len(rocket)/2], "header.jpg": rocket[:30], "empty.jpg": nil, "text.png": []byte("hello"),
		"zeros.jpg": make([]byte, 1000), "page.jpg": []byte("<html>404</html>"), "bomb.png": bomb.Bytes(), "\xff\xfe.gif": []byte("GIF89a")} {
		write(name, data)
	}
	bad = map[string]string{"cut.jpg": "truncated", "header.jpg": "jpeg", "empty.jpg": "empty", "text.png": "none of JPEG", "zeros.jpg": "none of JPEG",
		"page.jpg": "none of JPEG", "bomb.png": "png", "\xff\xfe.gif": "gif", "huge.jpg": "more than an image may", "pipe.jpg": "no regular file",
		"self.jpg": "too many levels", "nowhere.jpg": "no such file", "zero.jpg": "no regular file", "socket.jpg": "no regular file"}
	write("huge.jpg", nil)
	if err := os.Truncate(filepath.Join(dir, "huge.jpg"), 1<<40); err != nil {
		delete(bad, "huge.jpg")
		os.Remove(filepath.Join(dir, "huge.jpg"))
	}
	if os.Geteuid() != 0 { // root may read everything
		write("locked.jpg", rocket)
		if err := os.Chmod(filepath.Join(dir, "locked.jpg"), 0); err != nil {
			t.Fatal(err)
		}
		bad["locked.jpg"] = "permission denied"
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.jpg"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"self.jpg": "self.jpg", "nowhere.jpg": "gone.jpg", "zero.jpg": "/dev/zero", "loop": ".", "sub/up": ".."} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("folder.jpg/inside.jpg", rocket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket.jpg")})
	if err != nil {
		t.Skip("no socket here: ", err)
	}
	t.Cleanup(func() { l.Close() })
	return dir, bad
}

func TestAHostileFolderNeverStopsTheJob(t *testing.T) {
	needsLibrary(t)
	images, bad := hostile(t)
	store := filepath.Join(t.TempDir(), "store")
	args := []string{"--model", tower, "--images", images, "--out", store, "--provider", "cpu"}
	status, stdout, stderr := program(t, nil, args...)
	if line := lastLine(stderr); status != 1 || !strings.Contains(line, "too many images were rejected") || !strings.Contains(line, store+"/rejects") {
		t.Errorf("status %d, %q", status, line)
	}
	// The links in a circle may show the good files a second time under other keys, but each only a few times.
	s, err := shards.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	index, err := s.Index()
	if err != nil || index.Rows < 5 || index.Rows > 20 {
		t.Errorf("%d rows, %v", index.Rows, err)
	}
	reasons := map[string]string{}
	files, _ := filepath.Glob(store + "/rejects/*.jsonl")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var r shards.Reject
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			reasons[r.Key] = r.Reason
		}
	}
	for name, want := range bad {
		if got := reasons[source.Escape(name)]; !strings.Contains(got, want) || got == "" {
			t.Errorf("%q: reason %q, want one with %q", name, got, want)
		}
	}
	if !strings.Contains(stdout, " images rejected") || strings.Contains(stdout, " 0 images rejected") {
		t.Errorf("the summary is %q", stdout)
	}
	if status, stdout, stderr = program(t, nil, append(args, "--max-reject-fraction", "1")...); status != 0 || !strings.Contains(stdout, " 0 views computed") {
		t.Errorf("with all rejects allowed: status %d, %q, %q", status, stdout, stderr)
	}
}

// A folder that cannot be listed ends the job before it starts, since nobody knows what is missing.
func TestAnUnreadableFolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	for path := dir; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		os.Chmod(path, 0o755) // for another user than root
	}
	binary, model, locked := filepath.Join(dir, "mvp-extract"), filepath.Join(dir, "tower.onnx"), filepath.Join(dir, "images", "cat")
	for to, from := range map[string]string{binary: os.Args[0], model: tower} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(locked, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(locked, 0o755) })
	cmd := exec.Command(binary, "--model", model, "--images", filepath.Join(dir, "images"), "--out", filepath.Join(dir, "store"))
	cmd.Env, cmd.Dir = []string{"MVP_EXTRACT_TEST=1"}, dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if line := lastLine(string(out)); err == nil || !strings.Contains(line, locked) || !strings.Contains(line, "make the folder readable") {
		t.Errorf("%v: %q", err, out)
	}
}

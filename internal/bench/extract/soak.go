package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"mvptargets/extract"
	"mvptargets/extract/teacher"
	"mvptargets/shards/view"
)

// soak runs the small teacher of the tree over n images, the scenes again and again under other names, and prints the process's
// memory while it works: it must not grow with the number of images.
func (b *bench) soak(ctx context.Context, n int) error {
	images := filepath.Join(b.scratch, "many")
	if err := linkMany("testdata/scenes/train/*/*.jpg", images, n); err != nil {
		return err
	}
	fmt.Printf("%d images, the small teacher\n| images | seconds | resident MiB | of these Go's heap |\n|---|---|---|---|\n", n)
	sum, err := extract.Run(ctx, extract.Config{
		Model: "testdata/teacher/teacher.onnx", Images: images, Store: filepath.Join(b.scratch, "store-soak"), Features: teacher.Hidden, Views: 1,
		Policy: view.NewCenter(), Provider: teacher.Auto, Precision: "f32", Batch: b.batch, Threads: b.threads, Loaders: b.loaders,
		Part: extract.Part{Index: 0, Count: 1}, Log: b.log,
		Written: watchMemory(),
	})
	if err != nil {
		return err
	}
	resident, peak := memory()
	fmt.Printf("%v\nresident %d MiB at the end, %d MiB at most\n", sum, resident, peak)
	return nil
}

// linkMany fills a folder with n names of the files that match pattern, a thousand to a folder.
func linkMany(pattern, to string, n int) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no file matches %s: run this in the tree's top folder (%v)", pattern, err)
	}
	for i := range n {
		folder := filepath.Join(to, fmt.Sprintf("%04d", i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		path, err := filepath.Abs(files[i%len(files)])
		if err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(folder, fmt.Sprintf("%06d.jpg", i))); err != nil {
			return err
		}
	}
	return nil
}

// watchMemory gives a function that prints a line at 1,000 images and then every 5,000.
func watchMemory() func(images int64) {
	started, next := time.Now(), int64(1000)
	return func(images int64) {
		if images < next {
			return
		}
		next = (images/5000 + 1) * 5000
		resident, _ := memory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Printf("| %d | %.0f | %d | %d |\n", images, time.Since(started).Seconds(), resident, m.HeapInuse>>20)
	}
}

// memory reads the process's resident memory, now and at most, in MiB.
func memory() (resident, peak int) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "VmRSS:":
			resident = kib >> 10
		case "VmHWM:":
			peak = kib >> 10
		}
	}
	return resident, peak
}

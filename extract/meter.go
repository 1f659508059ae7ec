package extract

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// stage is a kind of work, or of waiting, that time goes to.
type stage int

const (
	stageRead   stage = iota // file bytes and their digest
	stageDecode              // bytes to RGB
	stageView                // RGB to the teacher's size
	stageFill                // normalized pixels into a batch
	stageModel
	stageEncode   // float16
	stageCompress // rows into a batch of the store's file
	stageWrite    // files, and waiting for compression
	waitSource    // decode workers without a job
	waitPixels    // a batch that is not full yet
	waitModel     // a full batch behind another
	waitBatch     // the model without a full batch
	waitWriter    // the writer without features
	stages
)

var stageNames = [stages]string{"read", "decode", "view", "fill", "model", "encode", "compress", "write",
	"wait_source", "wait_pixels", "wait_model", "wait_batch", "wait_writer"}

// meter adds up the time of each stage over all workers.
type meter [stages]atomic.Int64

// clock measures one goroutine's stages one after the other.
type clock struct {
	m    *meter
	last time.Time
}

func (m *meter) clock() clock { return clock{m, time.Now()} }

// charge books the time since the last charge to a stage.
func (c *clock) charge(s stage) {
	now := time.Now()
	c.m[s].Add(int64(now.Sub(c.last)))
	c.last = now
}

// Times are seconds per stage, summed over workers.
func (m *meter) times() map[string]float64 {
	t := make(map[string]float64, stages)
	for s := range stages {
		t[stageNames[s]] = time.Duration(m[s].Load()).Seconds()
	}
	return t
}

// log writes one line with each stage's seconds.
func (m *meter) log(log *slog.Logger, message string) {
	args := make([]any, 0, 2*stages)
	for s := range stages {
		args = append(args, stageNames[s], fmt.Sprintf("%.2fs", time.Duration(m[s].Load()).Seconds()))
	}
	log.Info(message, args...)
}

// logEvery is how often the stages' times stand in the log of a running job.
const logEvery = 10 * time.Second

// logEvery writes the stages' line again and again until the function that it gives is called.
func (m *meter) logEvery(log *slog.Logger, every time.Duration) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				m.log(log, "stages")
			}
		}
	}()
	return func() { close(quit); <-ended }
}

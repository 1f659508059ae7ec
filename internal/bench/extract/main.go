// extract measures stage one on this machine: images per second from JPEG files to the published store, the model's own rate
// in the same process, and the same job written in Python.
//
//	go run ./internal/bench/extract --model clip-b16.onnx [--python PYTHON] [--python-openvino PYTHON]
//
// pipelines/clip/export_clip.py --random makes the model. A Python must have numpy, pillow, pyarrow and onnxruntime, for
// --python-openvino onnxruntime-openvino instead; without one its column stays empty.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"mvptargets/extract/teacher"
	"mvptargets/internal/bench/figures"
	"mvptargets/internal/cli"
)

func main() {
	teacher.ProbeChild()
	cli.Main("bench-extract", run)
}

// setting is a way to run the teacher.
type setting struct {
	Provider  string `json:"provider"`
	Precision string `json:"precision"`
}

var settings = []setting{{"cpu", "f32"}, {"openvino", "f32"}, {"openvino", "bf16"}}

// result is a line of the table; rates are images per second.
type result struct {
	setting
	Bare         float64            `json:"bare"`
	EndToEnd     float64            `json:"end_to_end"`
	Ratio        float64            `json:"ratio"`
	RowBytes     float64            `json:"bytes_per_view"`
	Cosine       float64            `json:"lowest_cosine_to_f32"`
	Stages       map[string]float64 `json:"stage_seconds"`
	PeerBare     float64            `json:"peer_bare,omitempty"`
	PeerEndToEnd float64            `json:"peer_end_to_end,omitempty"`
	PeerWhyNot   string             `json:"peer_why_not,omitempty"`
}

type bench struct {
	model, images, scratch               string
	python, pythonOpenVINO, pythonDecode string
	batch, threads, loaders              int
	log                                  *slog.Logger
}

func run(ctx context.Context, args []string) error {
	f := cli.Flags("bench-extract", "--model clip-b16.onnx [flags]\nMeasures stage one, and the same job in Python, on this machine.")
	b := bench{}
	f.StringVar(&b.model, "model", "", "the teacher, an ONNX `file`")
	photos := f.String("photos", "testdata/photos", "`folder` of photographs to cut pictures from")
	count := f.Int("count", 160, "`pictures` to run")
	f.IntVar(&b.batch, "batch", 8, "`images` per call")
	f.IntVar(&b.threads, "threads", runtime.NumCPU(), "`threads` of the model")
	f.IntVar(&b.loaders, "loaders", 0, "`threads` that read and decode, 0: one per core")
	f.StringVar(&b.python, "python", "", "`program` with onnxruntime, for the peer on the CPU provider")
	f.StringVar(&b.pythonOpenVINO, "python-openvino", "", "`program` with onnxruntime-openvino, for the peer on OpenVINO")
	f.StringVar(&b.pythonDecode, "python-decode", "", "`program` with pillow-simd or Pillow, for the peer in decoding and resizing")
	only := f.String("only", "", "one `provider` only")
	out := f.String("json", "", "`file` to write the results to as JSON")
	soak := f.Int("soak", 0, "instead, run the small teacher over this `number` of images and watch the memory")
	decode := f.Int("decode-on", 0, "instead, time decoding of the pictures in --photos on this `number` of cores (the program calls itself so)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *decode > 0 {
		return decodeOn(ctx, *decode, *photos)
	}
	if b.model == "" && *soak == 0 {
		return cli.Usagef("--model is missing; python3 pipelines/clip/export_clip.py build/clip-b16.onnx --random makes one")
	}
	b.log = f.Logger()
	scratch, err := os.MkdirTemp("", "bench-extract-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	b.scratch, b.images = scratch, filepath.Join(scratch, "images")
	if *soak > 0 {
		return b.soak(ctx, *soak)
	}
	if err := os.Mkdir(b.images, 0o755); err != nil {
		return err
	}
	if err := makePictures(b.images, *photos, *count); err != nil {
		return err
	}
	var report struct {
		Extract []result       `json:"extract"`
		Decode  []decodeResult `json:"decode_and_view"`
	}
	for cores := 1; cores <= min(2, runtime.NumCPU()); cores++ {
		r, err := b.measureDecode(ctx, cores)
		if err != nil {
			return err
		}
		report.Decode = append(report.Decode, r)
	}
	printDecode(report.Decode)
	for _, s := range settings {
		if *only != "" && *only != s.Provider {
			continue
		}
		r, err := b.measure(ctx, s)
		if err != nil {
			return err
		}
		report.Extract = append(report.Extract, r)
	}
	printTable(report.Extract)
	return figures.Write(*out, report)
}

func printDecode(results []decodeResult) {
	fmt.Println("images per second from JPEG files of 500x375: decode and view alone, and the whole job with teachers that compute nothing")
	fmt.Println("| cores | libjpeg-turbo from C, Pillow's resize | shards/view alone | whole job | to C and Pillow | to shards/view | whole job, rows of 196x768 |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, r := range results {
		peer, ratio := "-", "-"
		if r.Peer > 0 {
			peer, ratio = fmt.Sprintf("%.0f (%s)", r.Peer, r.Pillow), fmt.Sprintf("%.3f", r.EndToEnd/r.Peer)
		}
		fmt.Printf("| %d | %s | %.0f | %.0f | %s | %.3f | %.0f |\n", r.Cores, peer, r.Bare, r.EndToEnd, ratio, r.EndToEnd/r.Bare, r.Full)
	}
	for _, r := range results {
		if r.PeerWhyNot != "" {
			fmt.Printf("no figures of Pillow on %d cores: %s\n", r.Cores, r.PeerWhyNot)
		}
	}
	fmt.Println()
}

func printTable(results []result) {
	fmt.Println("images per second, end to end from JPEG files of 500x375 to the store")
	fmt.Println("| provider | bare model | end to end | ratio | Python: bare | end to end | ratio | ours / Python | to Python on cpu f32 | bytes per view | lowest cosine to f32 |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|")
	onCPU := 0.0
	for _, r := range results {
		if r.setting == settings[0] {
			onCPU = r.PeerEndToEnd
		}
		peer, best := "- | - | - | -", "-"
		if r.PeerBare > 0 {
			peer = fmt.Sprintf("%.2f | %.2f | %.3f | %.3f", r.PeerBare, r.PeerEndToEnd, r.PeerEndToEnd/r.PeerBare, r.EndToEnd/r.PeerEndToEnd)
		}
		if onCPU > 0 {
			best = fmt.Sprintf("%.3f", r.EndToEnd/onCPU)
		}
		fmt.Printf("| %s %s | %.2f | %.2f | %.3f | %s | %s | %.0f | %.7f |\n", r.Provider, r.Precision, r.Bare, r.EndToEnd, r.Ratio, peer, best, r.RowBytes, r.Cosine)
	}
	for _, r := range results {
		if r.PeerWhyNot != "" {
			fmt.Printf("no Python figures for %s %s: %s\n", r.Provider, r.Precision, r.PeerWhyNot)
		}
	}
}

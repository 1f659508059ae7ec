package student

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestMetricsLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, m := range []Metrics{{Step: 1, Loss: 0.1, LR: 1e-3, Norm: 2}, {Step: 2, Loss: math.NaN(), Norm: math.Inf(1)}, {Step: 3, Loss: 0.05}} {
		if err := appendLine(f, m); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if !bytes.Contains(lines[0], []byte(`"loss":0.1,`)) || !bytes.Contains(lines[1], []byte(`"loss":null,`)) {
		t.Errorf("wrote %s", text)
	}
	two := append(append([]byte{}, lines[0]...), lines[1]...)
	if got := trimMetrics(text, 2); !bytes.Equal(got, two) {
		t.Errorf("cut back to 2 steps: %s", got)
	}
	if got := trimMetrics(text[:len(text)-1], 9); !bytes.Equal(got, two) {
		t.Errorf("a line cut short is kept: %s", got)
	}
}

// The checksum of RFC 3720 appendix B.4, 32 zero bytes, is 0x8a9136aa; masking rotates it by 15 and adds a constant.
func TestMaskedCRC(t *testing.T) {
	c := uint32(0x8a9136aa)
	if got, want := maskedCRC(make([]byte, 32)), (c>>15|c<<17)+0xa282ead8; got != want {
		t.Errorf("checksum %#x, want %#x", got, want)
	}
}

func TestEventRecords(t *testing.T) {
	var b bytes.Buffer
	w, err := NewEventWriter(&b, time.Unix(100, 0), 300)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Metrics{Step: 300, Loss: 0.25}, time.Unix(101, 0)); err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for raw := b.Bytes(); len(raw) > 0; {
		n := binary.LittleEndian.Uint64(raw)
		body := raw[12 : 12+n]
		if binary.LittleEndian.Uint32(raw[8:]) != maskedCRC(raw[:8]) || binary.LittleEndian.Uint32(raw[12+n:]) != maskedCRC(body) {
			t.Fatal("wrong checksum")
		}
		messages, raw = append(messages, body), raw[16+n:]
	}
	if len(messages) != 3 || !bytes.Contains(messages[0], []byte("brain.Event:2")) || !bytes.Contains(messages[2], []byte("loss")) {
		t.Fatalf("records %q", messages)
	}
	if _, _, n := protowire.ConsumeTag(messages[2][9:]); n != 1 || !bytes.Equal(messages[2][10:12], protowire.AppendVarint(nil, 300)) {
		t.Errorf("the step does not follow the time: %x", messages[2])
	}
}

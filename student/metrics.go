package student

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Metrics is one line of metrics.jsonl: what was measured at a step.
type Metrics struct {
	Step      int // steps done
	Epoch     float64
	Loss      float64
	LR        float64
	Norm      float64 // before clipping
	Skipped   int     // steps skipped so far because the gradient was not finite
	ImagesSec float64
	DataWait  float64 // share of the step's time that it waited for data
}

// scalar is one curve of TensorBoard.
type scalar struct {
	tag   string
	value float64
}

func (m Metrics) scalars() []scalar {
	return []scalar{{"loss", m.Loss}, {"lr", m.LR}, {"grad_norm", m.Norm}, {"images_per_s", m.ImagesSec},
		{"data_wait", m.DataWait}, {"epoch", m.Epoch}}
}

// metricsLine is a line of metrics.jsonl; a number that is not finite, which JSON cannot hold, is null.
type metricsLine struct {
	Step      int      `json:"step"`
	Epoch     float64  `json:"epoch"`
	Loss      *float64 `json:"loss"`
	LR        float64  `json:"lr"`
	Norm      *float64 `json:"grad_norm"`
	Skipped   int      `json:"skipped"`
	ImagesSec float64  `json:"images_per_s"`
	DataWait  float64  `json:"data_wait"`
}

// MarshalJSON makes a metricsLine.
func (m Metrics) MarshalJSON() ([]byte, error) {
	return json.Marshal(metricsLine{m.Step, m.Epoch, finite(m.Loss), m.LR, finite(m.Norm), m.Skipped, m.ImagesSec, m.DataWait})
}

// UnmarshalJSON reads a metricsLine; null becomes NaN.
func (m *Metrics) UnmarshalJSON(text []byte) error {
	var l metricsLine
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	*m = Metrics{l.Step, l.Epoch, orNaN(l.Loss), l.LR, orNaN(l.Norm), l.Skipped, l.ImagesSec, l.DataWait}
	return nil
}

func orNaN(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// trimMetrics cuts a metrics.jsonl back to the first `steps` steps, as a resume from a checkpoint of that step needs: later lines,
// and a last one that was cut short, are dropped.
func trimMetrics(text []byte, steps int) []byte {
	kept := 0
	for kept < len(text) {
		n := bytes.IndexByte(text[kept:], '\n')
		if n < 0 {
			break
		}
		var m struct{ Step int }
		if json.Unmarshal(text[kept:kept+n], &m) != nil || m.Step > steps {
			break
		}
		kept += n + 1
	}
	return text[:kept]
}

// EventWriter writes TensorBoard's event files: TFRecords (tensorflow/core/lib/io/record_writer.cc) of Event messages
// (tensorflow/core/util/event.proto).
type EventWriter struct{ w io.Writer }

// NewEventWriter writes the opening records to w: the version, and the start of a session whose first step is to be first, upon which
// TensorBoard drops that step and later ones of sessions before (tensorboard's event_accumulator.py).
func NewEventWriter(w io.Writer, now time.Time, first int) (*EventWriter, error) {
	e := &EventWriter{w}
	version := protowire.AppendTag(eventTime(now), 3, protowire.BytesType) // file_version
	if err := e.record(protowire.AppendString(version, "brain.Event:2")); err != nil {
		return nil, err
	}
	start := protowire.AppendTag(eventTime(now), 2, protowire.VarintType) // step
	start = protowire.AppendVarint(start, uint64(first))
	start = protowire.AppendTag(start, 7, protowire.BytesType)                                                                     // session_log
	return e, e.record(protowire.AppendBytes(start, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1))) // status START
}

// Write adds the curves' values at a step.
func (e *EventWriter) Write(m Metrics, now time.Time) error {
	var summary []byte
	for _, s := range m.scalars() {
		var value []byte
		value = protowire.AppendTag(value, 1, protowire.BytesType) // Value.tag
		value = protowire.AppendString(value, s.tag)
		value = protowire.AppendTag(value, 2, protowire.Fixed32Type) // Value.simple_value
		value = protowire.AppendFixed32(value, math.Float32bits(float32(s.value)))
		summary = protowire.AppendTag(summary, 1, protowire.BytesType) // Summary.value
		summary = protowire.AppendBytes(summary, value)
	}
	event := eventTime(now)
	event = protowire.AppendTag(event, 2, protowire.VarintType) // step
	event = protowire.AppendVarint(event, uint64(m.Step))
	event = protowire.AppendTag(event, 5, protowire.BytesType) // summary
	return e.record(protowire.AppendBytes(event, summary))
}

// eventTime opens an Event with wall_time, seconds since 1970.
func eventTime(now time.Time) []byte {
	b := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(float64(now.UnixNano())/1e9))
}

// record frames one message: length, its checksum, the message, its checksum.
func (e *EventWriter) record(message []byte) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(message)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, message...)
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(message))
	if _, err := e.w.Write(b); err != nil {
		return fmt.Errorf("writing TensorBoard events: %w", err)
	}
	return nil
}

// maskedCRC is crc32c, rotated and shifted as tensorflow/core/lib/hash/crc32c.h does, so that checksums of data that hold
// checksums stay apart.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}

// appendLine adds one JSON line to an open file in a single write.
func appendLine(f *os.File, m Metrics) error {
	line, err := json.Marshal(m)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	return nil
}

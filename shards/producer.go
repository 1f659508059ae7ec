package shards

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mvptargets/shards/view"
)

// Schema is the version of the store's layout and of a shard's columns.
const Schema = 1

// FileDigest names one file of the model.
type FileDigest struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Producer is everything that determines a feature's value. Provider, library versions, batch and workers are not in it: they
// are recorded per shard.
type Producer struct {
	Model     []FileDigest `json:"model"`      // the ONNX file and its external data
	Features  string       `json:"features"`   // which of the teacher's outputs
	GraphEdit int          `json:"graph_edit"` // version of the edit that exposed them; 0 for none
	Precision string       `json:"precision"`  // arithmetic: f32, bf16 or f16
	Size      int          `json:"size"`       // pixels on a side
	Resize    string       `json:"resize"`     // resampling filter
	Mean      [3]float32   `json:"mean"`
	Std       [3]float32   `json:"std"`
	Decoder   string       `json:"decoder"` // decoder family
	Policy    view.Policy  `json:"policy"`
	Encoding  string       `json:"encoding"`
	Schema    int          `json:"schema"`
}

// ID is the SHA-256 of the producer's canonical JSON, in hex: the fields above in their order.
func (p Producer) ID() string {
	raw, err := json.Marshal(p)
	if err != nil {
		panic("shards: producer: " + err.Error()) // only a NaN could do that; Validate refuses it
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Diff lists the fields in which the store's producer p and the asked q differ.
func (p Producer) Diff(q Producer) []string {
	var a, b map[string]json.RawMessage
	for v, m := range map[*Producer]*map[string]json.RawMessage{&p: &a, &q: &b} {
		raw, _ := json.Marshal(v)
		_ = json.Unmarshal(raw, m)
	}
	var out []string
	for _, f := range []string{"model", "features", "graph_edit", "precision", "size", "resize", "mean", "std", "decoder", "policy", "encoding", "schema"} {
		if string(a[f]) != string(b[f]) {
			out = append(out, fmt.Sprintf("%s: %s in the store, %s asked", f, a[f], b[f]))
		}
	}
	return out
}

// Manifest is store.json.
type Manifest struct {
	Producer   Producer `json:"producer"`
	ProducerID string   `json:"producer_id"`
	Grid       [2]int   `json:"grid"` // patches down and across
	Dim        int      `json:"dim"`  // width of a feature
	CLS        bool     `json:"cls"`  // the class token's feature is stored too
	Classes    []string `json:"classes,omitempty"`
	Schema     int      `json:"schema"`
}

// Patches is the number of patches of a view.
func (m Manifest) Patches() int { return m.Grid[0] * m.Grid[1] }

// validate refuses a manifest that no store can have; it bounds what the reader will allocate.
func (m Manifest) validate() error {
	switch {
	case m.Schema != Schema:
		return fmt.Errorf("schema version %d, this program reads %d", m.Schema, Schema)
	case !slices.Contains(Encodings(), m.Producer.Encoding):
		return fmt.Errorf("encoding %q, this program reads %s", m.Producer.Encoding, strings.Join(Encodings(), " and "))
	case m.Grid[0] <= 0 || m.Grid[1] <= 0 || m.Grid[0] > 1024 || m.Grid[1] > 1024 || m.Dim <= 0 || m.Dim > 1<<16 || m.decodedBytes() > 1<<28:
		return fmt.Errorf("grid %v with features of width %d", m.Grid, m.Dim)
	case m.ProducerID != m.Producer.ID():
		return fmt.Errorf("producer id %.12s does not belong to the producer, %.12s: the file was edited", m.ProducerID, m.Producer.ID())
	}
	return m.Producer.Policy.Validate()
}

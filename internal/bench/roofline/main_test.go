package main

import (
	"os"
	"strings"
	"testing"
)

// docs/gpu.md shows what this program prints: a change of the step or of an operation's cost changes both.
func TestDocumentHasTheseTables(t *testing.T) {
	text, err := os.ReadFile("../../../docs/gpu.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cards {
		b := newBook(c)
		step(b, 256, true)
		if want := table(b, 256); !strings.Contains(string(text), want) {
			t.Errorf("docs/gpu.md lacks this; put it there:\n%s", want)
		}
	}
}

package extract

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"mvptargets/shards"
)

// A part that a live worker holds is refused; other parts, and this one once it is given back, are not.
func TestTwoWorkersOnOnePart(t *testing.T) {
	if testing.Short() {
		t.Skip("that a worker lives shows within ten seconds")
	}
	t.Parallel()
	c := config(t, pictures(t, 6))
	extract(t, c)
	store, err := shards.Open(c.Store)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := store.Lease(t.Context(), c.Part.String())
	if err != nil {
		t.Fatal(err)
	}
	var held *shards.HeldError
	if _, err := Run(context.Background(), c); !errors.As(err, &held) || held.PID != os.Getpid() || strings.Contains(err.Error(), "\n") {
		t.Errorf("beside a live worker: %v", err)
	}
	other := c
	other.Part = Part{1, 2}
	if _, err := Run(context.Background(), other); err != nil {
		t.Errorf("another part: %v", err)
	}
	if err := lease.Release(); err != nil {
		t.Fatal(err)
	}
	if s := extract(t, c); s.Reused != 6 {
		t.Errorf("given back: %+v", s)
	}
}

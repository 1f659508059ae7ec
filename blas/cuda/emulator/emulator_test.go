package emulator

import "testing"

func TestBuilds(t *testing.T) { Use(t) }

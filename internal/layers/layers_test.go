// Package layers holds the test that keeps imports running one way: cmd -> extract -> shards, and cmd -> student -> {shards, blas}.
package layers

import (
	"os/exec"
	"strings"
	"testing"
)

// forbidden lists, for each room, the rooms that it must not know. Rooms are the first folders below the module; view is
// shards/view, blas each of its devices too.
var forbidden = map[string][]string{
	"extract":  {"student", "blas", "cmd"},
	"student":  {"extract", "cmd"},
	"shards":   {"extract", "student", "blas", "cmd"},
	"blas":     {"extract", "student", "shards", "cmd"},
	"internal": {"extract", "student", "shards", "blas", "cmd"},
}

func TestImportsRunOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "mvptargets/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	packages := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		names := strings.Fields(line)
		packages++
		for _, to := range names[1:] {
			for _, no := range forbidden[room(names[0])] {
				if room(to) == no {
					t.Errorf("%s imports %s", names[0], to)
				}
			}
		}
	}
	if packages < 5 {
		t.Fatalf("go list named %d packages only:\n%s", packages, out)
	}
}

// room is the first folder of a package of this module; "" for others.
func room(path string) string {
	rest, ok := strings.CutPrefix(path, "mvptargets/")
	if !ok {
		return ""
	}
	if strings.HasPrefix(rest, "internal/bench/") || strings.HasPrefix(rest, "internal/checks/") { // programs, like cmd: they may use anything
		return "cmd"
	}
	first, _, _ := strings.Cut(rest, "/")
	return first
}

package student

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// tableOf reads the rows of the table in docs/training.md whose first heading is given, each cell without its backquotes.
func tableOf(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/training.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(c), "`", "")
		}
		switch {
		case cells[0] == heading:
			inside = true
		case inside && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("docs/training.md has no table of %q", heading)
	}
	return rows
}

// The recipe's keys in docs/training.md are those of the code, in its order, with its types and defaults, each with a meaning.
func TestDocumentedRecipeKeys(t *testing.T) {
	types := map[reflect.Kind]string{reflect.Int: "integer", reflect.Uint64: "integer", reflect.Float64: "number", reflect.Bool: "boolean",
		reflect.String: "string", reflect.Array: "two numbers"}
	kinds := map[string]string{}
	for s, i := reflect.TypeFor[Recipe](), 0; i < s.NumField(); i++ {
		for section, j := s.Field(i), 0; j < section.Type.NumField(); j++ {
			f := section.Type.Field(j)
			kinds[section.Tag.Get("toml")+"."+f.Tag.Get("toml")] = types[f.Type.Kind()]
		}
	}
	var keys []string
	var r Recipe // of the documented defaults alone
	for _, row := range tableOf(t, "recipe key") {
		if len(row) != 4 || row[3] == "" {
			t.Fatalf("%q is no row of key, type, default and meaning", row)
		}
		key := row[0]
		keys = append(keys, key)
		if row[1] != kinds[key] {
			t.Errorf("%s is documented as %s, in the code it is %q", key, row[1], kinds[key])
		}
		if err := r.merge([]byte(key + " = " + row[2])); err != nil {
			t.Errorf("the default of %s: %v", key, err)
		}
	}
	if !reflect.DeepEqual(keys, RecipeKeys()) {
		t.Errorf("documented are\n%v\nin the code are\n%v", keys, RecipeKeys())
	}
	if diff := r.Diff(DefaultRecipe()); len(diff) > 0 {
		t.Errorf("documented defaults are not the code's: %s", strings.Join(diff, "; "))
	}
}

// The keys of metrics.jsonl and TensorBoard's tags in docs/training.md are those that are written.
func TestDocumentedMetrics(t *testing.T) {
	line, err := json.Marshal(Metrics{})
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]any{}
	if err := json.Unmarshal(line, &written); err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for _, s := range (Metrics{}).scalars() {
		tags[s.tag] = true
	}
	for _, row := range tableOf(t, "metric") {
		key := row[0]
		if _, ok := written[key]; !ok {
			t.Errorf("%s is documented but not written", key)
		}
		if (row[1] == "yes") != tags[key] {
			t.Errorf("whether %s is a tag of TensorBoard is documented as %q", key, row[1])
		}
		delete(written, key)
	}
	if len(written) > 0 {
		t.Errorf("not documented are %v", written)
	}
}

// Every recipe that the project ships names its paper, what to expect, what it costs and its command, in this order, before its first key.
func TestShippedRecipesSayWhatTheyAre(t *testing.T) {
	paths, err := filepath.Glob("../pipelines/*.toml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("found the recipes %v, %v", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(string(text), "\n[")
		for _, want := range []string{"Paper", "Expected", "Cost", "Command"} {
			_, rest, ok := strings.Cut(header, fmt.Sprintf("\n# %-10s", want+":"))
			if header = rest; !ok {
				t.Errorf("%s: no %s in its place at its head", path, want)
			}
		}
	}
}

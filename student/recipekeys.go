package student

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// recipeField is one key of a recipe: its section and name in the file, the Go names, and its value.
type recipeField struct {
	section, key     string
	goSection, goKey string
	value            reflect.Value
}

// fields lists every key of r, a Recipe or a pointer to one whose values may then be set, in the order of the file that Write makes.
func fields(r any) (out []recipeField) {
	sections := reflect.Indirect(reflect.ValueOf(r))
	for i := range sections.NumField() {
		section := sections.Type().Field(i)
		for j := range section.Type.NumField() {
			f := section.Type.Field(j)
			out = append(out, recipeField{section.Tag.Get("toml"), f.Tag.Get("toml"), section.Name, f.Name, sections.Field(i).Field(j)})
		}
	}
	return out
}

// RecipeKeys lists every key as section.key, in the order of the file that Write makes.
func RecipeKeys() (keys []string) {
	for _, f := range fields(Recipe{}) {
		keys = append(keys, f.section+"."+f.key)
	}
	return keys
}

// Diff lists the keys whose values differ in other.
func (r Recipe) Diff(other Recipe) (diff []string) {
	b := fields(other)
	for i, f := range fields(r) {
		if x, y := f.value.Interface(), b[i].value.Interface(); x != y {
			diff = append(diff, fmt.Sprintf("%s.%s was %v, is %v", f.section, f.key, x, y))
		}
	}
	return diff
}

// MarshalJSON writes a recipe under the keys of its file.
func (r Recipe) MarshalJSON() ([]byte, error) {
	out := map[string]map[string]any{}
	for _, f := range fields(r) {
		if out[f.section] == nil {
			out[f.section] = map[string]any{}
		}
		out[f.section][f.key] = f.value.Interface()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads a recipe under the keys of its file, or under the names of the Go fields, as checkpoints had them before.
func (r *Recipe) UnmarshalJSON(text []byte) error {
	var in map[string]map[string]json.RawMessage
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	for _, f := range fields(r) {
		raw, ok := in[f.section][f.key]
		if !ok {
			raw, ok = in[f.goSection][f.goKey]
		}
		if !ok {
			return fmt.Errorf("no %s.%s in the recipe", f.section, f.key)
		}
		if err := json.Unmarshal(raw, f.value.Addr().Interface()); err != nil {
			return fmt.Errorf("%s.%s: %w", f.section, f.key, err)
		}
	}
	return nil
}

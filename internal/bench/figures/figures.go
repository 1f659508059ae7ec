// Package figures keeps what a benchmark measured.
package figures

import (
	"encoding/json"
	"os"
)

// Write writes v as JSON to path; with no path it does nothing.
func Write(path string, v any) error {
	if path == "" {
		return nil
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

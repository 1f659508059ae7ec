package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version gives the module's version, the commit it was built from and the Go release.
func Version() string {
	version, commit := "devel", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
		modified := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					modified = ", modified"
				}
			}
		}
		if len(commit) > 12 {
			commit = commit[:12]
		}
		if commit != "" {
			commit = "commit " + commit + modified + ", "
		}
	}
	return fmt.Sprintf("%s (%s%s %s/%s)", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

package source

import (
	"os"
	"syscall"
)

// fileID tells files apart that may be reached by several paths.
type fileID struct{ device, inode uint64 }

func idOf(info os.FileInfo) fileID {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(s.Dev), s.Ino}
	}
	return fileID{}
}

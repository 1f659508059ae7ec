package shards

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// process names a process among all that ever ran on a machine.
type process struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // ticks since the machine was booted
	Where string `json:"where"` // boot and name space of process numbers; empty where that is not known
}

func thisProcess() process {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, err2 := os.Readlink("/proc/self/ns/pid")
	p := process{PID: os.Getpid()}
	if start, err3 := startOf(p.PID); err == nil && err2 == nil && err3 == nil {
		p.Start, p.Where = start, strings.TrimSpace(string(boot))+" "+space
	}
	return p
}

// startOf is when a process started: field 22 of its stat. The name in field 2 may hold anything, a closing bracket too.
func startOf(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' { // dead, its parent has not looked yet
		return "", fs.ErrNotExist
	}
	return string(fields[19]), nil
}

// gone reports whether p surely runs no more, as self can tell: only where both are of one machine.
func (p process) gone(self process) bool {
	if p.Where == "" || p.Where != self.Where {
		return false
	}
	start, err := startOf(p.PID)
	return errors.Is(err, fs.ErrNotExist) || err == nil && start != p.Start
}

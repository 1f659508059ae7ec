package teacher

import (
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestProvidersLeaveTheSignalStackAlone(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	current := func() (s signalStack) {
		if _, _, e := unix.RawSyscall(unix.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&s)), 0); e != 0 {
			t.Fatal(e)
		}
		return s
	}
	for _, c := range cases {
		before := current()
		s := open(t, "tower.onnx", Hidden, c.Options)
		if after := current(); after != before {
			t.Errorf("%s: the signal stack was %+v and is %+v", c.Provider, before, after)
		}
		s.Close()
		if after := current(); after != before {
			t.Errorf("%s, closed: the signal stack was %+v and is %+v", c.Provider, before, after)
		}
	}
}

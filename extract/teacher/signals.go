package teacher

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// signalStack is the kernel's stack_t: where a thread runs its signal handlers.
type signalStack struct {
	sp    uintptr
	flags int32
	_     int32
	size  uintptr
}

// keepSignalStack runs f and gives the calling thread its signal stack back afterwards. OpenVINO's CPU plugin puts one of
// its own in place when it is loaded and unmaps it when it is unloaded, by then often on another thread: the next signal
// that Go sends to the first thread would kill the process.
func keepSignalStack(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before signalStack
	if _, _, e := unix.RawSyscall(unix.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&before)), 0); e != 0 {
		return e
	}
	defer unix.RawSyscall(unix.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(&before)), 0, 0)
	return f()
}

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

// signalAction is the kernel's sigaction on amd64: what a signal does, for the whole process.
type signalAction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const signals = 64

// keepSignals runs f, which may load a provider, and undoes what that does to signals: Ctrl-C must stop the job, and Go's runtime
// needs its own handlers. The CUDA provider puts handlers of its own in place. OpenVINO's CPU plugin gives the calling thread a
// signal stack of its own when it is loaded and unmaps it when it is unloaded, by then often on another thread: the next signal
// that Go sends to the first thread would kill the process.
func keepSignals(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stack signalStack
	if _, _, e := unix.RawSyscall(unix.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&stack)), 0); e != 0 {
		return e
	}
	before := signalActions()
	err := f()
	after := signalActions()
	for i := range before {
		if before[i] != after[i] {
			unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(i+1), uintptr(unsafe.Pointer(&before[i])), 0, unsafe.Sizeof(before[i].mask), 0, 0)
		}
	}
	unix.RawSyscall(unix.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(&stack)), 0, 0)
	return err
}

// signalActions reads the actions of all signals, number 1 first.
func signalActions() (all [signals]signalAction) {
	for i := range all {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(i+1), 0, uintptr(unsafe.Pointer(&all[i])), unsafe.Sizeof(all[i].mask), 0, 0)
	}
	return all
}

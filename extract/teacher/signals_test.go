package teacher

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func currentStack(t *testing.T) (s signalStack) {
	t.Helper()
	if _, _, e := unix.RawSyscall(unix.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&s)), 0); e != 0 {
		t.Fatal(e)
	}
	return s
}

func TestProvidersLeaveSignalsAlone(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	for _, c := range cases {
		stack, actions := currentStack(t), signalActions()
		same := func(when string) {
			t.Helper()
			if after := currentStack(t); after != stack {
				t.Errorf("%s, %s: the signal stack was %+v and is %+v", c.Provider, when, stack, after)
			}
			if after := signalActions(); after != actions {
				t.Errorf("%s, %s: signals do something else", c.Provider, when)
			}
		}
		s := open(t, "tower.onnx", Hidden, c.Options)
		same("open")
		run(t, s, images(t))
		same("run")
		unix.Kill(os.Getpid(), unix.SIGINT)
		select {
		case <-interrupts:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: an interrupt did not arrive", c.Provider)
		}
		s.Close()
		same("closed")
	}
}

// A provider that takes over signals, as CUDA's does, and gives the thread another stack, as OpenVINO's does.
func TestWhatAProviderDoesToSignalsIsUndone(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stack, actions := currentStack(t), signalActions()
	failure := errors.New("as f gives it")
	err := keepSignals(func() error {
		const ignore = 1 // SIG_IGN
		other := signalAction{handler: ignore}
		for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
			if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&other)), 0, 8, 0, 0); e != 0 {
				t.Error(e)
			}
		}
		if signalActions() == actions {
			t.Error("nothing was changed")
		}
		return failure
	})
	if err != failure || signalActions() != actions || currentStack(t) != stack {
		t.Errorf("after %v signals are not as before", err)
	}
}

package cpu

/*
#include <omp.h>

// idle_team makes a team of n threads that sleep from then on, until the calling thread ends.
static void idle_team(int n) {
	omp_set_dynamic(0);
#pragma omp parallel num_threads(n)
	__asm__ volatile("");
}
*/
import "C"

import (
	"os"
	"runtime"
)

// spinVariables are the variables by which a user tells libgomp how long to spin.
var spinVariables = []string{"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}

// spinBriefly has OpenMP's threads sleep soon when they wait for each other at the end of a loop. By default libgomp spins for about
// 3 ms first, which is best on cores that nobody else uses; where another process, or our own loader, holds one of them, most of the
// other's time is spent spinning. libgomp reads its settings before main, but it also spins a thousandth as long while it has more threads
// than there are cores (libgomp's wait.h, do_spin): a few that sleep make it so.
func spinBriefly(threads int, until <-chan struct{}) {
	for _, name := range spinVariables {
		if os.Getenv(name) != "" {
			return
		}
	}
	made := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, the team with the thread
		C.idle_team(C.int(max(2, int(C.omp_get_num_procs())-threads+2)))
		close(made)
		<-until
	}()
	<-made
}

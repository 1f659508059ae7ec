package cuda

// #include "api.h"
import "C"

import "mvptargets/blas"

// program is a blas.Program: the operations run as they are at the first time, which allocates scratch memory and chooses algorithms;
// they are captured as a graph at the second, and the graph is launched from then on.
type program struct {
	d     *Device
	name  string
	issue func()
	runs  int
	exec  C.CUgraphExec
	bad   bool // no graph could be made: the operations are issued each time
}

// Record implements blas.Device.
func (d *Device) Record(name string, issue func()) blas.Program {
	p := &program{d: d, name: name, issue: issue}
	d.programs = append(d.programs, p)
	return p
}

// Run implements blas.Program.
func (p *program) Run() {
	d := p.d
	p.runs++
	if p.runs == 1 || !d.options.graph || d.options.sync {
		p.issue()
		return
	}
	if p.runs == 2 {
		p.capture()
	}
	d.op("program "+p.name, func() error {
		if p.bad {
			return nil
		}
		return d.check(C.call_cuGraphLaunch(d.libs.cuda, p.exec, d.compute), "cuGraphLaunch")
	})
}

// capture issues the operations into a graph in place of the stream.
func (p *program) capture() {
	d := p.d
	d.op("program "+p.name, func() error {
		err := d.check(C.call_cuStreamBeginCapture_v2(d.libs.cuda, d.compute, C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture")
		p.bad = err != nil
		d.capturing = !p.bad
		return err
	})
	d.inRun = true
	p.issue()
	d.inRun = false
	d.op("program "+p.name, func() error {
		if p.bad {
			return nil
		}
		d.capturing = false
		var graph C.CUgraph
		err := d.check(C.call_cuStreamEndCapture(d.libs.cuda, d.compute, &graph), "cuStreamEndCapture")
		if err == nil {
			err = d.check(C.call_cuGraphInstantiateWithFlags(d.libs.cuda, &p.exec, graph, 0), "cuGraphInstantiate")
			C.call_cuGraphDestroy(d.libs.cuda, graph)
		}
		p.bad = err != nil
		return err
	})
}

func (p *program) destroy() {
	if p.exec != nil {
		C.call_cuGraphExecDestroy(p.d.libs.cuda, p.exec)
	}
}

package cuda

// #include "api.h"
import "C"

import "fmt"

// GPU describes a device.
type GPU struct {
	Ordinal      int
	Name         string
	Capability   int // 90 is 9.0
	Memory       int // bytes
	Processors   int // multiprocessors
	sharedMemory int // bytes that a block can have
	pools        bool
	device       int
	retained     bool
}

func (g GPU) capability() string { return fmt.Sprintf("%d.%d", g.Capability/10, g.Capability%10) }

func (g GPU) String() string {
	return fmt.Sprintf("%s, compute capability %s, %d multiprocessors, %s", g.Name, g.capability(), g.Processors, sizeText(g.Memory))
}

// describe asks the driver about a device.
func (l *libraries) describe(ordinal int) (GPU, error) {
	g := GPU{Ordinal: ordinal}
	var count, value C.int
	if err := l.check(C.call_cuDeviceGetCount(l.cuda, &count), "cuDeviceGetCount"); err != nil {
		return g, err
	}
	if ordinal >= int(count) {
		return g, fmt.Errorf("no GPU %d: the driver at %s knows %d", ordinal, l.paths[0], count)
	}
	var device C.CUdevice
	if err := l.check(C.call_cuDeviceGet(l.cuda, &device, C.int(ordinal)), "cuDeviceGet"); err != nil {
		return g, err
	}
	g.device = int(device)
	var name [256]C.char
	if err := l.check(C.call_cuDeviceGetName(l.cuda, &name[0], C.int(len(name)), device), "cuDeviceGetName"); err != nil {
		return g, err
	}
	g.Name = C.GoString(&name[0])
	var bytes C.size_t
	if err := l.check(C.call_cuDeviceTotalMem_v2(l.cuda, &bytes, device), "cuDeviceTotalMem"); err != nil {
		return g, err
	}
	g.Memory = int(bytes)
	var major, minor, pools int
	for _, a := range []struct {
		attribute C.CUdevice_attribute
		to        *int
	}{{C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major}, {C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor},
		{C.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &g.Processors}, {C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &g.sharedMemory},
		{C.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, &pools}} {
		if err := l.check(C.call_cuDeviceGetAttribute(l.cuda, &value, a.attribute, device), "cuDeviceGetAttribute"); err != nil {
			return g, err
		}
		*a.to = int(value)
	}
	g.Capability, g.pools = 10*major+minor, pools != 0
	return g, nil
}

// List describes every GPU and the driver; the error says why there is none.
func List() (gpus []GPU, driver string, err error) {
	l, err := openDriver()
	if err != nil {
		return nil, "", err
	}
	defer l.close()
	var count C.int
	if err := l.check(C.call_cuDeviceGetCount(l.cuda, &count), "cuDeviceGetCount"); err != nil {
		return nil, "", err
	}
	for i := range int(count) {
		g, err := l.describe(i)
		if err != nil {
			return nil, "", err
		}
		gpus = append(gpus, g)
	}
	return gpus, fmt.Sprintf("%s (%s)", l.versions[0], l.paths[0]), nil
}

// Libraries describes cuBLASLt and NVRTC, or says what is missing.
func Libraries() []string {
	l := &libraries{}
	defer l.close()
	if err := l.openMath(); err != nil {
		return []string{err.Error()}
	}
	return []string{fmt.Sprintf("%s (%s)", l.versions[1], l.paths[1]), fmt.Sprintf("%s (%s)", l.versions[2], l.paths[2])}
}

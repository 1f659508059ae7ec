// Package kernels holds the CUDA kernels as text, for NVRTC at run time and for the emulated device in tests, and what the launcher
// must know of each: the file that has it and the kinds of its parameters, read from that same text.
package kernels

import (
	"embed"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

//go:embed *.cu *.cuh
var files embed.FS

// Kind is what a kernel's parameter is.
type Kind uint8

// The kinds of parameters; all but Pointer and Long are 4 bytes.
const (
	Pointer Kind = iota
	Int
	Long
	Float
)

func (k Kind) String() string { return [...]string{"pointer", "int", "long long", "float"}[k] }

// Kernel is one extern "C" function.
type Kernel struct {
	Name   string
	File   string // "norm.cu"
	Params []Kind
}

// Sources maps the .cu files to their text, Headers the .cuh files.
var Sources, Headers = texts(".cu"), texts(".cuh")

// List is every kernel by name.
var List = parse()

var signature = regexp.MustCompile(`extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(([^)]*)\)`)

func texts(ext string) map[string]string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ext) {
			b, err := files.ReadFile(e.Name())
			if err != nil {
				panic(err)
			}
			out[e.Name()] = string(b)
		}
	}
	return out
}

// Names lists the files of Sources in order.
func Names() []string {
	var names []string
	for n := range Sources {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func parse() map[string]Kernel {
	out := map[string]Kernel{}
	for file, text := range Sources {
		for _, m := range signature.FindAllStringSubmatch(text, -1) {
			k := Kernel{Name: m[1], File: file}
			for _, p := range strings.Split(m[2], ",") {
				k.Params = append(k.Params, kindOf(p))
			}
			if _, twice := out[k.Name]; twice {
				panic("kernels: " + k.Name + " is defined twice")
			}
			out[k.Name] = k
		}
	}
	return out
}

func kindOf(param string) Kind {
	words := strings.Fields(strings.ReplaceAll(param, "*", " * "))
	switch declared := strings.Join(words[:len(words)-1], " "); {
	case strings.Contains(declared, "*"):
		return Pointer
	case declared == "int":
		return Int
	case declared == "long long":
		return Long
	case declared == "float":
		return Float
	}
	panic(fmt.Sprintf("kernels: parameter %q is of no known kind", param))
}

// Package dynlib opens shared libraries at run time, so that one binary serves every machine: a library that is missing costs a
// feature or a fast path, with one line that says what was looked for, where, and how to get it.
package dynlib

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

// dlerror belongs to the thread: it must be read in the same C call as the failure, or Go may have moved to another thread.
static void *dynlib_open(const char *path, char **err) {
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib) *err = strdup(dlerror());
	return lib;
}

static void *dynlib_sym(void *lib, const char *name, char **err) {
	dlerror();
	void *sym = dlsym(lib, name);
	const char *e = dlerror();
	if (e) *err = strdup(e);
	return sym;
}

// The path that the loader found, or NULL.
static const char *dynlib_path(void *lib) {
	struct link_map *map;
	return dlinfo(lib, RTLD_DI_LINKMAP, &map) ? NULL : map->l_name;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unsafe"
)

// Spec says how to find one shared library.
type Spec struct {
	Name    string   // for messages: "oneDNN"
	Sonames []string // looked up by the system's loader, in order, after Env and .deps: "libdnnl.so.3"
	Env     string   // environment variable that overrides the search: a file, or a folder that holds one of Sonames
	Globs   []string // below each .deps folder: "onednn/lib/libdnnl.so.3"
	Also    []string // anywhere, after .deps: "/usr/local/cuda/lib64/libnvrtc.so.13"
	Remedy  string   // "run `make deps`"
}

// Lib is an open library. It is never unloaded.
type Lib struct {
	handle unsafe.Pointer
	name   string
	path   string
}

// DepsDirs lists the .deps folders that may exist, nearest first: $MVP_DEPS, the one beside the executable's folder, and those
// of the working folder and its parents.
func DepsDirs() []string {
	var dirs []string
	add := func(d string) {
		for _, have := range dirs {
			if have == d {
				return
			}
		}
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			dirs = append(dirs, d)
		}
	}
	if d := os.Getenv("MVP_DEPS"); d != "" {
		add(d)
	}
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			add(filepath.Join(filepath.Dir(exe), "..", ".deps"))
		}
	}
	if wd, err := os.Getwd(); err == nil {
		for d := wd; ; d = filepath.Dir(d) {
			add(filepath.Join(d, ".deps"))
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	return dirs
}

// candidates lists files and sonames to try, in order. With the override set there is nothing else to try.
func (s Spec) candidates() []string {
	if override := os.Getenv(s.Env); s.Env != "" && override != "" {
		info, err := os.Stat(override)
		if err != nil || !info.IsDir() {
			return []string{override}
		}
		var out []string
		for _, so := range s.Sonames {
			found, _ := filepath.Glob(filepath.Join(override, so+"*"))
			sort.Strings(found)
			out = append(out, found...)
		}
		if len(out) == 0 {
			out = []string{filepath.Join(override, s.Sonames[0])}
		}
		return out
	}
	var out []string
	for _, dir := range DepsDirs() {
		for _, g := range s.Globs {
			found, _ := filepath.Glob(filepath.Join(dir, g))
			sort.Strings(found)
			out = append(out, found...)
		}
	}
	for _, g := range s.Also {
		found, _ := filepath.Glob(g)
		sort.Strings(found)
		out = append(out, found...)
	}
	return append(out, s.Sonames...)
}

// Open loads the first candidate that the loader accepts: the override, then .deps, then Also, then the system's.
func (s Spec) Open() (*Lib, error) {
	var tried []string
	for _, c := range s.candidates() {
		handle, err := open(c)
		if err == nil {
			l := &Lib{handle: handle, name: s.Name, path: c}
			if p := C.dynlib_path(handle); p != nil && C.GoString(p) != "" {
				l.path = C.GoString(p)
			}
			return l, nil
		}
		tried = append(tried, explain(c, err))
	}
	where := "in .deps (none found) and the system's folders"
	if dirs := DepsDirs(); len(dirs) > 0 {
		where = "in " + strings.Join(dirs, ", ") + " and the system's folders"
	}
	if len(s.Also) > 0 {
		where += ", as " + strings.Join(s.Also, ", ")
	}
	if s.Env != "" {
		if v := os.Getenv(s.Env); v != "" {
			where = "as " + s.Env + "=" + v + " says"
		} else {
			where += "; " + s.Env + " is not set"
		}
	}
	return nil, fmt.Errorf("%s not found, looked %s: %s; %s", s.Name, where, strings.Join(tried, "; "), s.Remedy)
}

// Find returns the path that Open would load.
func (s Spec) Find() (string, error) {
	l, err := s.Open()
	if err != nil {
		return "", err
	}
	return l.path, nil
}

func open(path string) (unsafe.Pointer, error) {
	c := C.CString(path)
	defer C.free(unsafe.Pointer(c))
	var msg *C.char
	handle := C.dynlib_open(c, &msg)
	if handle == nil {
		defer C.free(unsafe.Pointer(msg))
		return nil, errors.New(C.GoString(msg))
	}
	return handle, nil
}

// explain shortens the loader's message, which repeats the path, to one clause.
func explain(path string, err error) string {
	msg := strings.TrimPrefix(err.Error(), path+": ")
	if strings.Contains(msg, "No such file") && strings.HasPrefix(msg, "cannot open shared object file") {
		msg = "no such file"
	}
	return path + ": " + strings.ReplaceAll(msg, "\n", " ")
}

// Path is the file that was loaded.
func (l *Lib) Path() string { return l.path }

// Sym is the address of a symbol; a missing one is an error that names the library's file.
func (l *Lib) Sym(name string) (unsafe.Pointer, error) {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	var msg *C.char
	sym := C.dynlib_sym(l.handle, c, &msg)
	if msg != nil {
		C.free(unsafe.Pointer(msg))
		return nil, fmt.Errorf("%s at %s has no function %s: it is of another version", l.name, l.path, name)
	}
	return sym, nil
}

// Syms fills in the address of each symbol by name.
func (l *Lib) Syms(want map[string]*unsafe.Pointer) error {
	names := make([]string, 0, len(want))
	for n := range want {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		sym, err := l.Sym(n)
		if err != nil {
			return err
		}
		*want[n] = sym
	}
	return nil
}

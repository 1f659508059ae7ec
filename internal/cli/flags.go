package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"mvptargets/internal/progress"
)

// FlagSet is a flag.FlagSet whose flags may follow positional arguments, with --log-format, --version and --help wired.
type FlagSet struct {
	*flag.FlagSet
	// Libraries lists the libraries found, one line each, below --version. May be nil.
	Libraries func() []string

	synopsis  string
	logFormat *string
	version   *bool
	out       io.Writer
	rest      []string
}

// Flags starts a program's (or a subcommand's) flags. name is what the user types, such as "mvp-shards ls"; synopsis is
// printed by --help: first the arguments, then after a line break what the program does.
func Flags(name, synopsis string) *FlagSet {
	f := &FlagSet{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), synopsis: synopsis, out: os.Stdout}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.logFormat = f.Enum("log-format", "text", []string{"text", "json"}, "how log lines are written")
	f.version = f.Bool("version", false, "print version, commit and libraries, and stop")
	return f
}

// Enum is a string flag that takes one of the allowed words.
func (f *FlagSet) Enum(name, def string, allowed []string, usage string) *string {
	v := &enum{value: def, allowed: allowed}
	f.Var(v, name, fmt.Sprintf("`%s`: %s", strings.Join(allowed, "|"), usage))
	return &v.value
}

type enum struct {
	value   string
	allowed []string
}

func (e *enum) String() string { return e.value }

func (e *enum) Set(s string) error {
	if !slices.Contains(e.allowed, s) {
		return fmt.Errorf("must be one of %s", strings.Join(e.allowed, ", "))
	}
	e.value = s
	return nil
}

// Parse reads args. Errors are UsageErrors; ErrShown means that help or the version was printed.
func (f *FlagSet) Parse(args []string) error {
	f.rest = nil
	for {
		if err := f.FlagSet.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				f.Help(f.out)
				return ErrShown
			}
			return &UsageError{f.explain(err)}
		}
		left := f.FlagSet.Args()
		read := len(args) - len(left)
		if read > 0 && args[read-1] == "--" {
			f.rest = append(f.rest, left...)
			break
		}
		if len(left) == 0 {
			break
		}
		f.rest, args = append(f.rest, left[0]), left[1:]
	}
	if *f.version {
		fmt.Fprintf(f.out, "%s %s\n", strings.Fields(f.Name())[0], Version())
		if f.Libraries != nil {
			for _, line := range f.Libraries() {
				fmt.Fprintf(f.out, "  %s\n", line)
			}
		}
		return ErrShown
	}
	return nil
}

// Args gives the positional arguments, wherever they stood.
func (f *FlagSet) Args() []string { return f.rest }

// NArg gives the number of positional arguments.
func (f *FlagSet) NArg() int { return len(f.rest) }

// Arg gives a positional argument, "" where there is none.
func (f *FlagSet) Arg(i int) string {
	if i < 0 || i >= len(f.rest) {
		return ""
	}
	return f.rest[i]
}

// IsSet says whether the user gave the flag.
func (f *FlagSet) IsSet(name string) bool {
	found := false
	f.Visit(func(fl *flag.Flag) { found = found || fl.Name == name })
	return found
}

// Logger writes to stderr in the format asked for.
func (f *FlagSet) Logger() *slog.Logger {
	w := progress.Writer(os.Stderr)
	if *f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// Help writes the usage text.
func (f *FlagSet) Help(w io.Writer) {
	arguments, about, _ := strings.Cut(f.synopsis, "\n")
	fmt.Fprintf(w, "usage: %s %s\n", f.Name(), arguments)
	if about = strings.TrimSpace(about); about != "" {
		fmt.Fprintf(w, "\n%s\n", about)
	}
	fmt.Fprint(w, "\nflags:\n")
	f.VisitAll(func(fl *flag.Flag) {
		argument, usage := flag.UnquoteUsage(fl)
		head := "--" + fl.Name
		if argument != "" {
			head += " " + argument
		}
		if usage = strings.TrimPrefix(usage, argument+": "); !slices.Contains([]string{"", "0", "false"}, fl.DefValue) {
			usage += " (default " + fl.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-28s  %s\n", head, usage)
	})
}

// explain turns the flag package's errors into ours: double dashes, and the nearest known flag for an unknown one.
func (f *FlagSet) explain(err error) error {
	const unknown = "flag provided but not defined: -"
	text := err.Error()
	name, ok := strings.CutPrefix(text, unknown)
	if !ok {
		text = strings.Replace(text, "for flag -", "for flag --", 1)
		return errors.New(strings.Replace(text, "an argument: -", "an argument: --", 1))
	}
	var names []string
	f.VisitAll(func(fl *flag.Flag) { names = append(names, fl.Name) })
	if near := Nearest(name, names); near != "" {
		return fmt.Errorf("unknown flag --%s; did you mean --%s?", name, near)
	}
	return fmt.Errorf("unknown flag --%s", name)
}

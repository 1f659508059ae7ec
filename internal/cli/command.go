package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Command is one of a program's subcommands.
type Command struct {
	Name    string
	Summary string // half a line for the program's help
	Run     func(ctx context.Context, args []string) error
}

// Dispatch runs the subcommand that args[0] names. about is the program's description for --help; libraries may be nil.
func Dispatch(ctx context.Context, program, about string, libraries func() []string, args []string, commands []Command) error {
	var names []string
	text := "COMMAND [flags]\n" + about + "\n\ncommands:"
	for _, c := range commands {
		names = append(names, c.Name)
		text += fmt.Sprintf("\n  %-10s %s", c.Name, c.Summary)
	}
	if len(args) > 0 {
		if i := slices.Index(names, args[0]); i >= 0 {
			return commands[i].Run(ctx, args[1:])
		}
	}
	f := Flags(program, text)
	f.Libraries = libraries
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return Usagef("no command given; known are %s", strings.Join(names, ", "))
	}
	if near := Nearest(f.Arg(0), names); near != "" {
		return Usagef("unknown command %q; did you mean %s?", f.Arg(0), near)
	}
	return Usagef("unknown command %q; known are %s", f.Arg(0), strings.Join(names, ", "))
}

// Package cli is what every program's main has in common: exit status, signals, flags, logging, version.
//
// Exit status: 0 done, 1 failed, 2 wrong usage. An error is one line on stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"mvptargets/internal/progress"
)

// UsageError marks an error of the command line; the program ends with status 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError as fmt.Errorf makes an error.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// ErrShown says that help or the version was printed and nothing is left to do; the program ends with status 0.
var ErrShown = errors.New("help or version was printed")

// Main runs a program and does not return. ctx is cancelled by the first SIGINT or SIGTERM; a second one kills.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // back to the default action, so that a second signal kills
	err := run(ctx, os.Args[1:])
	os.Exit(Report(ctx, progress.Writer(os.Stderr), name, err))
}

// Report writes a program's last error to w as one line and gives the exit status.
func Report(ctx context.Context, w io.Writer, name string, err error) int {
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, ErrShown):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: %s (see %s --help)\n", name, OneLine(err.Error()), name)
		return 2
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s: stopped by a signal\n", name)
		return 1
	default:
		fmt.Fprintf(w, "%s: %s\n", name, OneLine(err.Error()))
		return 1
	}
}

// OneLine folds all white space and control characters, such as a library puts into its messages, to single blanks.
func OneLine(s string) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0x85 || r == 0xa0 })
	return strings.Join(words, " ")
}

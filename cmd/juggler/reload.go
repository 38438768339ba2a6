package main

import (
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/cmd/juggler/internal/logs"
	"github.com/juggler-go/juggler/internal/ratelog"
)

// A process is what commands that run until they are stopped have in common:
// a log whose level can change, and files that are read again on SIGHUP.
type process struct {
	cmd   *cobra.Command
	logs  *slog.Logger   // of everything in the process
	log   *slog.Logger   // logs, of what the command itself says, which clients may cause
	limit *ratelog.Limit // of log
	level *slog.LevelVar
	files []reloadable
}

// A reloadable is something that was read from files.
type reloadable struct {
	name   string
	reload func() error // if it fails, all stays as it was
}

// newProcess returns the process of a command whose flags are complete.
func newProcess(cmd *cobra.Command, flags *logs.Flags) *process {
	p := &process{cmd: cmd, level: new(slog.LevelVar)}
	p.level.Set(flags.Level())
	p.logs = flags.New(cmd.ErrOrStderr(), p.level)
	p.log, p.limit = ratelog.New(p.logs.With("component", "command"))
	slog.SetDefault(p.logs) // for packages that log by themselves
	for _, warning := range schema(cmd.Root()).Misspelt(os.Environ()) {
		p.log.Warn("a variable is not known", "reason", warning)
	}
	return p
}

// onReload adds something to read again.
func (p *process) onReload(name string, reload func() error) {
	p.files = append(p.files, reloadable{name, reload})
}

// watch reloads on each SIGHUP until stop is called, which a process does last:
// while it drains, a SIGHUP that nobody takes would kill it.
func (p *process) watch() (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() { // ends with stop
		for range hangup {
			p.reload()
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
	}
}

// reload reads the files again and takes over what can change while the process
// runs; it logs what cannot.
func (p *process) reload() {
	root := newRoot()
	fresh, _, err := root.Find([]string{p.cmd.Name()})
	if err == nil {
		repeat(p.cmd.Flags(), fresh.Flags())
		err = schema(root).Apply(fresh.Name(), os.Environ())
	}
	if err != nil {
		p.log.Error("nothing was reloaded: the settings are wrong", "error", err)
		return
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(fresh.Flags().Lookup("log-level").Value.String())); err == nil {
		p.level.Set(level)
	}
	complete := true
	for _, f := range p.files {
		if err := f.reload(); err != nil {
			p.log.Error("not reloaded, it stays as it was", "settings", f.name, "error", err)
			complete = false
		}
	}
	changed := changedFlags(p.cmd.Flags(), fresh.Flags())
	changed = slices.DeleteFunc(changed, func(name string) bool { return name == "log-level" })
	if len(changed) > 0 {
		p.log.Warn("these settings take effect with a restart only", "settings", strings.Join(changed, " "))
	}
	if complete {
		p.log.Info("reloaded")
	}
}

// repeat sets in fresh what the command line set in flags.
func repeat(flags, fresh *pflag.FlagSet) {
	flags.Visit(func(f *pflag.Flag) {
		_ = fresh.Set(f.Name, f.Value.String()) // it was accepted before
		// The text of a list does not tell a comma in a value from one between two.
		if list, ok := f.Value.(pflag.SliceValue); ok {
			_ = fresh.Lookup(f.Name).Value.(pflag.SliceValue).Replace(list.GetSlice())
		}
	})
}

// changedFlags returns the names of the flags with different values.
func changedFlags(before, now *pflag.FlagSet) []string {
	var names []string
	now.VisitAll(func(f *pflag.Flag) {
		if old := before.Lookup(f.Name); old != nil && old.Value.String() != f.Value.String() {
			names = append(names, f.Name)
		}
	})
	return names
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/prober"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// everyLevel stands for all levels.
const everyLevel = "all"

// proberFlags are the settings of prober.
type proberFlags struct {
	config      prober.Config
	levels      []string
	cases       []string
	list, print bool
}

func newProber() *cobra.Command {
	var f proberFlags
	cmd := &cobra.Command{
		Use:   "prober COMMAND [ARGUMENT…]",
		Short: "Say what a client of the protocol, in any language, does wrong",
		Long: `prober plays the server for a client that you write, and says what the client
does wrong, with the words of docs/protocol.md that it breaks. Each case is a
scripted session: answers in another order, silence, lost connections, GOAWAY,
gaps, what was missed, parts, odd but allowed messages.

For each case prober starts COMMAND, with the URL of a server of its own as the
last argument. The program connects its client there at once, and does with it
what it reads from its standard input, a JSON object a line:

  {"n":1,"do":"call","uri":"math.add","args":[1,2]}         "timeout" in ms may follow
  {"n":2,"do":"subscribe","channel":"news.*","pattern":true}
  {"n":3,"do":"unsubscribe","of":2}
  {"n":4,"do":"publish","channel":"news.go","args":{}}
  {"n":5,"do":"stream","uri":"ai.answer","args":"Why?","parts":4}    level streams
  {"n":6,"do":"cancel","of":5}                                       level streams
  {"n":7,"do":"subscribe","channel":"room.7","here":true}            level presence
  {"n":8,"do":"call","uri":"order.pay","args":7,"key":"k1"}          level keys

It does not wait for one before it reads the next, and tells what comes of each on
its standard output, a JSON object a line, with the n of the command:

  {"n":1,"result":3}                     done; null for what has no result
  {"n":1,"error":{"code":422,"message":"negative"}}
  {"n":2,"channel":"news.go","event":{}}
  {"n":2,"gap":true}                     events may be missing
  {"n":5,"part":"Once"}                  before the result
  {"n":7,"here":["u1","u2"],"count":2}   sorted; null: more than are listed

A code of 0 says that nobody knows whether it was done; 408 that its time is over;
499 that it was cancelled. A subscription that ends later tells its error then.
cancel has no answer of its own. The program ends, with exit status 0, when its
standard input does; what it writes to its standard error is shown if a case fails.

The levels: basic (calls, events, publications, lost connections), streams (answers
in parts), history (what was missed), presence (who is there, what the server ends),
keys (publications and calls that are known again), auth (signing in by AUTH, with
what is then in the variable ` + prober.TokenVariable + `).
docs/writing-a-client.md says what to build in which order; examples/python-client
is a whole client with such a program.

Exit codes: 0 all cases passed, 1 one failed, 2 wrong usage.`,
		Example: `  juggler prober python3 examples/python-client/probe.py
  juggler prober --level basic,history ./client-under-test --quiet
  juggler prober --case lost,goaway -v ./client-under-test
  juggler prober --list
  juggler prober --print --case goaway    # as JSON, with the messages`,
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows COMMAND is its own
	flags.StringSliceVar(&f.levels, "level", []string{"basic"}, "what to play: all, or some of "+strings.Join(prober.Levels, ", "))
	flags.StringSliceVar(&f.cases, "case", nil, "`names` of the cases to play, of whatever level")
	settings.DurationVar(flags, &f.config.Patience, "patience", 10*time.Second, 100*time.Millisecond, time.Hour, "what the client has for each step")
	settings.IntVar(flags, &f.config.Parallel, "parallel", 4, 1, 1000, "cases at a time")
	flags.BoolVarP(&f.config.Verbose, "verbose", "v", false, "show the sessions of all cases")
	flags.BoolVar(&f.list, "list", false, "list the cases, of all levels unless --level says which, and end")
	flags.BoolVar(&f.print, "print", false, "write them as JSON, and end")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && !f.list && !f.print {
			return usageError(cmd, errors.New("the program with the client is missing"))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (f.list || f.print) && !cmd.Flags().Changed("level") {
			f.levels = []string{everyLevel}
		}
		var err error
		if f.config.Cases, err = f.chosen(); err != nil {
			return usageError(cmd, err)
		}
		out := cmd.OutOrStdout()
		switch {
		case f.list:
			return prober.List(out, f.config.Cases)
		case f.print:
			return prober.Print(out, f.config.Cases)
		}
		if _, err := exec.LookPath(args[0]); err != nil {
			return usageError(cmd, err)
		}
		f.config.Command = args
		return f.run(cmd, out)
	}
	return cmd
}

// chosen returns the cases that the flags name.
func (f *proberFlags) chosen() ([]prober.Case, error) {
	all := prober.Cases()
	if len(f.cases) > 0 {
		return named(all, f.cases)
	}
	for _, level := range f.levels {
		if level != everyLevel && !slices.Contains(prober.Levels, level) {
			return nil, fmt.Errorf("--level %q: want all, or some of %s", level, strings.Join(prober.Levels, ", "))
		}
	}
	return slices.DeleteFunc(all, func(c prober.Case) bool {
		return !slices.Contains(f.levels, everyLevel) && !slices.Contains(f.levels, c.Level)
	}), nil
}

func named(all []prober.Case, names []string) (cases []prober.Case, err error) {
	for _, name := range names {
		i := slices.IndexFunc(all, func(c prober.Case) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("--case %q: there is no such case; --list names them", name)
		}
		cases = append(cases, all[i])
	}
	return cases, nil
}

func (f *proberFlags) run(cmd *cobra.Command, out io.Writer) error {
	report, err := prober.Run(cmd.Context(), f.config, out)
	switch {
	case cmd.Context().Err() != nil:
		return exit.With(exit.Interrupted, errors.New("interrupted"))
	case err != nil:
		return err
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d left out\n", report.Passed, report.Failed, report.Left)
	if report.Failed > 0 {
		return errors.New("the client does not keep to the protocol: see above")
	}
	return nil
}

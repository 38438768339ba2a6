package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/logs"
	"github.com/juggler-go/juggler/internal/testcallees"
)

// calleeFlags are the settings of callee.
type calleeFlags struct {
	logs   logs.Flags
	engine engine.Flags

	concurrency  int
	test         bool
	startTimeout time.Duration
	drainTimeout time.Duration
}

func (f *calleeFlags) bind(flags *pflag.FlagSet) {
	flags.IntVar(&f.concurrency, "concurrency", 64, "calls that run at a time, 1 to 65536")
	flags.BoolVar(&f.test, "test", true, "answer test.echo, test.reverse and test.delay")
	flags.DurationVar(&f.startTimeout, "start-timeout", 10*time.Second, "`time` to wait for Redis at the start")
	flags.DurationVar(&f.drainTimeout, "drain-timeout", 25*time.Second, "`time` that calls have to finish after SIGTERM")
	f.engine.Bind(flags)
	f.logs.Bind(flags)
}

func newCallee() *cobra.Command {
	var f calleeFlags
	cmd := &cobra.Command{
		Use:   "callee",
		Short: "Answer calls",
		Long: `callee answers calls that servers have queued in Redis:

  test.echo     returns its arguments, any JSON
  test.reverse  returns a string, reversed by characters
  test.delay    waits for a number of milliseconds and returns it

` + engine.AddressHelp,
		Example: `  juggler callee --redis redis://127.0.0.1:6379
  juggler callee --redis redis://127.0.0.1:6379 --concurrency 8`,
		Args: exactArgs(0, ""),
	}
	f.bind(cmd.Flags())
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		log := f.logs.New(cmd.ErrOrStderr(), f.logs.Level())
		warnMisspelt(cmd, log)
		return callee(cmd.Context(), &f, log)
	}
	return cmd
}

// callee answers calls until ctx ends, then lets those that run finish.
func callee(ctx context.Context, f *calleeFlags, log *slog.Logger) error {
	if len(f.engine.RPC) == 0 {
		return exit.With(exit.Usage, errors.New("callee: --redis is missing; the embedded broker is inside of a server"))
	}
	e, err := f.engine.Open(log)
	if err != nil {
		return err
	}
	defer e.Close()
	c, err := calleekit.New(e.Callee, calleekit.WithConcurrency(f.concurrency), calleekit.WithLogger(log))
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if f.test {
		testcallees.Register(c)
	}
	if err := e.Await(ctx, f.startTimeout); err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return exit.With(exit.Unreachable, err)
	}
	log.Info("answering calls")
	<-ctx.Done()
	log.Info("draining", "running", c.Stats().Running)
	stop, cancel := context.WithTimeout(context.Background(), f.drainTimeout)
	defer cancel()
	if err := c.Shutdown(stop); err != nil {
		return fmt.Errorf("draining took longer than --drain-timeout: %w", err)
	}
	log.Info("stopped")
	return nil
}

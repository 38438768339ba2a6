package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/pushpop"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

func newRedisBench() *cobra.Command {
	var c pushpop.Config
	var f engine.Flags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "redis-bench",
		Short: "Measure the simplest queue on Redis, to compare with",
		Long: `redis-bench has goroutines push values to a list (LPUSH) and others pop them
(BRPOP), one at a time each: the plainest queue that Redis offers, on the
machine and server at hand. What juggler load shows there can be compared with
it.

` + engine.AddressHelp,
		Example: `  juggler redis-bench --redis redis://127.0.0.1:6379
  juggler redis-bench --redis redis://127.0.0.1:6379 --pairs 8 --json`,
		Args: exactArgs(0, ""),
	}
	flags := cmd.Flags()
	settings.IntVar(flags, &c.Pairs, "pairs", 1, 1, 10_000, "pairs of a goroutine that pushes and one that pops")
	settings.BytesVar(flags, &c.Payload, "payload", 64, 1, 64<<20, "size of a value")
	settings.DurationVar(flags, &c.Duration, "duration", 5*time.Second, time.Millisecond, time.Hour, "how long to measure")
	flags.BoolVar(&asJSON, "json", false, "write the result as JSON")
	f.Bind(flags)
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		client, err := f.Client(2*c.Pairs + 1)
		if err != nil {
			return err
		}
		defer client.Close()
		if onlyCheck(cmd) {
			return nil
		}
		r, err := pushpop.Run(cmd.Context(), client, c)
		if err != nil {
			return exit.With(exit.Unreachable, err)
		}
		out := cmd.OutOrStdout()
		if asJSON {
			return json.NewEncoder(out).Encode(r)
		}
		_, err = fmt.Fprintf(out, "pushed %d, popped %d in %.1f s: %.0f a second; LPUSH p50 %.3f ms, p99 %.3f ms, max %.3f ms\n",
			r.Pushed, r.Popped, r.Duration, r.Rate, r.P50, r.P99, r.Max)
		return err
	}
	return cmd
}

package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

func newHealth() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a server or callee whether it is ready",
		Long: `health asks the admin address of serve or callee whether it is ready, and
ends with 0 if it is: for health checks of containers that have no other program.`,
		Example: `  juggler health http://127.0.0.1:9090/readyz`,
		Args:    argsBetween(0, 1, ""),
	}
	settings.DurationVar(cmd.Flags(), &timeout, "timeout", 3*time.Second, time.Millisecond, time.Hour, "time to wait for an answer")
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := configure(cmd); err != nil || onlyCheck(cmd) {
			return err
		}
		url := "http://127.0.0.1:9090/readyz"
		if len(args) > 0 {
			url = args[0]
		}
		if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
			return usageError(cmd, fmt.Errorf("%q: want http://… or https://…", url))
		}
		client := &http.Client{Timeout: timeout}
		response, err := client.Get(url)
		if err != nil {
			return exit.With(exit.Unreachable, err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		if err != nil {
			return exit.With(exit.Unreachable, err)
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
		}
		fmt.Fprint(cmd.OutOrStdout(), string(body))
		return nil
	}
	return cmd
}

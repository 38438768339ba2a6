package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
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
ends with 0 if it is: for health checks of containers that have no other program.
A URL without a path stands for its /readyz; the default is http://127.0.0.1:9090.`,
		Example: `  juggler health http://127.0.0.1:9090`,
		Args:    argsBetween(0, 1, ""),
	}
	settings.DurationVar(cmd.Flags(), &timeout, "timeout", 3*time.Second, time.Millisecond, time.Hour, "time to wait for an answer")
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := configure(cmd); err != nil || onlyCheck(cmd) {
			return err
		}
		target := "http://127.0.0.1:9090"
		if len(args) > 0 {
			target = args[0]
		}
		u, err := url.Parse(target)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usageError(cmd, fmt.Errorf("%q: want http://… or https://…", target))
		}
		if u.Path == "" || u.Path == "/" { // as the log of the server has it
			u.Path = "/readyz"
		}
		client := &http.Client{Timeout: timeout}
		response, err := client.Get(u.String())
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

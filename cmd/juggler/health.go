package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
)

func newHealth() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a server or callee whether it is ready",
		Long: `health asks the admin address of serve or callee whether it is ready, and
ends with 0 if it is: for health checks of containers that have no other program.`,
		Example: `  juggler health http://127.0.0.1:9090/readyz`,
		Args:    cobra.MaximumNArgs(1),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "`time` to wait for an answer")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		url := "http://127.0.0.1:9090/readyz"
		if len(args) > 0 {
			url = args[0]
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

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Look at files of settings",
		Args:  unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return exit.With(exit.Usage, errors.New("missing command"))
		},
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Say everything that is wrong with a file of settings",
		Long: `check reads a file of settings as serve, callee and the others do, with the
files that it names, and says everything that is wrong with it, with line and
name. It connects to nothing. A file looks like this:

  log-level: debug            # for every command that has --log-level
  redis: redis://127.0.0.1:6379
  serve:                      # for juggler serve
    listen: ["127.0.0.1:8080", "unix:/run/juggler/juggler.sock"]
    max-sessions: 20000
  callee:
    concurrency: 8`,
		Example: `  juggler config check /etc/juggler.yaml`,
		Args:    exactArgs(1, "the file"),
	}
	check.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkConfig(cmd, args[0]); err != nil {
			return exit.With(exit.Usage, err)
		}
		fmt.Fprintln(cmd.OutOrStdout(), args[0]+": ok")
		return nil
	}
	cmd.AddCommand(check)
	return cmd
}

// checkConfig reads the file for every command, and has those try it out that
// it is for.
func checkConfig(cmd *cobra.Command, path string) error {
	s := schema(newRoot())
	if err := s.CheckFile(path); err != nil {
		return err
	}
	var errs []error
	for _, name := range s.Concerned(path) {
		root := newRoot()
		root.SetArgs([]string{name, "--" + settings.FileFlag, path, "--" + checkFlag})
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(cmd.Context()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", path, name, err))
		}
	}
	return errors.Join(errs...)
}

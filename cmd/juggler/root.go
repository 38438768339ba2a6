package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
)

// newRoot returns the command with all its verbs.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "juggler",
		Short: "Asynchronous RPC and pub-sub over one WebSocket",
		Long: `juggler runs, tries out and loads servers for asynchronous RPC and pub-sub
over one WebSocket.`,
		Example: `  juggler demo                           # a server to play with
  juggler client ws://127.0.0.1:8080/    # talk to it`,
		SilenceErrors: true, // main prints them
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return exit.With(exit.Usage, errors.New("missing command"))
		},
		Args: unknownVerb,
	}
	root.SetFlagErrorFunc(usageError)
	root.AddCommand(newDemo(), newServe(), newCallee(), newClient(), newLoad(), newProber(), newRedisBench(), newConfig(), newContract(), newVersion(), newHealth(),
		newNodes(), newDisconnect(), newRevoke(), newUnsubscribe())
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() { // cobra's own accept everything
		case "completion":
			c.Args, c.RunE = unknownVerb, root.RunE
		case "help":
			c.Run, c.RunE = nil, help
		}
	}
	return root
}

// help shows the help of the command that args name.
func help(cmd *cobra.Command, args []string) error {
	named, _, err := cmd.Root().Find(args)
	if err != nil || named == cmd.Root() && len(args) > 0 {
		return unknownVerb(cmd.Root(), args)
	}
	return named.Help()
}

// unknownVerb is called with the arguments that name no verb.
func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if near := nearest.To(args[0], names); near != "" {
		err = fmt.Errorf("%w; did you mean %q?", err, near)
	}
	return usageError(cmd, err)
}

// usageError says where to find help, and gives err the exit code for wrong
// usage.
func usageError(cmd *cobra.Command, err error) error {
	return exit.With(exit.Usage, fmt.Errorf("%w (%s --help says more)", err, cmd.CommandPath()))
}

// exactArgs is cobra.ExactArgs with the exit code of usage errors; what names
// the arguments. --check does without them.
func exactArgs(n int, what string) cobra.PositionalArgs { return argsBetween(n, n, what) }

func argsBetween(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least && !onlyCheck(cmd):
			return usageError(cmd, fmt.Errorf("%s: %s is missing", cmd.CommandPath(), what))
		case len(args) > most:
			return usageError(cmd, fmt.Errorf("%s: unexpected argument %q", cmd.CommandPath(), args[most]))
		}
		return nil
	}
}

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// checkFlag makes a command check its settings and end.
const checkFlag = "check"

// onlyCheck reports whether the command shall only check its settings.
func onlyCheck(cmd *cobra.Command) bool {
	check, _ := cmd.Flags().GetBool(checkFlag)
	return check
}

// precedence is the part of the help of commands that take settings from
// elsewhere too.
const precedence = `

Every flag can also be set by a variable (--max-calls by JUGGLER_MAX_CALLS) and
in a YAML file (--config) under its own name. The command line wins over the
variable, the variable over the file. Lists have commas, in YAML they are lists.`

// configurable makes a command take its flags from variables and a file too.
func configurable(cmd *cobra.Command) {
	cmd.Long += precedence
	cmd.Flags().String(settings.FileFlag, "", "YAML `file` with settings")
	cmd.Flags().Bool(checkFlag, false, "say what is wrong with the settings, and end")
}

// configure fills the flags that the command line has not set. Variables that
// look misspelt are warned about here, unless the command has a log for that.
func configure(cmd *cobra.Command) error {
	s := schema(cmd.Root())
	if cmd.Flags().Lookup("log-level") == nil {
		for _, warning := range s.Misspelt(os.Environ()) {
			fmt.Fprintln(cmd.ErrOrStderr(), "juggler:", warning)
		}
	}
	return exit.With(exit.Usage, s.Apply(cmd.Name(), os.Environ()))
}

// schema returns the flags of all commands that take settings from a file.
func schema(root *cobra.Command) settings.Schema {
	s := make(settings.Schema)
	for _, cmd := range root.Commands() {
		if cmd.Flags().Lookup(settings.FileFlag) != nil {
			s[cmd.Name()] = cmd.Flags()
		}
	}
	return s
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/contract"
)

func newContract() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contract",
		Short: "Make TypeScript of a contract, and compare two",
		Args:  unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return exit.With(exit.Usage, errors.New("missing command"))
		},
	}
	cmd.AddCommand(newContractTS(), newContractCheck())
	return cmd
}

func newContractTS() *cobra.Command {
	var name, output string
	cmd := &cobra.Command{
		Use:   "ts FILE",
		Short: "Write the interface that the TypeScript client takes",
		Long: `ts reads a contract, the JSON that the Go package contract writes, or "-" for the
standard input, and writes a module for the TypeScript client: the interface
for new Client<App>(…), and the types that it needs. The same contract gives
the same text.`,
		Example: `  juggler contract ts contract.json --output web/src/contract.ts`,
		Args:    exactArgs(1, "the contract"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContract(cmd, args[0])
			if err != nil {
				return err
			}
			text, err := c.TypeScript(name)
			switch {
			case err != nil:
				return usageError(cmd, err)
			case output != "":
				return os.WriteFile(output, text, 0o666)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", contract.AppName, "`name` of the interface")
	cmd.Flags().StringVarP(&output, "output", "o", "", "`file` to write; the standard output without it")
	return cmd
}

func newContractCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check OLD NEW",
		Short: "Say what a new contract breaks for clients of the old one",
		Long: `check reads two contracts, says what differs, and fails with exit code 1 if that
breaks clients that were made for the old one. What clients send (args) may
become wider: more is optional, or allowed. What they receive (results, parts,
events) may become narrower. What is removed breaks them. One of the two may
be "-", the standard input.`,
		Example: `  juggler contract check old.json contract.json
  git show main:contract.json | juggler contract check - contract.json`,
		Args: exactArgs(2, "one of the two contracts"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := readContract(cmd, args[0])
			if err != nil {
				return err
			}
			to, err := readContract(cmd, args[1])
			if err != nil {
				return err
			}
			return report(cmd.OutOrStdout(), contract.Compare(from, to))
		},
	}
}

func readContract(cmd *cobra.Command, name string) (*contract.Contract, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(cmd.InOrStdin())
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	c, err := contract.Parse(text)
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("%s: %w", name, err))
	}
	return c, nil
}

// report prints changes, first those that break clients, and returns an error if there are
// any of these.
func report(w io.Writer, changes []contract.Change) error {
	broken := 0
	for _, part := range []struct {
		title  string
		breaks bool
	}{{"breaks clients:", true}, {"breaks no client:", false}} {
		title := part.title + "\n"
		for _, c := range changes {
			if c.Breaks != part.breaks {
				continue
			}
			fmt.Fprintf(w, "%s  %s\n", title, c)
			title = ""
			if c.Breaks {
				broken++
			}
		}
	}
	switch {
	case len(changes) == 0:
		fmt.Fprintln(w, "nothing has changed")
	case broken == 1:
		return errors.New("one change breaks clients")
	case broken > 1:
		return fmt.Errorf("%d changes break clients", broken)
	}
	return nil
}

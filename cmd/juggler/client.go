package main

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/otlp"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/cmd/juggler/internal/shell"
	"github.com/juggler-go/juggler/frame"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// clientFlags are the flags of the client.
type clientFlags struct {
	connection connectionFlags
	timeout    time.Duration
	headers    []string // of requests, NAME=VALUE
	count      int
	last       int
	key        string
	join       bool
	since      string
	here       bool
	stream     bool
	parts      int

	traces []client.Option
}

func newClient() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "client URL [VERB ARGUMENTS…]",
		Short: "Call, subscribe and publish, interactively or from scripts",
		Long: `client connects to a server and does what is typed: call, cancel, stop, sub, psub,
unsb, pub, connect, disconnect, use, status, wait; help lists the verbs. Tab
completes verbs and names that were seen, Ctrl-R finds lines that were typed
before. It takes commands from a pipe as well.

With a verb (call, stop, pub, sub, psub) it does that one thing. call writes the
result as JSON, or {"error":{…}}; with --stream each part of the answer before
that, as a line of JSON, as it comes; sub and psub write each event as a line of
JSON, with its position as pos where the server keeps it, and sub --here who is
in the channel. A call with --key goes
on when the client ends, or its connection: the same command waits for it again,
stop ends it. JSON of - is read from the standard input. Exit codes: 0 done, 2
wrong usage, 3 unreachable, 4 refused, 5 the call failed, 6 its time was over.`,
		Example: `  juggler client ws://127.0.0.1:8080/
  juggler client ws://127.0.0.1:8080/ call test.reverse '"abc"'
  juggler client ws://127.0.0.1:8080/ call --stream ai.answer '"Why?"'
  juggler client --key k7 ws://127.0.0.1:8080/ call --stream ai.answer '"Why?"'
  juggler client --key k7 ws://127.0.0.1:8080/ call --stream --since 12 ai.answer
  juggler client ws://127.0.0.1:8080/ stop ai.answer k7
  juggler client ws://127.0.0.1:8080/ psub 'news.*' | jq .args
  juggler client --last 20 ws://127.0.0.1:8080/ sub room.7
  juggler client --here ws://127.0.0.1:8080/ sub room.7 | jq .here
  echo 'call test.echo [1,2]' | juggler client ws://127.0.0.1:8080/`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !onlyCheck(cmd) {
				return usageError(cmd, errors.New("the URL of a server is missing"))
			}
			return nil
		},
	}
	flags := cmd.Flags()
	f.connection.bind(flags)
	settings.DurationVar(flags, &f.timeout, "timeout", shell.DefaultTimeout, time.Millisecond, time.Hour, "time to connect, subscribe and publish")
	flags.StringArrayVar(&f.headers, "header", nil, "header of the call or publication, `NAME=VALUE`; may be repeated")
	settings.IntVar(flags, &f.count, "count", 0, 0, math.MaxInt32, "sub, psub: end after so many events; 0: go on")
	settings.IntVar(flags, &f.last, "last", 0, 0, frame.MaxLast, "sub: how many events come first of those that the server keeps")
	flags.StringVar(&f.key, "key", "", "call, pub: `key` with which the call is made once, and the publication if the server keeps the channel")
	flags.BoolVar(&f.join, "join", false, "call --key: wait for a call that was made, and make none")
	flags.StringVar(&f.since, "since", "", "call --key: --join, and go on behind the part of this `number`; sub: go on behind the event with this pos")
	flags.BoolVar(&f.here, "here", false, "sub: write who is in the channel, and that again when it changes")
	flags.BoolVar(&f.stream, "stream", false, "call: write parts of the answer as they come")
	settings.IntVar(flags, &f.parts, "parts", 128, 1, frame.MaxParts, "call --stream: how many parts may wait to be written")
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		export, err := otlp.OpenTraces(otlp.Process{Service: "juggler-client", Version: versionText(), Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))})
		if err != nil {
			return usageError(cmd, err)
		}
		defer export.Close()
		cmd.SetContext(export.Context(cmd.Context()))
		if export != nil {
			f.traces = []client.Option{jugglerotel.Client(export.Options()...)}
		}
		if onlyCheck(cmd) {
			_, err := f.config(cmd, "")
			return err
		}
		if len(args) > 1 {
			return f.once(cmd, args[0], args[1:])
		}
		return f.interactive(cmd, args[0])
	}
	return cmd
}

// config returns what the flags say about connections.
func (f *clientFlags) config(cmd *cobra.Command, url string) (shell.Config, error) {
	options, err := f.connection.options()
	if err != nil {
		return shell.Config{}, usageError(cmd, err)
	}
	return shell.Config{URL: url, Options: append(options, f.traces...), Timeout: f.timeout, Out: cmd.OutOrStdout()}, nil
}

// once does one command, given as arguments.
func (f *clientFlags) once(cmd *cobra.Command, url string, args []string) error {
	config, err := f.config(cmd, url)
	if err != nil {
		return err
	}
	if args[len(args)-1] == "-" {
		input, err := io.ReadAll(cmd.InOrStdin())
		if err != nil {
			return err
		}
		args = append(args[:len(args)-1:len(args)-1], string(input))
	}
	c, err := shell.FromArgs(args)
	if err != nil {
		return usageError(cmd, err)
	}
	for _, h := range f.headers {
		if err := c.SetHeader(h); err != nil {
			return usageError(cmd, err)
		}
	}
	if err := f.check(cmd, c.Verb); err != nil {
		return usageError(cmd, err)
	}
	c.Last, c.Here, c.Key, c.Join, c.Stream, c.Parts = f.last, f.here, f.key, f.join, f.stream, f.parts
	if f.since != "" {
		if err := c.SetSince(f.since); err != nil {
			return usageError(cmd, err)
		}
	}
	return shell.Do(cmd.Context(), shell.Request{Config: config, Command: c, Count: f.count, Notes: cmd.ErrOrStderr()})
}

// check says which flags do not go with a verb.
func (f *clientFlags) check(cmd *cobra.Command, verb string) error {
	flags := cmd.Flags()
	return errors.Join(
		settings.Needs(flags, verb == "sub", "sub", "last", "here"),
		settings.Needs(flags, verb == "call" || verb == "pub", "call and pub", "key"),
		settings.Needs(flags, verb == "call" && f.key != "", "call --key", "join"),
		settings.Needs(flags, verb == "sub" || verb == "call" && f.key != "", "sub and call --key", "since"),
		settings.Needs(flags, verb == "call", "call", "stream"),
		settings.Needs(flags, f.stream, "--stream", "parts"))
}

// interactive does what is typed, or piped.
func (f *clientFlags) interactive(cmd *cobra.Command, url string) error {
	if err := settings.Needs(cmd.Flags(), false, "a command behind the URL", "header", "count", "last", "here", "key", "join", "since", "stream", "parts"); err != nil {
		return usageError(cmd, err)
	}
	config, err := f.config(cmd, url)
	if err != nil {
		return err
	}
	lines := shell.Pipe(cmd.InOrStdin())
	var terminal *shell.Terminal
	in, inIsFile := cmd.InOrStdin().(*os.File)
	out, outIsFile := cmd.OutOrStdout().(*os.File)
	if inIsFile && outIsFile && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		if terminal, err = shell.NewTerminal(in, out); err != nil {
			return err
		}
		defer terminal.Close()
		lines, config.Out = terminal, terminal
		config.Interactive = true
		config.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	s, err := shell.New(cmd.Context(), config)
	if err != nil {
		return err
	}
	if terminal != nil {
		terminal.CompleteWith(s)
	}
	return s.Run(cmd.Context(), lines)
}

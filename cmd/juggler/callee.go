package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/admin"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/logs"
	"github.com/juggler-go/juggler/cmd/juggler/internal/otlp"
	"github.com/juggler-go/juggler/cmd/juggler/internal/outside"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/testcallees"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// calleeFlags are the settings of callee.
type calleeFlags struct {
	logs   logs.Flags
	engine engine.Flags

	admin admin.Flags

	callee       settings.Options[calleekit.Option]
	exec, http   []string // URI=COMMAND, URI=URL
	execLines    []string // URI=COMMAND
	limits       outside.Limits
	test         bool
	errorTexts   bool
	startTimeout time.Duration
	drainTimeout time.Duration
}

func (f *calleeFlags) bind(flags *pflag.FlagSet) {
	concurrency := func(n int) calleekit.Option { return calleekit.WithConcurrency(n) }
	f.callee.Int(flags, option.CalleeConcurrency, concurrency, "calls that run at a time")
	flags.BoolVar(&f.test, "test", true, "answer test.echo, test.reverse, test.delay and test.count")
	flags.StringArrayVar(&f.exec, "exec", nil, "`URI=COMMAND` that answers calls to a URI: args on its standard input, the answer on its output; may be repeated")
	flags.StringArrayVar(&f.execLines, "exec-lines", nil, "`URI=COMMAND` as for --exec, each line of whose output is a part of the answer, as it comes; may be repeated")
	flags.StringArrayVar(&f.http, "http", nil, "`URI=URL` that answers calls to a URI by POST; may be repeated")
	settings.DurationVar(flags, &f.limits.Timeout, "outside-timeout", time.Minute, time.Millisecond, 24*time.Hour, "what a program or webhook has for a call, with all parts of its answer")
	settings.BytesVar(flags, &f.limits.MaxOutput, "outside-max-output", 1<<20, 1, 1<<30, "size of the answer of a program or webhook, or of each part of it")
	flags.BoolVar(&f.errorTexts, "error-texts", false, "tell callers what the log has of failures; for development")
	settings.DurationVar(flags, &f.startTimeout, "start-timeout", 10*time.Second, 0, time.Hour, "how long to wait for Redis at the start")
	settings.DurationVar(flags, &f.drainTimeout, "drain-timeout", 25*time.Second, 0, time.Hour, "what calls have to finish after SIGTERM")
	f.engine.Bind(flags)
	f.admin.Bind(flags)
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
  test.count    answers in parts: the numbers up to the one that it returns

--exec has a program answer, once for each call, without a shell: it gets the
args on its standard input and writes the answer, as JSON, to its standard
output. Exit code 0 means done, 64 or 65 that the args are wrong (code 400), any
other that it failed (code 500). Its variables JUGGLER_URI and JUGGLER_HEADERS
say more. --http has a web server answer: the args are POSTed as JSON, 2xx comes
with the answer; without an error in its body, 4xx is the code of the call's.
What fails may say {"error":{"code":409,"message":…,"data":…,"retry_after":…}}
in place of the answer. Callers read nothing else of it; the log does. A call
that its caller gave a key has one that is the same however often it runs, in
JUGGLER_KEY, or in the header Idempotency-Key: for effects that must happen once.

With --exec-lines each line of the output, JSON, is a part of the answer as soon
as it is written, and the result is null; a caller that asks for no parts gets
the result alone. Where the caller is slow, the program finds its output full.
The body of a web server is parts if it is application/x-ndjson,
application/jsonl, or text/event-stream with JSON as the data of its events.

` + engine.AddressHelp,
		Example: `  juggler callee --redis redis://127.0.0.1:6379
  juggler callee --redis redis://127.0.0.1:6379 --concurrency 8
  juggler callee --redis redis://127.0.0.1:6379 --test=false \
    --exec 'text.sort=/usr/bin/jq -c sort' --http math.add=http://127.0.0.1:3000/add
  juggler callee --redis redis://127.0.0.1:6379 --exec-lines 'text.items=jq -c --unbuffered .[]'`,
		Args: exactArgs(0, ""),
	}
	f.bind(cmd.Flags())
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		p := newProcess(cmd, &f.logs)
		return callee(cmd.Context(), &f, p)
	}
	return cmd
}

// callee answers calls until ctx ends, then lets those that run finish.
func callee(ctx context.Context, f *calleeFlags, p *process) error {
	defer p.limit.Close()
	log := p.log
	if len(f.engine.RPC) == 0 {
		return exit.With(exit.Usage, errors.New("callee: --redis is missing; the embedded broker is inside of a server"))
	}
	e, err := f.engine.Open(p.logs)
	if err != nil {
		return err
	}
	defer e.Close()
	export, err := otlp.Open(otlp.Process{Service: "juggler-callee", Version: versionText(), Log: log})
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer export.Close()
	options := append(f.callee.List(), calleekit.WithLogger(p.logs), calleekit.WithErrorTexts(f.errorTexts))
	if export.Traces != nil {
		options = append(options, jugglerotel.Callee(export.Traces.Options()...))
	}
	c, err := calleekit.New(e.Callee, options...)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	outsideEffect := settings.Needs(p.cmd.Flags(), len(f.exec)+len(f.execLines)+len(f.http) > 0, "--exec, --exec-lines or --http", "outside-timeout", "outside-max-output")
	if err := errors.Join(f.register(c, log), f.admin.Check(), outsideEffect); err != nil {
		return exit.With(exit.Usage, err)
	}
	p.onReload("passwords and certificates of Redis", e.Reload)
	if onlyCheck(p.cmd) {
		return nil
	}
	defer p.watch()()
	if err := exportCallee(export.Metrics, c, e); err != nil {
		return err
	}
	if err := e.Await(ctx, f.startTimeout); err != nil || ctx.Err() != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return exit.With(exit.Unreachable, err)
	}
	side := admin.New(calleeMetrics(c, e), func() any { return calleeVars(c, e) }, e.Health)
	defer side.Close()
	if err := f.admin.Start(side, log); err != nil {
		return errors.Join(err, c.Close())
	}
	log.Info("answering calls")
	<-ctx.Done()
	side.Drain()
	log.Info("draining", "running", c.Stats().Running)
	stop, cancel := context.WithTimeout(context.Background(), f.drainTimeout)
	defer cancel()
	if err := c.Shutdown(stop); err != nil {
		return fmt.Errorf("draining took longer than --drain-timeout: %w", err)
	}
	log.Info("stopped")
	return nil
}

// register registers what the flags say.
func (f *calleeFlags) register(c *calleekit.Callee, log *slog.Logger) error {
	r := routes{callee: c, taken: make(map[string]bool)}
	if f.test {
		for _, uri := range testcallees.URIs {
			r.taken[uri] = true
		}
		testcallees.Register(c)
	}
	if err := f.registerPrograms(r, "exec", f.exec, (*outside.Program).Answer, log); err != nil {
		return err
	}
	if err := f.registerPrograms(r, "exec-lines", f.execLines, (*outside.Program).AnswerInParts, log); err != nil {
		return err
	}
	for _, text := range f.http {
		uri, url, err := cutURI(text, "URL")
		if err != nil {
			return fmt.Errorf("--http: %w", err) // without the text, which may have a password
		}
		hook, err := outside.NewWebhook(url, f.limits)
		if err == nil {
			err = r.add(uri, hook.Answer)
		}
		if err != nil {
			return fmt.Errorf("--http %s=…: %w", uri, err)
		}
	}
	if len(r.taken) == 0 {
		return errors.New("there is nothing to answer: want --exec, --exec-lines, --http or --test")
	}
	return nil
}

// registerPrograms registers what a flag says of programs, each of which answers by answer.
func (f *calleeFlags) registerPrograms(r routes, flag string, texts []string, answer func(*outside.Program, context.Context, *calleekit.Call) (any, error), log *slog.Logger) error {
	for _, text := range texts {
		uri, command, err := cutURI(text, "COMMAND")
		if err != nil {
			return fmt.Errorf("--%s %q: %w", flag, text, err)
		}
		program, err := outside.NewProgram(command, f.limits, log)
		if err == nil {
			err = r.add(uri, func(ctx context.Context, c *calleekit.Call) (any, error) { return answer(program, ctx, c) })
		}
		if err != nil {
			return fmt.Errorf("--%s %q: %w", flag, text, err)
		}
	}
	return nil
}

// routes are the functions of a callee, and the URIs that have one.
type routes struct {
	callee *calleekit.Callee
	taken  map[string]bool
}

func (r routes) add(uri string, answer calleekit.HandlerFunc) error {
	if r.taken[uri] {
		return fmt.Errorf("duplicate URI %s", uri)
	}
	r.taken[uri] = true
	r.callee.Handle(uri, answer)
	return nil
}

// cutURI splits URI=WHAT.
func cutURI(text, what string) (uri, rest string, err error) {
	uri, rest, ok := strings.Cut(text, "=")
	if !ok || uri == "" || rest == "" {
		return "", "", fmt.Errorf("want URI=%s", what)
	}
	return uri, rest, nil
}

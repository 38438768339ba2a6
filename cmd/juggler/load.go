package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/load"
	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/testcallees"
)

// loadFlags are the settings of load.
type loadFlags struct {
	config   load.Config
	protocol settings.Choice
	args     string
	publish  int
	ca       connectionFlags
	json     bool
	html     string
}

func newLoad() *cobra.Command {
	f := loadFlags{}
	cmd := &cobra.Command{
		Use:   "load URL",
		Short: "Put load on a server and measure it",
		Long: `load connects many clients that call and publish, and reports throughput,
latencies, errors, and whether anything was lost, doubled or out of order.

Without --rate each client has --in-flight requests open all the time: a closed
loop, which shows what a server can do at most; give the server --session-rates
none if clients are fast enough for NACK 429. With --rate requests are due at
a steady rate, whatever the server does, and latencies count from when they were
due: an open loop, which shows what users would see.

With --drop-every clients lose their connection now and then, as phones do, and
come back. On a server that keeps the events of load.* they then get what they
missed: the report says how many recovered, how long that took, and how many were
told that events may be missing.

With --stream each call is answered in so many parts, by test.count, whose order is
checked; latencies are those of whole answers.

Exit codes: 0 done, 1 something was lost, doubled, out of order or wrong, 3 the
server cannot be reached.`,
		Example: `  juggler load ws://127.0.0.1:8080/
  juggler load --clients 1000 --rate 5000 --duration 1m ws://127.0.0.1:8080/
  juggler load --publish 50 --channels 10 --json ws://127.0.0.1:8080/ | jq .event_latency_ms
  juggler load --stream 1000 --clients 10 ws://127.0.0.1:8080/
  juggler load --html report.html ws://127.0.0.1:8080/
  juggler serve --open --history 'load.*=10000/1m' &
  juggler load --publish 100 --rate 500 --channels 10 --drop-every 2s ws://127.0.0.1:8080/`,
		Args: exactArgs(1, "the URL of a server"),
	}
	c, flags := &f.config, cmd.Flags()
	settings.IntVar(flags, &c.Clients, "clients", 50, 1, 1_000_000, "connections")
	settings.IntVar(flags, &c.InFlight, "in-flight", 1, 1, 100_000, "requests of a client without outcome at a time; with --rate 100 unless it is set")
	settings.FloatVar(flags, &c.Rate, "rate", 0, 0, 10_000_000, "requests a second of all clients together; 0: as many as outcomes come")
	settings.DurationVar(flags, &c.Duration, "duration", 10*time.Second, time.Millisecond, 240*time.Hour, "what is measured")
	settings.DurationVar(flags, &c.Ramp, "ramp", 0, 0, time.Hour, "in which the clients connect, before that")
	settings.DurationVar(flags, &c.Drain, "drain", 15*time.Second, 0, time.Hour, "what outcomes have to come, after that")
	settings.DurationVar(flags, &c.Timeout, "call-timeout", 10*time.Second, time.Millisecond, 24*time.Hour, "time of calls")
	settings.IntVar(flags, &c.Stream, "stream", 0, 0, 1_000_000_000, "parts of each answer, the numbers from 1 on, as test.count sends; 0: calls without parts")
	flags.StringVar(&c.URI, "uri", testcallees.EchoURI, "URI to call")
	flags.StringVar(&f.args, "args", "", "args of calls, `JSON`; made up if it is not set")
	settings.BytesVar(flags, &c.Payload, "payload", 64, 0, 64<<20, "size of args that are made up, at least")
	settings.IntVar(flags, &f.publish, "publish", 0, 0, 100, "publications in 100 requests; each client is subscribed to one channel")
	settings.IntVar(flags, &c.Channels, "channels", 1, 1, 1_000_000, "channels that the clients are spread on")
	settings.DurationVar(flags, &c.DropEvery, "drop-every", 0, 0, time.Hour, "about how long a connection lasts before its client drops it and comes back; 0: to the end")
	flags.BoolVar(&c.Compress, "compression", false, "compress messages, and have the server do so")
	f.protocol = settings.Choice{Value: "juggler.1", Choices: []string{"juggler.1", "juggler.0"}}
	flags.Var(&f.protocol, "protocol", "subprotocol to speak")
	flags.StringVar(&f.ca.tokenFile, "token-file", "", "`file` with a token, sent as Authorization: Bearer")
	flags.StringVar(&f.ca.ca, "ca", "", "`file` with the certificates (PEM) to trust for wss://")
	flags.StringVar(&f.ca.cert, "cert", "", "`file` with the certificate (PEM) to show to a server that wants one")
	flags.StringVar(&f.ca.key, "cert-key", "", "`file` with its key")
	flags.BoolVar(&f.ca.insecure, "insecure", false, "accept any certificate")
	flags.BoolVar(&f.json, "json", false, "write the report as JSON")
	flags.StringVar(&f.html, "html", "", "write the report with plots to a `file` too")
	configurable(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := configure(cmd); err != nil {
			return err
		}
		if err := f.complete(cmd); err != nil {
			return usageError(cmd, err)
		}
		if onlyCheck(cmd) {
			return nil
		}
		if err := f.setURL(args[0]); err != nil {
			return usageError(cmd, err)
		}
		return f.run(cmd)
	}
	return cmd
}

func (f *loadFlags) setURL(url string) error {
	if !strings.HasPrefix(url, "ws://") && !strings.HasPrefix(url, "wss://") {
		return fmt.Errorf("%q: want ws://… or wss://…", url)
	}
	f.config.URL = url
	return nil
}

// complete fills in the rest of the config.
func (f *loadFlags) complete(cmd *cobra.Command) error {
	c := &f.config
	err := errors.Join(settings.Needs(cmd.Flags(), f.args == "", "args that are made up, without --args,", "payload"),
		settings.Needs(cmd.Flags(), f.publish > 0, "--publish", "channels", "drop-every"))
	if err != nil {
		return err
	}
	if err := f.stream(cmd); err != nil {
		return err
	}
	if c.Rate > 0 && !cmd.Flags().Lookup("in-flight").Changed {
		c.InFlight = 100
	}
	c.Protocol = frame.Juggler1
	if f.protocol.Value == "juggler.0" {
		c.Protocol = frame.Juggler0
	}
	if f.args != "" {
		if !json.Valid([]byte(f.args)) {
			return fmt.Errorf("--args %q: want JSON", f.args)
		}
		c.Args = json.RawMessage(f.args)
	}
	c.Echo = c.Stream > 0 || c.URI == testcallees.EchoURI && (c.Args == nil || c.Protocol == frame.Juggler1)
	c.Publish = float64(f.publish) / 100
	token, err := f.ca.readToken()
	if err != nil {
		return err
	}
	if token != "" {
		c.Header = http.Header{"Authorization": {"Bearer " + token}}
	}
	c.TLS, err = f.ca.tls()
	return err
}

// stream fills in what answers in parts need.
func (f *loadFlags) stream(cmd *cobra.Command) error {
	if f.config.Stream == 0 {
		return nil
	}
	if f.protocol.Value == "juggler.0" {
		return errors.New("--stream: there are no parts in juggler.0")
	}
	if err := settings.Needs(cmd.Flags(), false, "calls without --stream", "args", "payload"); err != nil {
		return err
	}
	if !cmd.Flags().Changed("uri") {
		f.config.URI = testcallees.CountURI
	}
	f.config.Args = strconv.AppendInt(nil, int64(f.config.Stream), 10)
	return nil
}

func (f *loadFlags) run(cmd *cobra.Command) error {
	progress := newProgress(cmd.ErrOrStderr())
	f.config.Started = func() {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d clients connected; measuring for %v\n", f.config.Clients, f.config.Duration)
	}
	f.config.Progress = progress.show
	report, err := load.Run(cmd.Context(), f.config)
	progress.end()
	interrupted := cmd.Context().Err() != nil
	switch {
	case err != nil && interrupted:
		return exit.With(exit.Interrupted, errors.New("interrupted"))
	case err != nil:
		return exit.With(exit.Unreachable, fmt.Errorf("%w; is a juggler server running there?", err))
	}
	if f.json {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	} else {
		err = report.Write(cmd.OutOrStdout())
	}
	if f.html != "" { // last: a page that cannot be written does not take the report with it
		err = errors.Join(err, writeHTML(report, f.html, "juggler load "+redact.URL(f.config.URL)))
	}
	switch {
	case err != nil:
		return err
	case !report.OK():
		return errors.New("something was lost, doubled, out of order or wrong: see the report")
	case interrupted:
		return exit.With(exit.Interrupted, errors.New("interrupted: the report is about the time until then"))
	}
	return nil
}

func writeHTML(report *load.Report, path, title string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteHTML(file, title), file.Close())
}

// progress shows one line that changes, on a terminal.
type progress struct {
	w     io.Writer
	on    bool
	shown bool
}

func newProgress(w io.Writer) *progress {
	file, ok := w.(*os.File)
	return &progress{w: w, on: ok && term.IsTerminal(int(file.Fd()))}
}

func (p *progress) show(s load.Second) {
	if !p.on {
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%4.0f s  calls %.0f/s  parts %.0f/s  pubs %.0f/s  events %.0f/s  p50 %.2f ms  p99 %.2f ms  errors %d",
		s.At, s.Calls, s.Parts, s.Pubs, s.Events, s.P50, s.P99, s.Errors)
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/access"
	"github.com/juggler-go/juggler/cmd/juggler/internal/admin"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	"github.com/juggler-go/juggler/cmd/juggler/internal/logs"
	"github.com/juggler-go/juggler/cmd/juggler/internal/playground"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	jugglerotel "github.com/juggler-go/juggler/telemetry/otel"
)

// serveFlags are the settings of serve.
type serveFlags struct {
	logs   logs.Flags
	engine engine.Flags
	limits *settings.Options[juggler.Option]
	access access.Flags

	admin     admin.Flags
	callStats int

	listen       []string
	socketMode   string
	path         string
	origins      []string
	proxies      []string
	cert, key    string
	clientCA     string
	startTimeout time.Duration
	drainDelay   time.Duration
	drainTimeout time.Duration
	cluster      bool
	adminHosts   []string
	top          int

	traceClientRate int
	playground      bool
}

// pageTop is how many counters the page for operators has by default.
const pageTop = 64

func (f *serveFlags) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.listen, "listen", []string{"127.0.0.1:8080"}, "`address`es to listen on, HOST:PORT or unix:PATH")
	flags.StringVar(&f.socketMode, "socket-mode", "0660", "permissions of Unix sockets, in octal")
	flags.StringVar(&f.cert, "tls-cert", "", "`file` with the certificate chain (PEM)")
	flags.StringVar(&f.key, "tls-key", "", "`file` with its key")
	flags.StringVar(&f.clientCA, "tls-client-ca", "", "`file` with certificates (PEM) that clients must have one of")
	flags.StringSliceVar(&f.proxies, "trusted-proxies", nil, "`address`es and networks of proxies whose X-Forwarded-For is believed; unix for those on a Unix socket")
	flags.StringVar(&f.path, "path", "/", "path of the WebSocket")
	flags.StringSliceVar(&f.origins, "origins", nil, "`origin`s of web pages that may connect, beside the server's own, with a *. before a host and * for a port; * for any")
	settings.DurationVar(flags, &f.startTimeout, "start-timeout", 10*time.Second, 0, time.Hour, "how long to wait for Redis at the start")
	settings.DurationVar(flags, &f.drainDelay, "drain-delay", 0, 0, time.Hour, "pause between SIGTERM and draining, for load balancers to see /readyz fail")
	settings.DurationVar(flags, &f.drainTimeout, "drain-timeout", 25*time.Second, 0, time.Hour, "what draining takes at most")
	flags.BoolVar(&f.cluster, "cluster", true, "with --redis, take part in what juggler nodes, disconnect, revoke and unsubscribe ask all servers for")
	settings.IntVar(flags, &f.traceClientRate, "trace-client-rate", jugglerotel.ClientRate, 0, 1_000_000, "where traces are exported (OTEL_EXPORTER_OTLP_ENDPOINT), requests a second of which a client may say that they are sampled")
	flags.BoolVar(&f.playground, "playground", false, "serve a web page at "+playground.Path+" to try the server out, to everybody who can reach it; it gives nobody a right")
	f.engine.Bind(flags)
	f.engine.BindServer(flags)
	f.limits = bindLimits(flags)
	f.access.Bind(flags)
	f.admin.Bind(flags)
	stats := option.ServerCallStats
	settings.IntVar(flags, &f.callStats, settings.FlagName(stats.Option), stats.Default, stats.Min, stats.Max, "URIs by which metrics count calls and their times, the first that are called; 6 KiB and at least 60 time series each")
	flags.StringSliceVar(&f.adminHosts, "admin-hosts", nil, "`name`s of this host, beside its own, that browsers may use for the page for operators; addresses and localhost always do")
	settings.IntVar(flags, &f.top, "top", pageTop, option.ServerTop.Min, option.ServerTop.Max, "URIs, and channels, that are counted for the page for operators; 0: none")
	f.logs.Bind(flags)
}

// checkEffect refuses settings that can have no effect beside the others.
func (f *serveFlags) checkEffect(flags *pflag.FlagSet, exportsMetrics bool) error {
	unix := slices.ContainsFunc(f.listen, listen.IsUnix)
	err := errors.Join(settings.Needs(flags, unix, "--listen unix:PATH", "socket-mode"),
		settings.Needs(flags, f.admin.On(), "--admin-listen", "admin-hosts", "top"),
		settings.Needs(flags, f.admin.On() || exportsMetrics, "--admin-listen or OTEL_EXPORTER_OTLP_ENDPOINT", "call-stats"),
		checkCompression(flags))
	switch {
	case err != nil:
		return err
	case len(f.origins) > 1 && slices.Contains(f.origins, "*"):
		return errors.New("--origins: * lets in all: leave out the others, or *")
	case slices.Contains(f.proxies, "unix") && !unix:
		return errors.New("--trusted-proxies unix goes with --listen unix:PATH only")
	}
	return nil
}

// bindLimits adds the limits and times of sessions, as juggler's options have them.
func bindLimits(flags *pflag.FlagSet) *settings.Options[juggler.Option] {
	o := new(settings.Options[juggler.Option])
	o.Bytes(flags, option.ServerMaxMessageBytes, juggler.WithMaxMessageBytes, "size of a message of a client")
	o.Bytes(flags, option.ServerMaxArgsBytes, juggler.WithMaxArgsBytes, "size of the args of a request; 0: only the message is limited")
	o.Bytes(flags, option.ServerMaxHeadersBytes, juggler.WithMaxHeadersBytes, "size of the headers of a request")
	o.Bytes(flags, option.ServerMaxNameBytes, juggler.WithMaxNameBytes, "length of a URI, channel or pattern")
	o.Bytes(flags, option.ServerMaxQueueBytes, juggler.WithMaxQueueBytes, "what may wait for a client that reads slowly; more by default where --max-message-bytes needs it")
	o.Bytes64(flags, option.ServerMaxNodeQueueBytes, juggler.WithMaxNodeQueueBytes, "what may wait for all clients of this node that read slowly; at least --max-queue-bytes")
	o.Int(flags, option.ServerMaxSubscriptions, juggler.WithMaxSubscriptions, "subscriptions of a session")
	o.Int(flags, option.ServerMaxPatterns, juggler.WithMaxPatterns, "patterns among the subscriptions of a session; 0: clients may not subscribe to patterns")
	o.Bytes(flags, option.ServerMaxPatternBytes, juggler.WithMaxPatternBytes, "length of a pattern")
	o.Int(flags, option.ServerMaxNodePatterns, juggler.WithMaxNodePatterns, "different patterns of all sessions of this node")
	o.Int(flags, option.ServerMaxCalls, juggler.WithMaxCalls, "calls of a session without outcome")
	o.Int(flags, option.ServerMaxCallsPerURI, juggler.WithMaxCallsPerURI, "calls of one URI of a session without outcome")
	o.Int(flags, option.ServerMaxKeys, juggler.WithMaxKeys, "calls with keys to one URI of which something is kept for one scope")
	bindOutcomes(flags, o)
	bindPresence(flags, o)
	bindCompression(flags, o)
	o.Int(flags, option.ServerStreamWindow, juggler.WithStreamWindow, "parts of an answer that may wait for the client")
	o.Bytes(flags, option.ServerStreamWindowBytes, juggler.WithStreamWindowBytes, "size of these parts together")
	o.Int(flags, option.ServerMaxRequests, juggler.WithMaxRequests, "requests of a session that wait")
	o.IntOrAuto(flags, option.ServerMaxSessions, juggler.WithMaxSessions,
		fmt.Sprintf("sessions of this node; 0: %d, or what the limit of open files allows", option.ServerMaxSessions.Default))
	o.IntOrAuto(flags, option.ServerMaxUnauthenticated, juggler.WithMaxUnauthenticated, "sessions that have not signed in yet; 0: half of --max-sessions")
	o.Int(flags, option.ServerMaxUserSessions, juggler.WithMaxUserSessions, "sessions of a user on this node; 0: no limit")
	o.Int(flags, option.ServerMaxUserSessionsEverywhere, juggler.WithMaxUserSessionsEverywhere, "sessions of a user on all nodes; 0: no limit")
	o.Int(flags, option.ServerMaxAddressSessions, juggler.WithMaxAddressSessions, "sessions of an address on this node; 0: no limit")
	o.Int(flags, option.ServerMaxSignIns, juggler.WithMaxSignIns, "sign-ins that are looked at at once")
	bindRates(flags, o)
	o.Int(flags, option.ServerEventLoops, juggler.WithEventLoops, "event loops that serve connections; 0: one for two processors")
	o.Int(flags, option.ServerDrainRate, juggler.WithDrainRate, "sessions a second that draining sends elsewhere")
	o.Duration(flags, option.ServerCallTimeout, juggler.WithCallTimeout, "time of a call that asks for none; less by default where --max-call-timeout is less")
	o.Duration(flags, option.ServerMaxCallTimeout, juggler.WithMaxCallTimeout, "longest time that a call may ask for")
	o.Duration(flags, option.ServerPing, juggler.WithPing, "silence after which a client is pinged")
	o.Duration(flags, option.ServerReadTimeout, juggler.WithReadTimeout, "for the rest of a message once it has begun")
	o.Duration(flags, option.ServerWriteTimeout, juggler.WithWriteTimeout, "how long a client may read nothing of what waits for it")
	o.Duration(flags, option.ServerStreamStall, juggler.WithStreamStall, "how long an answer in parts may wait for its client to ask for more")
	o.Duration(flags, option.ServerClusterLease, juggler.WithClusterLease, "silence after which this node counts as gone for juggler nodes and the like")
	o.Duration(flags, option.ServerBrokerTimeout, juggler.WithBrokerTimeout, "what the broker has to take a request")
	visible := flags.Bool("visible-refusals", true, "let browsers see why they are refused, by close codes")
	o.WhenSet(flags.Lookup("visible-refusals"), func() juggler.Option { return juggler.WithVisibleRefusals(*visible) })
	keep := flags.Bool("keep-calls", false, "let calls run on when their client cancels them or goes away, but for those that answer in parts")
	o.When(func() bool { return *keep }, juggler.WithKeepCalls)
	bindDefaultProtocol(flags, o)
	return o
}

func bindDefaultProtocol(flags *pflag.FlagSet, o *settings.Options[juggler.Option]) {
	protocol := &settings.Choice{Value: "none", Choices: []string{"none", frame.Juggler0.String(), frame.Juggler1.String()}}
	flags.Var(protocol, "default-protocol", "protocol of clients that ask for none; none: they are refused")
	for _, p := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
		o.When(func() bool { return protocol.Value == p.String() }, func() juggler.Option { return juggler.WithDefaultProtocol(p) })
	}
}

var optionName = regexp.MustCompile(`With[A-Z]\w+`)

// inFlags replaces the names of the handler's options in what it says by those of
// the flags: WithMaxQueueBytes by --max-queue-bytes.
func inFlags(text string) string {
	return optionName.ReplaceAllStringFunc(text, func(option string) string { return "--" + settings.FlagName(option) })
}

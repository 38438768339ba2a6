package main

import (
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/access"
	"github.com/juggler-go/juggler/cmd/juggler/internal/admin"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/cmd/juggler/internal/logs"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/frame"
)

// serveFlags are the settings of serve.
type serveFlags struct {
	logs   logs.Flags
	engine engine.Flags
	limits limitFlags
	access access.Flags
	admin  admin.Flags

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
}

func (f *serveFlags) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.listen, "listen", []string{"127.0.0.1:8080"}, "`address`es to listen on, HOST:PORT or unix:PATH")
	flags.StringVar(&f.socketMode, "socket-mode", "0660", "permissions of Unix sockets, in octal")
	flags.StringVar(&f.cert, "tls-cert", "", "`file` with the certificate chain (PEM)")
	flags.StringVar(&f.key, "tls-key", "", "`file` with its key")
	flags.StringVar(&f.clientCA, "tls-client-ca", "", "`file` with certificates (PEM) that clients must have one of")
	flags.StringSliceVar(&f.proxies, "trusted-proxies", nil, "`address`es and networks of proxies whose X-Forwarded-For is believed; unix for those on a Unix socket")
	flags.StringVar(&f.path, "path", "/", "path of the WebSocket")
	flags.StringSliceVar(&f.origins, "origins", nil, "`origin`s of web pages that may connect, beside the server's own; * for any")
	settings.DurationVar(flags, &f.startTimeout, "start-timeout", 10*time.Second, 0, time.Hour, "how long to wait for Redis at the start")
	settings.DurationVar(flags, &f.drainDelay, "drain-delay", 0, 0, time.Hour, "pause between SIGTERM and draining, for load balancers to see /readyz fail")
	settings.DurationVar(flags, &f.drainTimeout, "drain-timeout", 25*time.Second, 0, time.Hour, "what draining takes at most")
	f.engine.Bind(flags)
	f.engine.BindServer(flags)
	f.limits.bind(flags)
	f.access.Bind(flags)
	f.admin.Bind(flags)
	f.logs.Bind(flags)
}

// limitFlags are the limits and times of sessions, as juggler's options have
// them.
type limitFlags struct {
	maxMessage, maxArgs, maxHeaders, maxName, maxQueue int // bytes

	maxSubscriptions, maxCalls, maxRequests, maxSessions int
	eventLoops, drainRate                                int

	callTimeout, maxCallTimeout            time.Duration
	ping                                   time.Duration
	readTimeout, writeTimeout, waitTimeout time.Duration

	defaultProtocol settings.Choice
	visibleRefusals bool
	keepCalls       bool
}

func (f *limitFlags) bind(flags *pflag.FlagSet) {
	size := func(p *int, name string, value, least, most int, usage string) {
		settings.BytesVar(flags, p, name, value, least, most, usage)
	}
	number := func(p *int, name string, value, least, most int, usage string) {
		settings.IntVar(flags, p, name, value, least, most, usage)
	}
	duration := func(p *time.Duration, name string, value, least, most time.Duration, usage string) {
		settings.DurationVar(flags, p, name, value, least, most, usage)
	}
	size(&f.maxMessage, "max-message-bytes", 64<<10, 256, 16<<20, "size of a message of a client")
	size(&f.maxArgs, "max-args-bytes", 0, 0, 16<<20, "size of the args of a request; 0: only the message is limited")
	size(&f.maxHeaders, "max-headers-bytes", 4<<10, 0, 1<<20, "size of the headers of a request")
	size(&f.maxName, "max-name-bytes", 1<<10, 1, 64<<10, "length of a URI, channel or pattern")
	size(&f.maxQueue, "max-queue-bytes", 1<<20, 4<<10, 1<<30, "what may wait for a client that reads slowly")
	number(&f.maxSubscriptions, "max-subscriptions", 128, 0, 1_000_000, "subscriptions of a session")
	number(&f.maxCalls, "max-calls", 128, 0, 1_000_000, "calls of a session without outcome")
	number(&f.maxRequests, "max-requests", 64, 1, 100_000, "requests of a session that wait")
	number(&f.maxSessions, "max-sessions", 0, 0, 1<<24, "sessions of this node; 0: 65536, or what the limit of open files allows")
	number(&f.eventLoops, "event-loops", 0, 0, 32, "event loops that serve connections; 0: one for two processors")
	number(&f.drainRate, "drain-rate", 500, 1, 1_000_000, "sessions a second that draining sends elsewhere")
	duration(&f.callTimeout, "call-timeout", time.Minute, time.Millisecond, 24*time.Hour, "time of a call that asks for none")
	duration(&f.maxCallTimeout, "max-call-timeout", 10*time.Minute, time.Millisecond, 24*time.Hour, "longest time that a call may ask for")
	duration(&f.ping, "ping", 25*time.Second, 10*time.Millisecond, time.Hour, "silence after which a client is pinged")
	duration(&f.readTimeout, "read-timeout", 10*time.Second, 10*time.Millisecond, time.Hour, "for the rest of a message once it has begun")
	duration(&f.writeTimeout, "write-timeout", 10*time.Second, 10*time.Millisecond, time.Hour, "how long a client may read nothing of what waits for it")
	duration(&f.waitTimeout, "broker-timeout", 10*time.Second, 10*time.Millisecond, time.Hour, "what the broker has to take a request")
	f.defaultProtocol = settings.Choice{Value: "none", Choices: []string{"none", "juggler.0", "juggler.1"}}
	flags.Var(&f.defaultProtocol, "default-protocol", "protocol of clients that ask for none; none: they are refused")
	flags.BoolVar(&f.visibleRefusals, "visible-refusals", true, "let browsers see why they are refused, by close codes")
	flags.BoolVar(&f.keepCalls, "keep-calls", false, "let calls run on when their client cancels them or goes away")
}

var optionName = regexp.MustCompile(`With([A-Z]\w+)`)

// inFlags replaces the names of the handler's options in what it says by those of
// the flags: WithMaxQueueBytes by --max-queue-bytes.
func inFlags(text string) string {
	return optionName.ReplaceAllStringFunc(text, func(option string) string {
		var flag strings.Builder
		for _, r := range strings.TrimPrefix(option, "With") {
			if unicode.IsUpper(r) {
				flag.WriteByte('-')
			}
			flag.WriteRune(unicode.ToLower(r))
		}
		return "-" + flag.String()
	})
}

// options returns the options of the handler.
func (f *limitFlags) options() []juggler.Option {
	options := []juggler.Option{
		juggler.WithMaxMessageBytes(f.maxMessage),
		juggler.WithMaxArgsBytes(f.maxArgs),
		juggler.WithMaxHeadersBytes(f.maxHeaders),
		juggler.WithMaxNameBytes(f.maxName),
		juggler.WithMaxQueueBytes(f.maxQueue),
		juggler.WithMaxSubscriptions(f.maxSubscriptions),
		juggler.WithMaxCalls(f.maxCalls),
		juggler.WithMaxRequests(f.maxRequests),
		juggler.WithEventLoops(f.eventLoops),
		juggler.WithDrainRate(f.drainRate),
		juggler.WithCallTimeout(f.callTimeout),
		juggler.WithMaxCallTimeout(f.maxCallTimeout),
		juggler.WithPing(f.ping),
		juggler.WithReadTimeout(f.readTimeout),
		juggler.WithWriteTimeout(f.writeTimeout),
		juggler.WithBrokerTimeout(f.waitTimeout),
		juggler.WithVisibleRefusals(f.visibleRefusals),
	}
	if f.maxSessions != 0 {
		options = append(options, juggler.WithMaxSessions(f.maxSessions))
	}
	if f.keepCalls {
		options = append(options, juggler.WithKeepCalls())
	}
	switch f.defaultProtocol.Value {
	case "juggler.0":
		options = append(options, juggler.WithDefaultProtocol(frame.Juggler0))
	case "juggler.1":
		options = append(options, juggler.WithDefaultProtocol(frame.Juggler1))
	}
	return options
}

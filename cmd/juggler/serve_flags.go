package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
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

	listen       []string
	path         string
	origins      []string
	startTimeout time.Duration
	drainDelay   time.Duration
	drainTimeout time.Duration
}

func (f *serveFlags) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.listen, "listen", []string{"127.0.0.1:8080"}, "`address`es to listen on, HOST:PORT or unix:PATH")
	flags.StringVar(&f.path, "path", "/", "path of the WebSocket")
	flags.StringSliceVar(&f.origins, "origins", nil, "`origin`s of web pages that may connect, beside the server's own; * for any")
	flags.DurationVar(&f.startTimeout, "start-timeout", 10*time.Second, "`time` to wait for Redis at the start")
	flags.DurationVar(&f.drainDelay, "drain-delay", 0, "`time` between SIGTERM and draining, for load balancers to see /readyz fail")
	flags.DurationVar(&f.drainTimeout, "drain-timeout", 25*time.Second, "`time` that draining takes at most")
	f.engine.Bind(flags)
	f.engine.BindServer(flags)
	f.limits.bind(flags)
	f.logs.Bind(flags)
}

// limitFlags are the limits and times of sessions, as juggler's options have
// them.
type limitFlags struct {
	maxMessage, maxArgs, maxHeaders, maxName, maxQueue settings.Bytes

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
	f.maxMessage, f.maxHeaders, f.maxName, f.maxQueue = 64<<10, 4<<10, 1<<10, 1<<20
	flags.Var(&f.maxMessage, "max-message-bytes", "size of a message of a client; 256B to 16MiB")
	flags.Var(&f.maxArgs, "max-args-bytes", "size of the args of a request; 0: only the message is limited")
	flags.Var(&f.maxHeaders, "max-headers-bytes", "size of the headers of a request; 0 to 1MiB")
	flags.Var(&f.maxName, "max-name-bytes", "length of a URI, channel or pattern; 1B to 64KiB")
	flags.Var(&f.maxQueue, "max-queue-bytes", "what may wait for a client that reads slowly; 4KiB to 1GiB")
	flags.IntVar(&f.maxSubscriptions, "max-subscriptions", 128, "subscriptions of a session; 0 to 1000000")
	flags.IntVar(&f.maxCalls, "max-calls", 128, "calls of a session without outcome; 0 to 1000000")
	flags.IntVar(&f.maxRequests, "max-requests", 64, "requests of a session that wait; 1 to 100000")
	flags.IntVar(&f.maxSessions, "max-sessions", 0, "sessions of this node; 1 to 16777216; 0: 65536, or what the limit of open files allows")
	flags.IntVar(&f.eventLoops, "event-loops", 0, "event loops that serve connections; 0 to 32; 0: one for two processors")
	flags.IntVar(&f.drainRate, "drain-rate", 500, "sessions a second that draining sends elsewhere; 1 to 1000000")
	flags.DurationVar(&f.callTimeout, "call-timeout", time.Minute, "`time` of a call that asks for none")
	flags.DurationVar(&f.maxCallTimeout, "max-call-timeout", 10*time.Minute, "longest `time` that a call may ask for; 1ms to 24h")
	flags.DurationVar(&f.ping, "ping", 25*time.Second, "`time` of silence after which a client is pinged; 10ms to 1h")
	flags.DurationVar(&f.readTimeout, "read-timeout", 10*time.Second, "`time` for the rest of a message once it has begun; 10ms to 1h")
	flags.DurationVar(&f.writeTimeout, "write-timeout", 10*time.Second, "`time` that a client may read nothing of what waits for it; 10ms to 1h")
	flags.DurationVar(&f.waitTimeout, "broker-timeout", 10*time.Second, "`time` that the broker has to take a request; 10ms to 1h")
	f.defaultProtocol = settings.Choice{Value: "none", Choices: []string{"none", "juggler.0", "juggler.1"}}
	flags.Var(&f.defaultProtocol, "default-protocol", "protocol of clients that ask for none; none: they are refused")
	flags.BoolVar(&f.visibleRefusals, "visible-refusals", true, "let browsers see why they are refused, by close codes")
	flags.BoolVar(&f.keepCalls, "keep-calls", false, "let calls run on when their client cancels them or goes away")
}

// options returns the options of the handler.
func (f *limitFlags) options() []juggler.Option {
	options := []juggler.Option{
		juggler.WithMaxMessageBytes(int(f.maxMessage)),
		juggler.WithMaxArgsBytes(int(f.maxArgs)),
		juggler.WithMaxHeadersBytes(int(f.maxHeaders)),
		juggler.WithMaxNameBytes(int(f.maxName)),
		juggler.WithMaxQueueBytes(int(f.maxQueue)),
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

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
// them. Only those that were set become options: defaults that were not follow
// others that were.
type limitFlags struct {
	set []func() juggler.Option // nil: the flag's value stands for no option

	defaultProtocol settings.Choice
	keepCalls       bool
}

// whenSet has a flag become an option when it was set.
func (f *limitFlags) whenSet(flag *pflag.Flag, option func() juggler.Option) {
	f.set = append(f.set, func() juggler.Option {
		if !flag.Changed {
			return nil
		}
		return option()
	})
}

func (f *limitFlags) bind(flags *pflag.FlagSet) {
	number := func(bind func(*pflag.FlagSet, *int, string, int, int, int, string), option func(int) juggler.Option, name string, value, least, most int, usage string) {
		p := new(int)
		bind(flags, p, name, value, least, most, usage)
		f.whenSet(flags.Lookup(name), func() juggler.Option {
			if auto := value == 0 && *p == 0; auto {
				return nil
			}
			return option(*p)
		})
	}
	size, count := settings.BytesVar, settings.IntVar
	duration := func(option func(time.Duration) juggler.Option, name string, value, least, most time.Duration, usage string) {
		p := new(time.Duration)
		settings.DurationVar(flags, p, name, value, least, most, usage)
		f.whenSet(flags.Lookup(name), func() juggler.Option { return option(*p) })
	}
	number(size, juggler.WithMaxMessageBytes, "max-message-bytes", 64<<10, 256, 16<<20, "size of a message of a client")
	number(size, juggler.WithMaxArgsBytes, "max-args-bytes", 0, 0, 16<<20, "size of the args of a request; 0: only the message is limited")
	number(size, juggler.WithMaxHeadersBytes, "max-headers-bytes", 4<<10, 0, 1<<20, "size of the headers of a request")
	number(size, juggler.WithMaxNameBytes, "max-name-bytes", 1<<10, 1, 64<<10, "length of a URI, channel or pattern")
	number(size, juggler.WithMaxQueueBytes, "max-queue-bytes", 1<<20, 4<<10, 1<<30, "what may wait for a client that reads slowly; more by default where --max-message-bytes needs it")
	number(count, juggler.WithMaxSubscriptions, "max-subscriptions", 128, 0, 1_000_000, "subscriptions of a session")
	number(count, juggler.WithMaxCalls, "max-calls", 128, 0, 1_000_000, "calls of a session without outcome")
	number(count, juggler.WithMaxRequests, "max-requests", 64, 1, 100_000, "requests of a session that wait")
	number(count, juggler.WithMaxSessions, "max-sessions", 0, 0, 1<<24, "sessions of this node; 0: 65536, or what the limit of open files allows")
	number(count, juggler.WithEventLoops, "event-loops", 0, 0, 32, "event loops that serve connections; 0: one for two processors")
	number(count, juggler.WithDrainRate, "drain-rate", 500, 1, 1_000_000, "sessions a second that draining sends elsewhere")
	duration(juggler.WithCallTimeout, "call-timeout", time.Minute, time.Millisecond, 24*time.Hour, "time of a call that asks for none; less by default where --max-call-timeout is less")
	duration(juggler.WithMaxCallTimeout, "max-call-timeout", 10*time.Minute, time.Millisecond, 24*time.Hour, "longest time that a call may ask for")
	duration(juggler.WithPing, "ping", 25*time.Second, 10*time.Millisecond, time.Hour, "silence after which a client is pinged")
	duration(juggler.WithReadTimeout, "read-timeout", 10*time.Second, 10*time.Millisecond, time.Hour, "for the rest of a message once it has begun")
	duration(juggler.WithWriteTimeout, "write-timeout", 10*time.Second, 10*time.Millisecond, time.Hour, "how long a client may read nothing of what waits for it")
	duration(juggler.WithBrokerTimeout, "broker-timeout", 10*time.Second, 10*time.Millisecond, time.Hour, "what the broker has to take a request")
	f.defaultProtocol = settings.Choice{Value: "none", Choices: []string{"none", "juggler.0", "juggler.1"}}
	flags.Var(&f.defaultProtocol, "default-protocol", "protocol of clients that ask for none; none: they are refused")
	visible := flags.Bool("visible-refusals", true, "let browsers see why they are refused, by close codes")
	f.whenSet(flags.Lookup("visible-refusals"), func() juggler.Option { return juggler.WithVisibleRefusals(*visible) })
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
	var options []juggler.Option
	for _, option := range f.set {
		if o := option(); o != nil {
			options = append(options, o)
		}
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

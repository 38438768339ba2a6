package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/exit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
)

// A conn is one connection of a shell.
type conn struct {
	shell  *Shell
	name   string
	url    string
	client *client.Client
	subs   []*subscription // of the shell's goroutine

	mu    sync.Mutex
	calls map[int]*call // without an outcome, by number
	lost  bool          // it was open before
	quiet bool          // it is not open yet, or the shell is closing it
}

type call struct {
	uri    string
	cancel context.CancelFunc
}

type subscription struct {
	*client.Subscription
	pattern bool
}

func dial(ctx context.Context, s *Shell, name, address string) (*conn, error) {
	c := &conn{shell: s, name: name, url: address, calls: make(map[int]*call), quiet: true}
	options := append(slices.Clone(s.config.Options), client.WithStateHook(c.stateChanged), client.WithServerSubscriptions(c.served))
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := checkURL(address); err != nil {
		return nil, err
	}
	k, err := client.Dial(ctx, address, options...)
	if err != nil {
		return nil, dialError(address, err)
	}
	c.client = k
	c.setQuiet(false)
	return c, nil
}

// stateChanged tells of connections that were lost and found again.
func (c *conn) stateChanged(change client.StateChange) {
	c.mu.Lock()
	quiet, lost := c.quiet, c.lost
	c.lost = change.State == client.Waiting || lost && change.State != client.Open
	c.mu.Unlock()
	switch {
	case quiet:
	case lost && change.State == client.Open:
		c.say(span{green, "connected again to " + c.url})
	case change.State == client.Waiting:
		c.say(span{yellow, fmt.Sprintf("connection lost: %s; next attempt in %v", Describe(change.Err), change.Delay.Round(time.Millisecond))})
	case change.State == client.Closed:
		c.say(span{red, "connection closed: " + Describe(change.Err)})
	}
}

func (c *conn) close() {
	c.setQuiet(true)
	c.client.Close()
}

func (c *conn) isQuiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quiet
}

func (c *conn) setQuiet(quiet bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = quiet
}

// say writes a line, with the name of the connection if there are several.
func (c *conn) say(spans ...span) {
	if c.shell.out.namesLines() {
		spans = append([]span{{dim, "[" + c.name + "] "}}, spans...)
	}
	c.shell.out.line(spans...)
}

func (c *conn) describe() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s%s", c.name, c.client.State(), c.url, sessionText(c.client.Session()))
	for _, s := range c.subs {
		kind := "sub"
		if s.pattern {
			kind = "psub"
		}
		fmt.Fprintf(&b, "\n      %s %s", kind, s.Channel())
	}
	numbers := make([]int, 0, len(c.calls))
	for n := range c.calls {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		fmt.Fprintf(&b, "\n      #%d call %s", n, c.calls[n].uri)
	}
	return b.String()
}

// call starts a call; its outcome is written when it comes.
func (s *Shell) call(ctx context.Context, c Command) error {
	k, err := s.named(nil)
	if err != nil {
		return err
	}
	s.calls++
	number, start := s.calls, time.Now()
	ctx, cancel := context.WithCancel(ctx)
	k.mu.Lock()
	k.calls[number] = &call{uri: c.Names[0], cancel: cancel}
	k.mu.Unlock()
	begin := k.start
	if c.Stream {
		begin = k.stream
	}
	wait, err := begin(ctx, number, c)
	if err != nil {
		k.ended(number)
		return err
	}
	k.say(span{dim, fmt.Sprintf("#%d CALL %s", number, c.Names[0])})
	s.running.Go(func() { // ends with the call, which is timed
		defer k.ended(number)
		result, err := wait()
		outcome := []span{{green, fmt.Sprintf("#%d RES", number)}, {plain, " " + string(result)}}
		if errors.Is(err, client.ErrClosed) && k.isQuiet() {
			return // whoever closes the connection knows
		}
		switch {
		case err != nil && c.Key != "" && ctx.Err() != nil:
			outcome = []span{{yellow, fmt.Sprintf("#%d left, and goes on", number)}}
		case err != nil:
			s.fail(err)
			outcome = []span{{red, fmt.Sprintf("#%d %s", number, Describe(err))}}
		}
		if s.config.Interactive {
			outcome = append(outcome, span{dim, "  " + time.Since(start).Round(10*time.Microsecond).String()})
		}
		k.say(outcome...)
	})
	return nil
}

// start begins a call and returns what waits for its result.
func (c *conn) start(ctx context.Context, number int, command Command) (result func() (json.RawMessage, error), err error) {
	pending, err := c.client.Start(ctx, command.Names[0], argsOf(command), callOptions(command)...)
	if err != nil {
		return nil, err
	}
	return func() (result json.RawMessage, err error) {
		c.sayState(ctx, number, command, pending)
		err = pending.Result(context.WithoutCancel(ctx), &result)
		return result, err
	}, nil
}

// ended forgets a call.
func (c *conn) ended(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[number]; call != nil {
		call.cancel()
		delete(c.calls, number)
	}
}

func (s *Shell) cancel(_ context.Context, c Command) error {
	number, err := strconv.Atoi(strings.TrimPrefix(c.Names[0], "#"))
	if err != nil {
		return exit.With(exit.Usage, fmt.Errorf("cancel %q: want the number of a call", c.Names[0]))
	}
	for _, k := range s.conns {
		k.mu.Lock()
		call := k.calls[number]
		k.mu.Unlock()
		if call != nil {
			call.cancel()
			return nil
		}
	}
	return exit.With(exit.Usage, fmt.Errorf("there is no call #%d without outcome", number))
}

// sub subscribes to a channel, or for the verb psub to a pattern.
func (s *Shell) sub(ctx context.Context, c Command) error {
	k, err := s.named(nil)
	if err != nil {
		return err
	}
	pattern := c.Verb == patternVerb
	for _, sub := range k.subs {
		if sub.Channel() == c.Names[0] && sub.pattern == pattern && sub.Err() == nil {
			return exit.With(exit.Usage, fmt.Errorf("subscribed to %s already", c.Names[0]))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	sub, err := k.client.SubscribeFunc(ctx, c.Names[0], k.event, subscribeOptions(c)...)
	if err != nil {
		return err
	}
	k.subs = append(k.subs, &subscription{sub, pattern})
	k.say(span{dim, "subscribed to " + c.Names[0]})
	s.watching.Go(func() { k.watch(sub, c.Here) })
	return nil
}

// event writes one event.
func (c *conn) event(sub *client.Subscription, e client.Event) {
	name := e.Channel
	if sub.Own() {
		name = nameOf(sub)
	} else {
		c.shell.names.learn(channelName, name)
	}
	if e.Pattern != "" && !e.Gap {
		name += " (" + e.Pattern + ")"
	}
	if e.Gap {
		c.say(span{yellow, "GAP " + name}, span{plain, " events may have been missed"})
		return
	}
	line := []span{{cyan, "EVNT " + name}, {plain, " " + string(orNull(e.Args))}}
	if len(e.Headers) > 0 {
		headers, _ := json.Marshal(e.Headers)
		line = append(line, span{dim, " " + string(headers)})
	}
	if !e.Pos.IsZero() {
		line = append(line, span{dim, " " + e.Pos.String()})
	}
	c.say(line...)
}

// unsb ends what is subscribed under a name, channel and pattern.
func (s *Shell) unsb(_ context.Context, c Command) error {
	k, err := s.named(nil)
	if err != nil {
		return err
	}
	before := len(k.subs)
	k.subs = slices.DeleteFunc(k.subs, func(sub *subscription) bool {
		if sub.Channel() != c.Names[0] {
			return false
		}
		sub.Unsubscribe()
		return true
	})
	if len(k.subs) == before {
		return exit.With(exit.Usage, fmt.Errorf("not subscribed to %s", c.Names[0]))
	}
	k.say(span{dim, "unsubscribed from " + c.Names[0]})
	return nil
}

func (s *Shell) pub(ctx context.Context, c Command) error {
	k, err := s.named(nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := k.client.Publish(ctx, c.Names[0], argsOf(c), publishOptions(c)...); err != nil {
		return err
	}
	k.say(span{dim, "published on " + c.Names[0]})
	return nil
}

// argsOf returns the args as the client takes them: nil sends none.
func argsOf(c Command) any {
	if c.JSON == nil {
		return nil
	}
	return c.JSON
}

func callOptions(c Command) []client.CallOption {
	var options []client.CallOption
	if c.Timeout > 0 {
		options = append(options, client.WithTimeout(c.Timeout))
	}
	if c.Headers != nil {
		options = append(options, client.WithHeaders(c.Headers))
	}
	return append(options, keyOptions(c)...)
}

func publishOptions(c Command) []client.PublishOption {
	var options []client.PublishOption
	if c.Headers != nil {
		options = append(options, client.WithHeaders(c.Headers))
	}
	if c.Key != "" {
		options = append(options, client.Key(c.Key))
	}
	return options
}

// patternVerb is the verb that subscribes to a pattern.
const patternVerb = "psub"

func subscribeOptions(c Command) []client.SubscribeOption {
	var options []client.SubscribeOption
	if c.Verb == patternVerb {
		options = append(options, client.Pattern())
	}
	if c.Last > 0 {
		options = append(options, client.Last(c.Last))
	}
	if !c.Since.IsZero() {
		options = append(options, client.Since(c.Since))
	}
	if c.Here {
		options = append(options, client.WithHere())
	}
	return options
}

func orNull(args json.RawMessage) json.RawMessage {
	if len(args) == 0 {
		return json.RawMessage("null")
	}
	return args
}

// checkURL says what is wrong with a URL that people typed.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err == nil && u.Host != "" && (u.Scheme == "ws" || u.Scheme == "wss") {
		return nil
	}
	want := fmt.Errorf("%q: want ws://HOST:PORT/PATH or wss://…", text)
	if _, rest, ok := strings.Cut(text, "://"); err == nil && ok && (u.Scheme == "http" || u.Scheme == "https") {
		want = fmt.Errorf("%w; did you mean %q?", want, "ws"+strings.TrimPrefix(u.Scheme, "http")+"://"+rest)
	} else if !strings.Contains(text, "://") {
		want = fmt.Errorf("%w; did you mean %q?", want, "ws://"+text)
	}
	return exit.With(exit.Usage, want)
}

// dialError says in one line why there is no connection.
func dialError(address string, err error) error {
	switch {
	case errors.Is(err, client.ErrInvalidOption):
		return exit.With(exit.Usage, err)
	case errors.Is(err, context.Canceled): // by a signal
		return exit.With(exit.Interrupted, errors.New("interrupted"))
	}
	code := CodeOf(err)
	if code == exit.Failure || code == exit.Expired {
		code = exit.Unreachable
	}
	return exit.With(code, fmt.Errorf("cannot connect to %s: %s", redact.URL(address), dialHint(address, err)))
}

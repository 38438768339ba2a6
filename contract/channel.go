package contract

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/juggler-go/juggler/broker"
)

// Events declares channels whose events have args of the Go type T. Make one with
// [Channel]. Its methods may be called concurrently.
type Events[T any] struct {
	name  string
	fixed []string // the pieces of the name between what differs
	doc   ChannelDoc
}

// A ChannelOption says more of channels.
type ChannelOption func(*ChannelDoc)

// Doc says what the events of channels tell.
func Doc(text string) ChannelOption { return func(d *ChannelDoc) { d.Description = text } }

// Deprecated says that channels should not be subscribed to any more, why, and what to
// subscribe to in their place.
func Deprecated(why string) ChannelOption { return func(d *ChannelDoc) { d.Deprecated = why } }

// FromClients says that clients publish on the channels, too. Then [Compare] looks at what
// they may publish as well.
func FromClients() ChannelOption { return func(d *ChannelDoc) { d.FromClients = true } }

var (
	placeholder = regexp.MustCompile(`\{[\pL_][\pL\pN_]*\}`)
	loneBrace   = regexp.MustCompile(`[{}]`)
)

// Channel declares the channel of this name, or, where the name has {word} in it, all
// channels in which something stands there: "room.{room}.messages". What stands there may
// be anything, dots too, for a pattern and for the TypeScript client: so let no name be the
// beginning of another, as "room.{room}" is of "room.{room}.messages".
//
// It panics if the name is empty or has other braces.
func Channel[T any](name string, opts ...ChannelOption) *Events[T] {
	if err := checkChannelName(name); err != nil {
		panic(fmt.Sprintf("contract: Channel(%q): %v", name, err))
	}
	e := &Events[T]{name: name, fixed: placeholder.Split(name, -1)}
	for _, o := range opts {
		o(&e.doc)
	}
	return e
}

func checkChannelName(name string) error {
	if name == "" {
		return fmt.Errorf("the name is empty")
	}
	if loneBrace.MatchString(placeholder.ReplaceAllLiteralString(name, "")) {
		return fmt.Errorf("want braces only around a word, as in {room}")
	}
	return nil
}

// checkChannel says what is wrong with the name of a channel beside those of the contract.
func (c *Contract) checkChannel(name string) error {
	if err := checkChannelName(name); err != nil {
		return err
	}
	if other := c.channelLike(name); other != "" {
		return fmt.Errorf("it is there twice: %s has the same names", other)
	}
	return nil
}

// channelLike returns the channel of c that differs from name in the words in braces at
// most, or "".
func (c *Contract) channelLike(name string) string {
	form := placeholder.ReplaceAllLiteralString(name, "{}")
	for other := range c.Channels {
		if placeholder.ReplaceAllLiteralString(other, "{}") == form {
			return other
		}
	}
	return ""
}

// Name returns the name of the channel in which these values stand for the words in braces,
// in their order. It panics if they are more or fewer.
func (e *Events[T]) Name(values ...string) string {
	if len(values) != len(e.fixed)-1 {
		panic(fmt.Sprintf("contract: the channel %s takes %d values, got %d", e.name, len(e.fixed)-1, len(values)))
	}
	var b strings.Builder
	b.WriteString(e.fixed[0])
	for i, v := range values {
		b.WriteString(v)
		b.WriteString(e.fixed[i+1])
	}
	return b.String()
}

// A Publisher publishes; [juggler.Handler] is one.
//
// [juggler.Handler]: https://pkg.go.dev/github.com/juggler-go/juggler#Handler
type Publisher interface {
	Publish(ctx context.Context, channel string, args any, headers map[string]string) error
}

// OnBroker is the Publisher of a program without a handler: it does what [broker.Publish]
// does.
func OnBroker(b broker.PubSub) Publisher { return onBroker{b} }

type onBroker struct{ broker broker.PubSub }

func (b onBroker) Publish(ctx context.Context, channel string, args any, headers map[string]string) error {
	return broker.Publish(ctx, b.broker, channel, args, headers)
}

// Publish publishes an event on the channel that [Events.Name] names: what is published is
// then what the contract says.
func (e *Events[T]) Publish(ctx context.Context, p Publisher, event T, values ...string) error {
	return p.Publish(ctx, e.Name(values...), event, nil)
}

func (e *Events[T]) addTo(b *builder) {
	b.within("channel "+e.name, func() {
		if err := b.contract.checkChannel(e.name); err != nil {
			b.refuse("%v", err)
			return
		}
		doc := e.doc
		doc.Event = b.part("event", reflect.TypeFor[T]())
		b.contract.Channels[e.name] = &doc
	})
}

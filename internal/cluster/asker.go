package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// An Asker asks all nodes.
type Asker struct {
	pubsub   broker.PubSub
	registry broker.Registry
	timeout  time.Duration // of the broker
	id       string
	member   *Member // of the same node; nil: there is none

	opening chan struct{} // holds a value while someone opens or closes
	conn    broker.SubscriberConn
	closed  bool

	mu   sync.Mutex // guards asks
	asks map[string]*asking
}

// An asking is one that waits for answers.
type asking struct {
	mu      sync.Mutex // guards what follows
	answers map[string]Answer
	gone    map[string]bool
	news    chan struct{} // gets a value when there are more
}

// An Answer is what became of a command at a node.
type Answer struct {
	Node     string
	Sessions int
	Error    string
}

// NewAsker returns an asker, which opens its connection when it asks first. id is one that
// nobody else uses. member is that of the same node, or nil.
func NewAsker(id string, pubsub broker.PubSub, registry broker.Registry, timeout time.Duration, member *Member) *Asker {
	return &Asker{pubsub: pubsub, registry: registry, timeout: timeout, id: id, member: member,
		opening: make(chan struct{}, 1), asks: make(map[string]*asking)}
}

// again is how often those are asked again that have not answered: a message may be lost.
const again = time.Second

// Nodes returns the nodes that live, by their ids, which begin with their age.
func (a *Asker) Nodes(ctx context.Context) ([]Info, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	entries, err := a.registry.Registered(ctx, nodesTable)
	if err != nil {
		return nil, fmt.Errorf("reading the table of nodes: %w", err)
	}
	nodes := make([]Info, len(entries))
	for i := range entries {
		nodes[i] = parseNode(&entries[i])
	}
	slices.SortFunc(nodes, func(a, b Info) int { return strings.Compare(a.Node, b.Node) })
	return nodes, nil
}

// Ask has all nodes do what c says. It returns when all nodes that lived at its begin have
// answered, have gone in good order, or have been silent until their leases were over: these
// are missing. Nodes that came meanwhile may be among the answers, too. With the error of ctx
// it returns what is known so far.
func (a *Asker) Ask(ctx context.Context, c Command) (answers []Answer, missing []Info, err error) {
	if err := a.open(ctx); err != nil {
		return nil, nil, err
	}
	c.V, c.From, c.Ask = version, a.id, fmt.Sprintf("%x", broker.NewID())
	w := &asking{answers: make(map[string]Answer), gone: make(map[string]bool), news: make(chan struct{}, 1)}
	a.enter(c.Ask, w)
	defer a.leave(c.Ask)
	nodes, err := a.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	read := time.Now()
	if err := a.publish(ctx, c); err != nil && !errors.Is(err, broker.ErrUnknownOutcome) {
		return nil, nodes, fmt.Errorf("asking the nodes: %w", err)
	}
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		silent := w.silent(nodes)
		left := longestLeft(silent) - time.Since(read)
		if left <= 0 {
			return w.list(), silent, nil
		}
		select {
		case <-w.news:
		case <-time.After(left):
		case <-tick.C:
			c.To = nil
			for _, n := range silent {
				c.To = append(c.To, n.Node)
			}
			_ = a.publish(ctx, c) // if it fails, again
		case <-ctx.Done():
			return w.list(), w.silent(nodes), ctx.Err()
		}
	}
}

// longestLeft returns the time until the last of the leases is over.
func longestLeft(nodes []Info) (left time.Duration) {
	for _, n := range nodes {
		left = max(left, n.Left)
	}
	return left
}

// Revoke has what was issued to a user up to before, in µs since 1970, refused by all nodes
// for the time of life, those included that come later.
func (a *Asker) Revoke(ctx context.Context, user string, before int64, life time.Duration) ([]Answer, []Info, error) {
	if err := a.register(ctx, user, before, life); err != nil {
		return nil, nil, fmt.Errorf("writing the revocation: %w", err)
	}
	return a.Ask(ctx, Command{Op: revoke, User: []byte(user), Before: before, Life: life})
}

// register writes a revocation, and removes those that say less.
func (a *Asker) register(ctx context.Context, user string, before int64, life time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if err := a.registry.Register(ctx, revokedTable, revokedName(user, before), nil, life); err != nil {
		return err
	}
	for _, name := range a.lesser(ctx, user, before, life) {
		_ = a.registry.Unregister(ctx, revokedTable, name) // else it goes when its time is over
	}
	return nil
}

// lesser returns the names of the revocations that say less than one. A node knows them; who
// is none reads the table, which is long where many are revoked.
func (a *Asker) lesser(ctx context.Context, user string, before int64, life time.Duration) (names []string) {
	if a.member != nil {
		return a.member.revoked.lesser(user, before, life)
	}
	entries, err := a.registry.Registered(ctx, revokedTable)
	if err != nil {
		return nil // they go when their time is over
	}
	for _, e := range entries {
		if other, b, ok := parseRevoked(e.Name); ok && other == user && b < before && e.Left < life {
			names = append(names, e.Name)
		}
	}
	return names
}

func (a *Asker) publish(ctx context.Context, c Command) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return a.pubsub.Publish(ctx, event(control, c))
}

// open begins to hear answers, once.
func (a *Asker) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	select {
	case a.opening <- struct{}{}:
		defer func() { <-a.opening }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case a.closed:
		return broker.ErrClosed
	case a.conn != nil:
		return nil
	}
	conn, err := a.pubsub.OpenSubscriber(ctx, a.deliver)
	if err != nil {
		return err
	}
	for _, name := range []string{replies(a.id), control} {
		if err := conn.Subscribe(ctx, broker.Topic{Name: name}); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	a.conn = conn
	return nil
}

// Close ends what open began.
func (a *Asker) Close() error {
	a.opening <- struct{}{}
	defer func() { <-a.opening }()
	a.closed = true
	if a.conn == nil {
		return nil
	}
	return a.conn.Close()
}

func (a *Asker) enter(ask string, w *asking) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asks[ask] = w
}

func (a *Asker) leave(ask string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asks, ask)
}

// deliver takes answers, and farewells of nodes.
func (a *Asker) deliver(deliveries []broker.Delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range deliveries {
		d := &deliveries[i]
		if d.Gap {
			continue // who is silent is asked again
		}
		if d.Topic.Name == control {
			var c Command
			if json.Unmarshal(d.Event.Args, &c) == nil && c.V == version && c.Op == bye {
				for _, w := range a.asks {
					w.left(c.Node)
				}
			}
			continue
		}
		var r reply
		if json.Unmarshal(d.Event.Args, &r) != nil || r.V != version {
			continue
		}
		if w := a.asks[r.Ask]; w != nil {
			w.answered(r)
		}
	}
}

func (w *asking) answered(r reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[r.Node] = Answer{r.Node, r.Sessions, r.Error}
	w.tell()
}

func (w *asking) left(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone[node] = true
	w.tell()
}

func (w *asking) tell() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// silent returns those of nodes that have neither answered nor gone.
func (w *asking) silent(nodes []Info) (silent []Info) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range nodes {
		if _, ok := w.answers[n.Node]; !ok && !w.gone[n.Node] {
			silent = append(silent, n)
		}
	}
	return silent
}

// list returns the answers, by node.
func (w *asking) list() []Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]Answer, 0, len(w.answers))
	for _, a := range w.answers {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Answer) int { return strings.Compare(a.Node, b.Node) })
	return list
}

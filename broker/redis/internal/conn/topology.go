package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A Topology finds out which server is the master of which slots. A View keeps what it
// finds.
type Topology interface {
	// look asks the system anew.
	look(ctx context.Context) ([]slotRange, error)

	// options returns options that lead to a server that look has named. The
	// caller may change what it gets.
	options(s Server) *goredis.Options

	// watch calls changed when the system may have announced a change, until ctx
	// ends or watching fails; at once if the system announces nothing.
	watch(ctx context.Context, changed func()) error

	// renamed reports whether another server may take over an address without
	// look noticing it.
	renamed() bool

	// wait waits for questions that look has begun and has not waited for.
	wait()
}

// A slotRange is a range of hash slots with its master. Without a cluster there
// is one range, of all slots.
type slotRange struct {
	first, last int
	master      Server
}

// A Server is an address, and the name that the server has in its cluster, if it is in
// one: addresses may be written in several ways.
type Server struct {
	Addr string
	id   string
}

// is reports whether both are the same server, as far as their names tell.
func (s Server) is(other Server) bool {
	if s.id != "" && other.id != "" {
		return s.id == other.id
	}
	return s.Addr == other.Addr
}

func everySlot(addr string) []slotRange {
	return []slotRange{{first: 0, last: Slots - 1, master: Server{Addr: addr}}}
}

// askTimeout bounds how long one server is asked about the system.
const askTimeout = time.Second

// Standalone is one server, whose address may be a name that others take over.
type Standalone struct {
	Options *goredis.Options
}

func (s *Standalone) look(context.Context) ([]slotRange, error) {
	return everySlot(s.Options.Addr), nil
}

func (s *Standalone) options(Server) *goredis.Options {
	copied := *s.Options
	return &copied
}

func (s *Standalone) watch(context.Context, func()) error { return errors.ErrUnsupported }
func (s *Standalone) renamed() bool                       { return true }
func (s *Standalone) wait()                               {}

// Sentinel asks the sentinels at each look: go-redis' own client would keep two
// connections to them open for what is needed once in months.
type Sentinel struct {
	Options         *goredis.FailoverOptions
	SentinelOptions *goredis.Options // of the sentinels; nil: Options say
	asker

	mu      sync.Mutex // guards the following
	current opinion    // the last one that was believed
}

// An opinion is what a sentinel says about the master.
type opinion struct {
	addr  string
	epoch int64 // of the failover that made it one; 0: not known
}

// look asks all sentinels at once. One that is cut off from the others may name a
// master that has been replaced: the newest failover counts, and an older one
// than that is believed only when most sentinels know of no other.
func (s *Sentinel) look(context.Context) ([]slotRange, error) {
	addrs := s.Options.SentinelAddrs
	answers := askAll(&s.asker, addrs, s.ask)
	count := map[opinion]int{}
	answered := 0
	var failures []error
	for range addrs {
		a := <-answers
		if a.err != nil {
			failures = append(failures, a.err)
			continue
		}
		answered++
		count[a.value]++
		if len(count) == 1 && 2*answered > len(addrs) {
			break // the others need not be waited for
		}
	}
	if answered == 0 {
		return nil, errors.Join(failures...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	best := s.best(count)
	if best.epoch >= s.current.epoch || 2*answered > len(addrs) {
		s.current = best
	}
	return everySlot(s.current.addr), nil
}

// best returns the opinion about the newest failover, of several the one that most
// have, of several the current one. mu is held.
func (s *Sentinel) best(count map[opinion]int) (best opinion) {
	for o, n := range count {
		most := count[best]
		if o.epoch > best.epoch || o.epoch == best.epoch && (n > most || n == most && o == s.current) {
			best = o
		}
	}
	return best
}

func (s *Sentinel) ask(addr string) (opinion, error) {
	ctx, cancel := context.WithTimeout(background, askTimeout)
	defer cancel()
	client := goredis.NewSentinelClient(s.sentinelOptions(addr))
	defer client.Close()
	master, err := client.GetMasterAddrByName(ctx, s.Options.MasterName).Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return opinion{}, fmt.Errorf("sentinel %s does not know the master %s", addr, s.Options.MasterName)
	case err != nil:
		return opinion{}, fmt.Errorf("sentinel %s: %w", addr, err)
	case len(master) != 2:
		return opinion{}, fmt.Errorf("sentinel %s: unexpected reply %q", addr, master)
	}
	o := opinion{addr: net.JoinHostPort(master[0], master[1])}
	if more, err := client.Master(ctx, s.Options.MasterName).Result(); err == nil {
		o.epoch, _ = strconv.ParseInt(more["config-epoch"], 10, 64) //nolint:errcheck // then it is not known
	}
	return o, nil
}

// watch listens to one sentinel.
func (s *Sentinel) watch(ctx context.Context, changed func()) error {
	addrs := s.Options.SentinelAddrs
	addr := addrs[rand.IntN(len(addrs))]
	client := goredis.NewSentinelClient(s.sentinelOptions(addr))
	defer client.Close()
	ps := client.Subscribe(ctx, "+switch-master")
	defer ps.Close()
	defer context.AfterFunc(ctx, func() { ps.Close() })() //nolint:errcheck // it ends the wait below
	for {
		// A sentinel that has gone silent is left for another one.
		reply, err := ps.ReceiveTimeout(ctx, watchSilence)
		var timeout net.Error
		switch {
		case err == nil:
			if _, ok := reply.(*goredis.Pong); !ok {
				changed() // also when listening begins: what was before is not known
			}
			continue
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return fmt.Errorf("sentinel %s: %w", addr, err)
		}
		if err := ps.Ping(ctx); err != nil {
			return fmt.Errorf("sentinel %s: %w", addr, err)
		}
		if _, err := ps.ReceiveTimeout(ctx, askTimeout); err != nil {
			return fmt.Errorf("sentinel %s: %w", addr, err)
		}
	}
}

// watchSilence is after how much silence a sentinel is asked whether it lives.
const watchSilence = 5 * time.Second

func (s *Sentinel) renamed() bool { return false }

func (s *Sentinel) options(to Server) *goredis.Options { return failoverOptions(s.Options, to.Addr) }

// sentinelOptions are the options that lead to a sentinel.
func (s *Sentinel) sentinelOptions(addr string) *goredis.Options {
	own := s.SentinelOptions
	if own == nil {
		own = &goredis.Options{
			Username:    s.Options.SentinelUsername,
			Password:    s.Options.SentinelPassword,
			Dialer:      s.Options.Dialer,
			TLSConfig:   s.Options.TLSConfig,
			DialTimeout: s.Options.DialTimeout,
			ReadTimeout: s.Options.ReadTimeout,
		}
	}
	return &goredis.Options{
		Addr:                       addr,
		ClientName:                 own.ClientName,
		Dialer:                     own.Dialer,
		OnConnect:                  own.OnConnect,
		Username:                   own.Username,
		Password:                   own.Password,
		CredentialsProvider:        own.CredentialsProvider,
		CredentialsProviderContext: own.CredentialsProviderContext,
		TLSConfig:                  own.TLSConfig,
		DialTimeout:                own.DialTimeout,
		ReadTimeout:                own.ReadTimeout,
		DialerRetries:              1,
		MaxRetries:                 -1,
		PoolSize:                   1,
		PipelinePoolSize:           -1,
		DisableIdentity:            true,
		MaintNotificationsConfig:   noNotifications(),

		ContextTimeoutEnabled: true,
	}
}

// Cluster asks nodes of the cluster for the map of slots.
type Cluster struct {
	Options *goredis.ClusterOptions
	asker

	mu     sync.Mutex  // guards the following
	ranges []slotRange // as it was last believed
}

// votes is how many nodes are asked for the map. One alone may have been cut off
// or taken out of the cluster, and not know what became of it.
const votes = 3

// look asks some of the masters, and all others and the seeds when none of those
// answers. The map that most have counts.
func (c *Cluster) look(ctx context.Context) ([]slotRange, error) {
	if c.Options.ClusterSlots != nil {
		slots, err := c.Options.ClusterSlots(ctx)
		if err != nil {
			return nil, fmt.Errorf("ClusterSlots: %w", err)
		}
		return rangesOf(slots), nil
	}
	masters, others := c.candidates()
	some := masters[:min(votes, len(masters))]
	others = append(others, masters[len(some):]...)
	ranges, failures := c.vote(ctx, some)
	if ranges == nil {
		var more []error
		ranges, more = c.vote(ctx, others)
		failures = append(failures, more...)
	}
	if ranges == nil {
		return nil, errors.Join(failures...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ranges = ranges
	return ranges, nil
}

// candidates returns the known masters and the other seeds, in random order.
func (c *Cluster) candidates() (masters, others []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.ranges {
		if !slices.Contains(masters, r.master.Addr) {
			masters = append(masters, r.master.Addr)
		}
	}
	for _, addr := range c.Options.Addrs {
		if !slices.Contains(masters, addr) {
			others = append(others, addr)
		}
	}
	rand.Shuffle(len(masters), func(i, j int) { masters[i], masters[j] = masters[j], masters[i] })
	return masters, others
}

// vote returns the map that most of the nodes have that answer, of several the
// one that was believed before; nil if none answers.
func (c *Cluster) vote(ctx context.Context, addrs []string) (winner []slotRange, failures []error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c.mu.Lock()
	believed := mapName(c.ranges)
	c.mu.Unlock()
	answers := askAll(&c.asker, addrs, func(addr string) ([]slotRange, error) { return c.ask(ctx, addr) })
	count := map[string]int{}
	best := 0
	for range addrs {
		a := <-answers
		if a.err != nil {
			failures = append(failures, a.err)
			continue
		}
		name := mapName(a.value)
		count[name]++
		if n := count[name]; n > best || n == best && name == believed {
			winner, best = a.value, n
		}
		if 2*best > len(addrs) {
			break
		}
	}
	return winner, failures
}

// mapName tells maps apart.
func mapName(ranges []slotRange) string {
	var name strings.Builder
	for _, r := range ranges {
		master := r.master.id
		if master == "" {
			master = r.master.Addr
		}
		fmt.Fprintf(&name, "%d-%d %s,", r.first, r.last, master)
	}
	return name.String()
}

func (c *Cluster) ask(ctx context.Context, addr string) ([]slotRange, error) {
	l, err := newLink(ctx, c.options(Server{Addr: addr}), askTimeout)
	if err != nil {
		return nil, fmt.Errorf("cluster node %s: %w", addr, err)
	}
	defer l.Close()
	defer context.AfterFunc(ctx, l.Cut)()
	reply, err := l.client.Do(ctx, "CLUSTER", "SLOTS").Result() // CLUSTER SHARDS is of Redis 7, and our floor is 6.2
	if err != nil {
		return nil, fmt.Errorf("cluster node %s: %w", addr, err)
	}
	ranges, err := readSlots(reply, addr)
	if err != nil {
		return nil, fmt.Errorf("cluster node %s: %w", addr, err)
	}
	if len(ranges) == 0 {
		return nil, fmt.Errorf("cluster node %s knows no slots", addr)
	}
	return ranges, nil
}

func (c *Cluster) options(s Server) *goredis.Options { return clusterNodeOptions(c.Options, s.Addr) }

func (c *Cluster) watch(context.Context, func()) error { return errors.ErrUnsupported }
func (c *Cluster) renamed() bool                       { return false }

// An asker asks several servers at once.
type asker struct{ asking sync.WaitGroup }

func (a *asker) wait() { a.asking.Wait() }

// An answer is what one of several servers said.
type answer[T any] struct {
	value T
	err   error
}

// askAll asks all of addrs. The channel has room for all answers, so that they need not
// be read.
func askAll[T any](a *asker, addrs []string, ask func(addr string) (T, error)) <-chan answer[T] {
	answers := make(chan answer[T], len(addrs))
	for _, addr := range addrs {
		a.asking.Go(func() {
			value, err := ask(addr)
			answers <- answer[T]{value, err}
		})
	}
	return answers
}

// failoverOptions are the options that lead to a server found by the sentinels.
func failoverOptions(o *goredis.FailoverOptions, addr string) *goredis.Options {
	return &goredis.Options{
		Addr:                         addr,
		ClientName:                   o.ClientName,
		Dialer:                       o.Dialer,
		OnConnect:                    o.OnConnect,
		Protocol:                     o.Protocol,
		Username:                     o.Username,
		Password:                     o.Password,
		CredentialsProvider:          o.CredentialsProvider,
		CredentialsProviderContext:   o.CredentialsProviderContext,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		DB:                           o.DB,
		DialTimeout:                  o.DialTimeout,
		ReadBufferSize:               o.ReadBufferSize,
		WriteBufferSize:              o.WriteBufferSize,
		TLSConfig:                    o.TLSConfig,
	}
}

// clusterNodeOptions are the options that lead to one node of a cluster.
func clusterNodeOptions(o *goredis.ClusterOptions, addr string) *goredis.Options {
	return &goredis.Options{
		Addr:                         addr,
		ClientName:                   o.ClientName,
		Dialer:                       o.Dialer,
		OnConnect:                    o.OnConnect,
		Protocol:                     o.Protocol,
		Username:                     o.Username,
		Password:                     o.Password,
		CredentialsProvider:          o.CredentialsProvider,
		CredentialsProviderContext:   o.CredentialsProviderContext,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		DialTimeout:                  o.DialTimeout,
		ReadBufferSize:               o.ReadBufferSize,
		WriteBufferSize:              o.WriteBufferSize,
		TLSConfig:                    o.TLSConfig,
	}
}

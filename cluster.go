package juggler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/cluster"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// WithCluster has the node do what [Handler.Cluster], or a [NewCluster] of another program on
// the same broker, asks all nodes for, and refuse credentials that were revoked
// ([Cluster.Revoke]). It needs a broker that is a [broker.Registry]. Clients can reach none
// of it; whoever may publish on the broker may ask for anything. The node takes part from its
// first handshake, or call of [Handler.Ready], to its Shutdown. Default: it is on its own.
func WithCluster() Option {
	return optionFunc(func(c *config) { c.cluster = true })
}

// WithClusterLease sets for how long a node counts as there that says nothing, as it was
// killed, hangs, or is cut off from the broker: so long who asks all nodes waits for it. A
// node says that it is there four times as often. A node that could not read for so long what
// is revoked refuses users whose [Identity] has Issued. Default: 15 s; 1 s to 10 min.
func WithClusterLease(d time.Duration) Option {
	return optionFunc(func(c *config) { c.clusterLease = d })
}

// A Cluster is all nodes on one broker that have [WithCluster]. Its methods may be called
// concurrently. Those that act return what became of it at each node, and nil only if all
// nodes that lived have done it: [ErrIncomplete] is in the error if some have not answered
// until their leases were over, or have failed. They wait for no longer time, but may be
// given a context that ends sooner.
type Cluster struct {
	asker *cluster.Asker // nil: there is none
}

// A NodeInfo is what a node has said of itself, an Age ago.
type NodeInfo struct {
	Node     string // its id, as of [Handler.Node]
	Host     string // the host's name
	PID      int    // of its process
	Version  string // of juggler, "" if it is not known
	Started  time.Time
	Sessions int
	Users    int // who have a session there
	Draining bool
	Age      time.Duration
	Left     time.Duration // for how long it counts as there unless it says more
}

// A ClusterReport says what became of something at all nodes.
type ClusterReport struct {
	Nodes   []NodeReport // that have answered, by their ids
	Missing []NodeInfo   // that have not
}

// A NodeReport says what became of it at one.
type NodeReport struct {
	Node     string
	Sessions int    // that were concerned
	Error    string // why it failed, or ""
}

// Sessions returns how many sessions were concerned at all nodes that have answered.
func (r ClusterReport) Sessions() (n int) {
	for _, node := range r.Nodes {
		n += node.Sessions
	}
	return n
}

// A ClusterCount is how many there are on all nodes.
type ClusterCount struct {
	Nodes    int
	Sessions int
	Users    int           // a user on two nodes counts twice
	Age      time.Duration // of the oldest figure in it
}

// ErrIncomplete is wrapped by the errors of a [Cluster] that say which nodes have not done
// what they were asked for.
var ErrIncomplete = errors.New("not all nodes have done it")

// errNoCluster is the error of a Cluster that is none.
var errNoCluster = errors.New("juggler: this handler has no cluster: give New the option WithCluster")

// Cluster returns the cluster that the node is in. Without [WithCluster] its methods return
// an error.
func (h *Handler) Cluster() *Cluster { return &h.clusterSide.asks }

// NewCluster returns the cluster of the nodes on a broker, for a program that is none of
// them: b has to be a [broker.Registry], too. It connects when it is asked first.
func NewCluster(b broker.PubSub) (*Cluster, error) {
	registry, ok := b.(broker.Registry)
	if !ok {
		return nil, fmt.Errorf("juggler: NewCluster: the broker, %T, is no broker.Registry", b)
	}
	return &Cluster{cluster.NewAsker(idText(broker.NewID()), b, registry, option.ServerBrokerTimeout.Default, nil)}, nil
}

// Close ends the connection to the broker. Not for [Handler.Cluster], which ends with the
// handler.
func (c *Cluster) Close() error {
	if c.asker == nil {
		return nil
	}
	return c.asker.Close()
}

// Nodes returns the nodes that are there, by their ids. It asks the broker, not the nodes:
// one that died is there until its lease is over.
func (c *Cluster) Nodes(ctx context.Context) ([]NodeInfo, error) {
	if c.asker == nil {
		return nil, errNoCluster
	}
	infos, err := c.asker.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("juggler: %w", err)
	}
	return nodeInfos(infos), nil
}

func nodeInfos(infos []cluster.Info) []NodeInfo {
	nodes := make([]NodeInfo, len(infos))
	for i, info := range infos {
		nodes[i] = NodeInfo(info)
	}
	return nodes
}

// Count returns how many sessions there are, by one request to the broker: the figures are
// as old as Age says, a quarter of a lease at most while all is well.
func (c *Cluster) Count(ctx context.Context) (ClusterCount, error) {
	nodes, err := c.Nodes(ctx)
	n := ClusterCount{Nodes: len(nodes)}
	for _, node := range nodes {
		n.Sessions += node.Sessions
		n.Users += node.Users
		n.Age = max(n.Age, node.Age)
	}
	return n, err
}

// DisconnectUser closes the sessions of a user on all nodes, as [Handler.DisconnectUser]
// does on one. The user may come back: see [Cluster.Revoke].
func (c *Cluster) DisconnectUser(ctx context.Context, user string, code uint16, reason string) (ClusterReport, error) {
	if err := checkCloseCode(code); err != nil {
		return ClusterReport{}, err
	}
	return c.ask(ctx, cluster.Command{Op: cluster.DisconnectUser, User: []byte(user), Code: int(code), Reason: reason})
}

// DisconnectSession closes the session with an id, on whichever node it is, as
// [Handler.Disconnect] does on one.
func (c *Cluster) DisconnectSession(ctx context.Context, id string, code uint16, reason string) (ClusterReport, error) {
	if err := checkCloseCode(code); err != nil {
		return ClusterReport{}, err
	}
	return c.ask(ctx, cluster.Command{Op: cluster.DisconnectSession, Session: id, Code: int(code), Reason: reason})
}

func checkCloseCode(code uint16) error {
	if !wsconn.ValidCloseCode(code) {
		return fmt.Errorf("juggler: close code %d may not be sent: want 1000 to 1003, 1007 to 1014, or 3000 to 4999", code)
	}
	return nil
}

// UnsubscribeUser ends the subscriptions of a user's sessions to a topic on all nodes, as
// [Session.Unsubscribe] does for one; nil is code 403 without more. The report counts those
// sessions that had the subscription.
func (c *Cluster) UnsubscribeUser(ctx context.Context, user string, t broker.Topic, why *Error) (ClusterReport, error) {
	command := cluster.Command{Op: cluster.UnsubscribeUser, User: []byte(user), Channel: []byte(t.Name), Pattern: t.Pattern}
	if why != nil {
		command.Code, command.Reason, command.Data, command.RetryAfter = int(why.Code), why.Message, why.Data, why.RetryAfter
	}
	return c.ask(ctx, command)
}

// ReauthorizeUser asks the authorizers of all nodes again for what a user's sessions are
// subscribed to, as [Session.Reauthorize] does for one. The report counts the sessions.
func (c *Cluster) ReauthorizeUser(ctx context.Context, user string) (ClusterReport, error) {
	return c.ask(ctx, cluster.Command{Op: cluster.ReauthorizeUser, User: []byte(user)})
}

// Revoke has all nodes refuse what was issued to a user until before ([Identity].Issued, by
// the clock of the issuer; the same instant is refused), and close the sessions that are
// there with it (4400). That is remembered for the time of life, 1 s or more: give the
// longest that such credentials are valid for. A node that is missing in the report reads it
// before it accepts another session of a user with Issued, or when it has its broker back.
// Nothing that was revoked before is allowed again. Credentials without Issued are not
// concerned.
func (c *Cluster) Revoke(ctx context.Context, user string, before time.Time, life time.Duration) (ClusterReport, error) {
	switch {
	case c.asker == nil:
		return ClusterReport{}, errNoCluster
	case user == "":
		return ClusterReport{}, errNoUser
	case life < time.Second:
		return ClusterReport{}, fmt.Errorf("juggler: revoking for %v: want 1s or more", life)
	}
	// Cut to µs, as Issued is: what is not later stays so.
	return report(c.asker.Revoke(ctx, user, before.UnixMicro(), life))
}

var errNoUser = errors.New(`juggler: the user is missing: "" is nobody`)

func (c *Cluster) ask(ctx context.Context, command cluster.Command) (ClusterReport, error) {
	switch {
	case c.asker == nil:
		return ClusterReport{}, errNoCluster
	case command.Op != cluster.DisconnectSession && len(command.User) == 0:
		return ClusterReport{}, errNoUser
	}
	return report(c.asker.Ask(ctx, command))
}

// report makes what an asker returns into what a Cluster does.
func report(answers []cluster.Answer, missing []cluster.Info, err error) (ClusterReport, error) {
	r := ClusterReport{Missing: nodeInfos(missing)}
	var problems []string
	for _, a := range answers {
		r.Nodes = append(r.Nodes, NodeReport(a))
		if a.Error != "" {
			problems = append(problems, "node "+a.Node+" failed: "+a.Error)
		}
	}
	for _, n := range missing {
		problems = append(problems, fmt.Sprintf("node %s (%s, process %d) has not answered", n.Node, cmp.Or(n.Host, "unknown host"), n.PID))
	}
	var incomplete error
	if len(problems) > 0 {
		incomplete = fmt.Errorf("%w: %s", ErrIncomplete, strings.Join(problems, "; "))
	}
	if err = errors.Join(err, incomplete); err != nil {
		return r, fmt.Errorf("juggler: %w", err)
	}
	return r, nil
}

// clusterSide is the node's part in the cluster. Without WithCluster it is zero.
type clusterSide struct {
	asks   Cluster
	member *cluster.Member // nil: there is none
}

func (s *clusterSide) init(h *Handler) {
	if !h.cfg.cluster {
		return
	}
	registry := h.cfg.pubsub.(broker.Registry) // checkRoles has seen that it is one
	host, _ := os.Hostname()
	self := cluster.Info{Host: host, PID: os.Getpid(), Version: ownVersion(), Started: time.Now()}
	s.member = cluster.NewMember(cluster.Config{
		Node: h.Node(), PubSub: h.cfg.pubsub, Registry: registry,
		Lease: h.cfg.clusterLease, Timeout: h.cfg.brokerTimeout,
		Describe: func() cluster.Info {
			info := self
			info.Sessions, info.Users, info.Draining = h.NumSessions(), h.users.number(), h.closing.Load()
			return info
		},
		Do:      h.doAsAsked,
		Waits:   func(op cluster.Op) bool { return op == cluster.UnsubscribeUser || op == cluster.ReauthorizeUser },
		Revoked: h.endRevoked,
		Running: &h.work,
		Log:     h.log,
	})
	s.asks.asker = cluster.NewAsker(idText(broker.NewID()), h.cfg.pubsub, registry, h.cfg.brokerTimeout, s.member)
}

// open begins to take part.
func (s *clusterSide) open(ctx context.Context) error {
	if s.member == nil {
		return nil
	}
	return s.member.Open(ctx)
}

// renew has the others know soon that something has changed.
func (s *clusterSide) renew() {
	if s.member != nil {
		s.member.Renew()
	}
}

// close ends what open began, within ctx or a moment more.
func (s *clusterSide) close(ctx context.Context) error {
	if s.member == nil {
		return nil
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
		defer cancel()
	}
	return errors.Join(s.member.Close(ctx), s.asks.Close())
}

// doAsAsked does what a Cluster has asked all nodes for.
func (h *Handler) doAsAsked(ctx context.Context, c *cluster.Command) (sessions int, err error) {
	h.stats.commands.Add(1)
	switch c.Op {
	case cluster.DisconnectUser, cluster.DisconnectSession:
		code := uint16(c.Code)
		if int(code) != c.Code || !wsconn.ValidCloseCode(code) {
			return 0, fmt.Errorf("close code %d may not be sent", c.Code)
		}
		if c.Op == cluster.DisconnectUser {
			return h.DisconnectUser(string(c.User), code, c.Reason), nil
		}
		if h.Disconnect(c.Session, code, c.Reason) {
			return 1, nil
		}
		return 0, nil
	case cluster.UnsubscribeUser:
		return h.unsubscribeUser(ctx, c)
	case cluster.ReauthorizeUser:
		return h.reauthorizeUser(ctx, string(c.User))
	}
	return 0, fmt.Errorf("a node of this version cannot do %q", c.Op)
}

// unsubscribeUser ends the subscriptions of a user's sessions to a topic.
func (h *Handler) unsubscribeUser(ctx context.Context, c *cluster.Command) (sessions int, err error) {
	var why *Error
	if c.Code != 0 {
		why = &Error{Code: frame.Code(c.Code), Message: c.Reason, Data: c.Data, RetryAfter: c.RetryAfter}
	}
	topic := broker.Topic{Name: string(c.Channel), Pattern: c.Pattern}
	for s := range h.SessionsOf(string(c.User)) {
		if slices.Contains(slices.Collect(s.Topics()), topic) {
			sessions++
		}
		if err := s.Unsubscribe(ctx, topic, why); err != nil {
			return sessions, err
		}
	}
	return sessions, nil
}

// ownVersion returns the version of juggler that the program has, "" if it is not known.
func ownVersion() string {
	const path = "github.com/juggler-go/juggler"
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range append(build.Deps, &build.Main) {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}

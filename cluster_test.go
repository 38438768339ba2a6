package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/waiting"
)

// newCluster returns n nodes on one embedded broker, which are ready.
func newCluster(t *testing.T, n int, opts ...juggler.Option) []*testServer {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return newClusterOn(t, b, n, opts...)
}

// clusterBroker is what nodes of a cluster need.
type clusterBroker interface {
	broker.Caller
	broker.PubSub
	broker.Registry
}

func newClusterOn(t *testing.T, b clusterBroker, n int, opts ...juggler.Option) (nodes []*testServer) {
	t.Helper()
	for range n {
		s := newNodeOn(t, b, append([]juggler.Option{juggler.WithCluster(), juggler.WithLogger(quiet), juggler.WithAuthenticator(byIssue)}, opts...)...)
		if err := s.h.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, s)
	}
	return nodes
}

// newNodeOn returns a node on a broker of the test.
func newNodeOn(t *testing.T, b clusterBroker, opts ...juggler.Option) *testServer {
	t.Helper()
	h, err := juggler.New(append([]juggler.Option{juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, h: h, http: httptest.NewServer(h)}
	s.broker, _ = b.(*memory.Broker)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		s.http.Close()
	})
	return s
}

// epoch is what byIssue counts from.
var epoch = time.UnixMilli(1_700_000_000_000)

// byIssue is an authenticator that believes the header User, and Issued, in ms after epoch.
func byIssue(r *http.Request) (*juggler.Identity, error) {
	id, err := byUserHeader(r)
	if after, e := time.ParseDuration(r.Header.Get("Issued")); e == nil {
		id.Issued = epoch.Add(after)
	}
	return id, err
}

// asOf are the headers of a user, and when his credentials were issued.
func asOf(user, issued string) http.Header {
	return http.Header{"User": {user}, "Issued": {issued}}
}

func TestClusterDisconnect(t *testing.T) {
	nodes := newCluster(t, 3)
	var ann, bob []*testClient
	for i, s := range nodes {
		ann = append(ann, s.dialHeader("juggler.1", asOf("ann", "")), s.dialHeader(fmt.Sprintf("juggler.%d", i%2), asOf("ann", "")))
		bob = append(bob, s.dialHeader("juggler.1", asOf("bob", "")))
	}
	r, err := nodes[1].h.Cluster().DisconnectUser(t.Context(), "ann", 4321, "go")
	if err != nil || r.Sessions() != 6 || len(r.Nodes) != 3 || len(r.Missing) != 0 {
		t.Errorf("DisconnectUser: %+v, %v", r, err)
	}
	for _, c := range ann {
		c.expectClose(4321)
	}
	for session := range nodes[2].h.SessionsOf("bob") {
		r, err = nodes[0].h.Cluster().DisconnectSession(t.Context(), session.ID(), 4322, "you, too")
	}
	if err != nil || r.Sessions() != 1 || len(r.Nodes) != 3 {
		t.Errorf("DisconnectSession: %+v, %v", r, err)
	}
	bob[2].expectClose(4322)
	bob[0].send(`{"type":"PUB","id":"1","channel":"c"}`)
	bob[0].expect(`{"type":"ACK"}`)
}

// Subscriptions of a user end on all nodes, and are authorized anew there.
func TestClusterSubscriptions(t *testing.T) {
	var closed sync.Map // channels that nobody may subscribe to
	authorizer := juggler.NonBlocking(juggler.AuthorizerFunc(func(_ context.Context, r *juggler.Request) error {
		if _, no := closed.Load(r.Channel()); no {
			return juggler.ErrForbidden
		}
		return nil
	}))
	nodes := newCluster(t, 2, juggler.WithAuthorizer(authorizer))
	subscribed := func(s *testServer, user string) *testClient {
		c := s.dialHeader("juggler.1", asOf(user, ""))
		for _, channel := range []string{"a", "b"} {
			c.send(`{"type":"SUB","id":"1","channel":"` + channel + `"}`)
			c.expect(`{"type":"ACK"}`)
		}
		return c
	}
	ann := []*testClient{subscribed(nodes[0], "ann"), subscribed(nodes[1], "ann")}
	bob := subscribed(nodes[0], "bob")
	nodes[1].dialHeader("juggler.1", asOf("ann", "")) // without
	c := nodes[0].h.Cluster()
	r, err := c.UnsubscribeUser(t.Context(), "ann", broker.Topic{Name: "a"}, &juggler.Error{Code: 403, Message: "out", Data: []byte(`[1]`)})
	if err != nil || r.Sessions() != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, c := range ann {
		c.expect(`{"type":"UNSS","channel":"a","error":{"code":403,"message":"out","data":[1]}}`)
	}
	closed.Store("b", true)
	if r, err := c.ReauthorizeUser(t.Context(), "ann"); err != nil || r.Sessions() != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, c := range ann {
		c.expect(`{"type":"UNSS","channel":"b","error":{"code":403}}`)
	}
	for _, channel := range []string{"a", "b"} {
		if err := nodes[1].h.Publish(t.Context(), channel, 1, nil); err != nil {
			t.Error(err)
		}
		bob.expect(`{"type":"EVNT","channel":"` + channel + `"}`)
	}
}

// A program without a handler sees the nodes, and what they have.
func TestClusterNodes(t *testing.T) {
	nodes := newCluster(t, 2, juggler.WithClusterLease(time.Second))
	c, err := juggler.NewCluster(nodes[0].broker)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first := nodes[0].dialHeader("juggler.1", asOf("ann", ""))
	nodes[1].dialHeader("juggler.1", asOf("ann", ""))
	nodes[1].dial("juggler.1")
	waitFor(t, "the figures", func() bool {
		n, err := c.Count(t.Context())
		return err == nil && n.Nodes == 2 && n.Sessions == 3 && n.Users == 2
	})
	list, err := c.Nodes(t.Context())
	if err != nil || len(list) != 2 || list[0].Node >= list[1].Node {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, n := range list {
		if n.PID == 0 || n.Host == "" || n.Draining || time.Since(n.Started) > waiting.Most || n.Left > time.Second || n.Age > time.Second {
			t.Errorf("%+v", n)
		}
	}
	first.conn.CloseNow()
	if err := nodes[0].h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Nodes(t.Context()); err != nil || len(list) != 1 || list[0].Node != nodes[1].h.Node() {
		t.Errorf("after one has gone: %+v, %v", list, err)
	}
	if r, err := c.DisconnectUser(t.Context(), "ann", 4000, ""); err != nil || r.Sessions() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestClusterMistakes(t *testing.T) {
	alone := newServer(t)
	if _, err := alone.h.Cluster().Nodes(t.Context()); err == nil || !strings.Contains(err.Error(), "WithCluster") {
		t.Errorf("without WithCluster: %v", err)
	}
	c := newCluster(t, 1)[0].h.Cluster()
	for what, f := range map[string]func() (juggler.ClusterReport, error){
		"may not be sent":     func() (juggler.ClusterReport, error) { return c.DisconnectUser(t.Context(), "ann", 1006, "") },
		"the user is missing": func() (juggler.ClusterReport, error) { return c.DisconnectUser(t.Context(), "", 4000, "") },
		"want 1s or more":     func() (juggler.ClusterReport, error) { return c.Revoke(t.Context(), "ann", epoch, time.Millisecond) },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
	if _, err := juggler.NewCluster(mayWait(alone.broker)); err == nil || !strings.Contains(err.Error(), "no broker.Registry") {
		t.Errorf("NewCluster: %v", err)
	}
}

// Revoked credentials are refused on all nodes, those that come later included, and end
// sessions that are there. Others go on.
func TestRevoke(t *testing.T) {
	nodes := newCluster(t, 2)
	old := nodes[0].dialHeader("juggler.1", asOf("ann", "10ms"))
	same := nodes[1].dialHeader("juggler.1", asOf("ann", "20ms"))
	newer := nodes[1].dialHeader("juggler.1", asOf("ann", "20001us"))
	undated := nodes[0].dialHeader("juggler.1", asOf("ann", ""))
	bob := nodes[0].dialHeader("juggler.1", asOf("bob", "10ms"))
	c := nodes[0].h.Cluster()
	if r, err := c.Revoke(t.Context(), "ann", epoch.Add(20*time.Millisecond), time.Hour); err != nil || r.Sessions() != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	old.expectClose(juggler.CloseUnauthenticated)
	same.expectClose(juggler.CloseUnauthenticated)
	// What is less takes nothing back.
	if _, err := c.Revoke(t.Context(), "ann", epoch, 2*time.Hour); err != nil {
		t.Error(err)
	}
	for _, s := range append(nodes, newClusterOn(t, nodes[0].broker, 1)...) {
		for issued, status := range map[string]int{"10ms": 401, "20ms": 401, "20001us": 101, "": 101} {
			r := upgrade(s.http.URL)
			r.Header.Set("User", "ann")
			r.Header.Set("Issued", issued)
			if resp, _ := try(t, r); resp.StatusCode != status {
				t.Errorf("issued %q: %d, want %d", issued, resp.StatusCode, status)
			}
		}
	}
	for _, c := range []*testClient{newer, undated, bob} {
		c.send(`{"type":"PUB","id":"1","channel":"c"}`)
		c.expect(`{"type":"ACK"}`)
	}
	if got := nodes[0].h.Stats(); got.Revoked != 1 || got.Refusals[0].Reason != juggler.RefusedRevoked || got.Commands != 0 {
		t.Errorf("%+v", got)
	}
}

// Times are cut to µs: what is not later stays so, and of the next µs is later.
func TestRevokeRounds(t *testing.T) {
	s := newCluster(t, 1)[0]
	c := s.dialHeader("juggler.1", asOf("ann", "1us500ns"))
	later := s.dialHeader("juggler.1", asOf("ann", "2us"))
	if r, err := s.h.Cluster().Revoke(t.Context(), "ann", epoch.Add(time.Microsecond+500), time.Hour); err != nil || r.Sessions() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	c.expectClose(juggler.CloseUnauthenticated)
	later.send(`{"type":"PUB","id":"1","channel":"c"}`)
	later.expect(`{"type":"ACK"}`)
}

// An AUTH with revoked credentials is refused; so is a session that signs in while they are.
func TestRevokeAndAuth(t *testing.T) {
	var before atomic.Pointer[func()]
	signIn := func(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
		if f := before.Load(); f != nil {
			(*f)()
		}
		return &juggler.Identity{User: token, Issued: epoch}, nil
	}
	s := newCluster(t, 1, juggler.WithDeferredAuth(signIn, time.Hour), juggler.WithAuthenticator(func(*http.Request) (*juggler.Identity, error) { return nil, nil }))[0]
	c := s.dial("juggler.1")
	revoke := func(user string) {
		if _, err := s.h.Cluster().Revoke(t.Context(), user, epoch, time.Hour); err != nil {
			t.Error(err)
		}
	}
	revoke("ann")
	c.send(`{"type":"AUTH","id":"1","token":"ann"}`)
	c.expect(`{"type":"NACK","for":"1","error":{"code":401,"message":"the credentials were revoked"}}`)
	revokeBob := func() { revoke("bob") }
	before.Store(&revokeBob)
	c.send(`{"type":"AUTH","id":"2","token":"bob"}`)
	c.expect(`{"type":"NACK","for":"2","error":{"code":401}}`)
	before.Store(nil)
	c.send(`{"type":"AUTH","id":"3","token":"cid"}`)
	c.expect(`{"type":"ACK","for":"3"}`)
	revoke("cid")
	c.expectClose(juggler.CloseUnauthenticated)
}

// Sessions that begin while their credentials are revoked are refused or end, all of them.
func TestRevokeAmidHandshakes(t *testing.T) {
	nodes := newCluster(t, 2, juggler.WithAddressRates(juggler.AddressRates{}), juggler.WithWriteTimeout(100*time.Millisecond)) // raw clients do not answer a close
	for round := range 20 {
		user := fmt.Sprint("user", round)
		var dialing sync.WaitGroup
		for _, s := range nodes {
			for range 4 {
				dialing.Go(func() {
					for range 5 {
						conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
						if err != nil {
							t.Error(err)
							return
						}
						t.Cleanup(func() { conn.Close() })
						r := upgrade(s.http.URL)
						r.Header.Set("User", user)
						r.Header.Set("Issued", "1ms")
						r.Write(conn)
						conn.Read(make([]byte, 1)) // the handshake is answered
					}
				})
			}
		}
		if _, err := nodes[round%2].h.Cluster().Revoke(t.Context(), user, epoch.Add(time.Millisecond), time.Hour); err != nil {
			t.Fatal(err)
		}
		dialing.Wait()
	}
	for _, s := range nodes {
		s.waitSessions(0)
	}
}

// troubledRegistry is a broker whose Registry fails as told, and can lose all that it has.
type troubledRegistry struct {
	clusterBroker
	failing atomic.Bool
}

func (r *troubledRegistry) Register(ctx context.Context, table, name string, value []byte, life time.Duration) error {
	if r.failing.Load() {
		return broker.ErrUnavailable
	}
	return r.clusterBroker.Register(ctx, table, name, value, life)
}

func (r *troubledRegistry) Registered(ctx context.Context, table string) ([]broker.Entry, error) {
	if r.failing.Load() {
		return nil, broker.ErrUnavailable
	}
	return r.clusterBroker.Registered(ctx, table)
}

// A node that cannot read what is revoked lets nobody in whose credentials might be, and
// others as before. It does once it has read it.
func TestRevokedUnknown(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	other := newClusterOn(t, b, 1)[0]
	r := &troubledRegistry{clusterBroker: b}
	r.failing.Store(true)
	s := newClusterOn(t, r, 1, juggler.WithClusterLease(time.Second))[0]
	// The node that cannot read it is not in the table of nodes, either: it may be heard or not.
	if _, err := other.h.Cluster().Revoke(t.Context(), "ann", epoch, time.Hour); err != nil && !errors.Is(err, juggler.ErrIncomplete) {
		t.Fatal(err)
	}
	status := func(user, issued string) int {
		r := upgrade(s.http.URL)
		r.Header.Set("User", user)
		r.Header.Set("Issued", issued)
		resp, _ := try(t, r)
		return resp.StatusCode
	}
	if got := status("bob", "1ms"); got != http.StatusServiceUnavailable {
		t.Errorf("issued at a time: %d", got)
	}
	if s.h.Ready(t.Context()) == nil {
		t.Error("ready")
	}
	if got := status("bob", ""); got != http.StatusSwitchingProtocols {
		t.Errorf("issued at no known time: %d", got)
	}
	r.failing.Store(false)
	waitFor(t, "the node knows", func() bool { return status("bob", "1ms") == http.StatusSwitchingProtocols })
	if got := status("ann", "0s"); got != http.StatusUnauthorized {
		t.Errorf("revoked: %d", got)
	}
	bob := s.dialHeader("juggler.1", asOf("bob", "2ms"))
	r.failing.Store(true)
	waitFor(t, "it knows no more", func() bool { return status("bob", "1ms") == http.StatusServiceUnavailable })
	if got := status("ann", "0s"); got != http.StatusUnauthorized { // what was known is
		t.Errorf("revoked: %d", got)
	}
	bob.send(`{"type":"PUB","id":"1","channel":"c"}`) // who is there stays
	bob.expect(`{"type":"ACK"}`)
	// The broker is back, and somebody has revoked meanwhile: by the heartbeat alone.
	if err := b.Register(t.Context(), "revoked", fmt.Sprint("bob\x00", epoch.Add(2*time.Millisecond).UnixMicro()), nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	r.failing.Store(false)
	bob.expectClose(juggler.CloseUnauthenticated)
}

// What the broker has lost of what is revoked, the nodes write again.
func TestRevokedIsWrittenAgain(t *testing.T) {
	nodes := newCluster(t, 2, juggler.WithClusterLease(time.Second))
	b := nodes[0].broker
	if _, err := nodes[0].h.Cluster().Revoke(t.Context(), "ann", epoch, time.Hour); err != nil {
		t.Fatal(err)
	}
	entries := func() []broker.Entry {
		list, err := b.Registered(t.Context(), "revoked")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	was := entries()
	if len(was) != 1 {
		t.Fatalf("%+v", was)
	}
	if err := b.Unregister(t.Context(), "revoked", was[0].Name); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it is there again", func() bool { return len(entries()) == 1 })
	if now := entries()[0]; now.Name != was[0].Name || now.Left > was[0].Left || now.Left < was[0].Left-waiting.Most {
		t.Errorf("was %+v, is %+v", was[0], now)
	}
}

// muted is a broker that drops what one node hears, or says, on channels of the server's own.
type muted struct {
	clusterBroker
	on atomic.Bool
}

func (m *muted) OpenSubscriber(ctx context.Context, deliver func([]broker.Delivery)) (broker.SubscriberConn, error) {
	return m.clusterBroker.OpenSubscriber(ctx, func(d []broker.Delivery) {
		if !m.on.Load() {
			deliver(d)
		}
	})
}

// deafNode returns two nodes, the first of which hears nothing while on is set.
func deafNode(t *testing.T, lease time.Duration) (deaf, other *testServer, on *atomic.Bool) {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	m := &muted{clusterBroker: b}
	m.on.Store(true)
	deaf = newClusterOn(t, m, 1, juggler.WithClusterLease(lease))[0]
	return deaf, newClusterOn(t, b, 1, juggler.WithClusterLease(lease))[0], &m.on
}

// A node that lives and does not answer is named once its lease is over.
func TestClusterMissing(t *testing.T) {
	deaf, s, _ := deafNode(t, time.Second)
	s.dialHeader("juggler.1", asOf("ann", ""))
	r, err := s.h.Cluster().DisconnectUser(t.Context(), "ann", 4000, "")
	if !errors.Is(err, juggler.ErrIncomplete) || !strings.Contains(err.Error(), deaf.h.Node()) ||
		r.Sessions() != 1 || len(r.Missing) != 1 || r.Missing[0].Node != deaf.h.Node() {
		t.Errorf("%+v, %v", r, err)
	}
}

// The end of the context is an earlier end, with what is known until then.
func TestClusterMissingInTime(t *testing.T) {
	deaf, s, _ := deafNode(t, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		waitFor(t, "the other has answered", func() bool { return s.h.Stats().Commands == 1 })
		cancel()
	}()
	r, err := s.h.Cluster().DisconnectUser(ctx, "ann", 4000, "")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, juggler.ErrIncomplete) || !strings.Contains(fmt.Sprint(r.Missing), deaf.h.Node()) {
		t.Errorf("%+v, %v", r, err)
	}
}

// Who has not heard it is asked again. Who has does it once.
func TestClusterAsksAgain(t *testing.T) {
	deaf, s, on := deafNode(t, 10*time.Minute)
	c := deaf.dialHeader("juggler.1", asOf("ann", ""))
	s.dialHeader("juggler.1", asOf("ann", ""))
	go func() {
		waitFor(t, "the other has answered", func() bool { return s.h.Stats().Commands == 1 })
		on.Store(false)
	}()
	r, err := s.h.Cluster().DisconnectUser(t.Context(), "ann", 4000, "")
	if err != nil || r.Sessions() != 2 || len(r.Nodes) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	c.expectClose(4000)
	if n := s.h.Stats().Commands; n != 1 {
		t.Errorf("done %d times", n)
	}
}

// A node that shuts down while it is asked is not waited for.
func TestClusterNodeGoes(t *testing.T) {
	deaf, s, _ := deafNode(t, 10*time.Minute)
	go func() {
		waitFor(t, "the other has answered", func() bool { return s.h.Stats().Commands == 1 })
		if err := deaf.h.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if r, err := s.h.Cluster().DisconnectUser(t.Context(), "ann", 4000, ""); err != nil || len(r.Nodes) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Clients reach neither the commands nor the answers: not by name, not by pattern.
func TestClientsDoNotReachTheCluster(t *testing.T) {
	nodes := newCluster(t, 2)
	requests := map[string][2]string{ // SUB, PUB
		"juggler.1": {`{"type":"SUB","id":"1","channel":"%s","pattern":%v}`, `{"type":"PUB","id":"2","channel":"%s","args":%s}`},
		"juggler.0": {`{"meta":{"type":3,"uuid":"e769a1e2-07ed-4f1c-8955-d34971043dd9"},"payload":{"channel":"%s","pattern":%v}}`,
			`{"meta":{"type":2,"uuid":"93613f5d-7265-4e88-bab3-15f01032925a"},"payload":{"channel":"%s","args":%s}}`},
	}
	var clients []*testClient
	for protocol, request := range requests {
		c := nodes[0].dialHeader(protocol, asOf("eve", ""))
		clients = append(clients, c)
		for _, channel := range []string{`\u0000juggler/cluster`, "juggler/cluster", "*", "?juggler/cluster*", `[^a]*`, "*cluster*", `\u0000*`, "end"} {
			c.send(fmt.Sprintf(request[0], channel, strings.ContainsAny(channel, "*")))
			c.send(fmt.Sprintf(request[1], channel, `{"op":"disconnect_user","user":"YW5u","code":4000,"ask":"1","from":"eve","v":1}`))
		}
		c.send(fmt.Sprintf(request[1], "end", `"all was read"`))
		for !strings.Contains(string(c.receive()), "all was read") {
		}
	}
	ann := nodes[1].dialHeader("juggler.1", asOf("ann", ""))
	if r, err := nodes[1].h.Cluster().DisconnectUser(t.Context(), "somebody", 4000, "nobody knows"); err != nil || r.Sessions() != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	ann.send(`{"type":"PUB","id":"1","channel":"end","args":"the end"}`)
	ann.expect(`{"type":"ACK"}`)
	for _, c := range clients {
		for {
			b := string(c.receive())
			if strings.Contains(b, "nobody knows") || strings.Contains(b, `"sessions"`) {
				t.Errorf("a client got %s", b)
			}
			if strings.Contains(b, "the end") {
				break
			}
		}
	}
	for _, s := range nodes {
		if n := s.h.Stats().Commands; n != 1 {
			t.Errorf("%d commands", n)
		}
	}
}

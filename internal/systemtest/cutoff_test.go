package systemtest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/internal/redistest"
)

// clusterNode returns a node on the Redis at an address, and its URL.
func clusterNode(t *testing.T, addr string, opts ...juggler.Option) (*juggler.Handler, string) {
	t.Helper()
	h, err := juggler.New(append(opts, juggler.WithBroker(newBroker(t, quick(withAddr(addr))...)), juggler.WithLogger(quiet),
		juggler.WithCluster(), juggler.WithClusterLease(2*time.Second), juggler.WithBrokerTimeout(time.Second), juggler.WithAuthorizer(juggler.AllowAll()),
		juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: r.Header.Get("User"), Issued: time.UnixMilli(1000)}, nil
		}))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(h)
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Shutdown(ended) // sessions are cut off
		web.Close()
	})
	return h, strings.Replace(web.URL, "http", "ws", 1)
}

// dialAs connects as a user, and returns the status of a handshake that is refused.
func dialAs(t *testing.T, url, user string) (*websocket.Conn, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{"juggler.1"}, HTTPHeader: http.Header{"User": {user}}})
	if err == nil {
		t.Cleanup(func() { conn.CloseNow() })
	}
	if resp == nil {
		t.Fatal(err)
	}
	return conn, resp.StatusCode
}

// A node that is cut off from Redis while something is revoked lets nobody in for whom it
// might be, and ends the sessions that it is about when it has Redis back.
func TestRevokedWhileCutOff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	h, url := clusterNode(t, proxy.Addr)
	other, _ := clusterNode(t, server.Addr)
	ann, _ := dialAs(t, url, "ann")
	dialAs(t, url, "bob")

	proxy.Cut()
	if r, err := other.Cluster().Revoke(t.Context(), "ann", time.UnixMilli(1000), time.Hour); err != nil && !errors.Is(err, juggler.ErrIncomplete) {
		t.Fatalf("%+v, %v", r, err)
	}
	await(t, "the node lets nobody in", func() bool {
		_, status := dialAs(t, url, "cid")
		return status == http.StatusServiceUnavailable
	})
	if h.Ready(t.Context()) == nil {
		t.Error("ready")
	}
	proxy.Restore()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, _, err := ann.Read(ctx); err != nil {
			if code := websocket.CloseStatus(err); code != juggler.CloseUnauthenticated {
				t.Errorf("closed with %d", code)
			}
			break
		}
	}
	if _, status := dialAs(t, url, "ann"); status != http.StatusUnauthorized {
		t.Errorf("afterwards: %d", status)
	}
	await(t, "others get in", func() bool {
		_, status := dialAs(t, url, "cid")
		return status == http.StatusSwitchingProtocols
	})
	if h.NumSessions() < 2 {
		t.Error("bob is gone")
	}
	// It takes commands again.
	await(t, "both nodes do what they are asked for", func() bool {
		r, err := other.Cluster().DisconnectUser(t.Context(), "bob", 4000, "")
		return err == nil && len(r.Nodes) == 2
	})
}

// What is revoked outlives a Redis that starts again without data, as the nodes know it.
func TestRevokedThoughRedisIsEmptied(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h, _ := clusterNode(t, server.Addr)
	if _, err := h.Cluster().Revoke(t.Context(), "ann", time.UnixMilli(1000), time.Hour); err != nil {
		t.Fatal(err)
	}
	server.Do("FLUSHALL")
	await(t, "the node is in the table again, with what is revoked", func() bool {
		_, url := clusterNode(t, server.Addr)
		_, status := dialAs(t, url, "ann")
		nodes, err := h.Cluster().Nodes(t.Context())
		return err == nil && len(nodes) >= 2 && status == http.StatusUnauthorized
	})
}

// The sessions of a user on all nodes are counted in Redis, too.
func TestMaxUserSessionsOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	limit := juggler.WithMaxUserSessionsEverywhere(2)
	one, url1 := clusterNode(t, server.Addr, limit)
	_, url2 := clusterNode(t, server.Addr, limit)
	dialAs(t, url1, "ann")
	dialAs(t, url1, "ann")
	await(t, "the other node knows", func() bool {
		conn, status := dialAs(t, url2, "ann")
		if conn != nil {
			conn.CloseNow() // it came at the same instant
		}
		return status == http.StatusTooManyRequests
	})
	one.DisconnectUser("ann", 4000, "")
	await(t, "there is room again", func() bool {
		_, status := dialAs(t, url2, "ann")
		return status == http.StatusSwitchingProtocols
	})
}

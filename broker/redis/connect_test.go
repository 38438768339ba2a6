package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
)

// A node and a callee use a constant number of connections, whatever the
// number of calls, subscriptions and publications.
func TestConnections(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	conns := func() int {
		list, err := admin.ClientList(context.Background()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n") - 1 // without the admin's own
	}
	caller, callee := newBroker(t, calm(withAddr(server.Addr))...), newBroker(t, calm(withAddr(server.Addr))...)
	if n := conns(); n != 0 {
		t.Errorf("brokers that are not used have %d connections", n)
	}
	l := startLoad(t, caller, callee, 50)
	l.flows()
	// The callee's: to take, to write, to hear of cancellations. The node's:
	// to receive and to write.
	// Besides, somebody looks now and then who is there, and what is missing.
	await(t, "a callee and a node have 5 connections", func() bool { return conns() == 5 })
	heard := listen(t, caller)
	for _, name := range strings.Fields("a b c d e f g h") {
		if err := heard.conn.Subscribe(t.Context(), broker.Topic{Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := heard.conn.Subscribe(t.Context(), broker.Topic{Name: name + "*", Pattern: true}); err != nil {
			t.Fatal(err)
		}
	}
	l.flows()
	await(t, "a callee and a node with subscriptions have 6", func() bool { return conns() == 6 })
	l.finish(false)
}

// The observer hears of each connection that is lost and made.
func TestLinkObserver(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	var up, down atomic.Int64
	observer := redis.WithLinkObserver(func(c redis.LinkChange) {
		if c.Role != "pubsub" { // probes are published, too
			return
		}
		if c.Up {
			up.Add(1)
		} else if down.Add(1); c.Err == nil {
			t.Errorf("no reason is told for %+v", c)
		}
	})
	b := newBroker(t, quick(withAddr(proxy.Addr), observer)...)
	listen(t, b, broker.Topic{Name: "news"})
	if up.Load() != 1 || down.Load() != 0 {
		t.Errorf("%d connections were made and %d lost", up.Load(), down.Load())
	}
	proxy.CutOnce()
	await(t, "the connection was lost and made again", func() bool { return up.Load() == 2 && down.Load() == 1 })
}

// A dialer that heeds its context, as one has to that waits for a server that
// does not answer, gets one that ends: else nobody was ever refused, and Close
// never returned.
func TestDialerHangs(t *testing.T) {
	t.Parallel()
	b := newBroker(t, quick(redis.WithServer(&goredis.Options{
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}))...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Publish(ctx, &broker.Event{Channel: "c"}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Publish: %v", err)
	}
	heard, err := b.OpenSubscriber(ctx, func([]broker.Delivery) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := heard.Subscribe(ctx, broker.Topic{Name: "c"}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Subscribe: %v", err)
	}
}

// What the caller's client knows of the way to the server is used.
func TestWithClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "secret")
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, Password: "secret", DB: 3})
	defer client.Close()
	a, b := newBroker(t, calm(redis.WithClient(client))...), newBroker(t, calm(redis.WithClient(client))...)
	l := startLoad(t, a, b, 2)
	l.flows()
	if keys := keysOf(t, client, "juggler"); len(keys) == 0 {
		t.Error("no key is in the client's database")
	}
	l.finish(false)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := selfSigned(t, dir)
	port := strconv.Itoa(freeport.Take(t))
	redistest.Start(t, "--tls-port", port, "--tls-auth-clients", "no",
		"--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-key-file", filepath.Join(dir, "key.pem"))
	option := redis.WithServer(&goredis.Options{Addr: "127.0.0.1:" + port, TLSConfig: config})
	a, b := newBroker(t, calm(option)...), newBroker(t, calm(option)...)
	l := startLoad(t, a, b, 2)
	l.flows()
	l.finish(false)
}

// selfSigned writes a certificate for 127.0.0.1 and its key to dir, and
// returns the configuration of a client that trusts it.
func selfSigned(t *testing.T, dir string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		"cert.pem": cert,
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{RootCAs: roots}
}

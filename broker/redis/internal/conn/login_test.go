package conn

import (
	"bufio"
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/juggler-go/juggler/internal/redistest"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What the broker relies on when it has go-redis log in: one connection, on which go-redis
// says what enters the server and nothing else, neither then nor later. A version of
// go-redis that does otherwise fails here.

// A wiretap dials, and keeps what is written.
type wiretap struct {
	mu    sync.Mutex // guards the following
	dials int
	sent  strings.Builder
}

func (w *wiretap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials++
	return &tappedConn{c, w}, err
}

// commands returns the commands that were written, each as its words.
func (w *wiretap) commands(t *testing.T) (all []string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for in := bufio.NewReader(strings.NewReader(w.sent.String())); ; {
		command, err := resp.ReadReply(in)
		if err != nil {
			return all
		}
		all = append(all, strings.Join(command.Texts(), " "))
	}
}

type tappedConn struct {
	net.Conn
	tap *wiretap
}

func (c *tappedConn) Write(b []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.sent.Write(b)
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

// noLimits is a limiter that lets nothing pass.
type noLimits struct{}

func (noLimits) Allow() error       { return errors.New("not allowed") }
func (noLimits) ReportResult(error) {}

// everything returns options that ask for all that a link must not have.
func everything() *goredis.Options {
	return &goredis.Options{
		Password:                 "secret",
		Protocol:                 3,
		MaxRetries:               5,
		DialerRetries:            5,
		PoolSize:                 10,
		PipelinePoolSize:         10,
		MinIdleConns:             4,
		MaxActiveConns:           20,
		ConnMaxIdleTime:          time.Nanosecond,
		ConnMaxLifetime:          time.Nanosecond,
		ContextTimeoutEnabled:    true,
		Limiter:                  noLimits{},
		IdentitySuffix:           "me",
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeEnabled},
		ClientSideCacheConfig:    &goredis.ClientSideCacheConfig{},
	}
}

func TestLoginSaysWhatEntersAndNothingElse(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "secret")
	const enter = "hello 2 auth default secret"
	connected := 0
	for name, tt := range map[string]struct {
		options *goredis.Options
		want    []string
	}{
		"password":    {&goredis.Options{Password: "secret"}, []string{enter, "info server"}},
		"user":        {&goredis.Options{Username: "default", Password: "secret"}, []string{enter, "info server"}},
		"database":    {&goredis.Options{Password: "secret", DB: 3}, []string{enter, "select 3", "info server"}},
		"client name": {&goredis.Options{Password: "secret", ClientName: "me"}, []string{enter + " setname me", "client setname me", "info server"}},
		"OnConnect": {&goredis.Options{Password: "secret", OnConnect: func(ctx context.Context, c *goredis.Conn) error {
			connected++
			return c.Echo(ctx, "hi").Err()
		}}, []string{enter, "echo hi", "info server"}},
		"everything": {everything(), []string{enter, "info server"}},
	} {
		t.Run(name, func(t *testing.T) {
			tap := new(wiretap)
			tt.options.Addr, tt.options.Dialer = server.Addr, tap.dial
			l, err := newLink(t.Context(), tt.options, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if who, err := l.login(t.Context()); err != nil || who == "" {
				t.Fatalf("identity %q, %v", who, err)
			}
			l.patience = 10 * time.Second
			ping := resp.NewCommand("PING")
			if err := l.Run(ping); err != nil || string(ping.Reply.Text) != "PONG" {
				t.Errorf("the connection is not ours afterwards: %q, %v", ping.Reply.Text, err)
			}
			if got, want := tap.commands(t), append(tt.want, "PING"); !slices.Equal(got, want) || tap.dials != 1 {
				t.Errorf("sent %q on %d connections, want %q on one", got, tap.dials, want)
			}
		})
	}
	if connected != 1 {
		t.Errorf("OnConnect was called %d times", connected)
	}
}

// A login that fails is not tried again on a connection of which go-redis knows
// nothing: the error is that of the first try.
func TestLoginIsTriedOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // ends with the listener
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		}
	}()
	tap, o := new(wiretap), everything()
	o.Addr, o.Dialer = listener.Addr().String(), tap.dial
	l, err := newLink(t.Context(), o, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.login(t.Context()); err == nil || errors.Is(err, errLinkUsed) || tap.dials != 1 {
		t.Errorf("login: %v, after %d connections", err, tap.dials)
	}
}

// knownOptions are the options of go-redis by what a link makes of them. One that a new
// version adds belongs to one of the kinds, and newLink has to know if it could send
// something, or open or close a connection.
var knownOptions = map[string]string{
	"as given: where and how to enter": `Network Addr ClientName Dialer OnConnect Username Password CredentialsProvider
		CredentialsProviderContext StreamingCredentialsProvider DB DialTimeout TLSConfig ReadBufferSize WriteBufferSize`,
	"set by newLink": `Protocol ReadTimeout WriteTimeout MaxRetries DialerRetries PoolSize PipelinePoolSize MinIdleConns
		MaxIdleConns MaxActiveConns MaxConcurrentDials PoolTimeout ConnMaxIdleTime ConnMaxLifetime ContextTimeoutEnabled
		Limiter DisableIdentity MaintNotificationsConfig ClientSideCache ClientSideCacheConfig`,
	"of no use without what newLink takes away": `MinRetryBackoff MaxRetryBackoff DialerRetryTimeout DialerRetryBackoff
		PipelineReadBufferSize PipelineWriteBufferSize AutoPipelineOptions PoolFIFO ConnMaxLifetimeJitter DisableIndentity
		IdentitySuffix UnstableResp3 PushNotificationProcessor ClientSideCacheStrategy ClientSideCacheRefreshOnInvalidate
		ClientSideCacheCoalesceMisses ClientSideCacheInvalidationBatchWindow`,
	"for clusters only": `NodeAddress FailingTimeoutSeconds`,
}

func TestOptionsAreKnown(t *testing.T) {
	left := make(map[string]bool)
	for _, names := range knownOptions {
		for _, name := range strings.Fields(names) {
			left[name] = true
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[goredis.Options]()) {
		if f.IsExported() && !left[f.Name] {
			t.Errorf("go-redis has an option %s: see knownOptions", f.Name)
		}
		delete(left, f.Name)
	}
	for name := range left {
		t.Errorf("go-redis has no option %s any more", name)
	}
}

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

// knownOptions are the options of go-redis by what loginOptions makes of them. One that
// a new version adds belongs to one of the kinds: is it needed to enter?
var knownOptions = map[string]string{
	"given": `Network Addr ClientName Dialer OnConnect Username Password CredentialsProvider
		CredentialsProviderContext StreamingCredentialsProvider DB DialTimeout TLSConfig ReadBufferSize WriteBufferSize`,
	"set": `Protocol ReadTimeout WriteTimeout MaxRetries DialerRetries PoolSize PipelinePoolSize DisableIdentity
		MaintNotificationsConfig`,
	"left out": `MinIdleConns MaxIdleConns MaxActiveConns MaxConcurrentDials PoolTimeout ConnMaxIdleTime ConnMaxLifetime
		ContextTimeoutEnabled Limiter ClientSideCache ClientSideCacheConfig
		MinRetryBackoff MaxRetryBackoff DialerRetryTimeout DialerRetryBackoff
		PipelineReadBufferSize PipelineWriteBufferSize AutoPipelineOptions PoolFIFO ConnMaxLifetimeJitter DisableIndentity
		IdentitySuffix UnstableResp3 PushNotificationProcessor ClientSideCacheStrategy ClientSideCacheRefreshOnInvalidate
		ClientSideCacheCoalesceMisses ClientSideCacheInvalidationBatchWindow NodeAddress FailingTimeoutSeconds`,
}

// TestLoginOptions gives each option a value, and looks which of them the login has.
func TestLoginOptions(t *testing.T) {
	kinds := make(map[string]string)
	for kind, names := range knownOptions {
		for _, name := range strings.Fields(names) {
			kinds[name] = kind
		}
	}
	all := &goredis.Options{}
	fields := reflect.VisibleFields(reflect.TypeFor[goredis.Options]())
	for _, f := range fields {
		if f.IsExported() {
			fill(reflect.ValueOf(all).Elem().FieldByIndex(f.Index))
		}
	}
	none, got := loginOptions(&goredis.Options{}, time.Second), loginOptions(all, time.Second)
	for _, f := range fields {
		if !f.IsExported() {
			continue
		}
		before, after := reflect.ValueOf(none).Elem().FieldByIndex(f.Index), reflect.ValueOf(got).Elem().FieldByIndex(f.Index)
		switch kind := kinds[f.Name]; {
		case kind == "":
			t.Errorf("go-redis has an option %s: see knownOptions", f.Name)
		case kind == "given" && after.IsZero() && f.Type.Kind() != reflect.Interface:
			t.Errorf("the login lacks %s", f.Name)
		case kind == "set" && (after.IsZero() || f.Type.Comparable() && f.Type.Kind() != reflect.Pointer && !after.Equal(before)):
			t.Errorf("the login has %s as %v, of the user's", f.Name, after)
		case kind == "left out" && !after.IsZero():
			t.Errorf("the login has %s", f.Name)
		}
		delete(kinds, f.Name)
	}
	for name := range kinds {
		t.Errorf("go-redis has no option %s any more", name)
	}
}

// fill gives v a value that is not zero, unless it is an interface.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Func:
		v.Set(reflect.MakeFunc(v.Type(), nil))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		if v.CanInt() {
			v.SetInt(7)
		}
	}
}

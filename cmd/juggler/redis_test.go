package main_test

import (
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

// startServe starts a server, on a free port if the args name none, and returns
// its URL.
func startServe(t testing.TB, args ...string) (*process, string) {
	t.Helper()
	if !slices.Contains(args, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	p := start(t, append([]string{"serve", "--log-format", "json"}, args...)...)
	return p, p.stdout.await(t, "")
}

// startCallee starts a callee and waits until it answers calls.
func startCallee(t testing.TB, args ...string) *process {
	t.Helper()
	p := start(t, append([]string{"callee", "--log-format", "json"}, args...)...)
	p.stderr.await(t, "answering calls")
	return p
}

func TestServersAndCalleesOnOneRedis(t *testing.T) {
	redis := redistest.Start(t)
	address := "redis://" + redis.Addr
	callees := []*process{startCallee(t, "--redis", address, "--concurrency", "4"), startCallee(t, "--redis", address)}
	one, url1 := startServe(t, "--redis", address)
	two, url2 := startServe(t, "--redis", address)

	for _, url := range []string{url1, url2} {
		for _, protocol := range protocols {
			if got := run(t, "", "client", "--protocol", protocol, url, "call", "test.reverse", `"abc"`); got.stdout != "\"cba\"\n" {
				t.Errorf("%s: %+v", protocol, got)
			}
		}
	}
	sub := start(t, "client", url2, "--count", "1", "sub", "news")
	sub.stderr.await(t, "subscribed")
	if got := run(t, "", "client", url1, "pub", "news", "1"); got.code != 0 {
		t.Errorf("pub: %+v", got)
	}
	sub.stdout.await(t, `"args":1`)
	if code := sub.wait(); code != 0 {
		t.Errorf("sub: code %d", code)
	}
	for _, p := range append(callees, one, two) {
		p.stop()
	}
}

func TestServerDrains(t *testing.T) {
	redis := redistest.Start(t)
	c := startCallee(t, "--redis", "redis://"+redis.Addr)
	s, url := startServe(t, "--redis", "redis://"+redis.Addr)
	call := start(t, "client", url)
	call.stdin.Write([]byte("call test.delay 300\n")) //nolint:errcheck // the outcome tells
	call.stdout.await(t, "#1 CALL")
	s.signal(syscall.SIGTERM)
	call.stdout.await(t, "#1 RES 300")
	call.stdin.Close()
	if code := s.wait(); code != 0 {
		t.Errorf("serve: code %d", code)
	}
	c.stop()
}

// Half a request of somebody else does not keep the sessions from being told.
func TestServerTellsSessionsAtOnce(t *testing.T) {
	t.Parallel() // it mostly waits
	s, url := startServe(t)
	half, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "ws://"), "/\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := io.WriteString(half, "GET / HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	session, in := dialRaw(t, url)
	told, cut := make(chan error, 1), make(chan error, 1)
	go func() {
		for {
			_, payload, err := readFrame(in)
			if err != nil || strings.Contains(string(payload), `"GOAWAY"`) {
				told <- err
				return
			}
		}
	}()
	go func() {
		_, err := half.Read(make([]byte, 1))
		cut <- err
	}()
	s.signal(syscall.SIGTERM)
	select {
	case err = <-told:
	case err = <-cut:
		t.Fatalf("the server waited for half a request: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	session.Close()
	if code := s.wait(); code != 0 {
		t.Errorf("serve: code %d", code)
	}
}

func TestCalleeDrains(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t)
	c := startCallee(t, "--redis", "redis://"+redis.Addr, "--admin-listen", "127.0.0.1:0")
	metrics := adminURL(t, c) + "metrics"
	_, url := startServe(t, "--redis", "redis://"+redis.Addr)
	call := start(t, "client", url, "call", "test.delay", "2000")
	for end := time.Now().Add(patience); ; { // until the callee, not only the queue, has it
		_, text := get(t, metrics)
		if strings.Contains(text, "\njuggler_callee_calls_total 1\n") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the call does not arrive:\n%s", text)
		}
	}
	c.stop()
	if code := call.wait(); code != 0 || call.stdout.String() != "2000" {
		t.Errorf("the call ended with code %d and %q", code, call.stdout)
	}
}

// Redis with TLS, certificates of clients and a password, for calls and events.
func TestRedisTLS(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, file("redis"), file("redis-key"), 1)
	writeCertificate(t, file("client"), file("client-key"), 2)
	writeFile(t, file("password"), "secret\n")
	port := strconv.Itoa(freeport.Take(t))
	redistest.Start(t, "--requirepass", "secret", "--tls-port", port, "--tls-cert-file", file("redis"), "--tls-key-file", file("redis-key"),
		"--tls-ca-cert-file", file("client"), "--tls-auth-clients", "yes")
	address := "rediss://127.0.0.1:" + port
	ca, password := []string{"--redis-ca", file("redis")}, []string{"--redis-password-file", file("password")}
	pair := []string{"--redis-cert", file("client"), "--redis-key", file("client-key")}
	all := slices.Concat([]string{"--redis", address}, ca, password, pair)

	startCallee(t, all...)
	_, url := startServe(t, append(all, "--redis-pubsub", address)...)
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.stdout != "1\n" {
		t.Errorf("call: %+v", got)
	}
	passEvent(t, url)

	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nobody known", slices.Concat(password, pair), 3, "certificate"},
		{"no certificate", slices.Concat(ca, password), 3, "does it run there"},
		{"no password", slices.Concat(ca, pair), 3, "NOAUTH"},
		{"no file", slices.Concat(pair, password, []string{"--redis-ca", "/nowhere"}), 2, "--redis: --redis-ca: open /nowhere"},
		{"no CA in it", slices.Concat(pair, password, []string{"--redis-ca", file("redis-key")}), 2, "has no certificate in PEM"},
		{"no password file", slices.Concat(ca, pair, []string{"--redis-password-file", "/nowhere"}), 2, "--redis-password-file: open /nowhere"},
		{"no key", slices.Concat(ca, password, pair[:2]), 2, "--redis-cert and --redis-key: "},
	} {
		got := run(t, "", append([]string{"callee", "--start-timeout", "1s", "--redis", address}, tt.args...)...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: %+v, want %d and %q", tt.name, got, tt.code, tt.want)
		}
	}
	if got := run(t, "", append([]string{"serve", "--redis", "redis://127.0.0.1:" + port}, ca...)...); got.code != 2 || !strings.Contains(got.stderr, "go with rediss:// only") {
		t.Errorf("without TLS: %+v", got)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel() // it mostly waits
	cluster := redistest.StartCluster(t)
	address := "redis://" + strings.Join(cluster.Addrs(), ",")
	startCallee(t, "--redis", address)
	_, url := startServe(t, "--redis", cluster.Addrs()[0], "--redis", cluster.Addrs()[1])
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.stdout != "1\n" {
		t.Errorf("got %+v", got)
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel() // it mostly waits
	set := redistest.StartSentinel(t)
	address := "redis-sentinel://" + strings.Join(set.Options().SentinelAddrs, ",") + "/" + set.MasterName
	startCallee(t, "--redis", address)
	_, url := startServe(t, "--redis", address)
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.stdout != "1\n" {
		t.Errorf("got %+v", got)
	}
}

// passEvent has one client subscribe and another one publish.
func passEvent(t *testing.T, url string) {
	t.Helper()
	sub := start(t, "client", url, "--count", "1", "sub", "news")
	sub.stderr.await(t, "subscribed")
	if got := run(t, "", "client", url, "pub", "news", "1"); got.code != 0 {
		t.Errorf("pub: %+v", got)
	}
	if code := sub.wait(); code != 0 {
		t.Errorf("sub: code %d", code)
	}
}

func TestEventsOnAnotherRedis(t *testing.T) {
	calls, events := redistest.Start(t), redistest.Start(t, "--requirepass", "secret")
	startCallee(t, "--redis", "redis://"+calls.Addr)
	_, url := startServe(t, "--redis", "redis://"+calls.Addr, "--redis-pubsub", "redis://:secret@"+events.Addr)
	passEvent(t, url)
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.stdout != "1\n" {
		t.Errorf("call: %+v", got)
	}
}

func TestRedisErrors(t *testing.T) {
	t.Parallel() // it mostly waits
	redis := redistest.Start(t, "--requirepass", "secret")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"serve --redis redis://" + freeport.Address(t), 3, "connection refused; does it run there"},
		{"callee --redis redis://" + freeport.Address(t), 3, "connection refused; does it run there"},
		{"serve --redis redis://:wrong@" + redis.Addr, 3, "WRONGPASS"},
		{"serve --redis redis://" + redis.Addr, 3, "NOAUTH"},
		{"callee", 2, "--redis is missing"},
		{"callee --concurrency 0 --redis " + redis.Addr, 2, "invalid argument \"0\" for \"--concurrency\" flag: want a number, 1 to 65536"},
		{"serve --redis http://127.0.0.1", 2, `--redis: "http://": want redis://`},
		{"serve --redis redis://a:x", 2, `--redis: "a:x": want HOST:PORT`},
		{"serve --redis-pubsub redis://a", 2, "--redis-pubsub goes with --redis"},
		{"serve --redis-lanes 300 --redis " + redis.Addr, 2, "want a number, 0 to 256"},
		{"serve --ping 1ns", 2, "want a time such as 500ms, 10s or 5m; 10ms to 1h"},
	} {
		got := run(t, "", strings.Fields(tt.args+" --start-timeout 300ms --listen 127.0.0.1:0")...)
		if strings.HasPrefix(tt.args, "callee") {
			got = run(t, "", strings.Fields(tt.args+" --start-timeout 300ms")...)
		}
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
			t.Errorf("juggler %s: code %d, stderr:\n%s\nwant %d and %q in one line", tt.args, got.code, got.stderr, tt.code, tt.want)
		}
	}
}

// A process that is told to stop while it waits for Redis has nothing to drain,
// and nothing to complain about.
func TestStoppedBeforeRedisIsThere(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, verb := range []string{"serve", "callee"} {
		p := start(t, verb, "--start-timeout", "1h", "--redis", mute.Addr().String())
		conn, err := mute.Accept() // it waits for an answer
		if err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGTERM)
		conn.Close()
		if code := p.wait(); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM", verb, code)
		}
		if text := p.stderr.String() + p.stdout.String(); text != "" {
			t.Errorf("%s says:\n%s", verb, text)
		}
	}
}

// --start-timeout 0 does not wait: a Redis that is there is enough.
func TestNoStartTimeout(t *testing.T) {
	startCallee(t, "--redis", redistest.Start(t).Addr, "--start-timeout", "0s")
	got := run(t, "", "callee", "--redis", freeport.Address(t), "--start-timeout", "0s")
	if got.code != 3 || !strings.Contains(got.stderr, "connection refused; does it run there") {
		t.Errorf("without Redis: %+v", got)
	}
}

func TestRedisBench(t *testing.T) {
	redis := redistest.Start(t)
	got := run(t, "", "redis-bench", "--redis", redis.Addr, "--pairs", "2", "--duration", "300ms", "--json")
	var r struct{ Pushed, Popped uint64 }
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != 0 || r.Popped == 0 || r.Pushed < r.Popped {
		t.Errorf("%+v, %v", got, err)
	}
	if keys, err := redis.Client().Keys(t.Context(), "*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("it left %v, %v", keys, err)
	}
	if got := run(t, "", "redis-bench", "--redis", freeport.Address(t)); got.code != 3 || !strings.Contains(got.stderr, "connection refused") {
		t.Errorf("%+v", got)
	}
}

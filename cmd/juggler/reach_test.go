package main_test

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

// callOf fails the test unless a call through the server at url succeeds.
func callOf(t *testing.T, url string) {
	t.Helper()
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.stdout != "1\n" {
		t.Errorf("call: %+v", got)
	}
}

// startTLSRedis starts a Redis that takes TLS on another port too, with files in
// dir, and returns that port.
func startTLSRedis(t *testing.T, dir string, args ...string) (server *redistest.Server, port string) {
	t.Helper()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, file("redis"), file("redis-key"), 1)
	port = strconv.Itoa(freeport.Take(t))
	return redistest.Start(t, append([]string{"--tls-port", port, "--tls-cert-file", file("redis"), "--tls-key-file", file("redis-key"),
		"--tls-ca-cert-file", file("redis"), "--tls-auth-clients", "no"}, args...)...), port
}

// Sentinels without TLS and with a password of their own, masters with TLS.
func TestSentinelApart(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	_, port := startTLSRedis(t, dir)
	set := redistest.StartSentinel(t)
	for _, s := range set.Sentinels {
		s.Do("SENTINEL", "MONITOR", "encrypted", "127.0.0.1", port, 1)
		s.Do("ACL", "SETUSER", "default", "resetpass", ">of-sentinels")
	}
	writeFile(t, file("password"), "of-sentinels\n")
	address := "rediss-sentinel://" + strings.Join(set.Options().SentinelAddrs, ",") + "/encrypted"
	all := []string{"--redis", address, "--redis-ca", file("redis"), "--redis-sentinel-tls", "off"}
	got := run(t, "", append([]string{"callee", "--start-timeout", "1s"}, all...)...)
	if got.code != 3 || !strings.Contains(got.stderr, "--redis-sentinel-password-file") {
		t.Errorf("without the password of the sentinels: %+v", got)
	}
	all = append(all, "--redis-sentinel-password-file", file("password"))
	startCallee(t, all...)
	_, url := startServe(t, all...)
	callOf(t, url)
	if got := run(t, "", append([]string{"redis-bench", "--duration", "10ms"}, all...)...); got.code != 0 {
		t.Errorf("redis-bench: %+v", got)
	}
}

// Sentinels behind TLS whose certificates come from elsewhere than the masters'.
func TestSentinelCA(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	_, port := startTLSRedis(t, dir)
	set := redistest.StartSentinel(t)
	set.Sentinels[0].Do("SENTINEL", "MONITOR", "encrypted", "127.0.0.1", port, 1)
	writeCertificate(t, file("sentinel"), file("sentinel-key"), 2)
	address := "rediss-sentinel://" + encrypt(t, set.Sentinels[0].Addr, file("sentinel"), file("sentinel-key")) + "/encrypted"
	all := []string{"--redis", address, "--redis-ca", file("redis")}
	got := run(t, "", append([]string{"callee", "--start-timeout", "1s"}, all...)...)
	if got.code != 3 || !strings.Contains(got.stderr, "unknown authority") {
		t.Errorf("without the CA of the sentinels: %+v", got)
	}
	all = append(all, "--redis-sentinel-ca", file("sentinel"))
	startCallee(t, all...)
	_, url := startServe(t, all...)
	callOf(t, url)
}

// encrypt takes TLS in front of addr, and returns where.
func encrypt(t *testing.T, addr, cert, key string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	var pipes sync.WaitGroup
	t.Cleanup(pipes.Wait)
	t.Cleanup(func() { l.Close() })
	pipe := func(front net.Conn) {
		defer front.Close()
		back, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer back.Close()
		pipes.Go(func() {
			io.Copy(back, front) //nolint:errcheck // it ends with the connection
			back.Close()
		})
		io.Copy(front, back) //nolint:errcheck // as above
	}
	pipes.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			pipes.Go(func() { pipe(front) })
		}
	})
	return l.Addr().String()
}

// A certificate for another name than that by which Redis is reached.
func TestRedisServerName(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	_, port := startTLSRedis(t, dir)
	all := []string{"--redis", "rediss://localhost:" + port, "--redis-ca", filepath.Join(dir, "redis")}
	got := run(t, "", append([]string{"callee", "--start-timeout", "1s"}, all...)...)
	if got.code != 3 || !strings.Contains(got.stderr, "--redis-server-name") {
		t.Errorf("without the name: %+v", got)
	}
	startCallee(t, append(all, "--redis-server-name", "127.0.0.1")...)
}

// The password, the certificate of Redis and that of its clients are changed; SIGHUP
// makes new connections use them.
func TestRedisRotated(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, file("client"), file("client-key"), 2)
	server, port := startTLSRedis(t, dir, "--tls-ca-cert-file", file("client"), "--tls-auth-clients", "yes")
	server.Do("ACL", "SETUSER", "app", "on", ">first", "allkeys", "allchannels", "+@all")
	writeFile(t, file("password"), "first\n")
	writeFile(t, file("ca"), readFile(t, file("redis")))
	all := []string{"--redis", "rediss://127.0.0.1:" + port, "--redis-user", "app", "--redis-password-file", file("password"),
		"--redis-ca", file("ca"), "--redis-cert", file("client"), "--redis-key", file("client-key")}
	callee := startCallee(t, all...)
	serve, url := startServe(t, all...)
	callOf(t, url)

	writeCertificate(t, file("client"), file("client-key"), 3)
	writeCertificate(t, file("redis-2"), file("redis-2-key"), 4)
	server.Do("CONFIG", "SET", "tls-cert-file", file("redis-2"), "tls-key-file", file("redis-2-key"), "tls-ca-cert-file", file("client"))
	server.Do("ACL", "SETUSER", "app", ">second", "<first")
	writeFile(t, file("ca"), readFile(t, file("redis-2")))
	writeFile(t, file("password"), "second\n")
	for _, p := range []*process{callee, serve} {
		p.signal(syscall.SIGHUP)
		p.stderr.await(t, `"msg":"reloaded"`)
	}
	callOf(t, url) // the old connections go on
	server.Do("CLIENT", "KILL", "USER", "app")
	for _, p := range []*process{callee, serve} {
		p.stderr.await(t, "connection lost")
	}
	awaitCall(t, url)

	writeFile(t, file("ca"), "nonsense")
	serve.signal(syscall.SIGHUP)
	serve.stderr.await(t, "--redis-ca: "+file("ca")+" has no certificate in PEM")
	server.Do("CLIENT", "KILL", "USER", "app")
	awaitCall(t, url)
}

// Events on another Redis, with a user and a password of its own.
func TestPubSubLogin(t *testing.T) {
	calls, events := redistest.Start(t, "--requirepass", "of-calls"), redistest.Start(t)
	events.Do("ACL", "SETUSER", "listener", "on", ">of-events", "allkeys", "allchannels", "+@all")
	events.Do("ACL", "SETUSER", "default", "off")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "calls"), "of-calls")
	writeFile(t, filepath.Join(dir, "events"), "of-events")
	_, url := startServe(t, "--redis", "redis://"+calls.Addr, "--redis-password-file", filepath.Join(dir, "calls"),
		"--redis-pubsub", "redis://"+events.Addr, "--redis-pubsub-user", "listener", "--redis-pubsub-password-file", filepath.Join(dir, "events"))
	passEvent(t, url)
}

// Some providers' servers have no CLIENT.
func TestRedisWithoutClient(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "CLIENT", "")
	startCallee(t, "--redis", server.Addr)
	_, url := startServe(t, "--redis", server.Addr)
	callOf(t, url)
	passEvent(t, url)
}

// Connections have a name where that can be set.
func TestRedisClientName(t *testing.T) {
	server := redistest.Start(t)
	startCallee(t, "--redis", server.Addr, "--redis-client-name", "worker")
	list, err := server.Client().ClientList(t.Context()).Result()
	if err != nil || !strings.Contains(list, "name=worker ") {
		t.Errorf("%s, %v", list, err)
	}
}

func TestReachErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--redis a --redis-server-name x", "--redis-server-name goes with rediss:// only"},
		{"--redis a --redis-sentinel-tls on", "go with redis-sentinel:// only"},
		{"--redis a --redis-sentinel-user x", "go with redis-sentinel:// only"},
		{"--redis redis-sentinel://a/m --redis-sentinel-server-name x", "go with sentinels that take TLS only"},
		{"--redis redis-sentinel://a/m --redis-sentinel-ca x", "go with sentinels that take TLS only"},
		{"--redis redis-sentinel://a/m --redis-sentinel-password-file /nowhere", "--redis-sentinel-password-file: open /nowhere"},
		{"--redis redis-sentinel://a/m --redis-sentinel-tls maybe", "want one of same, on, off"},
	} {
		got := run(t, "", append([]string{"serve", "--check"}, strings.Fields(tt.args)...)...)
		if got.code != 2 || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.args, got, tt.want)
		}
	}
}

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// writeCertificate writes a certificate for 127.0.0.1 with a serial number, and
// its key.
func writeCertificate(t testing.TB, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})))
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serial returns the serial number of the certificate that a server shows.
func serial(t testing.TB, url string) int64 {
	t.Helper()
	host := strings.TrimSuffix(strings.TrimPrefix(url, "wss://"), "/")
	c, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// Both forms of a path are served, as clients follow no redirect from one to the other.
// Handshakes at another one are answered with the right one, warned of once, and counted.
func TestServePath(t *testing.T) {
	for _, path := range []string{"/ws", "/ws/"} {
		p, url := startServe(t, "--path", path, "--admin-listen", "127.0.0.1:0")
		url = strings.TrimSuffix(strings.TrimSpace(url), path)
		dialRaw(t, url+"/ws")
		dialRaw(t, url+"/ws/")
		if code, body := get(t, strings.Replace(url, "ws", "http", 1)+"/ws/more"); code != http.StatusNotFound || !strings.Contains(body, "WebSocket is at "+path) {
			t.Errorf("--path %s: another path gets %d %s", path, code, body)
		}
		for range 2 {
			if got := run(t, "", "client", url+"/old", "pub", "a", "1"); !strings.Contains(got.stderr, "path of the URL") {
				t.Errorf("at an old path: %+v", got)
			}
		}
		p.stderr.await(t, `"path":"/old","serving":"`+path+`"`)
		if _, text := get(t, adminURL(t, p)+"metrics"); !strings.Contains(text, `juggler_refusals_total{reason="path",status="404"} 2`) {
			t.Error("not counted:\n" + text)
		}
		if n := strings.Count(p.stderr.String(), "not that of --path"); n != 1 {
			t.Errorf("warned %d times", n)
		}
	}
}

func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	p, url := startServe(t, "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(url, "wss://127.0.0.1:") {
		t.Fatalf("URL %s", url)
	}
	if got := run(t, "", "client", "--ca", cert, url, "pub", "news", "1"); got.code != 0 {
		t.Errorf("with the certificate: %+v", got)
	}
	if got := run(t, "", "client", url, "pub", "news", "1"); got.code != 3 || !strings.Contains(got.stderr, "certificate") {
		t.Errorf("with a certificate of nobody known: %+v", got)
	}
	if got := serial(t, url); got != 1 {
		t.Fatalf("serial %d", got)
	}

	writeCertificate(t, cert, key, 2)
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, `"msg":"reloaded"`)
	if got := serial(t, url); got != 2 {
		t.Errorf("serial %d after the reload, want 2", got)
	}

	writeFile(t, key, "nonsense")
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, "not reloaded, it stays as it was")
	if got := serial(t, url); got != 2 {
		t.Errorf("serial %d after a reload that failed, want 2", got)
	}
	p.stop()
}

// A server may want certificates of clients.
func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, file("server"), file("server-key"), 1)
	writeCertificate(t, file("client"), file("client-key"), 2)
	writeCertificate(t, file("stranger"), file("stranger-key"), 3)
	writeFile(t, file("ca"), readFile(t, file("client")))
	p, url := startServe(t, "--tls-cert", file("server"), "--tls-key", file("server-key"), "--tls-client-ca", file("ca"))
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"known", []string{"--cert", file("client"), "--cert-key", file("client-key")}, 0, ""},
		{"unknown", []string{"--cert", file("stranger"), "--cert-key", file("stranger-key")}, 3, "tls: "},
		{"none", nil, 3, "tls: "},
		{"without its key", []string{"--cert", file("client")}, 2, "--cert and --cert-key: "},
		{"with another's key", []string{"--cert", file("client"), "--cert-key", file("server-key")}, 2, "private key does not match public key"},
	} {
		got := run(t, "", append(append([]string{"client", "--ca", file("server")}, tt.args...), url, "pub", "news", "1")...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: %+v, want %d and %q", tt.name, got, tt.code, tt.want)
		}
	}
	got := run(t, "", "load", "--ca", file("server"), "--cert", file("client"), "--cert-key", file("client-key"),
		"--uri", "test.nope", "--clients", "1", "--duration", "10ms", url)
	if got.code != 0 || !strings.Contains(got.stdout, "error 404") {
		t.Errorf("load: %+v", got)
	}

	// The authority of clients is changed.
	writeFile(t, file("ca"), readFile(t, file("stranger")))
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, `"msg":"reloaded"`)
	for name, code := range map[string]int{"stranger": 0, "client": 3} {
		if got := run(t, "", "client", "--ca", file("server"), "--cert", file(name), "--cert-key", file(name+"-key"), url, "pub", "news", "1"); got.code != code {
			t.Errorf("%s after the reload: %+v, want %d", name, got, code)
		}
	}
}

func TestServeTLSErrors(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, filepath.Join(dir, "other.pem"), 1)
	writeCertificate(t, filepath.Join(dir, "other-cert.pem"), key, 2)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls-client-ca", cert}, "TLS needs both --tls-cert and --tls-key"},
		{[]string{"--tls-cert", filepath.Join(dir, "other-cert.pem"), "--tls-key", key, "--tls-client-ca", key}, "has no certificate in PEM"},
		{[]string{"--tls-cert", cert}, "TLS needs both --tls-cert and --tls-key"},
		{[]string{"--tls-cert", cert, "--tls-key", key}, "private key does not match public key"},
		{[]string{"--tls-cert", cert, "--tls-key", "/nowhere"}, "no such file"},
	} {
		got := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, tt.args...)...)
		if got.code != 2 || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%v: %+v, want %q", tt.args, got, tt.want)
		}
	}
}

func TestServeOnUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve := func() *process {
		p := start(t, "serve", "--listen", "unix:"+socket, "--socket-mode", "0600", "--log-format", "json")
		if url := p.stdout.await(t, ""); url != "ws+unix:"+socket+":/" {
			t.Errorf("URL %s", url)
		}
		return p
	}
	p := serve()
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := run(t, "", "client", "--unix-socket", socket, "ws://localhost/", "pub", "news"); got.code != 0 {
		t.Errorf("got %+v", got)
	}
	if got := run(t, "", "serve", "--listen", "unix:"+socket); got.code != 1 || !strings.Contains(got.stderr, "another process listens there") {
		t.Errorf("a second server: %+v", got)
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	serve().stop() // replaces the socket that was left behind
}

// adminURL returns the URL of the admin address from the log.
func adminURL(t testing.TB, p *process) string {
	t.Helper()
	var line struct{ URL string }
	if err := json.Unmarshal([]byte(p.stderr.await(t, `"msg":"serving the admin address"`)), &line); err != nil {
		t.Fatal(err)
	}
	return line.URL
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// What operators see of refusals, and of a process that has no descriptors left.
func TestMetricsSayWhy(t *testing.T) {
	cmd := command(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `ulimit -n 40 && exec "$0" "$@"`, program, "serve", "--listen", "127.0.0.1:0",
		"--admin-listen", "127.0.0.1:0", "--log-format", "json", "--call-stats", "10"}
	p := startCommand(t, cmd)
	url := p.stdout.await(t, "")
	metrics := adminURL(t, p) + "metrics"
	if got := run(t, "", "client", url, "call", "nobody", "1"); got.code != 4 {
		t.Errorf("call: %+v", got)
	}
	if got := run(t, "", "client", "--http-header", "Origin: https://elsewhere.example.com", url, "pub", "a", "1"); got.code == 0 {
		t.Errorf("from elsewhere: %+v", got)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/")
	var idle []net.Conn
	for range 60 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	line := p.stderr.await(t, "cannot accept connections")
	if !strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, "too many open files") {
		t.Error(line)
	}
	for _, c := range idle {
		c.Close()
	}
	_, text := get(t, metrics)
	for _, want := range []string{
		`juggler_nacks_total{code="404",type="CALL"} 1`,
		`juggler_refusals_total{reason="origin",status="403"} 1`,
		`juggler_closes_total{by="client",code="1000"} 1`,
		"\njuggler_accept_failures_total ",
		"\njuggler_embedded_keyed_calls 0\n",
		"\njuggler_embedded_kept_bytes 0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\njuggler_accept_failures_total 0\n") {
		t.Error("failures to accept are not counted")
	}
	p.stop()
}

func TestAdmin(t *testing.T) {
	redis := redistest.Start(t)
	c := startCallee(t, "--redis", "redis://"+redis.Addr, "--admin-listen", "127.0.0.1:0")
	p, url := startServe(t, "--redis", "redis://"+redis.Addr, "--admin-listen", "127.0.0.1:0", "--drain-delay", "1h", "--call-stats", "10")
	admin, calleeAdmin := adminURL(t, p), adminURL(t, c)
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.code != 0 {
		t.Errorf("call: %+v", got)
	}
	for _, tt := range []struct {
		path, want string
	}{
		{admin + "healthz", "ok"},
		{admin + "readyz", "ok"},
		{admin, "<title>juggler node</title>"},
		{admin + "ops/node", `"Calls":[{"Name":"test.echo","Own":false,"Count":1,"Error":0}]`},
		{admin + "ops/nodes", `"InCluster":true`},
		{admin + "metrics", "\njuggler_results_total{code=\"0\"} 1\n"},
		{admin + "metrics", "\njuggler_calls_total{code=\"0\",uri=\"test.echo\"} 1\n"},
		{admin + "metrics", "\njuggler_redis_calls_total{redis=\"1\"} 1\n"},
		{admin + "metrics", "\ngo_goroutines "},
		{admin + "debug/vars", `"Results":1`},
		{admin + "debug/pprof/goroutine?debug=1", "goroutine profile"},
		{calleeAdmin + "metrics", "\njuggler_callee_calls_total 1\n"},
		{calleeAdmin + "readyz", "ok"},
	} {
		if status, body := get(t, tt.path); status != 200 || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d, no %q in:\n%s", tt.path, status, tt.want, body)
		}
	}
	for _, url := range []string{admin + "readyz", admin, strings.TrimSuffix(admin, "/")} {
		if got := run(t, "", "health", url); got.code != 0 || got.stdout != "ok\n" {
			t.Errorf("health %s: %+v", url, got)
		}
	}

	redis.Kill()
	waiting.Until(t, "readyz says that Redis is gone", func() bool {
		status, body := get(t, admin+"readyz")
		return status == 503 && strings.Contains(body, redis.Addr)
	})
	if got := run(t, "", "health", admin+"readyz"); got.code != 1 || !strings.Contains(got.stderr, "503") {
		t.Errorf("health without Redis: %+v", got)
	}
	if status, _ := get(t, admin+"healthz"); status != 200 {
		t.Errorf("healthz without Redis: %d; a restart would not help", status)
	}
	redis.Restart()
	p.signal(syscall.SIGTERM)
	p.stderr.await(t, `"msg":"draining"`)
	if status, body := get(t, admin+"readyz"); status != 503 || !strings.Contains(body, "draining") {
		t.Errorf("readyz while draining: %d %s", status, body)
	}
	p.signal(syscall.SIGTERM) // of someone who will not wait
	if code := p.wait(); code == 0 {
		t.Error("a second signal does not end it")
	}
}

// Redis answers PING, and is of no use: /readyz said ok, and every handshake got 503.
func TestReadyIsWhatWorks(t *testing.T) {
	redis := redistest.Start(t)
	redis.Do("ACL", "SETUSER", "app", "on", ">pw", "+ping", "+hello", "+auth", "+client", "+role", "+info")
	redis.Do("ACL", "SETUSER", "ok", "on", ">pw", "~*", "&*", "+@all")
	for user, want := range map[string]int{"app": 503, "ok": 200} {
		p, _ := startServe(t, "--redis", "redis://"+user+":pw@"+redis.Addr, "--admin-listen", "127.0.0.1:0")
		if status, body := get(t, adminURL(t, p)+"readyz"); status != want {
			t.Errorf("for the user %s: %d %s", user, status, body)
		}
	}
}

func TestReloadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "juggler.yaml")
	writeFile(t, file, "log-level: info\nserve:\n  max-calls: 5\n")
	p, url := startServe(t, "--config", file, "--drain-delay", "10ms")
	writeFile(t, file, "log-level: debug\nserve:\n  max-calls: 6\n")
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, `"settings":"max-calls"`)
	p.stderr.await(t, `"msg":"reloaded"`)
	run(t, "", "client", url, "pub", "news")
	p.stderr.await(t, `"level":"DEBUG"`)
	writeFile(t, file, "log-level: loud\n")
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, "nothing was reloaded: the settings are wrong")
	p.stop()
}

// SIGHUP ends neither a server that waits for Redis nor one that drains: a tool that
// renews certificates sends it at any time.
func TestHangupAtAnyTime(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, verb := range []string{"serve", "callee"} {
		p := start(t, verb, "--log-format", "json", "--start-timeout", "1h", "--redis", mute.Addr().String())
		if _, err := mute.Accept(); err != nil { // it waits for an answer
			t.Fatal(err)
		}
		p.signal(syscall.SIGHUP)
		p.stderr.await(t, `"msg":"reloaded"`)
	}

	p, _ := startServe(t, "--drain-delay", "1h")
	p.signal(syscall.SIGTERM)
	p.stderr.await(t, `"msg":"draining"`)
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, `"msg":"reloaded"`)
}

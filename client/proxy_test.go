package client_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// proxy is a forward proxy: it passes requests on, upgrades included, and opens
// tunnels. Whatever host it is asked for, it goes to the one of its test.
type proxy struct {
	target string // host:port

	mu   sync.Mutex
	seen []string // method and host of each request
}

func startProxy(t *testing.T, target string) (*proxy, *url.URL) {
	p := &proxy{target: target}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return p, at
}

func (p *proxy) requests() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.seen, ", ")
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method == http.MethodConnect {
		p.tunnel(w)
		return
	}
	forward := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
		pr.Out.URL.Scheme, pr.Out.URL.Host = "http", p.target
	}}
	forward.ServeHTTP(w, r)
}

func (p *proxy) tunnel(w http.ResponseWriter) {
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(from, to)
		from.Close()
	})
	io.Copy(to, from)
	to.Close()
	back.Wait()
}

// plainServer is a good server without TLS.
func plainServer(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"juggler.1"}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		p := &peer{t: t, ws: ws, ctx: t.Context(), proto: frame.Juggler1}
		p.send(&frame.Frame{Type: frame.Hello})
		p.serve()
	}))
	t.Cleanup(s.Close)
	return s
}

func callOnce(t *testing.T, url string, opts ...client.Option) {
	t.Helper()
	c, err := client.Dial(t.Context(), url, opts...)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	var got int
	if err := c.Call(t.Context(), "u", 7, &got); err != nil || got != 7 {
		t.Errorf("got %d, %v", got, err)
	}
}

// Through a proxy that WithHTTPClient names, ws as an upgrade that it passes
// on, wss through a tunnel.
func TestProxy(t *testing.T) {
	plain, secure := plainServer(t), tlsServer(t)

	p, at := startProxy(t, plain.Listener.Addr().String())
	hc := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at)}}
	callOnce(t, "ws://juggler.test/ws", client.WithHTTPClient(hc))
	if got := p.requests(); got != "GET juggler.test" {
		t.Errorf("ws: the proxy saw %q", got)
	}

	p, at = startProxy(t, secure.Listener.Addr().String())
	trusted := secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	hc = &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at), TLSClientConfig: trusted}}
	header := client.WithHTTPHeader(http.Header{"X-Test": {"yes"}})
	callOnce(t, "wss://example.com/ws", client.WithHTTPClient(hc), header) // as the certificate says
	if got := p.requests(); got != "CONNECT example.com:443" {
		t.Errorf("wss: the proxy saw %q", got)
	}
}

// The proxies of the environment are used without an option. They are read
// once for each process, hence one for this test.
func TestProxyOfTheEnvironment(t *testing.T) {
	const child = "JUGGLER_TEST_BEHIND_PROXY"
	if os.Getenv(child) != "" {
		callOnce(t, "ws://juggler.test/ws")
		return
	}
	p, at := startProxy(t, plainServer(t).Listener.Addr().String())
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironment$", "-test.count=1")
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, child+"=1", "HTTP_PROXY="+at.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if got := p.requests(); got != "GET juggler.test" {
		t.Errorf("the proxy saw %q", got)
	}
}

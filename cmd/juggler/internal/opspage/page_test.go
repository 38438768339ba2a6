package opspage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/cmd/juggler/internal/engine"
	"github.com/juggler-go/juggler/internal/waiting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostileName is what a stranger may call a channel, a URI or himself.
const hostileName = "<img src=x onerror=\"hacked=1\">'&amp;\u202e<script>hacked=1</script>"

// testPage is a page of a node with a callee, whose clients are who they say.
type testPage struct {
	*Page
	ws  string
	log *bytes.Buffer
}

func newPage(t *testing.T) *testPage {
	t.Helper()
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	h, err := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll()), juggler.WithTop(20), juggler.WithCallStats(10),
		juggler.WithLogger(slog.New(slog.DiscardHandler)), juggler.WithAuthenticator(func(r *http.Request) (*juggler.Identity, error) {
			return &juggler.Identity{User: r.URL.Query().Get("user")}, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	callee, err := calleekit.New(b)
	if err != nil {
		t.Fatal(err)
	}
	callee.Handle("echo", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil })
	if err := callee.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waiting.Most)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		callee.Close()
		server.Close()
		b.Close()
	})
	p := &testPage{ws: strings.Replace(server.URL, "http", "ws", 1), log: new(bytes.Buffer)}
	p.Page = &Page{Handler: h, Engine: &engine.Engine{Memory: b}, Ready: h.Ready, Hosts: []string{"ops.example.com"},
		Log: slog.New(slog.NewTextHandler(p.log, nil))}
	return p
}

// dial connects a client of a user.
func (p *testPage) dial(t *testing.T, user string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), p.ws+"/?user="+url.QueryEscape(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends the page a request.
func (p *testPage) ask(method, path, host string, header map[string]string, body string) *http.Response {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = host
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	p.Serve().ServeHTTP(w, r)
	return w.Result()
}

func TestFiles(t *testing.T) {
	p := newPage(t)
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/ops/page.js": "text/javascript; charset=utf-8", "/ops/follow.js": "text/javascript; charset=utf-8",
		"/ops/page.css": "text/css; charset=utf-8", "/ops/icon.svg": "image/svg+xml", "/ops/node": "application/json", "/ops/nodes": "application/json", "/ops/queues": "application/json",
	} {
		r := p.ask("GET", path, "127.0.0.1:9090", nil, "")
		if got := r.Header.Get("Content-Type"); r.StatusCode != 200 || got != want {
			t.Errorf("%s: %d, %s, want %s", path, r.StatusCode, got, want)
		}
		if r.Header.Get("Content-Security-Policy") != policy || r.Header.Get("Access-Control-Allow-Origin") != "" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
	for _, path := range []string{"/ops/", "/ops/none.js", "/elsewhere", "/ops/follow"} {
		if r := p.ask("GET", path, "localhost", nil, ""); r.StatusCode != 404 && r.StatusCode != 405 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	page, err := files.ReadFile("page/index.html")
	if err != nil || bytes.Contains(page, []byte("://")) {
		t.Errorf("the page leads elsewhere (%v)", err)
	}
}

// Only names of this host open the page: others may be those of a stranger, whose page a
// browser then takes for this one.
func TestHosts(t *testing.T) {
	p := newPage(t)
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"127.0.0.1:9090": 200, "10.1.2.3": 200, "[::1]:9090": 200, "[::1]": 200, "localhost:9090": 200, "LOCALHOST": 200, "localhost.": 200,
		"ops.example.com": 200, "Ops.Example.com:80": 200, own + ":9090": 200,
		"evil.example.com": 421, "127.0.0.1.example.com": 421, "ops.example.com.evil.example.com": 421, "": 421, "localhost.evil.example.com": 421,
	} {
		for _, path := range []string{"/", "/ops/node", "/ops/page.js"} {
			if r := p.ask("GET", path, host, nil, ""); r.StatusCode != want {
				t.Errorf("%s of %q: %d, want %d", path, host, r.StatusCode, want)
			}
		}
	}
	if r := p.ask("POST", "/ops/follow", "evil.example.com", map[string]string{"Content-Type": "application/json"}, `{"User":"ann"}`); r.StatusCode != 421 {
		t.Errorf("following: %d", r.StatusCode)
	}
}

func TestNode(t *testing.T) {
	p := newPage(t)
	c := p.dial(t, "ann")
	for range 3 {
		if err := c.Call(t.Context(), "echo", 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	var n struct {
		Node, NotReady string
		Now            time.Time
		Stats          struct {
			Sessions    int
			Results     uint64
			ResultCodes []juggler.CodeCount
		}
		Top      juggler.Top
		Embedded map[string]any
	}
	if err := json.NewDecoder(p.ask("GET", "/ops/node", "localhost", nil, "").Body).Decode(&n); err != nil {
		t.Fatal(err)
	}
	if n.Node != p.Handler.Node() || n.NotReady != "" || n.Now.IsZero() || n.Stats.Sessions != 1 || n.Stats.Results != 3 ||
		len(n.Top.Calls) != 1 || n.Top.Calls[0].Name != "echo" || n.Top.Calls[0].Count != 3 || n.Embedded["QueuedCalls"] != 0.0 {
		t.Errorf("%+v", n)
	}
	// What has numbers in Go has names here.
	_ = c.Call(t.Context(), "nobody", 1, nil)
	text, err := io.ReadAll(p.ask("GET", "/ops/node", "localhost", nil, "").Body)
	if err != nil || !strings.Contains(string(text), `"NackCodes":[{"Type":"CALL","Code":404,"Count":1}]`) {
		t.Errorf("%s, %v", text, err)
	}
	var nodes Nodes
	if err := json.NewDecoder(p.ask("GET", "/ops/nodes", "localhost", nil, "").Body).Decode(&nodes); err != nil || nodes.InCluster || len(nodes.Nodes) > 0 {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// following asks a server to follow somebody, and returns the answer and its lines.
func following(t *testing.T, url, body string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	r, err := http.Post(url+"/ops/follow", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r, bufio.NewScanner(r.Body)
}

func next[T any](t *testing.T, lines *bufio.Scanner) (v T) {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the answer has ended: %v", lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, lines.Bytes())
	}
	return v
}

// frameLine is a line of the answer.
type frameLine struct {
	Type, ID, Name, Text, Session, End string
	ByClient                           bool
	Close                              int
}

func TestFollow(t *testing.T) {
	p := newPage(t)
	server := httptest.NewServer(p.Serve())
	defer server.Close()
	c := p.dial(t, hostileName)
	who, err := json.Marshal(hostileName)
	if err != nil {
		t.Fatal(err)
	}
	r, lines := following(t, server.URL, `{"User":`+string(who)+`,"Text":true}`)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d, %v", r.StatusCode, r.Header)
	}
	if n := next[Following](t, lines); n.Sessions != 1 {
		t.Errorf("%+v", n)
	}
	if second, _ := following(t, server.URL, `{"User":"bob"}`); second.StatusCode != 409 {
		t.Errorf("a second one: %d", second.StatusCode)
	}
	if err := c.Call(t.Context(), "echo", "hello", nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []frameLine{{Type: "CALL", Name: "echo", Text: `"hello"`, ByClient: true}, {Type: "ACK"}, {Type: "RES", Text: `"hello"`}} {
		got := next[frameLine](t, lines)
		want.ID, want.Session = got.ID, got.Session
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	// It ends with who asked, and then another one may be followed.
	r.Body.Close()
	waiting.Until(t, "nobody to be followed", func() bool {
		r, err := http.Post(server.URL+"/ops/follow", "application/json", strings.NewReader(`{"User":"bob","Seconds":1}`))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode == 200
	})
	if !strings.Contains(p.log.String(), "somebody looks at what a user or session sends and gets") {
		t.Errorf("the log has nothing of it: %s", p.log)
	}
}

func TestFollowRefuses(t *testing.T) {
	p := newPage(t)
	json := map[string]string{"Content-Type": "application/json"}
	with := func(name, value string) map[string]string {
		return map[string]string{"Content-Type": "application/json", name: value}
	}
	for _, tt := range []struct {
		name   string
		header map[string]string
		body   string
		want   int
	}{
		{"another origin", with("Origin", "http://evil.example.com"), `{"User":"ann"}`, 403},
		{"another site", with("Sec-Fetch-Site", "cross-site"), `{"User":"ann"}`, 403},
		{"another origin of the same site", with("Sec-Fetch-Site", "same-site"), `{"User":"ann"}`, 403},
		{"a form", map[string]string{"Content-Type": "text/plain"}, `{"User":"ann"}`, 415},
		{"no JSON", json, `User=ann`, 400},
		{"nobody", json, `{}`, 400},
		{"too long", json, `{"User":"ann","Seconds":61}`, 400},
		{"what there is not", json, `{"User":"ann","Everybody":true}`, 400},
		{"a session of elsewhere", json, `{"Session":"01M8NVD15900000000G970RC10"}`, 404},
		{"very much", json, `{"User":"` + strings.Repeat("a", maxRequest) + `"}`, 400},
	} {
		if r := p.ask("POST", "/ops/follow", "localhost:9090", tt.header, tt.body); r.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, r.StatusCode, tt.want)
		}
	}
	if r := p.ask("GET", "/ops/follow", "localhost", nil, ""); r.StatusCode == 200 {
		t.Error("it can be asked by GET")
	}
}

package main_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestDemoHasAPlayground(t *testing.T) {
	p, url := startDemo(t)
	page := p.stdout.await(t, "http")
	bare := strings.Replace(url, "ws", "http", 1)
	if page != bare+"playground/" {
		t.Fatalf("the second line is %q", page)
	}
	for _, address := range []string{page, bare, bare + "playground"} { // by redirects
		if code, body := get(t, address); code != http.StatusOK || !strings.Contains(body, "test.reverse") || !strings.Contains(body, "/?user=ann") {
			t.Errorf("%s: %d %s", address, code, body)
		}
	}
	if code, _ := get(t, bare+"elsewhere"); code != http.StatusBadRequest {
		t.Errorf("another path: %d", code)
	}
	if got := run(t, "", "client", url, "call", "test.echo", "1"); got.code != 0 {
		t.Errorf("beside it a client gets %+v", got)
	}
}

func TestServeHasAPlaygroundWhereItIsAskedFor(t *testing.T) {
	_, url := startServe(t)
	if code, body := get(t, strings.Replace(url, "ws", "http", 1)+"playground/"); code == http.StatusOK {
		t.Errorf("nobody asked for it: %s", body)
	}
	for _, path := range []string{"/", "/ws"} {
		p, url := startServe(t, "--playground", "--path", path)
		page := p.stdout.await(t, "http")
		if want := strings.Replace(strings.TrimSuffix(url, path), "ws", "http", 1) + "/playground/"; page != want {
			t.Errorf("its URL is %s, want %s", page, want)
		}
		if code, body := get(t, page); code != http.StatusOK || !strings.Contains(body, `&#34;webSocket&#34;:&#34;`+path+`&#34;`) {
			t.Errorf("--path %s: %d %s", path, code, body)
		}
		if got := run(t, "", "client", url, "pub", "a", "1"); got.code != 0 {
			t.Errorf("beside it a client gets %+v", got)
		}
		if strings.Contains(p.stderr.String(), "playground") {
			t.Errorf("on this machine only it warns:\n%s", p.stderr)
		}
	}
	p := start(t, "serve", "--playground", "--open", "--listen", "0.0.0.0:0")
	p.stderr.await(t, "everybody who can reach this server can open the playground")
	for _, path := range []string{"/playground", "/playground/", "/playground/ws"} {
		if got := run(t, "", "serve", "--check", "--playground", "--path", path); got.code != 2 || !strings.Contains(got.stderr, "--playground has its page there") {
			t.Errorf("--path %s: %+v", path, got)
		}
	}
}

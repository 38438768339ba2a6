package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/redistest"
)

// client call --stream writes each part of an answer as a line, then the result.
func TestOneShotStreams(t *testing.T) {
	_, url := startDemo(t)
	for _, tt := range []struct {
		args   []string
		code   int
		stdout string
		stderr string // part of it
	}{
		{[]string{"call", "--stream", "test.count", "3"}, 0, "1\n2\n3\n3\n", ""},
		{[]string{"--parts", "1", "call", "--stream", "test.count", "3"}, 0, "1\n2\n3\n3\n", ""},
		{[]string{"call", "--stream", "test.echo", `{"a":
			[1, 2]}`}, 0, "{\"a\":[1,2]}\n", ""},
		{[]string{"call", "--stream", "test.echo"}, 0, "null\n", ""},
		{[]string{"call", "--stream", "test.count", `"x"`}, 5, `{"error":{"code":400`, "RES 400"},
		{[]string{"call", "--stream", "test.nope"}, 4, `{"error":{"code":404`, "NACK 404"},
		{[]string{"call", "--parts", "3", "test.count"}, 2, "", "--parts goes with --stream only"},
		{[]string{"pub", "--stream", "news"}, 2, "", "--stream goes with call only"},
		{[]string{"call", "--stream", "--parts", "0", "test.count"}, 2, "", "--parts"},
	} {
		got := run(t, "", append([]string{"client", url}, tt.args...)...)
		if got.code != tt.code || !strings.HasPrefix(got.stdout, tt.stdout) || tt.code == 0 && got.stdout != tt.stdout || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
	p := start(t, "client", url, "call", "--stream", "test.count", "1000000000")
	p.stdout.await(t, "100")
	p.signal(syscall.SIGINT)
	if code := p.wait(); code != 130 {
		t.Errorf("interrupted: code %d", code)
	}
}

// In the interactive client the parts of several calls come as they do.
func TestPipedStreams(t *testing.T) {
	_, url := startDemo(t)
	got := run(t, "call --stream test.count 2\nwait\ncall --parts 1 test.count 1\n", "client", url)
	if got.code != 0 {
		t.Errorf("got %+v", got)
	}
	inOrder(t, got.stdout, "#1 CALL test.count", "#1 PART 1 1", "#1 PART 2 2", "#1 RES 2", "#2 PART 1 1", "#2 RES 1")
	p := start(t, "client", url)
	io.WriteString(p.stdin, "call --stream test.count 1000000000\n")
	p.stdout.await(t, "#1 PART 100 100")
	io.WriteString(p.stdin, "cancel 1\n")
	p.stdout.await(t, "#1 cancelled")
	p.stdin.Close()
	if code := p.wait(); code != 5 {
		t.Errorf("code %d, want 5: the call had no result", code)
	}
}

// load --stream checks the parts of answers.
func TestLoadStreams(t *testing.T) {
	t.Parallel() // it mostly waits
	_, url := startDemo(t)
	got := run(t, "", "load", "--stream", "50", "--clients", "3", "--in-flight", "2", "--duration", "500ms", "--json", url)
	r := parseReport(t, got)
	if got.code != 0 || r.Calls == 0 || len(r.Errors) != 0 || r.Parts < 50*r.Calls || r.PartsWrong != 0 {
		t.Errorf("code %d, %s%s", got.code, got.stdout, got.stderr)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--stream", "3", "--uri", "test.echo", "--clients", "1", "--duration", "50ms"}, 1, "error result without all parts:"},
		{[]string{"--stream", "3", "--protocol", "juggler.0"}, 2, "there are no parts in juggler.0"},
		{[]string{"--stream", "3", "--args", "1"}, 2, "--args goes with calls without --stream only"},
	} {
		if got := run(t, "", append([]string{"load", url}, tt.args...)...); got.code != tt.code || !strings.Contains(got.stdout+got.stderr, tt.want) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
}

// The lines of programs and web servers are parts through Redis, too, as soon as they are
// written; and what writes them ends with the call.
func TestOutsideInParts(t *testing.T) {
	redis := redistest.Start(t)
	dir := t.TempDir()
	seen, gone := make(chan struct{}), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: \"first\"\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-seen:
		case <-r.Context().Done():
		}
		io.WriteString(w, "data: \"second\"\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer web.Close()
	startCallee(t, "--redis", "redis://"+redis.Addr, "--http", "h.events="+web.URL,
		"--exec-lines", "x.items="+script(t, `read args; for i in 1 2 3; do echo "$args"; done`),
		"--exec-lines", "x.endless="+script(t, writePID("$$", dir+"/pid")+"exec yes 1"))
	_, url := startServe(t, "--redis", "redis://"+redis.Addr)
	if got := run(t, "", "client", url, "call", "--stream", "x.items", `{"a":1}`); got.code != 0 || got.stdout != strings.Repeat("{\"a\":1}\n", 3)+"null\n" {
		t.Errorf("got %+v", got)
	}
	p := start(t, "client", url)
	fmt.Fprintln(p.stdin, "call --stream x.endless")
	p.stdout.await(t, "#1 PART 2000 1")
	pid := awaitPID(t, dir+"/pid")
	fmt.Fprintln(p.stdin, "cancel 1")
	awaitDeath(t, pid)

	fmt.Fprintln(p.stdin, "call --stream h.events")
	p.stdout.await(t, `#2 PART 1 "first"`)
	close(seen)
	p.stdout.await(t, `#2 PART 2 "second"`)
	fmt.Fprintln(p.stdin, "cancel 2")
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the web server goes on")
	}
}

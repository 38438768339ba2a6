package main_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/internal/freeport"
)

var protocols = []string{"juggler.1", "juggler.0"}

func TestOneShotCalls(t *testing.T) {
	_, url := startDemo(t)
	for _, tt := range []struct{ uri, args, want string }{
		{"test.echo", `{"a":[1,2.50]}`, `{"a":[1,2.50]}`},
		{"test.echo", `"hi"`, `"hi"`},
		{"test.echo", ``, `null`},
		{"test.reverse", `"abc"`, `"cba"`},
		{"test.delay", `"5"`, `5`},
		{"test.delay", `5`, `5`},
	} {
		for _, protocol := range protocols {
			args := []string{"client", url, "--protocol", protocol, "call", tt.uri}
			if tt.args != "" {
				args = append(args, tt.args)
			}
			if got := run(t, "", args...); got.code != 0 || got.stdout != tt.want+"\n" {
				t.Errorf("%v: %+v, want %s", args, got, tt.want)
			}
		}
	}
	if got := run(t, `{"in": 1}`, "client", url, "call", "test.echo", "-"); got.code != 0 || got.stdout != "{\"in\": 1}\n" {
		t.Errorf("args from standard input: %+v", got)
	}
}

func TestOneShotExitCodes(t *testing.T) {
	_, url := startDemo(t)
	closed := freeport.Address(t)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello")) }))
	defer plain.Close()
	notFound := httptest.NewServer(http.NotFoundHandler())
	defer notFound.Close()
	for _, tt := range []struct {
		name string
		args []string
		code int
		out  string // of the object in stdout, its error's code
		err  string
	}{
		{"refused", []string{url, "call", "test.nope"}, 4, "404", "NACK 404"},
		{"failed", []string{url, "call", "test.reverse", "1"}, 5, "400", "RES 400 args"},
		{"expired", []string{url, "--call-timeout", "50ms", "call", "test.delay", "60000"}, 6, "408", "RES 408"},
		{"refused, juggler.0", []string{"--protocol", "juggler.0", url, "call", "test.nope"}, 4, "404", "NACK 404"},
		{"failed, juggler.0", []string{"--protocol", "juggler.0", url, "call", "test.reverse", "1"}, 5, "500", "RES 500 args"},
		{"expired, juggler.0", []string{"--protocol", "juggler.0", url, "--call-timeout", "50ms", "call", "test.delay", "60000"}, 6, "408", "RES 408"},
		{"unreachable", []string{"ws://" + closed + "/", "call", "test.echo"}, 3, "", "is the server running there?"},
		{"no juggler", []string{"ws" + strings.TrimPrefix(plain.URL, "http"), "call", "test.echo"}, 3, "", "no juggler server answers there"},
		{"wrong path", []string{"ws" + strings.TrimPrefix(notFound.URL, "http"), "call", "test.echo"}, 3, "", "is the path of the URL right?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, "", append([]string{"client"}, tt.args...)...)
			if got.code != tt.code || !strings.Contains(got.stderr, tt.err) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("code %d, stderr %q; want %d and %q in one line", got.code, got.stderr, tt.code, tt.err)
			}
			var body struct {
				Error struct{ Code json.Number }
			}
			if tt.out != "" {
				if err := json.Unmarshal([]byte(got.stdout), &body); err != nil {
					t.Fatalf("stdout %q: %v", got.stdout, err)
				}
			}
			if body.Error.Code.String() != tt.out {
				t.Errorf("stdout %q, want code %s", got.stdout, tt.out)
			}
		})
	}
}

// A call whose result cannot be written has failed.
func TestResultCannotBeWritten(t *testing.T) {
	_, url := startDemo(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := command(t, "client", url, "call", "test.echo", "1")
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = full, &stderr
	if cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left on device") {
		t.Errorf("code %d, %s", cmd.ProcessState.ExitCode(), stderr.String())
	}
}

// A client that is interrupted while it connects does not report a failed call.
func TestInterruptedWhileConnecting(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, command := range []string{"call x", "pub x", "sub x", ""} {
		p := start(t, append([]string{"client", "ws://" + mute.Addr().String() + "/"}, strings.Fields(command)...)...)
		if _, err := mute.Accept(); err != nil { // its handshake is not answered
			t.Fatal(err)
		}
		p.signal(syscall.SIGINT)
		if code := p.wait(); code != 130 || p.stderr.String() != "juggler: interrupted" {
			t.Errorf("%s: code %d", command, code)
		}
	}
}

func TestOneShotEvents(t *testing.T) {
	_, url := startDemo(t)
	sub := start(t, "client", url, "--count", "2", "psub", "news.*")
	sub.stderr.await(t, "subscribed to news.*")
	if got := run(t, "", "client", url, "pub", "news.go", `{"n":1}`); got.code != 0 {
		t.Errorf("pub: %+v", got)
	}
	if got := run(t, "", "client", url, "--header", "a=b", "pub", "news.go", `{"n":2}`); got.code != 0 || got.stdout != "" {
		t.Errorf("pub: %+v", got)
	}
	if code := sub.wait(); code != 0 {
		t.Errorf("psub: code %d", code)
	}
	var event struct {
		Channel, Pattern string
		Args             json.RawMessage
		Headers          map[string]string
	}
	last := sub.stdout.await(t, `"n":2`)
	if err := json.Unmarshal([]byte(last), &event); err != nil {
		t.Fatal(err)
	}
	if event.Channel != "news.go" || event.Pattern != "news.*" || string(event.Args) != `{"n":2}` || event.Headers["a"] != "b" {
		t.Errorf("got %s", last)
	}
}

func TestPipedCommands(t *testing.T) {
	_, url := startDemo(t)
	p := start(t, "client", url)
	io.WriteString(p.stdin, `# a comment
sub news
call test.reverse "abc"
wait
pub news [1]
`)
	p.stdout.await(t, "EVNT news [1]")
	io.WriteString(p.stdin, `call --header a=b test.echo {"x" : 1}
unsb news
status
`)
	p.stdin.Close()
	if code := p.wait(); code != 0 || p.stderr.String() != "" {
		t.Errorf("code %d, %s", code, p.stderr)
	}
	inOrder(t, p.stdout.String(), "connected to "+url, "subscribed to news", "#1 CALL test.reverse", `#1 RES "cba"`,
		"published on news", "#2 CALL test.echo", "* 1: open "+url)
	for _, line := range []string{`#2 RES {"x" : 1}`, "unsubscribed from news"} {
		if !strings.Contains(p.stdout.String(), line) {
			t.Errorf("no %q in:\n%s", line, p.stdout)
		}
	}
	got := run(t, "call --header a=b test.echo 1", "client", "--protocol", "juggler.0", url)
	if got.code != 2 || !strings.Contains(got.stdout, "error: ") {
		t.Errorf("juggler.0, which has no headers: %+v", got)
	}
}

// inOrder fails unless all texts are there, one after the other.
func inOrder(t testing.TB, s string, texts ...string) {
	t.Helper()
	rest := s
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("no %q, in its place, in:\n%s", text, s)
		}
		rest = after
	}
}

func TestPipedErrors(t *testing.T) {
	_, url := startDemo(t)
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"call test.nope", 4, "#1 NACK 404"},
		{"call test.reverse 1", 5, "#1 RES 400 args"},
		{"call --timeout 50ms test.delay 60000", 6, "#1 RES 408"},
		{"call --timeout x test.delay", 2, `error: --timeout "x": want a time`},
		{"call --tmeout 1s test.delay", 2, "error: unknown option --tmeout; usage: call"},
		{"call test.echo hello", 2, `error: args are not JSON: invalid character 'h' looking for beginning of value, at "hello"; strings stand in double quotes`},
		{"call", 2, "error: usage: call"},
		{"cancel 1", 2, "error: there is no call #1"},
		{"cancel x", 2, `error: cancel "x": want the number of a call`},
		{"unsb news", 2, "error: not subscribed to news"},
		{"sub a b", 2, `error: unexpected "b"; usage: sub [--last 20] [--since POS] [--here] CHANNEL`},
		{"sub --last 0 a", 2, `error: --last "0": want a number, 1 to 1000000`},
		{"psub --last 5 a*", 2, "error: psub has no options; usage: psub"},
		{"call --join test.echo", 2, "error: --join and --since go with --key only"},
		{"call --key k --join test.echo", 4, "#1 NACK 410"},
		{"stop test.echo", 2, "error: usage: stop URI KEY"},
		{"stop test.echo k", 4, "NACK 410"},
		{"pub --key", 2, `error: --key "": want 1 to 64 bytes`},
		{"pub --key k room.7 1", 4, "NACK 403"}, // nobody has signed in
		{"use 7", 2, `error: no connection "7"; there are ["1"]`},
		{"disconnect\ncall x", 2, "error: not connected"},
		{"connect ws://" + freeport.Address(t) + "/", 3, "is the server running there?"},
		{"connect " + url + " 1", 2, "error: there is a connection 1 already"},
		{"conect x", 2, `error: unknown verb "conect"; did you mean "connect"?`},
	} {
		got := run(t, strings.ReplaceAll(tt.line, `\n`, "\n"), "client", url)
		if got.code != tt.code || !strings.Contains(got.stdout, tt.want) {
			t.Errorf("%s: code %d, want %d and %q in:\n%s", tt.line, got.code, tt.code, tt.want, got.stdout)
		}
	}
}

func TestSeveralConnections(t *testing.T) {
	_, url := startDemo(t)
	got := run(t, strings.Join([]string{
		"connect " + url + " other", "sub news", "use 1", "pub news 7", "wait 1ms", "disconnect other", "status",
	}, "\n"), "client", url)
	if got.code != 0 {
		t.Errorf("got %+v", got)
	}
	inOrder(t, got.stdout, "[other] connected", "[other] subscribed to news", "[1] published on news", "disconnected from", "* 1: open")
}

func TestCancel(t *testing.T) {
	_, url := startDemo(t)
	for _, protocol := range protocols {
		p := start(t, "client", "--protocol", protocol, url)
		p.stdin.Write([]byte("call test.delay 600000\ncancel 1\n"))
		p.stdout.await(t, "#1 cancelled")
		p.stdin.Close()
		if code := p.wait(); code != 5 {
			t.Errorf("code %d, want 5: the call had no result", code)
		}
	}
}

// A client tells of a connection that is lost, and finds the server again.
func TestReconnects(t *testing.T) {
	address := freeport.Address(t)
	server, url := startServe(t, "--listen", address)
	p := start(t, "client", url)
	p.stdout.await(t, "connected to")
	server.signal(syscall.SIGKILL)
	p.stdout.await(t, "connection lost: ")
	startServe(t, "--listen", address)
	p.stdout.await(t, "connected again to "+url)
	io.WriteString(p.stdin, "pub news 1\nexit\n")
	if code := p.wait(); code != 0 {
		t.Errorf("code %d:\n%s", code, p.stdout)
	}
}

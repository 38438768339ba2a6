package main_test

import (
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/internal/freeport"
)

func TestDemoPrintsItsURLFirst(t *testing.T) {
	_, url := startDemo(t)
	if !regexp.MustCompile(`^ws://127\.0\.0\.1:\d+/$`).MatchString(url) {
		t.Errorf("the first line is %q", url)
	}
}

func TestDemoStopsCleanly(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			p, url := startDemo(t)
			events := start(t, "client", url, "sub", "news")
			events.stderr.await(t, "subscribed")
			delay := start(t, "client", url, "call", "test.delay", "1")
			if code := delay.wait(); code != 0 {
				t.Errorf("the call ended with code %d", code)
			}
			p.signal(signal)
			if code := p.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			events.stop()
			if _, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/")); err == nil {
				t.Error("it still listens")
			}
		})
	}
}

func TestDemoPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := run(t, "", "demo", "--listen", l.Addr().String())
	if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "address already in use; choose another address with --listen") {
		t.Errorf("got %+v", got)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, tt := range []struct {
		args   string
		stderr string
	}{
		{"", "missing command"},
		{"dmeo", `unknown command "dmeo"; did you mean "demo"?`},
		{"demo --lisen :1", "unknown flag: --lisen"},
		{"demo extra", `unexpected argument "extra"`},
		{"client", "the URL of a server is missing"},
		{"client ws://127.0.0.1:1/ cal x", `unknown verb "cal"; did you mean "call"?`},
		{"client ws://127.0.0.1:1/ call", "usage: call"},
		{"client ws://127.0.0.1:1/ call test.echo {a}", "args are not JSON"},
		{"client ws://127.0.0.1:1/ cancel 1", "cancel makes sense in an interactive client only"},
		{"client --protocol x ws://127.0.0.1:1/", "want one of any, juggler.1, juggler.0"},
		{"client ftp://127.0.0.1:1/ call x", "ftp"},
	} {
		got := run(t, "", strings.Fields(tt.args)...)
		if got.code != 2 || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("juggler %s: code %d, stderr %q; want code 2 and %q", tt.args, got.code, got.stderr, tt.stderr)
		}
	}
}

// A wrong address or name is reported in one line.
func TestWrongAddresses(t *testing.T) {
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"demo --listen foo", 2, `--listen "foo": want HOST:PORT, :PORT or unix:PATH`},
		{"serve --listen 127.0.0.1:99999", 2, `--listen "127.0.0.1:99999": want HOST:PORT, :PORT or unix:PATH`},
		{"serve --path foo", 2, `--path "foo": want a path that begins with /`},
		{"serve --path /{x}", 2, `--path "/{x}"`},
		{"serve --path /a//b", 2, `--path "/a//b": want a path that begins with /, such as /ws`},
		{"serve --path /ws?v=1", 2, `--path "/ws?v=1"`},
		{"serve --listen=", 2, "--listen is an empty list"},
		{"serve --admin-listen unix:/s", 2, `--admin-listen "unix:/s": want HOST:PORT or :PORT`},
		{"serve --check --admin-listen 9090", 2, `--admin-listen "9090": want HOST:PORT or :PORT`},
		{"callee --check --redis a --admin-listen :x", 2, `--admin-listen ":x": want HOST:PORT or :PORT`},
		{"client 127.0.0.1:8080", 2, `want ws://HOST:PORT/PATH or wss://…; did you mean "ws://127.0.0.1:8080"?`},
		{"client http://127.0.0.1:8080/ call x", 2, `did you mean "ws://127.0.0.1:8080/"?`},
		{"client wss:///", 2, `"wss:///": want ws://HOST:PORT/PATH`},
		{"client ws://" + freeport.Address(t) + "/", 3, "connection refused; is the server running there?"},
		{"client ws://no-such-host.invalid/", 3, "cannot connect to ws://no-such-host.invalid/: "},
		{"health ftp://127.0.0.1/", 2, "want http://… or https://…"},
		{"health http://" + freeport.Address(t) + "/", 3, "connection refused"},
		{"load ws://" + freeport.Address(t) + "/", 3, "connection refused; is a juggler server running there?"},
		{"redis-bench --redis " + freeport.Address(t), 3, "connection refused"},
		{"serve --socket-mode 9", 2, `--socket-mode "9": want permissions in octal`},
		// What can have no effect.
		{"serve --check --socket-mode 0600", 2, "--socket-mode goes with --listen unix:PATH only"},
		{"serve --check --trusted-proxies unix", 2, "--trusted-proxies unix goes with --listen unix:PATH only"},
		{"serve --check --call-stats 5", 2, "--call-stats goes with --admin-listen or OTEL_EXPORTER_OTLP_ENDPOINT only"},
		{"serve --check --top 5", 2, "--top goes with --admin-listen only"},
		{"serve --check --origins *,https://a.example.com", 2, "--origins: * lets in all: leave out the others, or *"},
		{"serve --check --start-timeout 1s", 2, "--start-timeout goes with --redis only"},
		{"serve --check --redis-lanes 4", 2, "--redis-lanes goes with --redis only"},
		{"serve --check --redis-pubsub redis://a", 2, "--redis-pubsub goes with --redis only"},
		{"serve --check --redis a --redis-pubsub-user u", 2, "--redis-pubsub-user goes with --redis-pubsub only"},
		{"callee --check --redis a --outside-timeout 1s", 2, "--outside-timeout goes with --exec, --exec-lines or --http only"},
		{"client --check --bearer", 2, "--bearer goes with --token or --token-file only"},
		{"client --check --token a --token-file b", 2, "want --token or --token-file, not both"},
		{"client --header a=b ws://127.0.0.1:1/", 2, "--header goes with a command behind the URL only"},
		{"load --check --payload 5 --args 1", 2, "--payload goes with args that are made up, without --args, only"},
		{"load --check --channels 5", 2, "--channels goes with --publish only"},
		{"serve --origins nonsense", 2, `--origins: "nonsense": want scheme://host`},
		{"serve --max-queue-bytes 4KiB", 2, "--max-queue-bytes(4096): want at least 66560, to hold one message of --max-message-bytes"},
		{"help nosuch", 2, `unknown command "nosuch"`},
		{"completion nosuch", 2, `unknown command "nosuch"`},
	} {
		got := run(t, "", strings.Fields(tt.args)...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.stderr) || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
			t.Errorf("juggler %s: %+v; want %d and %q alone", tt.args, got, tt.code, tt.stderr)
		}
	}
}

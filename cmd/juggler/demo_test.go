package main_test

import (
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
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
		{"", "a command is missing"},
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

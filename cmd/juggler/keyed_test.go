package main_test

import (
	"io"
	"strings"
	"syscall"
	"testing"
)

// client call --key makes a call once, joins it after that, and goes on in its answer.
func TestOneShotKeyedCalls(t *testing.T) {
	_, url := startDemo(t)
	for _, tt := range []struct {
		args   []string
		code   int
		stdout string
		stderr string // part of it
	}{
		{[]string{"--key", "k", "call", "test.echo", "1"}, 0, "1\n", "call test.echo: new\n"},
		{[]string{"--key", "k", "call", "test.echo", "1"}, 0, "1\n", "call test.echo: done\n"},
		{[]string{"--key", "k", "--join", "call", "test.echo"}, 0, "1\n", "call test.echo: done\n"},
		{[]string{"--key", "k", "call", "test.echo", "2"}, 4, `{"error":{"code":409,`, "NACK 409"},
		{[]string{"--key", "other", "--join", "call", "test.echo"}, 4, `{"error":{"code":410,`, "NACK 410"},
		{[]string{"--key", "c", "call", "--stream", "test.count", "4"}, 0, "1\n2\n3\n4\n4\n", "call test.count: new\n"},
		{[]string{"--key", "c", "call", "--stream", "--since", "2", "test.count"}, 0, "3\n4\n4\n", "call test.count: done\n"},
		{[]string{"stop", "test.count", "c"}, 0, "", ""},
		{[]string{"stop", "test.count", "other"}, 4, `{"error":{"code":410,`, "stop test.count: NACK 410"},
		{[]string{"--join", "call", "test.echo"}, 2, "", "--join goes with call --key only"},
		{[]string{"--since", "1", "call", "test.echo"}, 2, "", "--since goes with sub and call --key only"},
		{[]string{"--since", "x", "--key", "k", "call", "test.echo"}, 2, "", "want the number of a part"},
		{[]string{"--protocol", "juggler.0", "--key", "k", "call", "test.echo"}, 2, "", "the server keeps no calls"},
	} {
		got := run(t, "", append([]string{"client", url}, tt.args...)...)
		if got.code != tt.code || !strings.HasPrefix(got.stdout, tt.stdout) || tt.code == 0 && got.stdout != tt.stdout || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
}

// A call with a key goes on when its client ends, and ends when it is stopped.
func TestKeyedCallOutlivesItsClient(t *testing.T) {
	_, url := startDemo(t)
	first := start(t, "client", "--key", "k", url, "call", "test.delay", "600000")
	first.stderr.await(t, "call test.delay: new")
	first.signal(syscall.SIGINT)
	if code := first.wait(); code != 130 {
		t.Errorf("interrupted: code %d", code)
	}
	second := start(t, "client", url)
	io.WriteString(second.stdin, "call --key k --join test.delay\n")
	second.stdout.await(t, "#1 ACK running")
	io.WriteString(second.stdin, "cancel 1\n")
	second.stdout.await(t, "#1 left, and goes on")
	io.WriteString(second.stdin, "call --key k test.delay 600000\n")
	second.stdout.await(t, "#2 ACK running")
	if got := run(t, "", "client", url, "stop", "test.delay", "k"); got.code != 0 || got.stdout != "" {
		t.Errorf("stop: %+v", got)
	}
	second.stdout.await(t, "#2 RES 499")
	second.stdin.Close()
	if code := second.wait(); code != 5 {
		t.Errorf("code %d, want 5: the call had no result", code)
	}
}

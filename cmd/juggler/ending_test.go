package main_test

import (
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/juggler-go/juggler/internal/redistest"
)

// Servers and callees end although Redis is gone or hangs, with calls, streams, calls with
// keys, presence and history under way: what they have not finished by then is cut off.
func TestEndWithoutRedis(t *testing.T) {
	for what, stop := range map[string]func(*redistest.Server){
		"gone":  (*redistest.Server).Kill,
		"hangs": (*redistest.Server).Pause,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // it mostly waits
			redis := redistest.Start(t)
			address := "redis://" + redis.Addr
			callee := startCallee(t, "--redis", address, "--drain-timeout", "1s")
			server, url := startServe(t, "--redis", address, "--drain-timeout", "1s", "--open",
				"--presence", "room.*", "--history", "room.*=10/1m", "--outcomes", "test.*=1m", "--key-scope", "all")
			client := start(t, "client", url)
			io.WriteString(client.stdin, "sub room.1\npub room.1 1\ncall test.delay 60000\n") //nolint:errcheck // the output tells
			client.stdout.await(t, "CALL")
			keyed := start(t, "client", "--stream", "--key", "k", "--parts", "1000", url, "call", "test.count", "1000000000")
			keyed.stdout.await(t, "10")
			stop(redis)
			for _, p := range []*process{server, callee} {
				p.signal(syscall.SIGTERM)
			}
			for _, p := range []*process{server, callee} {
				if code := p.wait(); code != 1 || !strings.Contains(p.stderr.String(), "draining took longer than --drain-timeout") {
					t.Errorf("%v: code %d", p.cmd.Args[1:2], code)
				}
			}
		})
	}
}

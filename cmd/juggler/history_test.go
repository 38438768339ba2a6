package main_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/internal/redistest"
)

// Who comes later sees what the channel had before, where the server keeps it.
func TestClientSubLast(t *testing.T) {
	_, url := startDemo(t)
	for _, args := range []string{"1", "2", "3"} {
		if got := run(t, "", "client", url, "pub", "room.7", args); got.code != 0 {
			t.Fatalf("pub: %+v", got)
		}
	}
	got := run(t, "", "client", "--last", "2", "--count", "2", url, "sub", "room.7")
	if lines := strings.Split(strings.TrimSpace(got.stdout), "\n"); got.code != 0 || len(lines) != 2 ||
		!strings.Contains(lines[0], `"args":2`) || !strings.Contains(lines[1], `"args":3`) {
		t.Errorf("got %+v", got)
	}
	for _, args := range [][]string{{"--last", "2", url, "psub", "room.*"}, {"--key", "k", url, "sub", "room.7"}} {
		if got := run(t, "", append([]string{"client"}, args...)...); got.code != 2 || !strings.Contains(got.stderr, "only") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// Who has kept the position of an event goes on behind it.
func TestClientSubSince(t *testing.T) {
	_, url := startDemo(t)
	for _, args := range []string{"1", "2", "3"} {
		if got := run(t, "", "client", url, "pub", "room.7", args); got.code != 0 {
			t.Fatalf("pub: %+v", got)
		}
	}
	var first struct{ Pos string }
	got := run(t, "", "client", "--last", "3", "--count", "1", url, "sub", "room.7")
	if err := json.Unmarshal([]byte(got.stdout), &first); err != nil || first.Pos == "" {
		t.Fatalf("%v: %+v", err, got)
	}
	got = run(t, "", "client", "--since", first.Pos, "--count", "2", url, "sub", "room.7")
	inOrder(t, got.stdout, `"pos":"`, `"args":2`, `"pos":"`, `"args":3`)
	if strings.Contains(got.stdout, "gap") {
		t.Errorf("got %+v", got)
	}
	p := start(t, "client", url)
	io.WriteString(p.stdin, "sub --since "+first.Pos+" room.7\n")
	p.stdout.await(t, "EVNT room.7 3 ")
	inOrder(t, p.stdout.String(), "EVNT room.7 2 ", "EVNT room.7 3 ")
	for _, args := range [][]string{{"--since", "x", url, "sub", "room.7"}, {"--since", first.Pos, url, "psub", "room.*"}, {"--since", first.Pos, "--last", "1", url, "sub", "room.7"}} {
		if got := run(t, "", append([]string{"client"}, args...)...); got.code != 2 {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// Clients whose connections break miss nothing on a server that keeps their channel,
// whatever carries its events.
func TestLoadRecovers(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, broker := range [][]string{nil, {"--redis", redistest.Start(t).Addr}} {
		_, url := startServe(t, append(broker, "--history", "load.*=100000/1m")...)
		got := run(t, "", "load", "--clients", "6", "--channels", "2", "--publish", "100", "--rate", "200",
			"--duration", "1s", "--drop-every", "150ms", "--json", url)
		r := parseReport(t, got)
		if got.code != 0 || r.Drops == 0 || r.Recovered == 0 || r.NotRecovered != 0 || r.EventsLost != 0 {
			t.Errorf("%v: code %d, %s%s", broker, got.code, got.stdout, got.stderr)
		}
	}
}

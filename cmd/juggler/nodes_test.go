package main_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/juggler-go/juggler/internal/redistest"
	"github.com/juggler-go/juggler/internal/waiting"
)

// A system is servers on one Redis, with tokens.
type system struct {
	t       *testing.T
	redis   string
	hmac    string // the file with the secret
	servers []*process
	urls    []string
}

// startSystem starts n servers that live for a lease.
func startSystem(t *testing.T, n int, lease string) *system {
	hmac := filepath.Join(t.TempDir(), "secret")
	writeFile(t, hmac, secret)
	s := &system{t: t, hmac: hmac, redis: "redis://" + redistest.Start(t).Addr}
	for range n {
		p, url := startServe(t, "--redis", s.redis, "--token-hmac-file", hmac, "--cluster-lease", lease)
		s.servers, s.urls = append(s.servers, p), append(s.urls, url)
	}
	return s
}

// ask runs a command that asks all servers, and returns what it says in JSON.
func (s *system) ask(args ...string) (r clusterReport, code int, stderr string) {
	s.t.Helper()
	got := run(s.t, "", append(args, "--redis", s.redis, "--json")...)
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		s.t.Fatalf("%v: %+v: %v", args, got, err)
	}
	return r, got.code, got.stderr
}

type clusterReport struct {
	Sessions int
	Nodes    []struct {
		Node     string
		Sessions int
		Error    string
	}
	Missing []struct {
		Node string
		PID  int
	}
}

// nodes returns the servers that are there.
func (s *system) nodes() (list []struct {
	PID      int
	Sessions int
}) {
	s.t.Helper()
	got := run(s.t, "", "nodes", "--redis", s.redis, "--json")
	if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || got.code != 0 {
		s.t.Fatalf("nodes: %+v", got)
	}
	return list
}

// subscribe has a client with a token subscribe to news, at each of the servers.
func (s *system) subscribe(token string, servers ...int) (clients []*process) {
	s.t.Helper()
	for _, i := range servers {
		c := start(s.t, "client", "--token", token, s.urls[i], "sub", "news")
		c.stderr.await(s.t, "subscribed")
		clients = append(clients, c)
	}
	return clients
}

// issued is a token of a user that was issued some time ago.
func issued(t testing.TB, user string, ago time.Duration) string {
	return token(t, jwt.MapClaims{"sub": user, "iat": time.Now().Add(-ago).Unix()})
}

// Tokens are revoked on all servers, also on those that start later. Who has a new one goes on.
func TestRevokeTokens(t *testing.T) {
	s := startSystem(t, 2, "15s")
	old, undated, bob := issued(t, "ann", time.Hour), token(t, jwt.MapClaims{"sub": "ann"}), issued(t, "bob", time.Hour)
	clients := append(s.subscribe(old, 0, 1), s.subscribe(undated, 1)...)
	others := s.subscribe(bob, 0)
	fresh := token(t, jwt.MapClaims{"sub": "ann", "iat": time.Now().Unix()})
	others = append(others, s.subscribe(fresh, 1)...)
	before := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	if r, code, stderr := s.ask("revoke", "--user", "ann", "--before", before, "--for", "2h"); code != 0 || r.Sessions != 3 || len(r.Nodes) != 2 {
		t.Errorf("revoke: %d, %s, %+v", code, stderr, r)
	}
	for _, c := range clients {
		if code := c.wait(); code != 4 {
			t.Errorf("a client with a revoked token ended with %d", code)
		}
	}
	later, url := startServe(t, "--redis", s.redis, "--token-hmac-file", s.hmac)
	s.urls = append(s.urls, url)
	for _, url := range s.urls {
		for token, want := range map[string]int{old: 4, undated: 4, bob: 0, fresh: 0} {
			if got := run(t, "", "client", "--token", token, url, "pub", "news", `"x"`); got.code != want {
				t.Errorf("%+v, want %d", got, want)
			}
		}
	}
	for _, c := range others {
		c.stdout.await(t, `"x"`)
	}
	later.stop()
}

// A server that stands still, and one that was killed, are named; the others have done it. The
// first one does it when it goes on, and knows then what was revoked.
func TestMissingServers(t *testing.T) {
	s := startSystem(t, 3, "2s")
	ann := issued(t, "ann", time.Hour)
	clients := s.subscribe(ann, 0, 1)
	waiting.Until(t, "all are there", func() bool { return len(s.nodes()) == 3 })
	s.servers[1].signal(syscall.SIGSTOP)
	s.servers[2].signal(syscall.SIGKILL)
	s.servers[2].wait()
	r, code, stderr := s.ask("revoke", "--user", "ann", "--for", "1h")
	if code != 1 || r.Sessions != 1 || len(r.Nodes) != 1 || len(r.Missing) != 2 || !strings.Contains(stderr, "has not answered") {
		t.Errorf("%d, %s, %+v", code, stderr, r)
	}
	pids := fmt.Sprint(r.Missing)
	for _, p := range s.servers[1:] {
		if !strings.Contains(pids, fmt.Sprint(p.cmd.Process.Pid)) {
			t.Errorf("%s: not among the missing %s", fmt.Sprint(p.cmd.Process.Pid), pids)
		}
	}
	clients[0].wait()
	waiting.Until(t, "their leases are over", func() bool { return len(s.nodes()) == 1 })
	s.servers[1].signal(syscall.SIGCONT)
	if code := clients[1].wait(); code != 4 {
		t.Errorf("the client of the server that stood still ended with %d", code)
	}
	waiting.Until(t, "it is there again", func() bool { return len(s.nodes()) == 2 })
	if got := run(t, "", "disconnect", "--redis", s.redis, "--user", "nobody"); got.code != 0 || !strings.Contains(got.stdout, "0 sessions on 2 servers") {
		t.Errorf("%+v", got)
	}
}

func TestDisconnectAndUnsubscribe(t *testing.T) {
	s := startSystem(t, 2, "1s")
	clients := s.subscribe(issued(t, "ann", 0), 0, 1)
	waiting.Until(t, "the sessions are told of", func() bool {
		n := 0
		for _, node := range s.nodes() {
			n += node.Sessions
		}
		return n == 2
	})
	if got := run(t, "", "nodes", "--redis", s.redis); got.code != 0 || strings.Count(got.stdout, "serving") != 2 {
		t.Errorf("%+v", got)
	}
	if r, code, stderr := s.ask("unsubscribe", "--user", "ann", "--channel", "news", "--reason", "no more"); code != 0 || r.Sessions != 2 {
		t.Errorf("%d, %s, %+v", code, stderr, r)
	}
	if r, code, stderr := s.ask("disconnect", "--user", "ann", "--code", "4403", "--reason", "out"); code != 0 || r.Sessions > 2 {
		t.Errorf("%d, %s, %+v", code, stderr, r)
	}
	for _, c := range clients {
		if code := c.wait(); code == 0 {
			t.Error("a client ended well")
		}
	}
}

func TestClusterUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"--redis is missing":               {"nodes"},
		"want --user or --session":         {"disconnect", "--redis", "127.0.0.1:1"},
		"--user is missing":                {"revoke", "--redis", "127.0.0.1:1"},
		`--before "yesterday"`:             {"revoke", "--redis", "127.0.0.1:1", "--user", "ann", "--before", "yesterday"},
		"--channel is missing":             {"unsubscribe", "--redis", "127.0.0.1:1", "--user", "ann"},
		"--reason: want at most 123 bytes": {"disconnect", "--redis", "127.0.0.1:1", "--user", "ann", "--reason", strings.Repeat("x", 124)},
		`unexpected argument "ann"`:        {"disconnect", "ann"},
	} {
		if got := run(t, "", args...); got.code != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: %+v, want %q", args, got, want)
		}
	}
	if got := run(t, "", "nodes", "--redis", "127.0.0.1:1"); got.code != 3 {
		t.Errorf("without a Redis: %+v", got)
	}
	redis := "redis://" + redistest.Start(t).Addr
	if got := run(t, "", "disconnect", "--redis", redis, "--user", "ann"); got.code != 1 || !strings.Contains(got.stderr, "no server is there") {
		t.Errorf("without a server: %+v", got)
	}
	startServe(t, "--redis", redis, "--cluster=false")
	if got := run(t, "", "nodes", "--redis", redis); got.code != 0 || strings.Contains(got.stdout, "serving") {
		t.Errorf("with a server that takes no part: %+v", got)
	}
}

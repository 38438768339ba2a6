package main_test

import (
	"io"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/juggler-go/juggler/internal/redistest"
)

// Two servers on one Redis know who is in a channel, and tell the attributes that they shall.
// The users of a server that is killed leave.
func TestPresenceOfServers(t *testing.T) {
	redis := redistest.Start(t)
	hmac := filepath.Join(t.TempDir(), "secret")
	writeFile(t, hmac, secret)
	args := []string{"--redis", "redis://" + redis.Addr, "--open", "--token-hmac-file", hmac, "--token-attributes", "name",
		"--presence", "lobby,room.*", "--presence-info", "name", "--presence-grace", "10ms"}
	_, url1 := startServe(t, args...)
	two, url2 := startServe(t, args...)
	as := func(url, user string) *process {
		p := start(t, "client", "--bearer", "--token", token(t, jwt.MapClaims{"sub": user, "name": "I am " + user}), url)
		p.stdout.await(t, "connected")
		return p
	}
	say := func(p *process, line, want string) {
		t.Helper()
		io.WriteString(p.stdin, line+"\n") //nolint:errcheck // what comes tells
		p.stdout.await(t, want)
	}
	ann := as(url1, "ann")
	say(ann, "sub --here room.7", "HERE room.7 1: ann")
	bob := as(url2, "bob")
	say(bob, "sub room.7", "subscribed")
	ann.stdout.await(t, "HERE room.7 2: ann, bob +bob")
	say(bob, "unsb room.7", "unsubscribed")
	ann.stdout.await(t, "HERE room.7 1: ann -bob")
	say(bob, "sub --here room.7", "HERE room.7 2: ann, bob")
	one := start(t, "client", "--bearer", "--token", token(t, jwt.MapClaims{"sub": "cid"}), url2, "--count", "1", "sub", "--here", "room.7")
	one.stdout.await(t, `"info":{"name":"I am ann"}`)
	one.signal(syscall.SIGINT)
	one.wait()
	two.signal(syscall.SIGKILL)
	ann.stdout.await(t, "HERE room.7 1: ann -bob")
}

// In the demo who says who it is is in the rooms.
func TestDemoPresence(t *testing.T) {
	_, url := startDemo(t)
	ann := start(t, "client", url+"?user=ann")
	io.WriteString(ann.stdin, "sub --here room.7\n") //nolint:errcheck // what comes tells
	ann.stdout.await(t, "HERE room.7 1: ann")
	bob := start(t, "client", url+"?user=bob")
	io.WriteString(bob.stdin, "sub --here room.7\n") //nolint:errcheck // what comes tells
	bob.stdout.await(t, "HERE room.7 2: ann, bob")
	ann.stdout.await(t, "HERE room.7 2: ann, bob +bob")
}

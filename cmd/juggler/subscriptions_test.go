package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
)

// startScripted starts a server that sends, and answers, what a test says: each text after
// the first, which follows HELLO, when a SUB has come. In it ID is that of the SUB.
func startScripted(t *testing.T, first string, texts ...string) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"juggler.1"}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		send := func(text, id string) {
			for line := range strings.Lines(strings.ReplaceAll(text, "ID", id)) {
				ws.Write(ctx, websocket.MessageText, []byte(line)) //nolint:errcheck // the client tells
			}
		}
		send(`{"type":"HELLO","session":"01K0000000000000000000000A","node":"01K0000000000000000000000B","ping":25000,"limits":{},"here":true}`, "")
		send(first, "")
		for {
			_, message, err := ws.Read(ctx)
			if err != nil {
				return
			}
			var request struct{ Type, ID string }
			if json.Unmarshal(message, &request) == nil && request.Type == "SUB" && len(texts) > 0 {
				send(texts[0], request.ID)
				texts = texts[1:]
			}
		}
	}))
	t.Cleanup(func() {
		cancel()
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// What the server subscribes the client to is written as it comes, and so is who is in a
// channel, and the end of a subscription.
func TestServerSubscriptionsAndHere(t *testing.T) {
	url := startScripted(t, `{"type":"SUBS","channel":"user:u1","own":true}
{"type":"EVNT","id":"01K0000000000000000000000C","channel":"user:u1","own":true,"args":1}
{"type":"GAP","channel":"user:u1","own":true}
{"type":"SUBS","channel":"news.*","pattern":true}
{"type":"EVNT","id":"01K0000000000000000000000C","channel":"news.go","pattern":"news.*","args":2}
{"type":"UNSS","channel":"user:u1","own":true,"error":{"code":403,"message":"signed out"}}`,
		`{"type":"ACK","for":"ID","here":[{"user":"bob","n":1},{"user":"ann","n":2}],"count":2}`,
		`{"type":"ACK","for":"ID"}
{"type":"HERE","channel":"room.7","join":[{"user":"cid","n":1}],"leave":["bob"],"count":2}`,
		`{"type":"ACK","for":"ID"}
{"type":"HERE","channel":"room.7","count":101}
{"type":"UNSS","channel":"room.7","error":{"code":403,"message":"removed from the room"}}`,
		`{"type":"ACK","for":"ID"}`)
	p := start(t, "client", url)
	p.stdout.await(t, "subscription to user:u1 (own) ended: UNSS 403 signed out")
	p.stdout.await(t, "EVNT news.go (news.*) 2")
	inOrder(t, p.stdout.String(), "SUBS user:u1 (own)\n", "EVNT user:u1 (own) 1\n", "GAP user:u1 (own) ", "ended")
	for _, step := range []struct{ line, want string }{
		{"sub --here room.7", "HERE room.7 2: ann (2), bob"},
		{"sub a", "HERE room.7 2: ann (2), cid +cid -bob"},
		{"sub b", "subscription to room.7 ended: UNSS 403 removed from the room"},
		{"sub room.7", "subscribed to room.7"}, // again
	} {
		io.WriteString(p.stdin, step.line+"\n") //nolint:errcheck // what comes tells
		p.stdout.await(t, step.want)
	}
	p.stdin.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestOneShotHere(t *testing.T) {
	url := startScripted(t, "", `{"type":"ACK","for":"ID","here":[{"user":"ann","n":2,"info":{"name":"Ann"}}],"count":1}
{"type":"EVNT","id":"01K0000000000000000000000C","channel":"room.7","args":1}`)
	p := start(t, "client", "--here", url, "sub", "room.7")
	p.stdout.await(t, `{"channel":"room.7","count":1,"here":[{"user":"ann","n":2,"info":{"name":"Ann"}}]}`)
	p.stdout.await(t, `"args":1`)
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("code %d", code)
	}

	url = startScripted(t, "", `{"type":"ACK","for":"ID","count":101}
{"type":"UNSS","channel":"room.7","error":{"code":403,"message":"removed from the room"}}`)
	got := run(t, "", "client", "--here", url, "sub", "room.7")
	if got.code != 4 || !strings.Contains(got.stderr, "sub room.7: UNSS 403 removed from the room") {
		t.Errorf("got %+v", got)
	}

	_, url = startDemo(t)
	got = run(t, "", "client", "--here", url, "sub", "of.no.rule")
	if got.code != 2 || !strings.Contains(got.stderr, "does not tell who is in") {
		t.Errorf("got %+v", got)
	}
	if got = run(t, "", "client", "--here", url, "pub", "room.7"); got.code != 2 || !strings.Contains(got.stderr, "here") {
		t.Errorf("got %+v", got)
	}
}

package juggler_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
)

// What is refused, answered and closed is counted by why.
func TestStatsTellWhy(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithMaxSessions(2), juggler.WithDeferredAuth(tokens, time.Minute))
	s.handle("echo", echo)
	c := s.dial("juggler.1")
	for _, request := range []struct{ send, expect string }{
		{`{"type":"AUTH","id":"1","token":"nobody"}`, `{"type":"NACK"}`},
		{`{"type":"AUTH","id":"1","token":"ann"}`, `{"type":"ACK"}`},
		{`{"type":"CALL","id":"1","uri":"nobody"}`, `{"type":"NACK"}`},
		{`{"type":"CALL","id":"1","uri":"echo"}`, `{"type":"ACK"}`},
	} {
		c.send(request.send)
		c.expect(request.expect)
	}
	c.expect(`{"type":"RES"}`)
	other := s.dial("juggler.1")
	other.send(`{"type":"AUTH","id":"1","token":"bob"}`)
	other.expect(`{"type":"ACK"}`)
	s.refused(http.StatusServiceUnavailable, "juggler.1", "")
	s.refused(http.StatusForbidden, "juggler.1", "https://elsewhere.example")
	s.refused(http.StatusBadRequest, "juggler.7", "")
	other.send("nonsense")
	other.expectClose(juggler.CloseProtocolError)
	c.conn.Close(4777, "my own")
	s.waitSessions(0)

	st := s.h.Stats()
	refusals := []juggler.RefusalCount{
		{Status: 400, Reason: juggler.RefusedSubprotocol, Count: 1},
		{Status: 403, Reason: juggler.RefusedOrigin, Count: 1},
		{Status: 503, Reason: juggler.RefusedMaxSessions, Count: 1},
	}
	if !slices.Equal(st.Refusals, refusals) || st.Refused != 3 {
		t.Errorf("refused: %d, %+v", st.Refused, st.Refusals)
	}
	nacks := []juggler.NackCount{{Type: frame.Call, Code: 404, Count: 1}, {Type: frame.Auth, Code: 401, Count: 1}}
	if !slices.Equal(st.NackCodes, nacks) || st.Nacks != 2 {
		t.Errorf("NACKs: %d, %+v", st.Nacks, st.NackCodes)
	}
	if !slices.Equal(st.ResultCodes, []juggler.CodeCount{{Code: 0, Count: 1}}) || st.Results != 1 {
		t.Errorf("RES: %d, %+v", st.Results, st.ResultCodes)
	}
	byUs, byPeers := []juggler.CodeCount{{Code: 1002, Count: 1}}, []juggler.CodeCount{{Code: 4777, Count: 1}}
	if !slices.Equal(st.ClosesByUs, byUs) || !slices.Equal(st.ClosesByPeers, byPeers) {
		t.Errorf("closed by us %+v, by clients %+v", st.ClosesByUs, st.ClosesByPeers)
	}
}

// refused opens a WebSocket that must be refused with an HTTP status.
func (s *testServer) refused(status int, protocol, origin string) {
	s.t.Helper()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	_, response, err := websocket.Dial(s.t.Context(), s.http.URL, &websocket.DialOptions{Subprotocols: []string{protocol}, HTTPHeader: header})
	if err == nil || response == nil || response.StatusCode != status {
		s.t.Fatalf("not refused with %d: %v", status, err)
	}
}

// Clients cannot take up memory, or the place of what matters, with codes of theirs.
func TestStatsOfCodesThatClientsChoose(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	const strange = 70
	for i := range strange {
		s.dial("juggler.1").conn.Close(websocket.StatusCode(4000+i), "")
	}
	s.dial("juggler.1").conn.Close(websocket.StatusNormalClosure, "")
	s.waitSessions(0)
	counts := s.h.Stats().ClosesByPeers
	var sum uint64
	for _, n := range counts {
		sum += n.Count
	}
	if len(counts) > 64 || sum != strange+1 || counts[0].Code != juggler.OtherCodes || counts[1] != (juggler.CodeCount{Code: 1000, Count: 1}) {
		t.Errorf("%d codes, %d sessions: %v", len(counts), sum, fmt.Sprint(counts))
	}
}

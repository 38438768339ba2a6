package juggler_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/frame"
)

// follow follows for the test.
func (s *testServer) follow(ctx context.Context, o juggler.FollowOptions) iter.Seq[juggler.FollowedFrame] {
	s.t.Helper()
	frames, err := s.h.Follow(ctx, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return frames
}

// onlySession returns the one session of the server.
func (s *testServer) onlySession() juggler.Session {
	s.t.Helper()
	s.waitSessions(1)
	for session := range s.h.Sessions() {
		return session
	}
	s.t.Fatal("there is no session")
	return juggler.Session{}
}

// line says in short what was followed.
func line(f juggler.FollowedFrame) string {
	way := "<"
	if f.ByClient {
		way = ">"
	}
	switch {
	case f.End != "":
		return "end: " + f.End
	case f.Close != 0:
		return fmt.Sprint(way, " close ", f.Close)
	}
	return strings.TrimRight(fmt.Sprintf("%s %s %s %s %d %s", way, f.Type, f.ID, f.Name, f.Code, f.Text), " ")
}

func lines(frames iter.Seq[juggler.FollowedFrame]) (all []string) {
	for f := range frames {
		all = append(all, line(f))
	}
	return all
}

// conversation has a client say what can be said, and get what can be answered.
func conversation(s *testServer, c *testClient) {
	for _, step := range []struct{ send, receive string }{
		{`{"type":"AUTH","id":"a","token":"ann secret-token"}`, "ACK"},
		{`{"type":"CALL","id":"1","uri":"echo","args":"pass word","headers":{"k":"private"}}`, "ACK RES"},
		{`{"type":"CALL","id":"2","uri":"nobody"}`, "NACK"},
		{`{"type":"SUB","id":"3","channel":"n*","pattern":true}`, "ACK"},
		{`{"type":"PUB","id":"4","channel":"news","args":[1]}`, "ACK EVNT"},
		{`{"type":"PUB","id":"5"}`, "NACK"},
		{`{"type":"CALL","id":"6","uri":"fail"}`, "ACK RES"},
	} {
		c.send(step.send)
		for typ := range strings.FieldsSeq(step.receive) {
			c.expect(`{"type":"` + typ + `"}`)
		}
	}
}

func talkative(t *testing.T) *testServer {
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithDeferredAuth(tokens, time.Minute))
	s.handle("echo", echo)
	s.handle("fail", func(context.Context, *calleeCall) (any, error) {
		return nil, juggler.Errorf(1000, "ann owes 5")
	})
	return s
}

func TestFollow(t *testing.T) {
	for _, text := range []bool{false, true} {
		t.Run(fmt.Sprint("text ", text), func(t *testing.T) {
			s := talkative(t)
			c := s.dial("juggler.1")
			session := s.onlySession()
			frames := s.follow(t.Context(), juggler.FollowOptions{Session: session.ID(), Text: text})
			conversation(s, c)
			session.Disconnect(4100, "ann is out")
			c.expectClose(4100)

			want := []string{
				"> AUTH a  0", "< ACK a  0",
				"> CALL 1 echo 0", "< ACK 1  0", "< RES 1  0",
				"> CALL 2 nobody 0", "< NACK 2  404",
				"> SUB 3 n* 0", "< ACK 3  0",
				"> PUB 4 news 0", "< ACK 4  0", "< EVNT  news 0",
				"> PUB 5  400", "< NACK 5  400",
				"> CALL 6 fail 0", "< ACK 6  0", "< RES 6  1000",
				"< close 4100", "end: the session has ended",
			}
			if text {
				want[2] += ` "pass word"`
				want[4] += ` "pass word"`
				want[6] += ` no callee for this URI`
				want[9] += " [1]"
				want[11] += " [1]"
				want[13] += " channel: want a string that is not empty"
				want[16] += " ann owes 5"
			}
			if got := lines(frames); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// Whatever is asked for, what proves who somebody is is not told, nor what headers say.
func TestFollowTellsNoSecrets(t *testing.T) {
	s := talkative(t)
	c := s.dial("juggler.1")
	frames := s.follow(t.Context(), juggler.FollowOptions{Session: s.onlySession().ID(), Text: true, Frames: 17})
	conversation(s, c)
	c.send(`{"type":"AUTH","id":"b","token":{"secret-token":1}}`)
	c.expect(`{"type":"NACK"}`)
	for f := range frames {
		if all := fmt.Sprintf("%+v", f); strings.Contains(all, "secret-token") || strings.Contains(all, "private") {
			t.Error(all)
		}
	}
}

// The sessions of a user are followed, also those that begin or sign in later, and no others.
func TestFollowUser(t *testing.T) {
	s := talkative(t)
	frames := s.follow(t.Context(), juggler.FollowOptions{User: "ann", Frames: 6})
	for _, user := range []string{"ann", "bob", "ann"} {
		c := s.dial("juggler.1")
		c.send(`{"type":"AUTH","id":"` + user + `","token":"` + user + `"}`)
		c.expect(`{"type":"ACK"}`)
		c.send(`{"type":"CALL","id":"1","uri":"echo"}`)
		c.expect(`{"type":"ACK"}`)
		c.expect(`{"type":"RES"}`)
	}
	sessions := map[string]int{}
	for f := range frames {
		if f.End == "" {
			sessions[f.Session]++
		}
		if f.ID == "bob" {
			t.Errorf("bob is followed: %+v", f)
		}
	}
	if len(sessions) != 2 {
		t.Errorf("the frames are of sessions %v, want two", sessions)
	}
}

func TestFollowEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options juggler.FollowOptions
		want    string
		end     func(s *testServer, c *testClient, cancel func())
	}{
		{"with its time", juggler.FollowOptions{For: time.Millisecond}, "its time is over", func(*testServer, *testClient, func()) {}},
		{"with its frames", juggler.FollowOptions{Frames: 1}, "it has as many frames as were asked for",
			func(_ *testServer, c *testClient, _ func()) { c.send(`{"type":"CALL","id":"1","uri":"echo"}`) }},
		{"with its context", juggler.FollowOptions{}, "it was cancelled", func(_ *testServer, _ *testClient, cancel func()) { cancel() }},
		{"with its session", juggler.FollowOptions{}, "the session has ended", func(_ *testServer, c *testClient, _ func()) { c.conn.CloseNow() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := talkative(t)
			c := s.dial("juggler.1")
			tt.options.Session = s.onlySession().ID()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			frames := s.follow(ctx, tt.options)
			tt.end(s, c, cancel)
			all := lines(frames)
			if got := all[len(all)-1]; got != "end: "+tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if again := lines(frames); len(again) != 1 {
				t.Errorf("read once more: %v", again)
			}
			c.conn.CloseNow()
			next := s.follow(t.Context(), juggler.FollowOptions{User: "ann"})
			go s.h.Shutdown(context.Background()) // which the end of the test waits for
			if got := lines(next); !slices.Equal(got, []string{"end: the node shuts down"}) {
				t.Errorf("%v at the shutdown", got)
			}
		})
	}
}

// One is followed at a time, until nobody reads any more.
func TestFollowOne(t *testing.T) {
	s := talkative(t)
	c := s.dial("juggler.1")
	id := s.onlySession().ID()
	first := s.follow(t.Context(), juggler.FollowOptions{Session: id})
	if _, err := s.h.Follow(t.Context(), juggler.FollowOptions{User: "ann"}); !errors.Is(err, juggler.ErrFollowed) {
		t.Errorf("a second one: %v", err)
	}
	c.send(`{"type":"CALL","id":"1","uri":"echo"}`)
	for range first {
		break
	}
	s.follow(t.Context(), juggler.FollowOptions{User: "ann"})
}

func TestFollowRefuses(t *testing.T) {
	s := talkative(t)
	gone := s.dial("juggler.1")
	id := s.onlySession().ID()
	gone.conn.CloseNow()
	s.waitSessions(0)
	for want, o := range map[string]juggler.FollowOptions{
		"want a Session or a User":                           {},
		"Session or a User":                                  {Session: id, User: "ann"},
		"Session is no id of a session":                      {Session: "x"},
		"no such session on this node: juggler: session has": {Session: id},
		"For is 1m0.001s: want 0 to 1m0s":                    {User: "ann", For: time.Minute + time.Millisecond},
		"For is -1ns":                                        {User: "ann", For: -1},
		"Frames is 10001: want 0 to 10000":                   {User: "ann", Frames: 10001},
		"Frames is -1":                                       {User: "ann", Frames: -1},
	} {
		if _, err := s.h.Follow(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	s.follow(t.Context(), juggler.FollowOptions{User: "ann"}) // none of these has taken the place
	if err := s.h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.h.Follow(t.Context(), juggler.FollowOptions{User: "ann"}); !errors.Is(err, juggler.ErrShutdown) {
		t.Errorf("after Shutdown: %v", err)
	}
}

// Who does not read holds up nobody: what does not fit is counted.
func TestFollowSlowly(t *testing.T) {
	s := talkative(t)
	c := s.dial("juggler.1")
	frames := s.follow(t.Context(), juggler.FollowOptions{Session: s.onlySession().ID(), Frames: 10_000})
	c.send(`{"type":"AUTH","id":"a","token":"ann"}`)
	c.expect(`{"type":"ACK"}`)
	const calls = 500
	for range calls {
		c.send(`{"type":"CALL","id":"1","uri":"nobody"}`)
		c.expect(`{"type":"NACK"}`)
	}
	c.conn.CloseNow()
	s.waitSessions(0)
	got, lost := 0, 0
	for f := range frames {
		lost += f.Lost
		if f.End == "" {
			got++
		}
	}
	if lost == 0 || got+lost != 2+2*calls+1 {
		t.Errorf("%d frames and %d that were lost, want %d", got, lost, 2+2*calls+1)
	}
}

// Names that are long, and texts, are cut off between characters.
func TestFollowCutsOff(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet))
	c := s.dial("juggler.0")
	frames := s.follow(t.Context(), juggler.FollowOptions{Session: s.onlySession().ID(), Text: true, Frames: 1})
	long := strings.Repeat("é", 450)
	c.send(`{"meta":{"type":1,"uuid":"6a0d5b1e-4d28-4e8e-9b1d-3f6f0a6b7c01"},"payload":{"uri":"a` + long + `","args":"` + long + long + `"}}`)
	for f := range frames {
		if f.End == "" && (f.Type != frame.Call || f.Name != "a"+long[:254] || f.Text != `"`+(long + long)[:1022] || f.Bytes < 2700) {
			t.Errorf("%+v", f)
		}
	}
}

// Sessions go on while they are followed by one after the other.
func TestFollowUnderLoad(t *testing.T) {
	s := newServer(t, juggler.WithLogger(quiet), juggler.WithAuthenticator(asUser("ann")), juggler.WithEventLoops(2))
	s.handle("echo", echo)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for ctx.Err() == nil {
				c := s.dial("juggler.1")
				c.send(`{"type":"SUB","id":"1","channel":"c"}`)
				c.receive()
				for j := range 10 {
					c.send(fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"echo","args":%d}`, j, i))
					c.receive()
				}
				c.conn.CloseNow()
			}
		})
	}
	for round := range 60 {
		o := juggler.FollowOptions{User: "ann", Frames: 1 + round%3*20} // with one it ends as soon as it begins
		if round%2 == 0 {
			for session := range s.h.Sessions() {
				o = juggler.FollowOptions{Session: session.ID(), Frames: 5, For: 10 * time.Millisecond}
				break
			}
		}
		frames, err := s.h.Follow(ctx, o)
		if errors.Is(err, juggler.ErrSessionEnded) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for f := range frames {
			if f.Type == frame.Invalid && f.Close == 0 && f.End == "" {
				t.Errorf("%+v is no frame", f)
			}
		}
	}
	cancel()
	all.Wait()
}

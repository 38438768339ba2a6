package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// keyed is a server that minds keys.
func keyed(t *testing.T, script func(n int, p *peer)) *server {
	s := newServer(t, script)
	s.hello.Keys = true
	return s
}

// wantPub expects a PUB and checks its key; "any" stands for one that the client made.
func (p *peer) wantPub(key string, again bool) *frame.Frame {
	p.t.Helper()
	f := p.expect(frame.Pub)
	if key == "any" && len(f.Key) >= 16 {
		key = string(f.Key)
	}
	if string(f.Key) != key || f.Again != again {
		p.t.Errorf("PUB with the key %q, again %v; want %q, %v", f.Key, f.Again, key, again)
	}
	return f
}

// Publications have keys, each its own, if the server said so last.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := map[string]bool{}
		s := keyed(t, func(n int, p *peer) {
			auth := p.expect(frame.Auth)
			p.send(&frame.Frame{Type: frame.Ack, For: auth.ID, Keys: n == 1, Expires: time.Hour})
			for range 2 {
				want := "any"
				if n == 2 {
					want = ""
				}
				f := p.wantPub(want, false)
				keys[string(f.Key)] = true
				p.ack(f)
			}
			p.ack(p.wantPub("mine", false))
			p.drop()
		})
		c := s.client(client.WithToken(func(context.Context) (string, error) { return "secret", nil }))
		for range 2 {
			for _, opts := range [][]client.PublishOption{nil, nil, {client.Key("mine")}} {
				if err := c.Publish(t.Context(), "ch", 1, opts...); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		if len(keys) != 3 {
			t.Errorf("the keys are %v", keys)
		}
	})
}

// A publication whose connection was lost is repeated, before what is published later.
func TestLostPublicationIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first [2]*frame.Frame
		s := keyed(t, func(n int, p *peer) {
			if n == 1 {
				for i := range first {
					first[i] = p.wantPub("any", false)
				}
				p.drop()
				return
			}
			for _, lost := range first {
				f := p.wantPub(string(lost.Key), true)
				if string(f.Args) != string(lost.Args) {
					p.t.Errorf("%s became %s", lost.Args, f.Args)
				}
				p.ack(f)
			}
			p.ack(p.wantPub("any", false))
			p.untilClosed()
		})
		c := s.client()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if i == 2 { // published while there is no connection
					advance(time.Millisecond)
				}
				if err := c.Publish(t.Context(), "ch", i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// What the server would not know again is not repeated: its outcome is unknown.
func TestLostPublicationIsNotRepeated(t *testing.T) {
	for name, test := range map[string]struct {
		keys [2]bool // of the first connection and of the next
		down time.Duration
	}{
		"no keys":             {[2]bool{false, false}, 0},
		"keys only at first":  {[2]bool{true, false}, 0},
		"keys only afterward": {[2]bool{false, true}, 0},
		"too late":            {[2]bool{true, true}, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, nil)
				s.refuse = func(n int, w http.ResponseWriter) bool {
					if n != 2 || test.down == 0 {
						return false
					}
					w.Header().Set("Retry-After", fmt.Sprint(test.down.Seconds()))
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				s.noHello = func(n int, p *peer) bool {
					p.send(&frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{Keys: test.keys[min(n, 2)-1]}})
					if n == 1 {
						p.expect(frame.Pub)
						p.drop()
						return true
					}
					if f := p.next(); f != nil {
						p.t.Errorf("the client sent %+v", f)
					}
					return true
				}
				err := s.client().Publish(t.Context(), "ch", 1, client.Key("mine"), client.WithTimeout(time.Hour))
				if !errors.Is(err, client.ErrUnknownOutcome) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// What the server answers that a repetition can mend, and what it cannot.
func TestUnclearPublication(t *testing.T) {
	for _, test := range []struct {
		answers []int // codes of NACKs; 0: ACK
		want    error
		unclear bool
	}{
		{[]int{500, 0}, nil, false},
		{[]int{408, 503, 429, 0}, nil, false},
		{[]int{500, 500, 500, 500}, client.CodeInternal, true},
		{[]int{500, 403}, client.CodeForbidden, true},
		{[]int{409}, client.CodeConflict, false},
		{[]int{503}, client.CodeUnavailable, false},
	} {
		t.Run(fmt.Sprint(test.answers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := keyed(t, func(_ int, p *peer) {
					for i, code := range test.answers {
						f := p.wantPub("any", i > 0)
						if code == 0 {
							p.ack(f)
						} else {
							p.nack(f, code, 0)
						}
					}
					if f := p.next(); f != nil {
						p.t.Errorf("the client sent %+v", f)
					}
				})
				c := s.client()
				err := c.Publish(t.Context(), "ch", 1)
				if !errors.Is(err, test.want) || errors.Is(err, client.ErrUnknownOutcome) != test.unclear {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// The end of the context ends the repetitions, and so does that of the client.
func TestRepetitionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := keyed(t, func(_ int, p *peer) {
			for f := p.next(); f != nil; f = p.next() {
				p.nack(f, 500, time.Minute)
			}
		})
		c := s.client()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		time.AfterFunc(time.Second, cancel)
		if err := c.Publish(ctx, "ch", 1); !errors.Is(err, client.CodeInternal) {
			t.Errorf("got %v", err)
		}
		time.AfterFunc(time.Second, func() { c.Close() })
		begin := time.Now()
		if err := c.Publish(t.Context(), "ch", 1, client.WithTimeout(time.Hour)); !errors.Is(err, client.CodeInternal) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestKeyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newServer(t, serveAll).client()
		for _, key := range []string{"", "\xff", fmt.Sprintf("%65d", 1)} {
			if err := c.Publish(t.Context(), "ch", 1, client.Key(key)); !errors.Is(err, client.ErrInvalidOption) {
				t.Errorf("%q: got %v", key, err)
			}
		}
		s := newServer(t, serveAll)
		s.proto = frame.Juggler0
		c = s.client(client.WithProtocols(frame.Juggler0))
		if err := c.Publish(t.Context(), "ch", 1, client.Key("k")); !errors.Is(err, client.ErrUnsupported) {
			t.Errorf("juggler.0: got %v", err)
		}
	})
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// keeper is a server that keeps calls with keys.
func keeper(t *testing.T, script func(n int, p *peer)) *server {
	s := newServer(t, script)
	s.hello.Keyed = true
	return s
}

// joins is a CALL with the key k that makes the call, if it is not made.
const joins = -1

// wantKeyed expects a CALL with the key k, which goes on after part since.
func (p *peer) wantKeyed(since, parts int) *frame.Frame {
	p.t.Helper()
	f := p.expect(frame.Call)
	got := joins
	if f.HasSince {
		got = f.N
	}
	if string(f.Key) != "k" || got != since || f.Parts != parts {
		p.t.Errorf("CALL with the key %q, since %d, parts %d; want since %d, parts %d", f.Key, got, f.Parts, since, parts)
	}
	return f
}

// join answers the CALL f with its state, and the first part that is kept.
func (p *peer) join(f *frame.Frame, state client.CallState, from int) {
	p.send(&frame.Frame{Type: frame.Ack, For: f.ID, State: state, N: from})
}

// untilAway sends GOAWAY and takes the CANCELs of the calls that move, as many.
func (p *peer) untilAway(calls ...*frame.Frame) {
	p.goAway(0)
	for _, f := range calls {
		p.wantCancel(f)
	}
}

// A call is joined again wherever the client comes to: it is made once more only if the
// server has not said that it was made.
func TestCallIsJoinedAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(p *peer, f *frame.Frame)
		since  int
		state  client.CallState
	}{
		{"lost before the ACK", func(p *peer, _ *frame.Frame) { p.drop() }, joins, client.CallRunning},
		{"lost behind the ACK", func(p *peer, f *frame.Frame) { p.join(f, client.CallNew, 0); p.drop() }, 0, client.CallNew},
		{"closed", func(p *peer, f *frame.Frame) { p.join(f, client.CallNew, 0); p.close(1012, "restart") }, 0, client.CallNew},
		{"GOAWAY before the ACK", func(p *peer, f *frame.Frame) { p.untilAway(f) }, joins, client.CallRunning},
		{"GOAWAY", func(p *peer, f *frame.Frame) { p.join(f, client.CallNew, 0); p.untilAway(f) }, 0, client.CallNew},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := make(chan struct{})
				srv := keeper(t, func(n int, p *peer) {
					if n == 1 {
						test.before(p, p.wantKeyed(joins, 0))
						close(left)
						return
					}
					f := p.wantKeyed(test.since, 0)
					if string(f.Args) != `"in"` {
						t.Errorf("args %s", f.Args)
					}
					p.join(f, client.CallRunning, 0)
					p.result(f, `"out"`)
					p.serve()
				})
				call, err := srv.client().Start(t.Context(), "u", "in", client.Key("k"))
				if err != nil {
					t.Fatal(err)
				}
				var out string
				if err := call.Result(t.Context(), &out); err != nil || out != "out" {
					t.Errorf("result %q, %v", out, err)
				}
				if state, err := call.State(t.Context()); state != test.state || err != nil {
					t.Errorf("state %v, %v; want %v", state, err, test.state)
				}
				if n := srv.connections(); n != 2 {
					t.Errorf("%d connections", n)
				}
				<-left
			})
		})
	}
}

// A stream goes on behind the last part that came, and asks for as many as it has room for.
func TestKeyedStreamGoesOn(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, f *frame.Frame)
	}{
		{"lost", func(p *peer, _ *frame.Frame) { p.drop() }},
		{"GOAWAY", func(p *peer, f *frame.Frame) { p.untilAway(f) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := keeper(t, func(n int, p *peer) {
					switch n {
					case 1:
						f := p.wantKeyed(joins, 4)
						p.join(f, client.CallNew, 0)
						p.parts(f, 1, 3)
						test.end(p, f)
					case 2: // three parts wait
						f := p.wantKeyed(3, 1)
						p.join(f, client.CallRunning, 0)
						p.parts(f, 4, 4)
						test.end(p, f)
					case 3: // all four do: one more has to come
						f := p.wantKeyed(4, 1)
						p.join(f, client.CallRunning, 0)
						p.parts(f, 5, 5)
						p.wantMore(f, 2)
						p.wantMore(f, 2)
						p.parts(f, 6, 8)
						p.result(f, `8`)
						p.serve()
					}
				})
				s := startStream(t, srv.client(), client.Window(4), client.Key("k"))
				advance(10 * time.Second)
				if state, err := s.State(t.Context()); state != client.CallNew || err != nil {
					t.Errorf("state %v, %v", state, err)
				}
				if n, err := take(t, s, 1, 0); n != 8 || err != nil {
					t.Errorf("%d parts, %v", n, err)
				}
				var out int
				if err := s.Result(t.Context(), &out); err != nil || out != 8 || s.Last() != 8 {
					t.Errorf("result %d, %v; last part %d", out, err, s.Last())
				}
			})
		})
	}
}

// Parts that are not kept any more are told of in their place, and the loop may go on.
func TestKeyedStreamLacksParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := keeper(t, func(n int, p *peer) {
			switch n {
			case 1:
				f := p.wantKeyed(7, 8)
				p.join(f, client.CallRunning, 10)
				p.parts(f, 10, 11)
				p.drop()
			case 2:
				f := p.wantKeyed(11, 6)
				p.join(f, client.CallRunning, 21)
				p.parts(f, 21, 26)
				p.wantMore(f, 4)
				p.parts(f, 27, 28)
				p.wantMore(f, 4)
				p.result(f, `28`)
				p.serve()
			}
		})
		s := startStream(t, srv.client(), client.Window(8), client.Key("k"), client.Join(7))
		advance(10 * time.Second)
		var got []string
		for part, err := range client.PartsAs[int](s) {
			if gone, ok := errors.AsType[*client.PartsGoneError](err); ok {
				got = append(got, fmt.Sprintf("%d..%d", gone.Last, gone.From))
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(part))
			if part != s.Last() {
				t.Errorf("part %d, and the last is %d", part, s.Last())
			}
		}
		if want := "7..10 10 11 11..21 21 22 23 24 25 26 27 28"; strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
		var out int
		if err := s.Result(t.Context(), &out); err != nil || out != 28 {
			t.Errorf("result %d, %v", out, err)
		}
	})
}

// Who only wants the result does not care for parts, nor does a loop that is left call that
// an end of the call.
func TestKeyedStreamLacksPartsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		srv := keeper(t, func(_ int, p *peer) {
			f := p.wantKeyed(joins, 128)
			p.join(f, client.CallRunning, 10)
			p.parts(f, 10, 11)
			p.result(f, `11`)

			f = p.wantKeyed(joins, 128)
			p.join(f, client.CallRunning, 10)
			p.parts(f, 10, 11)
			p.wantCancel(f)
			close(done)
			p.serve()
		})
		c := srv.client()
		var out int
		if err := startStream(t, c, client.Key("k")).Result(t.Context(), &out); err != nil || out != 11 {
			t.Errorf("result %d, %v", out, err)
		}
		s := startStream(t, c, client.Key("k"))
		for _, err := range s.Parts() {
			if gone, ok := errors.AsType[*client.PartsGoneError](err); !ok || gone.From != 10 {
				t.Errorf("got %v", err)
			}
			break
		}
		<-done
		if s.Last() != 9 {
			t.Errorf("the last part is %d", s.Last())
		}
	})
}

// The end of the wait leaves the call to others.
func TestKeyedCallIsLeft(t *testing.T) {
	for _, test := range []struct {
		name string
		call func(t *testing.T, c *client.Client) error
		want error
	}{
		{"context", func(t *testing.T, c *client.Client) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return c.Call(ctx, "u", nil, nil, client.Key("k"))
		}, context.DeadlineExceeded},
		{"time", func(t *testing.T, c *client.Client) error {
			return c.Call(t.Context(), "u", nil, nil, client.Key("k"), client.WithTimeout(time.Minute))
		}, client.CodeExpired},
		{"loop", func(t *testing.T, c *client.Client) error {
			s := startStream(t, c, client.Key("k"))
			for range s.Parts() {
				break
			}
			return s.Result(t.Context(), nil)
		}, client.CodeCancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				srv := keeper(t, func(_ int, p *peer) {
					defer close(done)
					f := p.expect(frame.Call)
					p.join(f, client.CallRunning, 0)
					p.parts(f, 1, min(1, f.Parts))
					if got := p.expect(frame.Cancel); string(got.For) != string(f.ID) || got.Stop {
						t.Errorf("CANCEL for %s, stop %v", got.For, got.Stop)
					}
				})
				c := srv.client(client.WithoutReconnect())
				if err := test.call(t, c); !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
				<-done
			})
		})
	}
}

// Stop joins the call and ends it for all, across connections.
func TestStop(t *testing.T) {
	stops := func(p *peer, f *frame.Frame) {
		if got := p.expect(frame.Cancel); string(got.For) != string(f.ID) || !got.Stop {
			p.t.Errorf("CANCEL for %s, stop %v", got.For, got.Stop)
		}
	}
	fails := func(p *peer, f *frame.Frame, code int) {
		p.send(&frame.Frame{Type: frame.Res, For: f.ID, Err: frame.ErrorBody{Code: code, Message: []byte("no")}})
	}
	for _, test := range []struct {
		name   string
		script func(n int, p *peer)
		want   error
	}{
		{"running", func(_ int, p *peer) {
			f := p.wantKeyed(0, 0)
			p.join(f, client.CallRunning, 0)
			stops(p, f)
			fails(p, f, 499)
			p.serve()
		}, nil},
		{"done", func(_ int, p *peer) {
			f := p.wantKeyed(0, 0)
			p.join(f, client.CallDone, 0)
			p.result(f, `1`)
			p.serve()
		}, nil},
		{"done, failed", func(_ int, p *peer) {
			f := p.wantKeyed(0, 0)
			p.join(f, client.CallDone, 0)
			fails(p, f, 422)
			p.serve()
		}, nil},
		{"over", func(_ int, p *peer) {
			f := p.wantKeyed(0, 0)
			p.join(f, client.CallRunning, 0)
			stops(p, f)
			fails(p, f, 408)
			p.serve()
		}, client.CodeExpired},
		{"gone", func(_ int, p *peer) {
			p.nack(p.wantKeyed(0, 0), 410, 0)
			p.serve()
		}, client.CodeGone},
		{"lost", func(n int, p *peer) {
			f := p.wantKeyed(0, 0)
			p.join(f, client.CallRunning, 0)
			stops(p, f)
			if n == 1 {
				p.drop()
				return
			}
			fails(p, f, 499)
			p.serve()
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := keeper(t, test.script)
				if err := srv.client().Stop(t.Context(), "u", "k"); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			})
		})
	}
}

// A session that can have no keys refuses them at once, and sends nothing. The newest word of
// the server counts.
func TestKeyedCallRefused(t *testing.T) {
	for _, proto := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
		synctest.Test(t, func(t *testing.T) {
			srv := newServer(t, serveAll)
			srv.proto = proto
			c := srv.client(client.WithProtocols(proto))
			err := c.Call(t.Context(), "u", nil, nil, client.Key("k"))
			if !errors.Is(err, client.ErrUnsupported) || !errors.Is(err, client.CodeBadRequest) {
				t.Errorf("%v: %v", proto, err)
			}
			if err := c.Call(t.Context(), "u", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(n int, p *peer) {
			auth := p.expect(frame.Auth)
			p.send(&frame.Frame{Type: frame.Ack, For: auth.ID, Keyed: n == 1})
			if n == 1 {
				p.join(p.wantKeyed(joins, 0), client.CallNew, 0)
				p.drop()
			}
			p.serve()
		})
		c := srv.client(client.WithToken(func(context.Context) (string, error) { return "secret", nil }))
		err := c.Call(t.Context(), "u", nil, nil, client.Key("k"))
		if !errors.Is(err, client.ErrUnsupported) || !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("on a session that has no keys any more: %v", err)
		}
	})
}

// A call stays where it is while the server that is to take it over knows no keys.
func TestKeyedCallStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(n int, p *peer) {
			auth := p.expect(frame.Auth)
			p.send(&frame.Frame{Type: frame.Ack, For: auth.ID, Keyed: n == 1})
			if n == 1 {
				f := p.wantKeyed(joins, 0)
				p.join(f, client.CallNew, 0)
				p.goAway(0)
				advance(time.Minute)
				p.result(f, `1`)
			}
			p.serve()
		})
		c := srv.client(client.WithToken(func(context.Context) (string, error) { return "secret", nil }), client.WithCallTimeout(time.Hour))
		var out int
		if err := c.Call(t.Context(), "u", nil, &out, client.Key("k")); err != nil || out != 1 || srv.connections() != 2 {
			t.Errorf("result %d, %v; %d connections", out, err, srv.connections())
		}
	})
}

// What a server that is short of something says to a client that comes back does not end the
// wait; what it says at first does, and so does what will not change.
func TestKeyedCallIsRefusedAgain(t *testing.T) {
	for _, test := range []struct {
		first, later int // the NACK of the first CALL, or those of the later ones
		calls        int
		want         error
	}{
		{503, 0, 1, client.CodeUnavailable},
		{429, 0, 1, client.CodeLimit},
		{409, 0, 1, client.CodeConflict},
		{403, 0, 1, client.CodeForbidden},
		{0, 410, 2, client.CodeGone},
		{0, 403, 2, client.CodeForbidden},
		{0, 429, 5, nil},
		{0, 500, 5, nil},
		{0, 503, 5, nil},
	} {
		t.Run(fmt.Sprint(test.first, test.later), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				srv := keeper(t, func(n int, p *peer) {
					for {
						f := p.next()
						if f == nil {
							return
						}
						calls++
						switch {
						case calls == 1 && test.first > 0:
							p.nack(f, test.first, 0)
						case calls == 1:
							p.join(f, client.CallNew, 0)
							p.drop()
							return
						case calls < 5:
							p.nack(f, test.later, 0)
						default:
							if !f.HasSince {
								t.Error("CALL without since")
							}
							p.join(f, client.CallRunning, 0)
							p.result(f, `1`)
						}
					}
				})
				var refused *client.Error
				err := srv.client().Call(t.Context(), "u", nil, nil, client.Key("k"))
				if !errors.Is(err, test.want) || calls != test.calls {
					t.Errorf("got %v after %d calls; want %v after %d", err, calls, test.want, test.calls)
				}
				if errors.As(err, &refused) && refused.Refused != (test.first > 0) {
					t.Errorf("refused: %v", refused.Refused)
				}
			})
		})
	}
}

// While no server is there the client waits, as long as the call has time.
func TestKeyedCallWaits(t *testing.T) {
	for _, test := range []struct {
		away time.Duration
		want error
	}{{time.Hour, nil}, {3 * time.Hour, context.DeadlineExceeded}} {
		synctest.Test(t, func(t *testing.T) {
			srv := keeper(t, func(n int, p *peer) {
				f := p.next()
				if n == 1 {
					p.join(f, client.CallNew, 0)
					p.drop()
				} else if f != nil {
					p.join(f, client.CallRunning, 0)
					p.result(f, `1`)
					p.serve()
				}
			})
			begin := time.Now()
			srv.refuse = func(n int, w http.ResponseWriter) bool {
				if away := n > 1 && time.Since(begin) < test.away; away {
					w.WriteHeader(http.StatusBadGateway)
					return true
				}
				return false
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
			defer cancel()
			if err := srv.client().Call(ctx, "u", nil, nil, client.Key("k")); !errors.Is(err, test.want) {
				t.Errorf("away for %v: %v", test.away, err)
			}
		})
	}
}

func TestKeyOptions(t *testing.T) {
	srv := keeper(t, serveAll)
	c := srv.client()
	long := strings.Repeat("k", frame.MaxKey+1)
	for _, opts := range [][]client.CallOption{
		{client.Key("")}, {client.Key(long)}, {client.Key("\xff")}, {client.Join(0)},
		{client.Key("k"), client.Join(-1)}, {client.Key("k"), client.Join(frame.MaxPart + 1)},
	} {
		if err := c.Call(t.Context(), "u", nil, nil, opts...); !errors.Is(err, client.ErrInvalidOption) {
			t.Errorf("%v", err)
		}
		if err := c.Stop(t.Context(), "u", ""); !errors.Is(err, client.ErrInvalidOption) {
			t.Errorf("Stop: %v", err)
		}
	}
	call, err := c.Start(t.Context(), "u", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call.State(t.Context()); !errors.Is(err, client.ErrInvalidOption) {
		t.Errorf("the state of a call without a key: %v", err)
	}
}

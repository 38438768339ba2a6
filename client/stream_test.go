package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// parts sends the parts from first to last of the answer to f, each of which is its number.
func (p *peer) parts(f *frame.Frame, first, last int) {
	for n := first; n <= last; n++ {
		p.send(&frame.Frame{Type: frame.Part, For: f.ID, N: n, Args: fmt.Append(nil, n)})
	}
}

// wantMore takes the next message, which has to be a MORE for f.
func (p *peer) wantMore(f *frame.Frame, parts int) {
	if got := p.expect(frame.More); string(got.For) != string(f.ID) || got.Parts != parts {
		p.t.Errorf("MORE for %q of %d, want for %q of %d", got.For, got.Parts, f.ID, parts)
	}
}

// wantCancel takes the next message, which has to be the CANCEL of f, and answers it.
func (p *peer) wantCancel(f *frame.Frame) {
	if got := p.expect(frame.Cancel); string(got.For) != string(f.ID) {
		p.t.Errorf("CANCEL for %q, want %q", got.For, f.ID)
	}
	p.send(&frame.Frame{Type: frame.Res, For: f.ID, Err: frame.ErrorBody{Code: frame.CodeCancelled, Message: []byte("cancelled")}})
}

// take takes up to n parts of s, which are numbers from first on, and returns how many came
// and the error at the end.
func take(t *testing.T, s *client.Stream, first, n int) (came int, err error) {
	t.Helper()
	for part, err := range client.PartsAs[int](s) {
		if err != nil {
			return came, err
		}
		if came++; part != first+came-1 {
			t.Fatalf("part %d, want %d", part, first+came-1)
		}
		if came == n {
			break
		}
	}
	return came, nil
}

func startStream(t *testing.T, c *client.Client, opts ...client.StreamOption) *client.Stream {
	t.Helper()
	s, err := c.Stream(t.Context(), "u", "in", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The client asks for more whenever the application has used half of its window, and not
// for parts that only wait.
func TestStreamAsksForWhatIsUsed(t *testing.T) {
	for _, test := range []struct {
		window int // 0: the default
		want   int // in CALL
		half   int // in each MORE
	}{{0, 128, 64}, {1, 1, 1}, {2, 2, 1}, {5, 5, 3}, {frame.MaxParts, frame.MaxParts, 0}} {
		t.Run(fmt.Sprint(test.window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rounds = 4
				all := rounds * max(test.half, 1)
				srv := newServer(t, func(_ int, p *peer) {
					f := p.expect(frame.Call)
					if f.Parts != test.want || string(f.Args) != `"in"` {
						t.Errorf("CALL with %d parts, want %d; args %s", f.Parts, test.want, f.Args)
					}
					p.ack(f)
					first := min(test.want, all)
					p.parts(f, 1, first)
					for sent := first; test.half > 0 && sent < all; sent = min(sent+test.half, all) {
						p.wantMore(f, test.half)
						p.parts(f, sent+1, min(sent+test.half, all))
					}
					p.result(f, `"end"`)
					p.untilClosed()
				})
				var opts []client.StreamOption
				if test.window > 0 {
					opts = append(opts, client.Window(test.window))
				}
				s := startStream(t, srv.client(), opts...)
				if n, err := take(t, s, 1, 0); n != all || err != nil {
					t.Errorf("%d parts, %v; want %d", n, err, all)
				}
				for range 2 {
					var end string
					if err := s.Result(t.Context(), &end); err != nil || end != "end" {
						t.Errorf("result %q, %v", end, err)
					}
				}
				if n, err := take(t, s, 0, 0); n != 0 || err != nil {
					t.Errorf("a second loop got %d parts, %v", n, err)
				}
			})
		})
	}
}

// An application that takes no part makes the client ask for none.
func TestStreamThatIsNotReadAsksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		srv := newServer(t, func(_ int, p *peer) {
			defer close(done)
			f := p.expect(frame.Call)
			p.ack(f)
			p.parts(f, 1, 4)
			if got := p.next(); got.Type != frame.Call { // another call, no MORE
				t.Errorf("got %v", got.Type)
			} else {
				p.answer(got)
			}
			p.wantMore(f, 2)
			p.wantCancel(f)
		})
		c := srv.client(client.WithoutReconnect())
		s := startStream(t, c, client.Window(4))
		advance(time.Second)
		if err := c.Call(t.Context(), "other", nil, nil); err != nil {
			t.Error(err)
		}
		if n, err := take(t, s, 1, 2); n != 2 || err != nil {
			t.Errorf("%d parts, %v", n, err)
		}
		if err := s.Result(t.Context(), nil); !errors.Is(err, client.CodeCancelled) {
			t.Errorf("result after the loop was left: %v", err)
		}
		if n, err := take(t, s, 1, 0); n != 0 || !errors.Is(err, client.CodeCancelled) {
			t.Errorf("another loop got %d parts, %v", n, err)
		}
		<-done
	})
}

// Result alone lets the answer come to its end.
func TestStreamResultDropsParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(_ int, p *peer) {
			f := p.expect(frame.Call)
			p.ack(f)
			p.parts(f, 1, 2)
			p.wantMore(f, 1)
			p.wantMore(f, 1)
			p.parts(f, 3, 3)
			p.wantMore(f, 1)
			advance(time.Minute) // beyond the wait for the result
			p.parts(f, 4, 4)
			p.wantMore(f, 1)
			p.result(f, `7`)
			p.untilClosed()
		})
		s := startStream(t, srv.client(client.WithCallTimeout(time.Hour)), client.Window(2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Result(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before the end: %v", err)
		}
		var n int
		if err := s.Result(t.Context(), &n); err != nil || n != 7 {
			t.Errorf("result %d, %v", n, err)
		}
		if n, err := take(t, s, 1, 0); n != 0 || err == nil {
			t.Errorf("a loop behind Result got %d parts, %v", n, err)
		}
	})
}

// A callee or a server that knows no parts answers with the result alone.
func TestStreamWithoutParts(t *testing.T) {
	for _, proto := range []frame.Protocol{frame.Juggler0, frame.Juggler1} {
		synctest.Test(t, func(t *testing.T) {
			srv := newServer(t, serveAll)
			srv.proto = proto
			s := startStream(t, srv.client(client.WithProtocols(proto)))
			if n, err := take(t, s, 1, 0); n != 0 || err != nil {
				t.Errorf("%v: %d parts, %v", proto, n, err)
			}
			var out string
			if err := s.Result(t.Context(), &out); err != nil || out != "in" {
				t.Errorf("%v: result %q, %v", proto, out, err)
			}
		})
	}
}

// What fails comes behind the parts that have come.
func TestStreamFails(t *testing.T) {
	refuse := frame.ErrorBody{Code: 422, Message: []byte("no")}
	for _, test := range []struct {
		name   string
		typ    frame.Type
		parts  int
		raised int
	}{
		{"NACK", frame.Nack, 0, 422},
		{"RES", frame.Res, 0, 422},
		{"RES behind parts", frame.Res, 3, 422},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, func(_ int, p *peer) {
					f := p.expect(frame.Call)
					if test.typ == frame.Res {
						p.ack(f)
					}
					p.parts(f, 1, test.parts)
					p.send(&frame.Frame{Type: test.typ, For: f.ID, Err: refuse})
					p.serve()
				})
				c := srv.client()
				s := startStream(t, c)
				synctest.Wait()
				n, err := take(t, s, 1, 0)
				if n != test.parts || !errors.Is(err, client.Code(test.raised)) || !strings.HasPrefix(err.Error(), "juggler: stream u: ") {
					t.Errorf("%d parts, %v", n, err)
				}
				if err := s.Result(t.Context(), nil); !errors.Is(err, client.Code(test.raised)) {
					t.Errorf("result: %v", err)
				}
			})
		})
	}
}

// What the server must not send ends its call, behind the parts before it, and nothing else.
func TestStreamFromABadServer(t *testing.T) {
	for _, test := range []struct {
		name  string
		send  func(p *peer, f *frame.Frame)
		parts int
		want  string
	}{
		{"hole", func(p *peer, f *frame.Frame) { p.parts(f, 1, 2); p.parts(f, 4, 4) }, 2, "part 4 of the answer came, want 3"},
		{"twice", func(p *peer, f *frame.Frame) { p.parts(f, 1, 1); p.parts(f, 1, 1) }, 1, "part 1 of the answer came, want 2"},
		{"too many", func(p *peer, f *frame.Frame) { p.parts(f, 1, 6) }, 4, "the client had asked for 4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, func(_ int, p *peer) {
					f := p.expect(frame.Call)
					p.ack(f)
					test.send(p, f)
					p.wantCancel(f)
					p.parts(f, 9, 9) // behind the RES
					p.serve()
				})
				c := srv.client()
				s := startStream(t, c, client.Window(4))
				synctest.Wait()
				n, err := take(t, s, 1, 0)
				if n != test.parts || err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%d parts, %v", n, err)
				}
				if err := c.Call(t.Context(), "other", nil, nil); err != nil {
					t.Error(err)
				}
				if n := srv.connections(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// Parts for what is no stream are ignored.
func TestPartsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(_ int, p *peer) {
			p.parts(&frame.Frame{ID: []byte("77")}, 1, 1)
			f := p.expect(frame.Call)
			p.ack(f)
			p.parts(f, 1, 1)
			p.result(f, `1`)
			p.serve()
		})
		var n int
		if err := srv.client().Call(t.Context(), "u", nil, &n); err != nil || n != 1 {
			t.Errorf("got %d, %v", n, err)
		}
	})
}

// However the application ends a stream, the callee is told, and a loop that waits, or has
// parts before it, ends.
func TestStreamEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(cancel context.CancelFunc, s *client.Stream)
		want error
	}{
		{"context", func(cancel context.CancelFunc, _ *client.Stream) { cancel() }, context.Canceled},
		{"loop left", func(_ context.CancelFunc, s *client.Stream) {
			for range s.Parts() {
				break
			}
		}, client.CodeCancelled},
		{"panic in the loop", func(_ context.CancelFunc, s *client.Stream) {
			defer func() { recover() }()
			for range s.Parts() {
				panic("body")
			}
		}, client.CodeCancelled},
		{"no T", func(_ context.CancelFunc, s *client.Stream) {
			for _, err := range client.PartsAs[string](s) {
				if wrong := new(json.UnmarshalTypeError); !errors.As(err, &wrong) {
					panic(err)
				}
			}
		}, client.CodeCancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				srv := newServer(t, func(_ int, p *peer) {
					f := p.expect(frame.Call)
					p.ack(f)
					p.parts(f, 1, 3)
					p.wantCancel(f)
					close(done)
					p.serve()
				})
				c := srv.client()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s, err := c.Stream(ctx, "u", nil)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				test.end(cancel, s)
				<-done
				if n, err := take(t, s, 1, 0); n != 0 || !errors.Is(err, test.want) {
					t.Errorf("then %d parts, %v", n, err)
				}
				if err := s.Result(t.Context(), nil); !errors.Is(err, test.want) {
					t.Errorf("result: %v", err)
				}
				if err := c.Shutdown(t.Context()); err != nil { // nothing is in flight
					t.Error(err)
				}
			})
		})
	}
}

// A loop that waits for a part ends with the context, whatever the server does.
func TestStreamContextEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(_ int, p *peer) {
			f := p.expect(frame.Call)
			if f.Timeout != time.Minute {
				t.Errorf("timeout %v", f.Timeout)
			}
			p.ack(f)
			p.parts(f, 1, 1)
			p.untilClosed()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := srv.client().Stream(ctx, "u", nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := take(t, s, 1, 0); n != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d parts, %v", n, err)
		}
	})
}

// A stream is repeated as a call is until a part has come, and never afterwards.
func TestStreamAndLostConnections(t *testing.T) {
	for _, test := range []struct {
		name   string
		parts  int
		opts   []client.StreamOption
		repeat bool
	}{
		{"nothing has come", 0, nil, false},
		{"nothing has come, idempotent", 0, []client.StreamOption{client.Idempotent()}, true},
		{"parts have come", 3, nil, false},
		{"parts have come, idempotent", 3, []client.StreamOption{client.Idempotent()}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, func(n int, p *peer) {
					if n == 1 {
						f := p.expect(frame.Call)
						p.ack(f)
						p.parts(f, 1, test.parts)
						p.drop()
						return
					}
					for f := p.next(); f != nil; f = p.next() {
						if f.Parts > 0 {
							p.ack(f)
							p.parts(f, 1, 2)
							p.result(f, `null`)
							continue
						}
						p.answer(f)
					}
				})
				c := srv.client()
				s := startStream(t, c, test.opts...)
				advance(time.Minute)
				n, err := take(t, s, 1, 0)
				if test.repeat {
					if n != 2 || err != nil {
						t.Errorf("%d parts, %v", n, err)
					}
					return
				}
				if n != test.parts || !errors.Is(err, client.ErrUnknownOutcome) {
					t.Errorf("%d parts, %v", n, err)
				}
				if said := strings.Contains(fmt.Sprint(err), "(3 parts of it had come)"); said != (test.parts > 0) {
					t.Errorf("got %v", err)
				}
				if err := c.Call(t.Context(), "other", nil, nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A stream goes on on the connection that the server ends.
func TestStreamAndGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(n int, p *peer) {
			if n > 1 {
				p.serve()
				return
			}
			f := p.expect(frame.Call)
			p.ack(f)
			p.parts(f, 1, 1)
			p.wantMore(f, 1)
			p.goAway(0)
			advance(time.Minute)
			p.parts(f, 2, 2)
			p.wantMore(f, 1)
			p.parts(f, 3, 3)
			p.wantMore(f, 1)
			p.result(f, `null`)
			p.untilClosed()
		})
		c := srv.client(client.WithCallTimeout(time.Hour))
		s := startStream(t, c, client.Window(2))
		if n, err := take(t, s, 1, 0); n != 3 || err != nil {
			t.Errorf("%d parts, %v", n, err)
		}
		if n := srv.connections(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// MORE keeps to the rate of messages that the server allows.
func TestStreamKeepsToRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parts = 200
		var last time.Time
		srv := newServer(t, func(_ int, p *peer) {
			f := p.expect(frame.Call)
			p.ack(f)
			for n := 1; n <= parts; n++ {
				p.parts(f, n, n)
				p.wantMore(f, 1)
			}
			last = time.Now()
			p.result(f, `null`)
			p.untilClosed()
		})
		srv.hello.Rates.Messages = frame.Rate{PerSecond: 100, Burst: 10}
		begin := time.Now()
		s := startStream(t, srv.client(), client.Window(1))
		if n, err := take(t, s, 1, 0); n != parts || err != nil {
			t.Errorf("%d parts, %v", n, err)
		}
		if d := last.Sub(begin); d < (parts-10)*time.Second/100 {
			t.Errorf("%d messages in %v", parts, d)
		}
	})
}

func TestStreamRefusesBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newServer(t, serveAll).client()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for _, test := range []struct {
			ctx  context.Context
			uri  string
			in   any
			opt  client.StreamOption
			want error
		}{
			{t.Context(), "u", nil, client.Window(0), client.ErrInvalidOption},
			{t.Context(), "u", nil, client.Window(frame.MaxParts + 1), client.ErrInvalidOption},
			{t.Context(), "", nil, client.Window(1), client.ErrInvalidOption},
			{ended, "u", nil, client.Window(1), context.Canceled},
			{t.Context(), "u", json.RawMessage("{"), client.Window(1), nil},
		} {
			if s, err := c.Stream(test.ctx, test.uri, test.in, test.opt); s != nil || err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, %v; want %v", s, err, test.want)
			}
		}
		c.Close()
		if _, err := c.Stream(t.Context(), "u", nil); !errors.Is(err, client.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

package calleekit_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/frame"
)

// wide is a window that no test fills.
var wide = broker.Window{Parts: 1000, Bytes: 1 << 20}

// count sends the numbers from 1 to n and returns "done".
func count(n int) calleekit.HandlerFunc {
	return func(ctx context.Context, c *calleekit.Call) (any, error) {
		for i := range n {
			if err := c.Send(ctx, i+1); err != nil {
				return nil, err
			}
		}
		return "done", nil
	}
}

// An answerer is a broker whose callees store parts by send.
type answerer struct {
	*system
	send func(ctx context.Context, p *broker.Part, store func() error) error
}

func (a answerer) OpenCallee(ctx context.Context, uris []string, cancelled func([]broker.Address)) (broker.CalleeConn, error) {
	return a.engine.OpenCallee(ctx, uris, cancelled)
}

func (a answerer) OpenStreamCallee(ctx context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	conn, err := a.engine.OpenStreamCallee(ctx, uris, cancelled, granted)
	return answererConn{conn, a}, err
}

type answererConn struct {
	broker.StreamCalleeConn
	a answerer
}

func (c answererConn) SendPart(ctx context.Context, p *broker.Part) error {
	return c.a.send(ctx, p, func() error { return c.StreamCalleeConn.SendPart(ctx, p) })
}

func TestPartsComeBeforeTheResult(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
		if !c.Streaming() {
			t.Error("Streaming is false")
		}
		own := json.RawMessage(`{"own": true}`)
		for _, v := range []any{1, "two", nil, own, c.Args, &c.Args, []int{3}} {
			if err := c.Send(ctx, v); err != nil {
				t.Error(err)
			}
		}
		clear(own)
		return "done", nil
	})
	s.start(c)
	r := s.stream("f", ` {}`, wide)
	if res := r.wait(); string(res.Args) != `"done"` || res.Parts != 7 {
		t.Errorf("result %+v, want done behind 7 parts", res)
	}
	r.wantParts(`1`, `"two"`, `null`, `{"own": true}`, ` {}`, ` {}`, `[3]`)
}

// A caller that wants no parts, or whose broker knows none, costs no encoding.
func TestACallerThatWantsNoPartsGetsNone(t *testing.T) {
	for name, b := range map[string]func(s *system) broker.Callee{
		"caller": func(s *system) broker.Callee { return s.engine },
		"broker": func(s *system) broker.Callee { return struct{ broker.Callee }{s.engine} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			c := s.callee(b(s))
			c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
				c.WrapSend(func(calleekit.SendFunc) calleekit.SendFunc { panic("wrapped") })
				return c.Streaming(), c.Send(ctx, badMarshaler{})
			})
			s.start(c)
			w := wide
			if name == "caller" {
				w = broker.Window{}
			}
			r := s.stream("f", "", w)
			r.want("false")
			r.wantParts()
		})
	}
}

// A function runs ahead of its caller by no more than the window, in parts and in bytes.
func TestSendWaitsForTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", count(5))
		s.start(c)
		r := s.stream("f", "", broker.Window{Parts: 2, Bytes: 100})
		synctest.Wait()
		r.wantParts("1", "2")
		r.grant(broker.Window{Parts: 100, Bytes: 2}) // the greater of each counts
		synctest.Wait()
		r.wantParts("1", "2", "3", "4", "5")
		r.want(`"done"`)

		r = s.stream("f", "", broker.Window{Parts: 100, Bytes: 1})
		synctest.Wait()
		r.wantParts("1")
		r.grant(broker.Window{Parts: 100, Bytes: 1})
		synctest.Wait()
		r.wantParts("1")
		r.grant(broker.Window{Bytes: 3})
		synctest.Wait()
		r.wantParts("1", "2", "3")
		if last := s.parts[r.to][2]; last.Window != (broker.Window{Parts: 100, Bytes: 3}) {
			t.Errorf("the last part knows the window %v", last.Window)
		}
		r.cancel()
	})
}

// What a broker grants before Take has returned the call counts, too.
func TestGrantBeforeTakeReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		made := make(chan *request)
		c := s.callee(earlyGranter{s, func() { (<-made).grant(wide) }})
		c.Handle("f", count(3))
		s.start(c)
		r := s.stream("f", "", broker.Window{Parts: 1, Bytes: 1})
		made <- r
		synctest.Wait()
		r.wantParts("1", "2", "3")
	})
}

type earlyGranter struct {
	*system
	granting func()
}

func (e earlyGranter) OpenCallee(context.Context, []string, func([]broker.Address)) (broker.CalleeConn, error) {
	panic("not called")
}

func (e earlyGranter) OpenStreamCallee(ctx context.Context, uris []string, cancelled func([]broker.Address), granted func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	conn, err := e.engine.OpenStreamCallee(ctx, uris, cancelled, granted)
	return earlyConn{conn, e}, err
}

type earlyConn struct {
	broker.StreamCalleeConn
	e earlyGranter
}

func (c earlyConn) Take(ctx context.Context, dst []broker.Call) (int, error) {
	n, err := c.StreamCalleeConn.Take(ctx, dst)
	if n > 0 {
		c.e.granting()
	}
	return n, err
}

// A Send that waits ends with its call, for the reason that this has.
func TestSendEndsWithTheCall(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(r *request, c *calleekit.Callee)
		err   error
		cause error
	}{
		{"cancelled", func(r *request, _ *calleekit.Callee) { r.cancel() }, context.Canceled, calleekit.ErrCancelled},
		{"expired", func(*request, *calleekit.Callee) { time.Sleep(time.Minute) }, context.DeadlineExceeded, context.DeadlineExceeded},
		{"node gone", func(r *request, _ *calleekit.Callee) { r.s.conn.Close() }, context.Canceled, calleekit.ErrCancelled},
		{"callee closed", func(_ *request, c *calleekit.Callee) { c.Close() }, context.Canceled, calleekit.ErrStopped},
	} {
		for name, derive := range map[string]func(context.Context) context.Context{
			"its own context":   func(ctx context.Context) context.Context { return ctx },
			"a foreign context": func(context.Context) context.Context { return context.Background() },
		} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSystem(t)
					c := s.callee(nil)
					returned := make(chan struct{})
					c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
						defer close(returned)
						err := c.Send(derive(ctx), 1)
						if err == nil {
							err = c.Send(derive(ctx), 2)
						}
						if err != tt.err || context.Cause(ctx) != tt.cause {
							t.Errorf("Send: %v, cause %v; want %v, cause %v", err, context.Cause(ctx), tt.err, tt.cause)
						}
						if err := c.Send(derive(ctx), 2); err != tt.err {
							t.Errorf("Send after the end: %v", err)
						}
						return nil, err
					})
					if err := c.Start(t.Context()); err != nil {
						t.Fatal(err)
					}
					r := s.stream("f", "", broker.Window{Parts: 1, Bytes: 1})
					synctest.Wait()
					tt.end(r, c)
					<-returned
					c.Close()
					r.wantParts("1")
				})
			})
		}
	}
}

// A Send that is given up before it has begun leaves the stream as it was.
func TestSendEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		c := s.callee(nil)
		c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
			c.Send(ctx, 1)
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if err := c.Send(short, "given up"); err != context.DeadlineExceeded {
				t.Errorf("Send with a context that ends: %v", err)
			}
			if err := c.Send(short, "given up"); err != context.DeadlineExceeded {
				t.Errorf("Send with a context that has ended: %v", err)
			}
			return nil, c.Send(ctx, 2)
		})
		s.start(c)
		r := s.stream("f", "", broker.Window{Parts: 1, Bytes: 1})
		time.Sleep(2 * time.Second)
		r.grant(wide)
		r.want("null")
		r.wantParts("1", "2")
	})
}

// A part that is refused is sent again, with the same number, after growing pauses.
func TestSendTriesAgain(t *testing.T) {
	for _, refusal := range []error{broker.ErrQueueFull, broker.ErrUnavailable, broker.ErrUnknownOutcome} {
		t.Run(refusal.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				var log logBook
				var tries []time.Time
				c := s.callee(answerer{s, func(_ context.Context, p *broker.Part, store func() error) error {
					if string(p.Args) == "2" && len(tries) < 4 {
						tries = append(tries, time.Now())
						return refusal
					}
					return store()
				}}, calleekit.WithLogger(log.logger()))
				c.Handle("f", count(3))
				s.start(c)
				r := s.stream("f", "", wide)
				r.want(`"done"`)
				r.wantParts("1", "2", "3")
				if first, last := tries[1].Sub(tries[0]), tries[3].Sub(tries[2]); first < 25*time.Millisecond || last < 100*time.Millisecond {
					t.Errorf("the pauses are %v, later %v", first, last)
				}
				if warned := strings.Contains(log.String(), "level=WARN"); warned == (refusal == broker.ErrQueueFull) {
					t.Errorf("the log is %s", log.String())
				}
			})
		})
	}
}

// A part that may be stored comes before all others. One that is certainly not stored is
// forgotten with its Send.
func TestAPartWhoseSendWasGivenUp(t *testing.T) {
	for _, tt := range []struct {
		refusal error
		stored  bool
		want    []string
	}{
		{broker.ErrUnknownOutcome, true, []string{"1", "1", "2"}},
		{broker.ErrUnknownOutcome, false, []string{"1", "2"}},
		{broker.ErrQueueFull, false, []string{"2"}},
		{broker.ErrUnavailable, false, []string{"2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			fails := true
			c := s.callee(answerer{s, func(_ context.Context, p *broker.Part, store func() error) error {
				if fails && tt.stored {
					store()
				}
				if fails {
					return tt.refusal
				}
				return store()
			}})
			c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
				short, cancel := context.WithTimeout(ctx, time.Millisecond)
				defer cancel()
				first := json.RawMessage("1")
				if err := c.Send(short, first); err != context.DeadlineExceeded {
					t.Errorf("Send: %v", err)
				}
				first[0] = '9'
				fails = false
				return nil, c.Send(ctx, 2)
			})
			s.start(c)
			r := s.stream("f", "", wide)
			r.want("null")
			var got []string
			last := uint32(0)
			for _, p := range s.parts[r.to] {
				got = append(got, string(p.Args))
				if p.N != last && p.N != last+1 {
					t.Errorf("%d follows %d", p.N, last)
				}
				last = p.N
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%v, stored %v: parts %v, want %v", tt.refusal, tt.stored, got, tt.want)
			}
		})
	}
}

// When the broker says that a call is over, or is itself closed, the call ends.
func TestSendToACallThatIsOver(t *testing.T) {
	for _, tt := range []struct {
		refusal, cause error
		code           frame.Code
		message        string
	}{
		{broker.ErrCallOver, calleekit.ErrCancelled, 502, "the broker took no more of the answer"}, // nobody has cancelled it
		{broker.ErrClosed, calleekit.ErrStopped, 499, "the call was cancelled"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			c := s.callee(answerer{s, func(context.Context, *broker.Part, func() error) error { return tt.refusal }})
			c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
				err := c.Send(ctx, 1)
				if err != context.Canceled || context.Cause(ctx) != tt.cause {
					t.Errorf("%v: Send: %v, cause %v", tt.refusal, err, context.Cause(ctx))
				}
				return nil, err
			})
			s.start(c)
			s.stream("f", "", wide).wantError(tt.code, tt.message)
		})
	}
}

// A part that is no JSON is an error that says so, and the next one takes its place.
func TestSendOfWhatIsNoJSON(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
		for v, text := range map[any]string{
			make(chan int): "unsupported type: chan int",
		} {
			if err := c.Send(ctx, v); err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("Send: %v", err)
			}
		}
		for _, raw := range []string{"{", "\"\xff\""} {
			if err := c.Send(ctx, json.RawMessage(raw)); err == nil || !strings.Contains(err.Error(), "part cannot be encoded") {
				t.Errorf("Send of %q: %v", raw, err)
			}
		}
		return nil, c.Send(ctx, 1)
	})
	s.start(c)
	r := s.stream("f", "", wide)
	r.want("null")
	r.wantParts("1")
}

// A goroutine that outlives its function sends nothing, neither there nor to the calls
// that come after.
func TestSendAfterTheFunctionReturned(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil, calleekit.WithConcurrency(1))
	var kept *calleekit.Call
	c.Handle("keep", func(_ context.Context, c *calleekit.Call) (any, error) { kept = c; return nil, nil })
	c.Handle("late", func(ctx context.Context, c *calleekit.Call) (any, error) {
		if err := kept.Send(ctx, "late"); (err != nil) != kept.Streaming() {
			t.Errorf("Send after the end: %v", err)
		}
		return nil, nil
	})
	s.start(c)
	for _, w := range []broker.Window{wide, {}, wide} {
		first := s.stream("keep", "", w)
		first.want("null")
		for range 3 {
			next := s.stream("late", "", wide)
			next.want("null")
			next.wantParts()
		}
		first.wantParts()
	}
}

// A leaked goroutine that calls Send all the time is not a data race with calls that
// follow, parts or not.
func TestSendAllTheTime(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	var leaked sync.WaitGroup
	stop := make(chan struct{})
	c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
		leaked.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.Send(ctx, 1)
					runtime.Gosched()
				}
			}
		})
		return nil, nil
	})
	s.start(c)
	for i := range 20 {
		r := s.stream("f", "", []broker.Window{{}, wide}[i%2])
		res := r.wait()
		s.mu.Lock()
		if n := len(s.parts[r.to]); n != int(res.Parts) {
			t.Errorf("%d parts have come, the result says %d", n, res.Parts)
		}
		s.mu.Unlock()
	}
	close(stop)
	leaked.Wait()
}

// A result does not leave before a part that is on its way, whose arguments may be the
// call's. Nor may two goroutines send at a time.
func TestAPartOnItsWayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		sending, proceed := make(chan struct{}), make(chan struct{})
		c := s.callee(answerer{s, func(ctx context.Context, _ *broker.Part, store func() error) error {
			close(sending)
			<-ctx.Done()
			<-proceed
			return store()
		}})
		sent := make(chan error, 1)
		c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
			go func() { sent <- c.Send(ctx, c.Args) }()
			<-sending
			if err := c.Send(ctx, 2); err == nil || !strings.Contains(err.Error(), "another goroutine") {
				t.Errorf("a second Send at the time: %v", err)
			}
			return nil, nil
		})
		s.start(c)
		r := s.stream("f", "1", wide)
		synctest.Wait()
		select {
		case res := <-r.result:
			t.Errorf("answered with %+v while a part is on its way", res)
		default:
		}
		close(proceed)
		if res := r.wait(); res.Parts != 1 {
			t.Errorf("result %+v, want one part", res)
		}
		if err := <-sent; err != nil {
			t.Errorf("Send: %v", err)
		}
		r.wantParts("1")
	})
}

// A function that fails in the midst of its parts ends as any other.
func TestFailureAmongParts(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic":  func() { panic("x") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			c := s.callee(nil)
			c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
				c.Send(ctx, 1)
				fail()
				return nil, nil
			})
			s.start(c)
			r := s.stream("f", "", wide)
			if res := r.wait(); res.Err == nil || res.Err.Code != 500 || res.Parts != 1 {
				t.Errorf("result %+v, want 500 behind one part", res)
			}
			r.wantParts("1")
		})
	}
}

// Middleware sees parts, also those that a function sends by CallFrom.
func TestMiddlewareSeesParts(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	double := func(next calleekit.Handler) calleekit.Handler {
		return calleekit.HandlerFunc(func(ctx context.Context, c *calleekit.Call) (any, error) {
			c.WrapSend(func(next calleekit.SendFunc) calleekit.SendFunc {
				return func(ctx context.Context, v any) error { return next(ctx, 2*v.(int)) }
			})
			return next.ServeCall(ctx, c)
		})
	}
	c.Use(double)
	c.Handle("f", calleekit.Typed(func(ctx context.Context, n int) (int, error) {
		return n, calleekit.CallFrom(ctx).Send(ctx, n)
	}), calleekit.WithMiddleware(double))
	s.start(c)
	r := s.stream("f", "3", wide)
	r.want("3")
	r.wantParts("12")
}

// A function that answers in parts is not called on the goroutine of an event loop, and
// how long it waits for its caller does not count.
func TestStreamsAreNotLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ran := map[bool]string{} // by Streaming
		s, _ := newLendingSystem(t, func(ctx context.Context, c *calleekit.Call) (any, error) {
			mu.Lock()
			ran[c.Streaming()] = goroutine()
			mu.Unlock()
			return 1, c.Send(ctx, 1)
		})
		s.becomeQuick()
		for range 40 {
			r := s.stream("f", "", broker.Window{Bytes: 1})
			if _, name := s.work(1); ran[true] == name {
				t.Fatal("a function that answers in parts was called on the lent goroutine")
			}
			time.Sleep(time.Second)
			r.grant(wide)
			r.want("1")
			if _, name := s.work(1); ran[false] != name {
				t.Fatal("the function counts as slow now")
			}
		}
	})
}

func numbers(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i+1, nil) {
				return
			}
		}
		if n > 2 {
			yield(0, calleekit.Errorf(422, "%d is too many", n))
		}
	}
}

func TestStream(t *testing.T) {
	s := newSystem(t)
	c := s.callee(nil)
	c.Handle("f", calleekit.Stream(numbers))
	s.start(c)
	r := s.stream("f", "2", wide)
	r.want("null")
	r.wantParts("1", "2")
	s.call("f", "2").want("null")

	r = s.stream("f", "3", wide)
	r.wantError(422, "3 is too many")
	r.wantParts("1", "2", "3")
	s.stream("f", "true", wide).wantError(400, "args: want an integer, got a boolean")
}

// Nothing is asked of an iterator once its call is over, whether it sends or not.
func TestStreamStopsWithItsCall(t *testing.T) {
	for name, w := range map[string]broker.Window{"parts": {Parts: 3, Bytes: 100}, "no parts": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				c := s.callee(nil)
				stopped := false
				c.Handle("f", calleekit.Stream(func(ctx context.Context, _ any) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						for yield(1, nil) {
							time.Sleep(time.Second)
						}
						stopped = true
					}
				}))
				s.start(c)
				r := s.stream("f", "", w)
				time.Sleep(5 * time.Second)
				r.cancel()
				time.Sleep(time.Second)
				synctest.Wait()
				if !stopped {
					t.Error("the iterator runs on")
				}
			})
		})
	}
}

func TestRecorder(t *testing.T) {
	var r calleekit.Recorder
	typed := calleekit.Typed(func(ctx context.Context, n int) (int, error) {
		return n, calleekit.CallFrom(ctx).Send(ctx, n)
	})
	result, err := r.Serve(t.Context(), typed, &calleekit.Call{Args: json.RawMessage("7")})
	if string(result) != "7" || err != nil || len(r.Parts) != 1 || string(r.Parts[0]) != "7" {
		t.Errorf("result %s, %v, parts %s", result, err, r.Parts)
	}

	r = calleekit.Recorder{Most: 2}
	var kept *calleekit.Call
	_, err = r.Serve(t.Context(), func(ctx context.Context, c *calleekit.Call) (any, error) {
		kept = c
		_, err := count(3)(ctx, c)
		if context.Cause(ctx) != calleekit.ErrCancelled {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
		return nil, err
	}, &calleekit.Call{})
	if !errors.Is(err, context.Canceled) || len(r.Parts) != 2 {
		t.Errorf("a caller that takes two parts has got %s and %v", r.Parts, err)
	}
	if err := kept.Send(t.Context(), 1); err == nil {
		t.Error("Send after the end succeeds")
	}
}

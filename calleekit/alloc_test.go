package calleekit_test

import (
	"context"
	"math"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/race"
)

// A call costs no allocation of its own: contexts are allocated 64 at a time,
// everything else is used again. Only a result that is a slice costs one, as
// it becomes an interface value.
func TestAllocations(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    calleekit.HandlerFunc
		want float64
	}{
		{"pointer to the arguments", func(_ context.Context, c *calleekit.Call) (any, error) { return &c.Args, nil }, 0},
		{"the arguments", func(_ context.Context, c *calleekit.Call) (any, error) { return c.Args, nil }, 1},
		{"asking Err and Deadline", func(ctx context.Context, c *calleekit.Call) (any, error) {
			ctx.Deadline()
			return &c.Args, ctx.Err()
		}, 0},
	} {
		b := &loop{answered: make(chan struct{}), next: make(chan struct{})}
		c, err := calleekit.New(b)
		if err != nil {
			t.Fatal(err)
		}
		c.Handle("f", tt.f)
		if err := c.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		got := testing.AllocsPerRun(1000, func() {
			b.next <- struct{}{}
			<-b.answered
		})
		if got != tt.want && !race.Enabled {
			t.Errorf("%s: %v allocations a call, want %v", tt.name, got, tt.want)
		}
		if err := c.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// A loop is a broker with one call, made again and again. It allocates nothing,
// so that what is measured is the kit's.
type loop struct {
	next, answered chan struct{}
	last           broker.Result // to be read after answered
}

func (l *loop) OpenCallee(context.Context, []string, func([]broker.Address)) (broker.CalleeConn, error) {
	return l, nil
}

var loopArgs = []byte(`"hello"`)

func (l *loop) Take(ctx context.Context, dst []broker.Call) (int, error) {
	select {
	case <-l.next:
		dst[0] = broker.Call{URI: "f", Args: loopArgs, Timeout: 1 << 40}
		return 1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (l *loop) Reply(_ context.Context, results []broker.Result) error {
	for _, r := range results {
		l.last = r
		l.answered <- struct{}{}
	}
	return nil
}

func (l *loop) Close() error { return nil }

// A part costs no allocation either, but for what encoding/json makes.
func TestSendAllocatesNothing(t *testing.T) {
	b := &streamLoop{loop{answered: make(chan struct{}), next: make(chan struct{})}}
	c, err := calleekit.New(b)
	if err != nil {
		t.Fatal(err)
	}
	next, sent := make(chan struct{}), make(chan struct{})
	c.Handle("f", func(ctx context.Context, c *calleekit.Call) (any, error) {
		for range next {
			if err := c.Send(ctx, &c.Args); err != nil {
				return nil, err
			}
			sent <- struct{}{}
		}
		return nil, nil
	})
	if err := c.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.next <- struct{}{}
	got := testing.AllocsPerRun(1000, func() {
		next <- struct{}{}
		<-sent
	})
	if got != 0 && !race.Enabled {
		t.Errorf("%v allocations a part, want none", got)
	}
	close(next)
	<-b.answered
	if err := c.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// A streamLoop is a loop whose callers take any number of parts.
type streamLoop struct{ loop }

func (l *streamLoop) OpenStreamCallee(context.Context, []string, func([]broker.Address), func([]broker.Grant)) (broker.StreamCalleeConn, error) {
	return l, nil
}

func (l *streamLoop) Take(ctx context.Context, dst []broker.Call) (int, error) {
	n, err := l.loop.Take(ctx, dst)
	dst[0].Window = broker.Window{Parts: math.MaxUint32, Bytes: math.MaxUint64}
	return n, err
}

func (l *streamLoop) SendPart(context.Context, *broker.Part) error { return nil }

// A call to a URI that was not announced, a fault of the broker, is answered.
func TestUnknownURI(t *testing.T) {
	b := &loop{answered: make(chan struct{}), next: make(chan struct{})}
	c, err := calleekit.New(b)
	if err != nil {
		t.Fatal(err)
	}
	c.Handle("other", echo)
	if err := c.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.next <- struct{}{}
	<-b.answered
	if b.last.Err == nil || b.last.Err.Code != 404 {
		t.Errorf("answered with %v, want code 404", b.last.Err)
	}
	if err := c.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

package calleekit

import (
	"math"
	"time"

	"github.com/juggler-go/juggler/broker"
)

const contextChunk = 64 // contexts allocated at once

// A task is one call from Take to Reply. Tasks are used again and again, unless they have
// a stream; their contexts are not.
type task struct {
	call     Call
	ctx      *callContext
	route    *route        // nil: the engine delivered a URI that was not announced
	stream   *stream       // nil: the answer has no parts
	result   broker.Result // To is set from the start
	position int           // in pool.active
	next     *task         // in a taskList
}

// A taskStore makes and keeps tasks.
type taskStore struct {
	free     taskList
	contexts []callContext // what is left of a chunk
}

// get returns a task for a call that p took at the time now, and empties c.
func (s *taskStore) get(p *pool, c *broker.Call, now time.Duration) *task {
	if len(s.contexts) == 0 {
		s.contexts = make([]callContext, contextChunk)
	}
	ctx := &s.contexts[0]
	s.contexts = s.contexts[1:]
	route := p.routes[c.URI]
	streams := p.parts != nil && route != nil && !c.Window.IsZero()
	var t *task
	if !streams {
		t = s.free.pop()
	}
	if t == nil {
		t = new(task)
	}
	t.call.reset(*c, route != nil && route.strictArgs)
	t.ctx = ctx
	t.route = route
	if streams {
		t.stream = newStream(p, c, ctx)
		t.call.send = t.stream.send
	}
	t.result.To = c.ReplyTo
	ctx.pool, ctx.call = p, &t.call
	ctx.deadline = now + min(c.Timeout, math.MaxInt64-now)
	*c = broker.Call{}
	return t
}

// put takes a task back that nobody uses any more.
func (s *taskStore) put(t *task) {
	if t.stream != nil {
		return
	}
	t.call.reset(broker.Call{}, false)
	t.ctx, t.result = nil, broker.Result{}
	s.free.push(t)
}

// A taskList is a queue of tasks linked by their next.
type taskList struct {
	first, last *task
	len         int
}

func (l *taskList) push(t *task) {
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
	l.len++
}

// pop removes the first task and returns it, or nil if there is none.
func (l *taskList) pop() *task {
	t := l.first
	if t == nil {
		return nil
	}
	l.first, t.next = t.next, nil
	if l.first == nil {
		l.last = nil
	}
	l.len--
	return t
}

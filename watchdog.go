package juggler

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/internal/ratelog"
)

// blockedAfter is after how much time code that was declared never to wait is taken to do
// so. It is much more than such code takes, as a busy machine may stop any for a while.
// Doc comments and docs/guide.md say it, too.
const blockedAfter = 100 * time.Millisecond

// A watchdog finds code of the user that waits in spite of its declaration. On the turn it
// may never come back, so the shard notes what it enters, and the watchdog looks there now
// and then while anything is entered at all. Off the turn it measures the time.
type watchdog struct {
	h       *Handler
	looking atomic.Bool // look is going to be called
	timer   *time.Timer // calls look

	// The following are look's.
	seen  [maxShards]uint64 // what ran in each shard at the last look
	found [maxShards]uint64 // what was last found to wait there

	said ratelog.Once // by function
}

func (w *watchdog) init(h *Handler) {
	w.h = h
	h.authorizerPC = authorizerPC(h.cfg.authorizer)
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
}

// A userCall is a call of a function of the user.
type userCall struct {
	sh    *shard    // whose turn it is on; nil: on none
	began time.Time // if it is on none
	pc    uintptr
}

// pcOf returns where the code of f is, a function.
func pcOf(f any) uintptr { return reflect.ValueOf(f).Pointer() }

// authorizerPC returns where the code of an authorizer is, 0 if it may wait.
func authorizerPC(a Authorizer) uintptr {
	if f, ok := a.(nonBlocking); ok {
		return pcOf(f.AuthorizerFunc)
	}
	if neverBlocks(a) {
		if m, ok := reflect.TypeOf(a).MethodByName("Authorize"); ok {
			return m.Func.Pointer()
		}
	}
	return 0
}

// enter notes that the function at pc is about to be called for r. leave must follow,
// unless it ends the goroutine.
func (h *Handler) enter(r *Request, pc uintptr) userCall {
	if r.onTurn() {
		return r.s.shard.enter(pc)
	}
	return userCall{began: time.Now(), pc: pc}
}

// leave follows enter.
func (h *Handler) leave(c userCall) {
	if c.sh != nil {
		c.sh.userCode.Store(0)
	} else if took := time.Since(c.began); took > blockedAfter {
		h.watchdog.bark(c.pc, took)
	}
}

// enter is that of a Handler on the turn.
func (sh *shard) enter(pc uintptr) userCall {
	sh.userCalls++
	sh.userCode.Store(uint64(sh.userCalls)<<32 | uint64(uint32(pc-codeBase)))
	if w := &sh.h.watchdog; !w.looking.Load() {
		w.start()
	}
	return userCall{sh: sh, pc: pc}
}

// codeBase is where the code of the program is, all of it within 2 GiB: so 32 bits say
// which function runs, and leave room to tell one call of it from the next in one word.
var codeBase = pcOf(runtime.Gosched)

// start has look called soon.
func (w *watchdog) start() {
	if w.looking.CompareAndSwap(false, true) {
		w.timer.Reset(blockedAfter)
	}
}

// look finds calls that it has seen at the last look already.
func (w *watchdog) look() {
	for i := range w.seen {
		at := w.running(i)
		if at != 0 && at == w.seen[i] && at != w.found[i] {
			w.found[i] = at
			w.bark(codeBase+uintptr(int32(at)), blockedAfter)
		}
		w.seen[i] = at
	}
	if w.anyRuns() {
		w.timer.Reset(blockedAfter)
		return
	}
	w.looking.Store(false)
	if w.anyRuns() { // entered before that, and so nobody has called start
		w.start()
	}
}

// running returns what the userCode of a shard says.
func (w *watchdog) running(number int) uint64 {
	if sh := w.h.shards[number].Load(); sh != nil {
		return sh.userCode.Load()
	}
	return 0
}

func (w *watchdog) anyRuns() bool {
	for i := range w.seen {
		if w.running(i) != 0 {
			return true
		}
	}
	return false
}

// bark says that a function waits.
func (w *watchdog) bark(pc uintptr, after time.Duration) {
	w.h.stats.blocked.Add(1)
	f := runtime.FuncForPC(pc)
	if f == nil || !w.said.First(f.Name()) {
		return
	}
	file, line := f.FileLine(pc) // of a method value it is no place in the source
	w.h.logs.Plain().Warn("a function that was declared never to wait does, and holds up many sessions",
		"function", strings.TrimSuffix(f.Name(), "-fm"), "source", fmt.Sprintf("%s:%d", file, line), "after", after)
}

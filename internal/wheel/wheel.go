// Package wheel keeps many deadlines at constant cost each: a hierarchical
// timer wheel whose nodes are embedded by value in what they time, so that
// setting, moving and removing a timer takes O(1) and never allocates.
//
// A wheel has no clock and no goroutine. Its owner passes the time to
// [Wheel.Advance] and asks [Wheel.Next] how long it may sleep. Times are
// milliseconds on any clock that starts at zero or above and never goes back.
package wheel

import "math/bits"

// A level has 64 slots, so one word says which of them are in use, and eleven
// levels of 6 bits cover every int64: no timer is too far away.
const (
	slotBits = 6
	slots    = 1 << slotBits
	levels   = 11
)

// Timer is the node of one deadline of one T. Embed it by value and do not
// copy it while it is active. Set Owner once, before the first [Wheel.Set]:
// it is what the wheel passes to fire.
type Timer[T any] struct {
	Owner *T

	at   int64
	next *Timer[T]
	// Where the pointer to this node is stored: in the slot or in the node
	// before. Nil while the timer is inactive.
	link **Timer[T]
}

// Active reports whether the timer is set and has not fired.
func (t *Timer[T]) Active() bool { return t.link != nil }

// At returns the time that the timer was last set to.
func (t *Timer[T]) At() int64 { return t.at }

// push puts t at the head of the list that starts at *head.
func (t *Timer[T]) push(head **Timer[T]) {
	t.next = *head
	if t.next != nil {
		t.next.link = &t.next
	}
	t.link = head
	*head = t
}

// unlink takes t out of whatever list it is in.
func (t *Timer[T]) unlink() {
	*t.link = t.next
	if t.next != nil {
		t.next.link = t.link
	}
	t.next, t.link = nil, nil
}

// Wheel holds timers. The zero value is empty, at time zero. It is not safe
// for concurrent use and must not be copied once a timer was set.
//
// A timer lies on the level of the highest 6-bit digit in which its time
// differs from the wheel's, in the slot of that digit. As time only moves
// forward, no slot in use lies behind the wheel's own digit, the lowest level
// in use holds the earliest timers, and nothing ever wraps around.
type Wheel[T any] struct {
	now    int64 // as of the last Advance
	cursor int64 // up to where slots were emptied; behind now during Advance
	used   [levels]uint64
	slots  [levels][slots]*Timer[T]
	due    *Timer[T] // set to a time that has come: for the next Advance
	firing *Timer[T] // what Advance is about to fire
}

// Set starts t, or moves it if it is active, to fire at the time at. A time
// that has come already means the next Advance, never the one in progress.
func (w *Wheel[T]) Set(t *Timer[T], at int64) {
	if t.link != nil {
		t.unlink()
	}
	t.at = at
	if at <= w.now {
		t.push(&w.due)
		return
	}
	w.place(t)
}

// Remove stops t. It does nothing if t is not active.
func (w *Wheel[T]) Remove(t *Timer[T]) {
	if t.link != nil {
		t.unlink()
	}
}

// Advance moves the wheel to now and calls fire for each timer whose time has
// come, in the order of their times (equal times in any order; so those that
// had come when they were set, which are the first). The timer is
// inactive when fire gets its owner; fire may set and remove any timers. An
// earlier now than before does not move the wheel.
func (w *Wheel[T]) Advance(now int64, fire func(owner *T)) {
	w.now = max(w.now, now)
	w.fireAll(&w.due, fire)
	for {
		level, slot, start := w.first()
		if level < 0 || start > w.now {
			break
		}
		w.cursor = start
		w.used[level] &^= 1 << slot
		if level == 0 {
			w.fireAll(&w.slots[0][slot], fire)
			continue
		}
		// What is due at this very moment has to fire before the slots that
		// follow; everything else moves to a lower level.
		for t := w.take(&w.slots[level][slot]); t != nil; t = w.firing {
			t.unlink()
			w.place(t)
		}
	}
	w.cursor = w.now
}

// Next returns when Advance has something to do: at the latest when the
// earliest timer is due, sometimes before. It returns false if no timer is
// set. The time has passed if a timer was set to a time that had.
func (w *Wheel[T]) Next() (at int64, ok bool) {
	if w.due != nil {
		return w.now, true
	}
	level, _, start := w.first()
	return start, level >= 0
}

// place puts t, which is due after the cursor or at it, where it belongs.
func (w *Wheel[T]) place(t *Timer[T]) {
	level := 0
	if differ := uint64(t.at ^ w.cursor); differ != 0 {
		level = (bits.Len64(differ) - 1) / slotBits
	}
	slot := uint64(t.at) >> (level * slotBits) % slots
	w.used[level] |= 1 << slot
	t.push(&w.slots[level][slot])
}

// first finds the earliest slot in use and when it begins, and level -1 if
// there is none. Slots that Set or Remove left empty are forgotten here.
func (w *Wheel[T]) first() (level, slot int, start int64) {
	for level := range levels {
		for w.used[level] != 0 {
			slot := bits.TrailingZeros64(w.used[level])
			if w.slots[level][slot] == nil {
				w.used[level] &^= 1 << slot
				continue
			}
			shift := level * slotBits
			above := uint64(w.cursor) &^ (uint64(1)<<(shift+slotBits) - 1)
			return level, slot, int64(above | uint64(slot)<<shift)
		}
	}
	return -1, 0, 0
}

// take moves the list at *head to w.firing, where Remove still finds its
// members, and returns its first.
func (w *Wheel[T]) take(head **Timer[T]) *Timer[T] {
	w.firing, *head = *head, nil
	if w.firing != nil {
		w.firing.link = &w.firing
	}
	return w.firing
}

// fireAll fires the timers of the list at *head as it is now.
func (w *Wheel[T]) fireAll(head **Timer[T], fire func(owner *T)) {
	for t := w.take(head); t != nil; t = w.firing {
		t.unlink()
		fire(t.Owner)
	}
}

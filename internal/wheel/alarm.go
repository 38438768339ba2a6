package wheel

import "time"

// An Alarm is the clock of wheels whose owner has no turn of its own: it calls a function on
// a goroutine of its own when the next deadline is due. The owner's lock guards it, but for
// Now.
type Alarm struct {
	epoch   time.Time
	ring    func()
	timer   *time.Timer
	at      int64 // when timer fires, if it is set; 0: it is not
	stopped bool
}

// NewAlarm returns an alarm that calls ring, which calls Rung first.
func NewAlarm(ring func()) Alarm { return Alarm{epoch: time.Now(), ring: ring} }

// Now returns the time, in milliseconds.
func (a *Alarm) Now() int64 { return time.Since(a.epoch).Milliseconds() }

// Set has the alarm ring at a time, or before.
func (a *Alarm) Set(at int64) {
	if a.at > 0 && a.at <= at || a.stopped {
		return
	}
	a.at = max(at, 1)
	after := time.Until(a.epoch.Add(time.Duration(at) * time.Millisecond))
	if a.timer == nil {
		a.timer = time.AfterFunc(after, a.ring)
	} else {
		a.timer.Reset(after)
	}
}

// Rung says that the alarm has rung.
func (a *Alarm) Rung() { a.at = 0 }

// SetNext is Set for what [Wheel.Next] returns, after Advance.
func (a *Alarm) SetNext(at int64, ok bool) {
	if ok {
		a.Set(max(at, a.Now()+1))
	}
}

// Stop has the alarm ring no more, unless it is just about to.
func (a *Alarm) Stop() {
	a.stopped = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

package juggler

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// follower gathers, on the turns of sessions, what one that follows them reads.
type follower struct {
	h       *Handler
	session broker.ID // zero: it follows a user
	user    string
	text    bool
	most    time.Duration
	wake    chan struct{} // has a value when there is something to read

	mu      sync.Mutex // guards the following
	left    int        // frames that may still be gathered
	frames  []FollowedFrame
	lost    int    // since the last of frames
	end     string // why it is over, or ""
	release func() // what begin has begun
	frame   frame.Frame
	buf     []byte
}

// begin has f follow, for its time. It returns false if somebody is followed already.
func (f *follower) begin(ctx context.Context) bool {
	f.mu.Lock() // what ends f at once waits until it has begun
	defer f.mu.Unlock()
	if !f.h.follower.CompareAndSwap(nil, f) {
		return false
	}
	over, cancel := context.WithTimeout(ctx, f.most)
	forgetTime := context.AfterFunc(over, func() {
		if ctx.Err() != nil {
			f.finish(cancelledFollowing)
			return
		}
		f.finish("its time is over")
	})
	forgetHandler := context.AfterFunc(f.h.ctx, func() { f.finish(shutdownWhileFollowed) })
	f.release = func() {
		forgetTime()
		forgetHandler()
		cancel()
	}
	return true
}

// finish ends f: it follows nobody any more. What was gathered can still be read.
func (f *follower) finish(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finishLocked(why)
}

// finishLocked is finish with mu held.
func (f *follower) finishLocked(why string) {
	if f.end != "" {
		return
	}
	f.end = why
	f.h.follower.CompareAndSwap(f, nil)
	f.release()
	f.wakeUp()
}

// wakeUp has each look for more.
func (f *follower) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// each calls yield for what is gathered, until the end.
func (f *follower) each(yield func(FollowedFrame) bool) {
	defer f.finish(cancelledFollowing)
	for {
		frames, lost, end := f.take()
		for i := range frames {
			if !yield(frames[i]) {
				return
			}
		}
		if end != "" {
			yield(FollowedFrame{Time: time.Now(), Lost: lost, End: end})
			return
		}
		<-f.wake // its time ends at the latest
	}
}

// take returns what was gathered, and if that is all why, with what was lost behind it.
func (f *follower) take() (frames []FollowedFrame, lost int, end string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames, f.frames = f.frames, nil
	return frames, f.lost, f.end
}

// follows reports whether s is followed.
func (f *follower) follows(s *session) bool {
	if f.session != (broker.ID{}) {
		return s.id == f.session
	}
	return userOf(s.identity.Load()) == f.user
}

// note gathers what describe says of s, with mu held, if there is room for it.
func (f *follower) note(s *session, describe func(*FollowedFrame)) {
	if !f.follows(s) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.end != "":
		return
	case len(f.frames) == followBuffer:
		f.lost++
		return
	}
	note := FollowedFrame{Time: time.Now(), Session: idText(s.id), Lost: f.lost}
	describe(&note)
	f.frames = append(f.frames, note)
	f.lost = 0
	f.wakeUp()
	if f.left--; f.left == 0 {
		f.finishLocked("it has as many frames as were asked for")
	}
}

// received notes a message of the client of s, which was decoded.
func (f *follower) received(s *session, size int, m *frame.Frame, err error) {
	f.note(s, func(note *FollowedFrame) {
		note.ByClient, note.Bytes = true, size
		if err == nil {
			f.describe(note, m, m.ID)
			return
		}
		var d *frame.DecodeError
		if errors.As(err, &d) {
			note.Type, note.Code = m.Type, int(d.Code)
			if d.Nack {
				note.ID = begins(m.ID, frame.MaxID)
			}
		}
	})
}

// sent notes a message to the client of s, which is encoded, unless f is nil: nobody follows.
// It is inlined, as each message passes here.
func (f *follower) sent(s *session, payload []byte) {
	if f != nil {
		f.noteSent(s, payload)
	}
}

// sentFramed is sent of a frame.
func (f *follower) sentFramed(s *session, framed []byte) {
	if f != nil {
		f.noteFramed(s, framed)
	}
}

func (f *follower) noteFramed(s *session, framed []byte) { f.noteSent(s, wsconn.Payload(framed)) }

func (f *follower) noteSent(s *session, payload []byte) {
	if s.state >= closing {
		return
	}
	f.note(s, func(note *FollowedFrame) {
		note.Bytes = len(payload)
		f.buf = append(f.buf[:0], payload...) // decoding changes it
		if s.protocol.DecodeAnswer(f.buf, &f.frame) == nil {
			f.describe(note, &f.frame, f.frame.For)
		}
	})
}

// describe says of a message what may be told.
func (f *follower) describe(note *FollowedFrame, m *frame.Frame, id []byte) {
	note.Type, note.Code = m.Type, m.Err.Code
	note.Pattern, note.Own = m.Pattern, m.Own
	name := m.URI
	if len(name) == 0 {
		name = m.Channel
	}
	note.ID, note.Name = begins(id, frame.MaxID), begins(name, maxFollowedName)
	if m.Type == frame.Cancel {
		note.ID = begins(m.For, frame.MaxID)
	}
	switch {
	case !f.text:
	case m.Err.Code != 0:
		note.Text = begins(m.Err.Message, maxFollowedText)
	default:
		note.Text = begins(m.Args, maxFollowedText)
	}
}

// closed notes that s was closed.
func (f *follower) closed(s *session, e *wsconn.CloseError) {
	f.note(s, func(note *FollowedFrame) {
		note.Close, note.ByClient = int(e.Code), e.Remote
		if f.text {
			note.Text = begins([]byte(e.Reason), maxFollowedText)
		}
	})
	if s.id == f.session {
		f.finish("the session has ended")
	}
}

// WriteText and the others take the place of those of the connection, to tell a follower.

func (s *session) WriteText(payload []byte) {
	s.shard.h.follower.Load().sent(s, payload)
	s.Conn.WriteText(payload)
}

func (s *session) WriteTextDelayed(payload []byte) {
	s.shard.h.follower.Load().sent(s, payload)
	s.Conn.WriteTextDelayed(payload)
}

func (s *session) WriteRaw(framed []byte) {
	s.shard.h.follower.Load().sentFramed(s, framed)
	s.Conn.WriteRaw(framed)
}

package ratelog

import (
	"strings"
	"sync"
	"time"
)

// Again is how long what was said once is not said again.
const Again = 10 * time.Minute

// maxSubjects bounds what a Once remembers, as clients may choose the subjects.
const maxSubjects = 64

// Once tells which mistakes are to be said, so that each is said once in a while, however
// often it is made. Where many different ones are made, some are not said. The zero Once
// has said nothing. Its methods may be called concurrently.
type Once struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// First reports whether nothing was said of the subject lately, and counts it as said
// now. With a subject that was said it does not allocate.
func (o *Once) First(subject string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if at, ok := o.said[subject]; ok && now.Sub(at) < Again {
		return false
	}
	if len(o.said) >= maxSubjects {
		o.forget(now)
	}
	if len(o.said) >= maxSubjects {
		return false
	}
	if o.said == nil {
		o.said = make(map[string]time.Time)
	}
	o.said[strings.Clone(subject)] = now // the caller's may be a part of something large
	return true
}

// forget forgets what may be said again.
func (o *Once) forget(now time.Time) {
	for subject, at := range o.said {
		if now.Sub(at) >= Again {
			delete(o.said, subject)
		}
	}
}

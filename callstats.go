package juggler

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// CallCount is how many calls to a URI have ended with a code, and how long they took
// together; see [CallEnd].
type CallCount struct {
	URI   string // "": those that have no place of their own
	Code  int    // or [OtherCodes]
	Count uint64

	Total, Ran time.Duration
}

// WithCallStats has [Stats] count calls by URI and code, with the time that they took:
// for so many URIs, the first to which a call is accepted; the others have the
// name "" together. So clients cannot fill the list with URIs that nobody answers.
// Each takes 2 KiB. Default, and 0: calls are not counted by URI; 0 to 1,000.
func WithCallStats(uris int) Option {
	return optionFunc(func(c *config) { c.callStats = uris })
}

// callStats counts calls by URI. A nil *callStats counts nothing.
type callStats struct {
	byURI  atomic.Pointer[map[string]*callTally] // never changed in place
	others callTally

	mu   sync.Mutex // held to replace byURI
	most int
}

// callTally counts the calls to a URI by code.
type callTally struct {
	tally
	total, ran [tallyCodes + 1]atomic.Int64 // by the tally's place, in ns
}

// newCallStats returns what counts calls for so many URIs, nil for none.
func newCallStats(uris int) *callStats {
	if uris == 0 {
		return nil
	}
	s := &callStats{most: uris}
	s.byURI.Store(&map[string]*callTally{})
	return s
}

// add counts the end of a call.
func (s *callStats) add(e *CallEnd) {
	if s == nil {
		return
	}
	t := s.find(e.URI, !e.Refused)
	place := t.add(e.Code)
	t.total[place].Add(int64(e.Total))
	t.ran[place].Add(int64(e.Ran))
}

// find returns what counts the calls to a URI. It may give it a place of its own.
func (s *callStats) find(uri string, mayAdd bool) *callTally {
	known := *s.byURI.Load()
	if t := known[uri]; t != nil {
		return t
	}
	if !mayAdd || len(known) >= s.most {
		return &s.others
	}
	return s.addURI(uri)
}

// addURI gives a place to a URI, if there is one left.
func (s *callStats) addURI(uri string) *callTally {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := maps.Clone(*s.byURI.Load())
	if known[uri] == nil {
		if len(known) >= s.most {
			return &s.others
		}
		known[uri] = new(callTally)
		s.byURI.Store(&known)
	}
	return known[uri]
}

// list returns what was counted, sorted by URI and code.
func (s *callStats) list() (all []CallCount) {
	if s == nil {
		return nil
	}
	all = s.others.appendTo(nil, "")
	known := *s.byURI.Load()
	for _, uri := range slices.Sorted(maps.Keys(known)) {
		all = known[uri].appendTo(all, uri)
	}
	return all
}

func (t *callTally) appendTo(all []CallCount, uri string) []CallCount {
	t.each(func(place int, c CodeCount) {
		all = append(all, CallCount{uri, c.Code, c.Count, time.Duration(t.total[place].Load()), time.Duration(t.ran[place].Load())})
	})
	return all
}

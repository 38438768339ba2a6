package redis

// manyURIs is up to how many URIs of a callee in a lane a take looks at all of
// them, and so needs not know whose token there was.
const manyURIs = 32

// A span is which URIs of a callee with many of them a take looks at: that of the
// token that it was woken by, and some of the others, in turn. There are more of
// these as long as calls are found with them, and less when there are none: so
// what the server does for a lone call hardly depends on how many URIs there are,
// and many calls to many URIs are taken together.
type span struct {
	index map[string]int // of URIs, by the names of their wake lists
	token int            // the URI whose token was popped, and that has calls; -1: none
	fresh bool           // it has not been looked at yet
	turn  int            // the URI whose token is popped rather than others'
	next  int            // the first one to be looked at of the others
	size  int            // how many others are looked at
	asked []int          // by the take under way, in order
}

// Bounds of the size of a span. A token may have been lost: when none came for as
// long as a blocking pop waits, no less than searched URIs are looked at.
const (
	fewest   = 4
	searched = 256
)

// newSpan returns the span of URIs with these keys, three for each as in p.keys.
func newSpan(keys []string) *span {
	s := &span{index: map[string]int{}, token: -1, size: fewest}
	for i := 0; i < len(keys); i += 3 {
		s.index[keys[i+1]] = i / 3
	}
	return s
}

// woken takes note of what a blocking pop returned: the name of a list and the
// token, or nothing.
func (s *span) woken(r *reply) {
	s.token = -1
	if len(r.list) == 2 {
		if uri, ok := s.index[string(r.list[0].text)]; ok {
			s.token, s.fresh, s.turn = uri, true, (uri+1)%len(s.index)
		}
	} else if r.kind == '_' {
		s.size = max(s.size, searched)
	}
}

// look returns the keys of take.lua for the URIs to be looked at. all are the
// keys for all URIs. What has had its turn comes behind the others.
func (s *span) look(all []string) []string {
	s.asked = s.asked[:0]
	if s.token >= 0 && s.fresh {
		s.asked = append(s.asked, s.token)
	}
	for range min(s.size, len(s.index)) {
		if s.next != s.token {
			s.asked = append(s.asked, s.next)
		}
		s.next = (s.next + 1) % len(s.index)
	}
	if s.token >= 0 && !s.fresh {
		s.asked = append(s.asked, s.token)
	}
	s.fresh = false
	keys := append(make([]string, 0, 2+3*len(s.asked)), all[:2]...)
	for _, uri := range s.asked {
		keys = append(keys, all[2+3*uri:5+3*uri]...)
	}
	return keys
}

// found takes note of what take.lua returned: for each URI with calls its place
// among the keys, how many, the values; and whether there are more.
func (s *span) found(values []reply, more bool) {
	others := false
	for len(values) >= 2 {
		others = others || s.uri(values[0].value) != int64(s.token)
		values = values[min(2+max(int(values[1].value), 0), len(values)):]
	}
	if others {
		s.size = min(2*s.size, len(s.index))
	} else {
		s.size = max(s.size/2, fewest)
	}
	if !more {
		s.token = -1
	}
}

// uri returns the URI at a place among the keys.
func (s *span) uri(place int64) int64 {
	if place < 0 || place >= int64(len(s.asked)) {
		return int64(len(s.index)) // none
	}
	return int64(s.asked[place])
}

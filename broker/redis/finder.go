package redis

import (
	"slices"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// A finder tells a callee of many URIs at which of them a take is to look: at that of
// the token that it was woken by, and at those of other tokens, which takes find by
// the way. It looks for more of these as long as there are some: so what the server
// does for a lone call does not depend on how many URIs there are, and many calls to
// many URIs are taken together.
type finder struct {
	uris   map[string]int // by the names of their lists of calls
	tokens []string       // keys of the bunches

	known []int // the URIs to be looked at
	asked []int // those that the take under way looks at, in order
	gave  []int // those of them that it got calls of
	next  int   // the URI that is looked at first when no token came
	turn  int   // the bunch whose tokens are popped and looked through before others'
	size  int   // of how many bunches tokens are looked through
}

// searched is how many URIs are looked at, in turn, when no token came for as long as a
// blocking pop waits, for one may have been lost; and how many at once at most.
const searched = 256

// newFinder returns the finder of URIs with these keys, three for each as in take.lua.
func newFinder(keys []string, bunches []bunch) *finder {
	f := &finder{uris: map[string]int{}, size: 1}
	for i := 0; i < len(keys); i += 3 {
		f.uris[keys[i]] = i / 3
	}
	for i := range bunches {
		f.tokens = append(f.tokens, bunches[i].tokens)
	}
	return f
}

// woken handles what a blocking pop returned: the name of a set, the token and its score,
// or nothing. It reports whether there is something to be looked at.
func (f *finder) woken(r *resp.Reply) bool {
	if len(r.List) == 3 {
		f.turn = max(slices.Index(f.tokens, string(r.List[0].Text)), 0)
		if uri, ok := f.uris[string(r.List[1].Text)]; ok {
			f.add(uri)
		}
	} else if r.Kind == '_' {
		for range min(searched, len(f.uris)) {
			f.add(f.next)
			f.next = (f.next + 1) % len(f.uris)
		}
	}
	return len(f.known) > 0
}

func (f *finder) add(uri int) {
	if len(f.known) < searched && !slices.Contains(f.known, uri) {
		f.known = append(f.known, uri)
	}
}

// look returns the keys of take.lua, and how many URIs it looks at. all are the keys
// for all URIs.
func (f *finder) look(all []string) (keys []string, uris int) {
	f.asked = append(f.asked[:0], f.known...)
	keys = append(make([]string, 0, 2+3*len(f.asked)+f.size), all[:2]...)
	for _, uri := range f.asked {
		keys = append(keys, all[2+3*uri:5+3*uri]...)
	}
	for i := range f.size {
		keys = append(keys, f.tokens[(f.turn+i)%len(f.tokens)])
	}
	return keys, len(f.asked)
}

// gives returns the URI at a place among those looked at, of which calls were taken.
func (f *finder) gives(place int64) int64 {
	if place >= int64(len(f.asked)) {
		return int64(len(f.uris)) // none
	}
	uri := f.asked[place]
	f.gave = append(f.gave, uri)
	return int64(uri)
}

// taken handles what take.lua found: tokens, and whether some of what it looked at has
// more calls. Of that, what gave some comes behind what did not; the others have their
// tokens. It reports whether there is something to be looked at next.
func (f *finder) taken(tokens []resp.Reply, more bool) bool {
	f.known = f.known[:0]
	for i := range tokens {
		if uri, ok := f.uris[string(tokens[i].Text)]; ok && !slices.Contains(f.gave, uri) {
			f.add(uri)
		}
	}
	n := len(f.tokens)
	f.turn = (f.turn + max(f.size%n, 1)) % n
	if len(f.known) > 0 {
		f.size = min(2*f.size, n)
	} else {
		f.size = max(f.size/2, 1)
	}
	if more {
		for _, uri := range f.gave {
			f.add(uri)
		}
	}
	f.gave = f.gave[:0]
	return len(f.known) > 0
}

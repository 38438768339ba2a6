package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"slices"
)

// A bunch is URIs that are announced, and waited for, as one: those of a callee with
// many of them in a lane that fall to one of mostBunches shares. Callees that have the
// same URIs there share it. With few URIs each is a bunch by itself, whose keys have
// its name: so a caller has nothing to look up.
//
// All URIs of a callee are not one bunch: then callees of which each has a URI of its
// own besides those that they share would have none in common, and each call would
// wake them all.
type bunch struct {
	name string // of bunchName bytes; empty: a URI by itself
	uris []string

	// Keys.
	served  string
	callees string
	tokens  string
}

const (
	// fewURIs is up to how many URIs of a callee in a lane each is a bunch by itself.
	fewURIs = 32

	// mostBunches is how many bunches the others have at most.
	mostBunches = 32

	// bunchName is the length of a bunch's name, with the space behind it.
	bunchName = 17
)

// ofURI, and ofBunch, are the kinds of keys of a bunch that is a URI by itself, and of
// others: served, callees, tokens.
var (
	ofURI   = []string{"served", "callees", "tokens"}
	ofBunch = []string{"bunch-served", "bunch-callees", "bunch-tokens"}
)

// bunch returns the bunch of URIs with a name.
func (ks *keyspace) bunch(lane int, name string, uris []string) bunch {
	b := bunch{name: name, uris: uris}
	var keys []string
	if name == "" {
		keys = ks.appendKeys(nil, lane, uris[0], ofURI...)
	} else {
		keys = ks.appendKeys(nil, lane, name, ofBunch...)
	}
	b.served, b.callees, b.tokens = keys[0], keys[1], keys[2]
	return b
}

// namesOf returns the names in what lies under a URI's key of bunches.
func namesOf(bunches string) []string {
	var names []string
	for ; len(bunches) >= bunchName; bunches = bunches[bunchName:] {
		names = append(names, bunches[:bunchName-1])
	}
	return names
}

// bunchesOf returns the bunches of all URIs of a callee in a lane.
func (ks *keyspace) bunchesOf(lane int, uris []string) []bunch {
	var all []bunch
	if len(uris) <= fewURIs {
		for _, uri := range uris {
			all = append(all, ks.bunch(lane, "", []string{uri}))
		}
		return all
	}
	var shares [mostBunches][]string
	for _, uri := range uris {
		h := fnv.New32a()
		h.Write([]byte(uri)) //nolint:errcheck // never fails
		// Not the remainder: that tells the lane.
		i := uint64(h.Sum32()) * mostBunches >> 32
		shares[i] = append(shares[i], uri)
	}
	for _, share := range shares {
		if len(share) > 0 {
			all = append(all, ks.bunch(lane, nameOf(share), share))
		}
	}
	return all
}

// nameOf returns the name of the bunch of URIs.
func nameOf(uris []string) string {
	h := sha256.New()
	for _, uri := range slices.Sorted(slices.Values(uris)) {
		h.Write(appendCounted(nil, []byte(uri))) //nolint:errcheck // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:(bunchName-1)/2])
}

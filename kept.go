package juggler

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// kept is what a shard keeps of a session for the application: most sessions have nothing
// of it, and no room for it.
type kept struct {
	headers []string    // of the handshake, as the option lists them
	values  map[any]any // by *SessionKey
}

// What is kept of handshakes at most.
const (
	maxKeptHeaders = 16
	maxKeptHeader  = 512 // bytes
)

// WithHandshakeHeaders keeps these headers of a client's HTTP request for
// [Session.Header], such as User-Agent, in any case of letters: up to 16 names, and of each
// value the first 512 bytes. Clients may send anything in them. Default: none is kept.
func WithHandshakeHeaders(names ...string) Option {
	return optionFunc(func(c *config) {
		if len(names) > maxKeptHeaders {
			c.problems.Refuse("WithHandshakeHeaders", len(names), fmt.Sprintf("at most %d names", maxKeptHeaders))
			return
		}
		c.handshakeHeaders = nil
		for _, name := range names {
			c.handshakeHeaders = append(c.handshakeHeaders, http.CanonicalHeaderKey(name))
		}
	})
}

// keptHeaders returns what is to be kept of a handshake, nil for nothing.
func (c *config) keptHeaders(r *http.Request) []string {
	if len(c.handshakeHeaders) == 0 {
		return nil
	}
	headers := make([]string, len(c.handshakeHeaders))
	for i, name := range c.handshakeHeaders {
		value := strings.Join(r.Header.Values(name), ", ")
		headers[i] = strings.Clone(value[:min(len(value), maxKeptHeader)]) // the request is not to stay
	}
	return headers
}

// Header returns a header of the client's handshake that [WithHandshakeHeaders] lists, or
// "". It is "" once the session has ended, but not yet in OnDisconnect.
func (s Session) Header(name string) string {
	i := slices.Index(s.s.shard.h.cfg.handshakeHeaders, http.CanonicalHeaderKey(name))
	if i < 0 {
		return ""
	}
	sh := s.s.shard
	sh.slotsMu.RLock()
	defer sh.slotsMu.RUnlock()
	if k := sh.kept[s.s]; k != nil && i < len(k.headers) {
		return k.headers[i]
	}
	return ""
}

// A SessionKey is for a value of type T that the application keeps with sessions, such as
// what a sign-in has found. Make one for each kind of value, in a variable of a package;
// nobody else can see the values. Its methods may be called concurrently. Sessions without
// values have no memory for them.
type SessionKey[T any] struct {
	_ byte // so that each key has an address of its own
}

// NewSessionKey returns a key, which is different from all others.
func NewSessionKey[T any]() *SessionKey[T] { return new(SessionKey[T]) }

// Set keeps a value with a session, until that has ended and OnDisconnect returned. It does
// nothing if the session has ended already.
func (k *SessionKey[T]) Set(s Session, value T) {
	s.s.shard.keep(s.s, nil, map[any]any{k: value})
}

// SetIn has the session that gets the identity keep a value, as Set does: for what an
// authenticator has found beside it. It must not be called concurrently with itself for
// one identity, nor after that was returned.
func (k *SessionKey[T]) SetIn(id *Identity, value T) {
	if id.values == nil {
		id.values = make(map[any]any)
	}
	id.values[k] = value
}

// Get returns the value that was kept last, and whether there is one.
func (k *SessionKey[T]) Get(s Session) (value T, ok bool) {
	sh := s.s.shard
	sh.slotsMu.RLock()
	defer sh.slotsMu.RUnlock()
	if of := sh.kept[s.s]; of != nil {
		value, ok = of.values[k].(T)
	}
	return value, ok
}

// keep keeps headers of the handshake, nil for none, and values by their keys with s, if s
// has not ended.
func (sh *shard) keep(s *session, headers []string, values map[any]any) {
	if headers == nil && values == nil {
		return
	}
	sh.slotsMu.Lock()
	defer sh.slotsMu.Unlock()
	if sh.slots[s.Tag] != s {
		return
	}
	k := sh.keptOf(s)
	if headers != nil {
		k.headers = headers
	}
	if k.values == nil {
		k.values = values
	} else {
		maps.Copy(k.values, values)
	}
}

// keptOf returns what is kept of s. The caller holds slotsMu.
func (sh *shard) keptOf(s *session) *kept {
	if sh.kept == nil {
		sh.kept = make(map[*session]*kept)
	}
	k := sh.kept[s]
	if k == nil {
		k = &kept{}
		sh.kept[s] = k
	}
	return k
}

// forgetKept forgets what is kept of s.
func (sh *shard) forgetKept(s *session) {
	sh.slotsMu.Lock()
	defer sh.slotsMu.Unlock()
	delete(sh.kept, s)
}

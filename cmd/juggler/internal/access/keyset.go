package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/redact"
)

const (
	fetchTimeout = 5 * time.Second // of one fetch
	// fetchPause is what lies between two fetches that tokens cause, after a burst of
	// fetchBurst. It bounds what strangers can ask of the issuer, and how long the tokens
	// of a new key wait.
	fetchPause    = 5 * time.Second
	fetchBurst    = 3
	fetchInterval = time.Hour   // between fetches that nobody causes
	maxRetryDelay = time.Minute // between those while they fail
	maxSetBytes   = 1 << 20
)

// A keySet is the set of public keys (JWKS, RFC 7517) of an issuer. One from a URL is
// fetched again from time to time, and when a token may have a key of a newer set.
// What it has stays until there is something better.
type keySet struct {
	place  string
	remote bool // a URL; otherwise a file
	read   func(context.Context) (keyfunc.Keyfunc, error)
	log    *slog.Logger

	mu      sync.Mutex
	keys    keyfunc.Keyfunc // nil: there never were any
	asOf    time.Time       // when the reading began that brought keys
	err     error           // of the last reading
	paidTo  time.Time       // until when fetches are paid for that tokens caused, at one for each fetchPause
	running *reading        // nil: none is under way
}

// A reading of the set, for which several may wait.
type reading struct {
	began time.Time
	over  chan struct{} // closed when it is over
	err   error         // may be read then
}

// newKeySet returns the set at a place, a URL or a file, which is not read yet.
func newKeySet(place string, log *slog.Logger) (*keySet, error) {
	s := &keySet{place: place, log: log}
	if !strings.HasPrefix(place, "https://") && !strings.HasPrefix(place, "http://") {
		s.read = func(context.Context) (keyfunc.Keyfunc, error) { return readKeys(place) }
		return s, nil
	}
	u, err := url.Parse(place)
	if err != nil || u.Host == "" {
		return nil, errors.New("want a file, or a URL that begins with https://HOST or http://HOST")
	}
	client := &http.Client{Timeout: fetchTimeout, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if len(before) > 3 || next.URL.Scheme != u.Scheme {
			return errors.New("redirected too often, or from https to http")
		}
		return nil
	}}
	s.place, s.remote = redact.URL(place), true
	s.read = func(ctx context.Context) (keyfunc.Keyfunc, error) { return fetchKeys(ctx, client, place) }
	return s, nil
}

func readKeys(path string) (keyfunc.Keyfunc, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

func fetchKeys(ctx context.Context, client *http.Client, place string) (keyfunc.Keyfunc, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, errors.New(redact.Error(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSetBytes))
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// parseKeys parses a set. One without keys is an error: it would refuse everybody.
func parseKeys(text []byte) (keyfunc.Keyfunc, error) {
	set, err := keyfunc.NewJWKSetJSON(json.RawMessage(text))
	if err != nil {
		return nil, err
	}
	keys, err := set.VerificationKeySet(context.Background())
	if err != nil {
		return nil, err
	}
	if len(keys.Keys) == 0 {
		return nil, errors.New("the set has no keys")
	}
	return set, nil
}

// current returns the keys, nil if there never were any, and from when they are.
func (s *keySet) current() (keyfunc.Keyfunc, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.asOf
}

// reload reads the set anew, whatever was read lately, and waits for the end of that.
func (s *keySet) reload(ctx context.Context) error {
	asked := time.Now()
	for {
		r := s.start(ctx)
		if err := r.wait(ctx); ctx.Err() != nil || !r.began.Before(asked) {
			return err
		}
	}
}

// renew tries to get a newer set for a token that the current one does not decide. An
// error says that this cannot be done now.
func (s *keySet) renew(ctx context.Context) error {
	r, pause := s.startForToken(ctx)
	if r == nil {
		return notNow(pause)
	}
	if err := r.wait(ctx); err != nil {
		return notNow(fetchPause)
	}
	return nil
}

// startForToken joins the reading that is under way, or begins one. If tokens have
// caused too many lately, it says how long there will be none.
func (s *keySet) startForToken(ctx context.Context) (r *reading, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		now := time.Now()
		if s.paidTo.Before(now) {
			s.paidTo = now
		}
		if pause := s.paidTo.Sub(now) - (fetchBurst-1)*fetchPause; pause > 0 {
			return nil, pause
		}
		s.paidTo = s.paidTo.Add(fetchPause)
	}
	return s.startLocked(ctx), 0
}

// notNow refuses a token that cannot be checked now. That is no final answer, as the token
// may be good. The time to come back differs, so that clients do not all come at once.
func notNow(pause time.Duration) error {
	return &juggler.Error{Code: juggler.CodeUnavailable, Message: "the keys of tokens cannot be fetched now",
		RetryAfter: pause + rand.N(time.Second)}
}

// start begins to read the set, unless that is under way.
func (s *keySet) start(ctx context.Context) *reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked(ctx)
}

func (s *keySet) startLocked(ctx context.Context) *reading {
	if s.running != nil {
		return s.running
	}
	r := &reading{began: time.Now(), over: make(chan struct{})}
	s.running = r
	// The others who wait for it must not lose it when the first of them leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	go func() { // ends with the reading, which has a time
		defer cancel()
		keys, err := s.read(ctx)
		s.finish(r, keys, err)
	}()
	return r
}

// finish takes over what a reading brought.
func (s *keySet) finish(r *reading, keys keyfunc.Keyfunc, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.err
	if r.err, s.err = err, err; err == nil {
		s.keys, s.asOf = keys, r.began
	}
	s.running = nil
	close(r.over)
	switch {
	case err != nil && s.remote: // fetches are rare enough to log each that fails
		s.log.Error("the keys of tokens cannot be fetched", "url", s.place, "error", err)
	case before != nil && s.remote:
		s.log.Info("the keys of tokens are fetched again", "url", s.place)
	}
}

// wait waits for the end of the reading.
func (r *reading) wait(ctx context.Context) error {
	select {
	case <-r.over:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready says why no token can be checked, if none can.
func (s *keySet) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil {
		return nil
	}
	return fmt.Errorf("the keys of tokens: %w", s.err)
}

// keepFresh fetches the set from time to time until ctx ends, sooner while that fails.
func (s *keySet) keepFresh(ctx context.Context) {
	delay := fetchPause
	for {
		s.mu.Lock()
		failed := s.err != nil
		s.mu.Unlock()
		pause := fetchInterval
		if failed {
			pause, delay = delay, min(2*delay, maxRetryDelay)
		} else {
			delay = fetchPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			_ = s.start(ctx).wait(ctx) // it is logged
		}
	}
}

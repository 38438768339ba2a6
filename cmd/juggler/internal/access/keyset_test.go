package access

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/juggler-go/juggler"
)

// An issuer publishes keys, which takes its time, and signs tokens.
type issuer struct {
	mu      sync.Mutex
	kids    []string // published
	down    bool
	fetches int
}

func (i *issuer) publish(kids ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kids = kids
}

func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func (i *issuer) fail(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// key returns the key of an id; each has its own.
func key(kid string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, kid)
	return ed25519.NewKeyFromSeed(seed)
}

func (i *issuer) read(ctx context.Context) (keyfunc.Keyfunc, error) {
	i.mu.Lock()
	kids, down := i.kids, i.down
	i.fetches++
	i.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	if down {
		return nil, errors.New("the issuer is down")
	}
	keys := []map[string]string{}
	for _, kid := range kids {
		public := base64.RawURLEncoding.EncodeToString(key(kid).Public().(ed25519.PublicKey))
		keys = append(keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid, "x": public})
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// tokenOf returns a token that is signed with a key, and names it unless nameless is set.
func tokenOf(t *testing.T, kid string, nameless bool) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(24 * time.Hour).Unix()})
	if !nameless {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key(kid))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checker returns what checks tokens of an issuer, whose keys are read already.
func checker(t *testing.T, i *issuer) *tokens {
	t.Helper()
	set := &keySet{remote: true, read: i.read, log: slog.New(slog.DiscardHandler)}
	if err := set.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &tokens{flags: &Flags{userClaim: "sub"}, set: set}
}

// code returns what a client with a token is told; 0: it is let in.
func (t *tokens) code(ctx context.Context, token string) (code int, retryAfter time.Duration) {
	_, err := t.identity(ctx, token)
	var e *juggler.Error
	if errors.As(err, &e) {
		return int(e.Code), e.RetryAfter
	}
	return 0, 0
}

// All who come with tokens of a new key wait for the one fetch that brings it.
func TestNewKeyForMany(t *testing.T) {
	for _, nameless := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{kids: []string{"old"}}
			c := checker(t, i)
			i.publish("old", "new")
			token := tokenOf(t, "new", nameless)
			var all sync.WaitGroup
			for n := range 20 {
				all.Go(func() {
					time.Sleep(time.Duration(n) * 10 * time.Millisecond)
					if code, _ := c.code(t.Context(), token); code != 0 {
						t.Errorf("client %d: %d", n, code)
					}
				})
			}
			all.Wait()
			if n := i.fetched(); n != 2 {
				t.Errorf("%d fetches, want that of the start and one more", n)
			}
		})
	}
}

// Strangers with keys that nobody knows neither get a final answer that a new key's
// tokens would share, nor can they keep these from being known soon.
func TestStrangersAndNewKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{kids: []string{"old"}}
		c := checker(t, i)
		for range fetchBurst {
			if code, _ := c.code(t.Context(), tokenOf(t, "stranger", false)); code != juggler.CodeUnauthenticated {
				t.Errorf("a stranger, after a fetch: %d", code)
			}
		}
		if code, after := c.code(t.Context(), tokenOf(t, "stranger", false)); code != juggler.CodeUnavailable || after <= 0 || after > fetchPause+time.Second {
			t.Errorf("a stranger, before the next fetch: %d, retry after %v", code, after)
		}
		ctx, stop := context.WithCancel(t.Context())
		var strangers sync.WaitGroup
		for n := range 10 {
			token := tokenOf(t, "stranger", n%2 == 0)
			strangers.Go(func() {
				for time.Sleep(time.Duration(n) * 100 * time.Millisecond); ctx.Err() == nil; time.Sleep(time.Second) {
					c.code(ctx, token)
				}
			})
		}
		time.Sleep(time.Minute)
		if n := i.fetched(); n > 2+fetchBurst+int(time.Minute/fetchPause) {
			t.Errorf("%d fetches in a minute", n)
		}
		i.publish("new")
		changed := time.Now()
		token := tokenOf(t, "new", false)
		for {
			code, after := c.code(ctx, token)
			if code == 0 {
				break
			}
			if code != juggler.CodeUnavailable {
				t.Fatalf("the new key: %d", code)
			}
			time.Sleep(after)
		}
		if took := time.Since(changed); took > 2*(fetchPause+time.Second) {
			t.Errorf("the new key was known after %v", took)
		}
		if code, _ := c.code(ctx, tokenOf(t, "old", false)); code == 0 {
			t.Error("a key that the issuer has taken back is still good")
		}
		stop()
		strangers.Wait()
	})
}

// While the issuer is down, the keys are those of before; what they leave open is told
// as passing.
func TestIssuerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{kids: []string{"old"}}
		c := checker(t, i)
		i.fail(true)
		if err := c.loadSet(t.Context()); err == nil {
			t.Error("a reload says that all is well")
		}
		for kid, want := range map[string]int{"old": 0, "new": juggler.CodeUnavailable} {
			if code, _ := c.code(t.Context(), tokenOf(t, kid, false)); code != want {
				t.Errorf("%s: %d, want %d", kid, code, want)
			}
		}
		i.fail(false)
		i.publish() // an issuer that has lost its keys
		if err := c.loadSet(t.Context()); err == nil {
			t.Error("a set without keys was taken over")
		}
		if code, _ := c.code(t.Context(), tokenOf(t, "old", false)); code != 0 || c.set.ready() != nil {
			t.Errorf("old, after a set without keys: %d, ready: %v", code, c.set.ready())
		}
	})
}

// Keys that could not be fetched at the start are fetched later without a request.
func TestIssuerDownAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{kids: []string{"old"}, down: true}
		set := &keySet{remote: true, read: i.read, log: slog.New(slog.DiscardHandler)}
		c := &tokens{flags: &Flags{userClaim: "sub"}, set: set}
		if err := set.reload(t.Context()); err == nil || set.ready() == nil {
			t.Errorf("read: %v, ready: %v", err, set.ready())
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go set.keepFresh(ctx)
		if code, _ := c.code(ctx, tokenOf(t, "old", false)); code != juggler.CodeUnavailable {
			t.Errorf("without keys: %d", code)
		}
		i.fail(false)
		time.Sleep(2 * maxRetryDelay)
		if code, _ := c.code(ctx, tokenOf(t, "old", false)); code != 0 || set.ready() != nil {
			t.Errorf("later: %d, ready: %v", code, set.ready())
		}
	})
}

package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/juggler-go/juggler"
)

// leeway is how far the clocks of issuers may be off.
const leeway = 5 * time.Second

// minSecret is the least size of a secret, in bytes: that of HS256's hash
// (RFC 7518, section 3.2).
const minSecret = 32

// tokens checks tokens (JWT, RFC 7519).
type tokens struct {
	flags     *Flags
	onlyCheck bool // without fetching
	keys      atomic.Pointer[keys]
}

// keys are what signatures are checked with. Either of the two may be nil.
type keys struct {
	secret []byte
	set    keyfunc.Keyfunc
	stop   context.CancelFunc // of what fetches set again
}

// load reads or fetches the keys.
func (t *tokens) load(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	k := &keys{stop: stop}
	var err error
	if t.flags.hmacFile != "" {
		if k.secret, err = readSecret(t.flags.hmacFile); err != nil {
			stop()
			return fmt.Errorf("--token-hmac-file: %w", err)
		}
	}
	if t.flags.jwks != "" {
		if k.set, err = t.openKeys(ctx); err != nil {
			stop()
			return fmt.Errorf("--token-jwks: %w", err)
		}
	}
	if before := t.keys.Swap(k); before != nil {
		before.stop()
	}
	return nil
}

func readSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) < minSecret {
		return nil, fmt.Errorf("%s: the secret has %d bytes; want %d at least, e.g. of: openssl rand -hex 32", path, len(secret), minSecret)
	}
	return secret, nil
}

func (t *tokens) openKeys(ctx context.Context) (keyfunc.Keyfunc, error) {
	place := t.flags.jwks
	if strings.HasPrefix(place, "https://") || strings.HasPrefix(place, "http://") {
		if t.onlyCheck {
			return nil, nil
		}
		return keyfunc.NewDefaultCtx(ctx, []string{place})
	}
	text, err := os.ReadFile(place)
	if err != nil {
		return nil, err
	}
	set, err := keyfunc.NewJWKSetJSON(json.RawMessage(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return set, nil
}

// signing methods. A secret is never tried for the others, nor a public key as
// a secret.
var (
	hmacMethods = []string{"HS256", "HS384", "HS512"}
	keyMethods  = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// identity returns who a token is for.
func (t *tokens) identity(token string) (*juggler.Identity, error) {
	k := t.keys.Load()
	var methods []string
	if k.secret != nil {
		methods = append(methods, hmacMethods...)
	}
	if k.set != nil {
		methods = append(methods, keyMethods...)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithLeeway(leeway), jwt.WithExpirationRequired()}
	if t.flags.issuer != "" {
		options = append(options, jwt.WithIssuer(t.flags.issuer))
	}
	if len(t.flags.audience) > 0 {
		options = append(options, jwt.WithAudience(t.flags.audience...))
	}
	parsed, err := jwt.Parse(token, k.find, options...)
	if err != nil {
		return nil, refusal("token refused: %s", reason(err))
	}
	return t.fromClaims(parsed.Claims.(jwt.MapClaims))
}

// find returns the key for a token, by the kind of its signature.
func (k *keys) find(token *jwt.Token) (any, error) {
	if _, ok := token.Method.(*jwt.SigningMethodHMAC); ok {
		return k.secret, nil
	}
	return k.set.Keyfunc(token)
}

// reason says why a token was refused, without what is inside of it.
func reason(err error) string {
	for _, known := range []error{
		jwt.ErrTokenExpired, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer,
		jwt.ErrTokenInvalidAudience, jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenMalformed,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "its key is not known"
}

func (t *tokens) fromClaims(claims jwt.MapClaims) (*juggler.Identity, error) {
	user, _ := claims[t.flags.userClaim].(string)
	if user == "" {
		return nil, refusal("token refused: it has no %s", t.flags.userClaim)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return nil, refusal("token refused: %s", reason(err))
	}
	id := &juggler.Identity{User: user, Expires: expires.Time}
	for _, name := range t.flags.attributes {
		if text := claimText(claims[name]); text != "" {
			id.Attributes = append(id.Attributes, juggler.Attribute{Name: name, Value: text})
		}
	}
	return id, nil
}

// claimText returns a claim as words: lists with spaces between, as in the
// scope of OAuth.
func claimText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		words := make([]string, 0, len(v))
		for _, item := range v {
			if s, ok := item.(string); ok {
				words = append(words, s)
			}
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprint(v)
}

// authenticate implements what juggler.WithAuthenticator takes.
func (t *tokens) authenticate(r *http.Request) (*juggler.Identity, error) {
	token := ""
	if scheme, rest, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(rest)
	}
	if token == "" && t.flags.query != "" {
		token = r.URL.Query().Get(t.flags.query)
	}
	switch {
	case token != "":
		return t.identity(token)
	case t.flags.anonymous:
		return &juggler.Identity{}, nil
	case t.flags.signIn > 0:
		return nil, nil // signs in by AUTH
	}
	return nil, refusal("a token is missing: send it as Authorization: Bearer …")
}

// signIn implements what juggler.WithDeferredAuth takes.
func (t *tokens) signIn(_ context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
	return t.identity(token)
}

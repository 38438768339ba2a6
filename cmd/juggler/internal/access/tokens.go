package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
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
	flags  *Flags
	secret atomic.Pointer[[]byte] // nil: there is none
	set    *keySet                // nil: there is none
}

// newTokens returns what checks tokens as the flags say; nothing is read yet.
func newTokens(f *Flags, log *slog.Logger) (*tokens, error) {
	t := &tokens{flags: f}
	if f.jwks != "" {
		var err error
		if t.set, err = newKeySet(f.jwks, log); err != nil {
			return nil, fmt.Errorf("--token-jwks: %w", err)
		}
	}
	return t, nil
}

// loadSecret reads the secret, if there is one.
func (t *tokens) loadSecret() error {
	if t.flags.hmacFile == "" {
		return nil
	}
	secret, err := readSecret(t.flags.hmacFile)
	if err != nil {
		return fmt.Errorf("--token-hmac-file: %w", err)
	}
	t.secret.Store(&secret)
	return nil
}

// loadSet reads the set of keys, if there is one.
func (t *tokens) loadSet(ctx context.Context) error {
	if t.set == nil {
		return nil
	}
	if err := t.set.reload(ctx); err != nil {
		return fmt.Errorf("--token-jwks: %w", err)
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

// signing methods. A secret is never tried for the others, nor a public key as
// a secret.
var (
	hmacMethods = []string{"HS256", "HS384", "HS512"}
	keyMethods  = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// identity returns who a token is for. A token that the keys leave open waits for newer
// ones.
func (t *tokens) identity(ctx context.Context, token string) (*juggler.Identity, error) {
	asked := time.Now()
	for {
		var keys keyfunc.Keyfunc
		var asOf time.Time
		if t.set != nil {
			keys, asOf = t.set.current()
		}
		parsed, err := t.parse(token, keys)
		switch {
		case err == nil:
			return t.fromClaims(parsed.Claims.(jwt.MapClaims))
		case t.set == nil || !t.set.remote || !asOf.Before(asked) || !leftOpen(parsed, err):
			return nil, refusal("token refused: %s", reason(err))
		}
		if err := t.set.renew(ctx); err != nil {
			return nil, err
		}
	}
}

// parse checks a token. keys may be nil: then none of a set is known.
func (t *tokens) parse(token string, keys keyfunc.Keyfunc) (*jwt.Token, error) {
	secret := t.secret.Load()
	var methods []string
	if secret != nil {
		methods = append(methods, hmacMethods...)
	}
	if t.set != nil {
		methods = append(methods, keyMethods...)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithLeeway(leeway), jwt.WithExpirationRequired(), jwt.WithJSONNumber()}
	if t.flags.issuer != "" {
		options = append(options, jwt.WithIssuer(t.flags.issuer))
	}
	if len(t.flags.audience) > 0 {
		options = append(options, jwt.WithAudience(t.flags.audience...))
	}
	// The key of a token goes by the kind of its signature.
	find := func(token *jwt.Token) (any, error) {
		if _, ok := token.Method.(*jwt.SigningMethodHMAC); ok {
			return *secret, nil
		}
		if keys == nil {
			return nil, jwkset.ErrKeyNotFound
		}
		return keys.Keyfunc(token)
	}
	return jwt.Parse(token, find, options...)
}

// leftOpen reports whether a token that was refused may be good with a newer set: its
// key is not known, or it does not name one and is signed with none of those that are.
func leftOpen(token *jwt.Token, err error) bool {
	if errors.Is(err, jwkset.ErrKeyNotFound) {
		return true
	}
	if token == nil || !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return false
	}
	_, named := token.Header[jwkset.HeaderKID]
	_, secret := token.Method.(*jwt.SigningMethodHMAC)
	return !named && !secret
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

// longAgo is when a token was issued that does not say it: before anything that is revoked.
var longAgo = time.Unix(0, 0)

func (t *tokens) fromClaims(claims jwt.MapClaims) (*juggler.Identity, error) {
	user, _ := claims[t.flags.userClaim].(string)
	if user == "" {
		return nil, refusal("token refused: it has no %s", t.flags.userClaim)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return nil, refusal("token refused: %s", reason(err))
	}
	issued, err := claims.GetIssuedAt()
	if err != nil {
		return nil, refusal("token refused: %s", reason(err))
	}
	id := &juggler.Identity{User: user, Expires: expires.Time, Issued: longAgo}
	if issued != nil {
		id.Issued = issued.Time
	}
	for _, name := range t.flags.attributes {
		if claim := claims[name]; claim != nil {
			id.Attributes = append(id.Attributes, attributes(name, claim, len(t.flags.attributeHeaders) > 0)...)
		}
	}
	return id, nil
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
		return t.identity(r.Context(), token)
	case t.flags.anonymous:
		return &juggler.Identity{}, nil
	case t.flags.signIn > 0:
		return nil, nil // signs in by AUTH
	}
	return nil, refusal("a token is missing: send it as Authorization: Bearer …")
}

// signIn implements what juggler.WithDeferredAuth takes.
func (t *tokens) signIn(ctx context.Context, _ juggler.Session, token string) (*juggler.Identity, error) {
	return t.identity(ctx, token)
}

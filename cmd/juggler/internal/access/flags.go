package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/option"
)

// Flags are the settings of who may do what.
type Flags struct {
	set       *pflag.FlagSet
	rulesFile string
	open      bool

	hmacFile   string
	jwks       string
	issuer     string
	audience   []string
	userClaim  string
	attributes []string
	query      string
	anonymous  bool
	signIn     time.Duration

	userHeader       string
	attributeHeaders []string
}

// Bind adds the flags.
func (f *Flags) Bind(flags *pflag.FlagSet) {
	f.set = flags
	flags.StringVar(&f.rulesFile, "rules", "", "YAML `file` with rules of who may call, subscribe and publish what")
	flags.BoolVar(&f.open, "open", false, "let everybody whom the server lets in do everything, in place of --rules")
	flags.StringVar(&f.hmacFile, "token-hmac-file", "", "`file` with the secret of tokens (JWT with HS256, HS384 or HS512); at least 32 bytes")
	flags.StringVar(&f.jwks, "token-jwks", "", "`URL` or file of the keys (JWKS) of tokens")
	flags.StringVar(&f.issuer, "token-issuer", "", "the iss that tokens must have")
	flags.StringSliceVar(&f.audience, "token-audience", nil, "the aud that tokens must have one of")
	flags.StringVar(&f.userClaim, "token-user-claim", "sub", "claim with the user")
	flags.StringSliceVar(&f.attributes, "token-attributes", nil, "claims that rules and --attribute-headers may name, such as role")
	flags.StringVar(&f.userHeader, "user-header", "", "header, by its `name`, that tells callees the user; clients cannot set it")
	flags.StringSliceVar(&f.attributeHeaders, "attribute-headers", nil, "headers that tell callees claims of the token, `CLAIM` or CLAIM=HEADER; clients cannot set them")
	flags.StringVar(&f.query, "token-query", "", "query parameter that may carry the token, beside the Authorization header; mind that URLs get into logs")
	flags.BoolVar(&f.anonymous, "anonymous", false, "let in clients without a token, as nobody")
	settings.DurationVar(flags, &f.signIn, "sign-in-timeout", option.ServerDeferredAuth.Default, 0, option.ServerDeferredAuth.Max, "what clients without a token have to send AUTH; 0s: they are refused")
}

// Control is who may do what, as the flags say. What it read from files can be
// read again.
type Control struct {
	flags   *Flags
	rules   Current
	tokens  *tokens // nil: nobody has tokens
	headers *identityHeaders
}

// Open reads the files that the flags name. Unless it is only to check them, keys
// from a URL are fetched, and fetched again from time to time until ctx ends. Where
// they cannot be fetched now, Ready says so.
func (f *Flags) Open(ctx context.Context, onlyCheck bool, log *slog.Logger) (*Control, error) {
	err := settings.Needs(f.set, f.hasTokens(), "--token-hmac-file or --token-jwks", "anonymous", "token-issuer", "token-audience",
		"token-user-claim", "token-attributes", "token-query", "sign-in-timeout", "user-header", "attribute-headers")
	if err == nil && f.rulesFile != "" && f.open {
		err = errors.New("--rules and --open contradict each other: leave one out")
	}
	if err != nil {
		return nil, err
	}
	c := &Control{flags: f}
	if c.headers, err = parseHeaders(f); err != nil {
		return nil, err
	}
	if !f.hasTokens() {
		return c, c.ReloadRules()
	}
	if c.tokens, err = newTokens(f, log); err != nil {
		return nil, err
	}
	if err := errors.Join(c.ReloadRules(), c.tokens.loadSecret()); err != nil {
		return nil, err
	}
	remote := c.tokens.set != nil && c.tokens.set.remote
	if remote && onlyCheck {
		return c, nil
	}
	err = c.tokens.loadSet(ctx)
	if remote {
		go c.tokens.set.keepFresh(ctx) // ends with ctx
		err = nil                      // it is logged, and tried again
	}
	return c, err
}

// ReloadRules reads the rules again. If anything is wrong with them, they stay as
// they were.
func (c *Control) ReloadRules() error {
	if c.flags.rulesFile == "" {
		return nil
	}
	fresh, err := ReadRules(c.flags.rulesFile)
	if err == nil {
		err = fresh.check(c.flags)
	}
	if err == nil {
		c.rules.Set(fresh)
	}
	return err
}

// Check says so if rules are missing though others than this machine can connect to one of
// the addresses.
func (f *Flags) Check(addresses []string) error {
	if !f.Unguarded() {
		return nil
	}
	for _, address := range addresses {
		if !listen.IsLocal(address) {
			return fmt.Errorf("--listen %s: others could connect, and every client may call, publish and subscribe to everything: give --rules FILE, or --open if that is meant", address)
		}
	}
	return nil
}

// Unguarded reports whether clients may do everything though nobody said that they may.
func (f *Flags) Unguarded() bool { return f.rulesFile == "" && !f.open }

// hasTokens reports whether there are users.
func (f *Flags) hasTokens() bool { return f.hmacFile != "" || f.jwks != "" }

// ReloadKeys reads or fetches the keys of tokens again. Those that cannot be read stay
// as they were.
func (c *Control) ReloadKeys(ctx context.Context) error {
	if c.tokens == nil {
		return nil
	}
	return errors.Join(c.tokens.loadSecret(), c.tokens.loadSet(ctx))
}

// Ready says why no client with a token can be let in, if so it is.
func (c *Control) Ready() error {
	if c.tokens == nil || c.tokens.set == nil {
		return nil
	}
	return c.tokens.set.ready()
}

// Options returns the options of the handler.
func (c *Control) Options() []juggler.Option {
	authorizer := juggler.AllowAll()
	if c.flags.rulesFile != "" {
		authorizer = c.rules.Authorizer()
	}
	options := []juggler.Option{juggler.WithAuthorizer(authorizer)}
	options = append(options, c.headers.options()...)
	if c.tokens != nil {
		options = append(options, juggler.WithAuthenticator(c.tokens.authenticate))
		if c.flags.signIn > 0 {
			options = append(options, juggler.WithDeferredAuth(c.tokens.signIn, c.flags.signIn))
		}
	}
	return options
}

// refusal is a refusal that says why.
func refusal(format string, args ...any) error {
	return &juggler.Error{Code: juggler.CodeUnauthenticated, Message: fmt.Sprintf(format, args...)}
}

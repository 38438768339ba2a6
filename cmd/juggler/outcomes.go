package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/option"
)

// bindOutcomes adds what is kept of calls with keys, and for whom.
func bindOutcomes(flags *pflag.FlagSet, o *settings.Options[juggler.Option]) {
	var rules []juggler.OutcomeRule
	list := &settings.List{Kind: "rules", Take: func(texts []string) (err error) {
		rules, err = outcomeRules(texts)
		return err
	}}
	flags.Var(list, "outcomes", "`rules` of how long outcomes of calls with keys are kept, the first that matches: URIS=TIME or URIS=TIME/SIZE, where SIZE bounds the parts of an answer, such as ai.*=1h/4MiB (default: 10m/1MiB); with /repeatable at the end, calls whose callee died run again")
	o.WhenSet(flags.Lookup("outcomes"), func() juggler.Option { return juggler.WithOutcomes(rules...) })
	scope := &settings.Choice{Value: "user", Choices: []string{"user", "all"}}
	flags.Var(scope, "key-scope", "whose the keys of calls are: each user's, so that guests have none, or those of all clients together")
	o.When(func() bool { return scope.Value == "all" }, func() juggler.Option {
		return juggler.WithKeyScope(func(juggler.Session) string { return "all" })
	})
}

// outcomeRules reads rules.
func outcomeRules(texts []string) (rules []juggler.OutcomeRule, err error) {
	for _, text := range texts {
		r, err := parseOutcomeRule(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// parseOutcomeRule reads URIS=TIME or URIS=TIME/SIZE, with /repeatable behind it or not. URIs
// may have an = or / in them.
func parseOutcomeRule(text string) (r juggler.OutcomeRule, err error) {
	text, r.Repeatable = strings.CutSuffix(text, "/repeatable")
	at := strings.LastIndex(text, "=")
	keep, size, sized := strings.Cut(text[at+1:], "/")
	if r.Keep, err = time.ParseDuration(keep); at < 1 || err != nil {
		return r, errors.New("want URIS=TIME or URIS=TIME/SIZE, such as ai.*=1h/4MiB, and /repeatable behind it where calls may run again")
	}
	r.URIs = text[:at]
	if sized {
		limits := option.OutcomePartBytes
		r.PartBytes, err = settings.ParseBytes(size, limits.Min, limits.Max)
	}
	return r, err
}

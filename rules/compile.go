package rules

import (
	"errors"
	"fmt"
	"strings"

	"github.com/juggler-go/juggler"
)

// userPlaceholder stands for the name of the user.
const userPlaceholder = "{user}"

// Compile checks rules and makes an authorizer of them. The error says everything that is
// wrong, with the number of the rule, from 1. Compile keeps nothing of the slices.
func Compile(list ...Rule) (*Rules, error) {
	rules := &Rules{rules: make([]rule, 0, len(list))}
	var errs []error
	for i, r := range list {
		problem := func(err error) { errs = append(errs, fmt.Errorf("rule %d: %w", i+1, err)) }
		rules.rules = append(rules.rules, compile(r, problem))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	rules.findEnds()
	return rules, nil
}

// MustCompile is Compile for rules that stand in the program: it panics if one is wrong.
func MustCompile(list ...Rule) *Rules {
	rules, err := Compile(list...)
	if err != nil {
		panic("rules: " + err.Error())
	}
	return rules
}

func compile(r Rule, problem func(error)) rule {
	if len(r.Who) == 0 {
		problem(fmt.Errorf("who is empty: want %s, if that is meant", Everyone))
	}
	if len(r.Call)+len(r.Subscribe)+len(r.Publish) == 0 {
		problem(errors.New("the rule allows nothing: want call, subscribe or publish"))
	}
	compiled := rule{
		call:      parseNames("call", r.Call, problem),
		subscribe: parseNames("subscribe", r.Subscribe, problem),
		publish:   parseNames("publish", r.Publish, problem),
	}
	for _, text := range r.Who {
		s, err := parseSubject(text)
		if err != nil {
			problem(err)
		}
		compiled.who = append(compiled.who, s)
	}
	return compiled
}

func parseSubject(text string) (subject, error) {
	switch text {
	case Everyone:
		return subject{kind: everyone}, nil
	case Anonymous:
		return subject{kind: anonymous}, nil
	case Authenticated:
		return subject{kind: authenticated}, nil
	}
	attribute, value, ok := strings.Cut(text, "=")
	switch {
	case !ok || attribute == "" || value == "":
		return subject{}, fmt.Errorf("who: %q: want everyone, anonymous, authenticated, user=NAME or ATTRIBUTE=VALUE", text)
	case attribute == "user":
		return subject{kind: withUser, value: value}, nil
	}
	return subject{kind: withAttribute, attribute: attribute, value: value}, nil
}

func parseNames(key string, texts []string, problem func(error)) (names []name) {
	for _, text := range texts {
		n, err := parseName(text)
		if err != nil {
			problem(fmt.Errorf("%s: %w", key, err))
		}
		names = append(names, n)
	}
	return names
}

func parseName(text string) (name, error) {
	rest, prefix := strings.CutSuffix(text, "*")
	if strings.ContainsAny(rest, "*?[") {
		return name{}, fmt.Errorf("%q: want a name, or the beginning of names followed by *", text)
	}
	if rest == "" && !prefix {
		return name{}, errors.New("a name is empty")
	}
	n := name{pieces: strings.Split(rest, userPlaceholder), prefix: prefix}
	for i, piece := range n.pieces {
		last := i == len(n.pieces)-1
		if i > 0 && piece == "" && (!last || prefix) {
			return name{}, fmt.Errorf("%q: want something after %s that shows where the name of the user ends, such as a dot", text, userPlaceholder)
		}
	}
	return n, nil
}

// findEnds notes the bytes that follow {user} in any name.
func (r *Rules) findEnds() {
	for _, rule := range r.rules {
		for _, names := range [][]name{rule.call, rule.subscribe, rule.publish} {
			for _, n := range names {
				for _, piece := range n.pieces[1:] {
					if piece != "" && strings.IndexByte(r.ends, piece[0]) < 0 {
						r.ends += piece[:1]
					}
				}
			}
		}
	}
	r.noUser = &juggler.Error{Code: juggler.CodeForbidden, Message: fmt.Sprintf("not allowed: the name of the user has one of %q in it, by which the rules tell where %s ends", r.ends, userPlaceholder)}
}

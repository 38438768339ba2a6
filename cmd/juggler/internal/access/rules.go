// Package access decides who may connect, call, subscribe and publish: by
// tokens, and by a file of rules.
package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
	"github.com/juggler-go/juggler/frame"
)

// Rules is the content of a file of rules. What no rule allows is refused.
type Rules struct{ rules []rule }

// A rule allows those it is for to do some things.
type rule struct {
	who                      []subject // any of them; nil: everyone
	call, subscribe, publish []name
}

// A subject is whom a rule is for.
type subject struct {
	kind             subjectKind
	attribute, value string // of withAttribute; value also of withUser
}

type subjectKind uint8

const (
	everyone subjectKind = iota
	anonymous
	authenticated
	withUser
	withAttribute
)

// A name is a URI or channel, or with prefix set what such names begin with.
// pieces are what stands around "{user}".
type name struct {
	pieces []string
	prefix bool
}

// ruleFile is the form of the file.
type ruleFile struct {
	Rules []struct {
		Who       *[]string `yaml:"who"` // nil: the key is missing
		Call      []string  `yaml:"call"`
		Subscribe []string  `yaml:"subscribe"`
		Publish   []string  `yaml:"publish"`
	} `yaml:"rules"`
}

// ReadRules reads a file of rules.
func ReadRules(path string) (*Rules, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseRules(path, text)
}

func parseRules(path string, text []byte) (*Rules, error) {
	if err := checkKeys(path, text); err != nil {
		return nil, err
	}
	var f ruleFile
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty; want the key rules")
		}
		return nil, fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if d.Decode(new(yaml.Node)) != io.EOF {
		return nil, fmt.Errorf("%s: want one document: nothing would be read behind ---", path)
	}
	rules := &Rules{}
	var errs []error
	for i, r := range f.Rules {
		problem := func(err error) { errs = append(errs, fmt.Errorf("%s: rule %d: %w", path, i+1, err)) }
		compiled := rule{
			call:      parseNames("call", r.Call, problem),
			subscribe: parseNames("subscribe", r.Subscribe, problem),
			publish:   parseNames("publish", r.Publish, problem),
		}
		if r.Who != nil {
			compiled.who = parseSubjects(*r.Who, problem)
		}
		rules.rules = append(rules.rules, compiled)
	}
	return rules, errors.Join(errs...)
}

func parseSubjects(texts []string, problem func(error)) []subject {
	subjects := []subject{} // not nil, which is everyone
	for _, text := range texts {
		s, err := parseSubject(text)
		if err != nil {
			problem(err)
		}
		subjects = append(subjects, s)
	}
	return subjects
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

// check reports what of the rules can be true of nobody, as the flags are.
func (r *Rules) check(f *Flags) error {
	const tokens = "--token-hmac-file or --token-jwks"
	var errs []error
	for i, rule := range r.rules {
		problem := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: rule %d: %w", f.rulesFile, i+1, fmt.Errorf(format, args...)))
		}
		for _, who := range rule.who {
			switch {
			case who.kind == anonymous && f.hasTokens() && !f.anonymous:
				problem("who: anonymous is nobody without --anonymous")
			case (who.kind == authenticated || who.kind == withUser || who.kind == withAttribute) && !f.hasTokens():
				problem("who: %s is nobody without %s", who, tokens)
			case who.kind == withAttribute && !slices.Contains(f.attributes, who.attribute):
				problem("who: %s is nobody without --token-attributes %s", who, who.attribute)
			}
		}
		for _, n := range slices.Concat(rule.call, rule.subscribe, rule.publish) {
			if len(n.pieces) > 1 && !f.hasTokens() {
				problem("%s is nobody's without %s", userPlaceholder, tokens)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// String returns a subject as a file of rules has it.
func (w subject) String() string {
	switch w.kind {
	case everyone:
		return "everyone"
	case anonymous:
		return "anonymous"
	case authenticated:
		return "authenticated"
	case withUser:
		return "user=" + w.value
	}
	return w.attribute + "=" + w.value
}

// checkKeys reports unknown keys, with the one that may be meant, and keys without a
// value: nobody can tell whether an empty "who" means nobody or everyone.
func checkKeys(path string, text []byte) error {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil || len(document.Content) == 0 {
		return nil // decoding says what is wrong
	}
	var errs []error
	problem := func(n *yaml.Node, err error) { errs = append(errs, fmt.Errorf("%s:%d: %w", path, n.Line, err)) }
	check := func(n *yaml.Node, known ...string) {
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], resolve(n.Content[i+1])
			if key.Value == "" || !slices.Contains(known, key.Value) {
				err := fmt.Errorf("unknown key %q", key.Value)
				if near := nearest.To(key.Value, known); near != "" {
					err = fmt.Errorf("%w; did you mean %q?", err, near)
				}
				problem(key, err)
			} else if isNull(value) || value.Kind == yaml.SequenceNode && len(value.Content) == 0 {
				problem(key, fmt.Errorf("%s is empty; want a list, or leave it out", key.Value))
			} else if slices.ContainsFunc(value.Content, isNull) { // decoding would drop it
				problem(key, fmt.Errorf("%s has an empty entry", key.Value))
			}
		}
	}
	root := document.Content[0]
	check(root, "rules")
	for i := 0; root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
		for _, r := range resolve(root.Content[i+1]).Content {
			if r = resolve(r); isNull(r) {
				continue // that is said already
			}
			if check(r, "who", "call", "subscribe", "publish"); allowsNothing(r) {
				problem(r, errors.New("the rule allows nothing; want call, subscribe or publish"))
			}
		}
	}
	return errors.Join(errs...)
}

func isNull(n *yaml.Node) bool { return resolve(n).Tag == "!!null" }

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// allowsNothing reports whether a rule says at most whom it is for.
func allowsNothing(r *yaml.Node) bool {
	for i := 0; i < len(r.Content); i += 2 {
		if r.Content[i].Value != "who" {
			return false
		}
	}
	return r.Kind == yaml.MappingNode
}

func parseSubject(text string) (subject, error) {
	switch text {
	case "everyone":
		return subject{kind: everyone}, nil
	case "anonymous":
		return subject{kind: anonymous}, nil
	case "authenticated":
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

const userPlaceholder = "{user}"

func parseName(text string) (name, error) {
	n := name{}
	text, n.prefix = strings.CutSuffix(text, "*")
	if strings.ContainsAny(text, "*?[") {
		return n, fmt.Errorf("%q: want a name, or the beginning of names followed by *", text)
	}
	if text == "" && !n.prefix {
		return n, errors.New("a name is empty")
	}
	n.pieces = strings.Split(text, userPlaceholder)
	return n, nil
}

// Authorize decides about one request.
func (r *Rules) Authorize(req *juggler.Request) error {
	name := req.Channel()
	if req.Type() == frame.Call {
		name = req.URI()
	}
	if r.allow(req.Session(), req.Type(), name, req.Pattern()) {
		return nil
	}
	return juggler.ErrForbidden
}

// allow reports whether a session may send a request of a type for a name or pattern.
func (r *Rules) allow(s juggler.Session, typ frame.Type, name string, pattern bool) bool {
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.allows(s.User(), typ, name, pattern) && rule.isFor(s) {
			return true
		}
	}
	return false
}

func (r *rule) isFor(s juggler.Session) bool {
	if r.who == nil {
		return true
	}
	for _, who := range r.who {
		if who.is(s) {
			return true
		}
	}
	return false
}

func (w subject) is(s juggler.Session) bool {
	switch w.kind {
	case anonymous:
		return s.User() == ""
	case authenticated:
		return s.User() != ""
	case withUser:
		return s.User() == w.value
	case withAttribute:
		have, ok := s.Attribute(w.attribute)
		if !ok {
			return false
		}
		return hasWord(have, w.attribute, w.value)
	}
	return true
}

// allows reports whether the rule covers what is requested.
func (r *rule) allows(user string, typ frame.Type, requested string, pattern bool) bool {
	switch typ {
	case frame.Call:
		return covers(r.call, user, requested, false)
	case frame.Sub:
		return covers(r.subscribe, user, requested, pattern)
	case frame.Pub:
		return covers(r.publish, user, requested, false)
	}
	return true
}

func covers(names []name, user, requested string, pattern bool) bool {
	for _, n := range names {
		if n.covers(user, requested, pattern) {
			return true
		}
	}
	return false
}

// covers reports whether n covers a name, or everything that a pattern can
// match: then what the pattern says literally, up to its first special
// character, must begin as n does.
func (n *name) covers(user, requested string, pattern bool) bool {
	if pattern {
		if !n.prefix {
			return false
		}
		if i := strings.IndexAny(requested, `*?[\`); i >= 0 {
			requested = requested[:i]
		}
	}
	if len(n.pieces) > 1 && user == "" {
		return false // {user} of nobody
	}
	for i, piece := range n.pieces {
		var ok bool
		if i > 0 {
			if requested, ok = strings.CutPrefix(requested, user); !ok {
				return false
			}
		}
		if requested, ok = strings.CutPrefix(requested, piece); !ok {
			return false
		}
	}
	return n.prefix || requested == ""
}

// Current is an authorizer by rules that may be replaced while it is used.
type Current struct{ rules atomic.Pointer[Rules] }

// Set replaces the rules.
func (c *Current) Set(r *Rules) { c.rules.Store(r) }

// Authorizer returns what juggler.WithAuthorizer takes. It never waits.
func (c *Current) Authorizer() juggler.Authorizer {
	return juggler.NonBlocking(func(_ context.Context, r *juggler.Request) error {
		return c.rules.Load().Authorize(r)
	})
}

// EndForbidden ends the sessions that are subscribed to what the rules no longer allow,
// and returns how many they were. Their clients come back at once, subscribe again, and
// are told what is refused. A SUB that is on its way is not looked at.
func (c *Current) EndForbidden(sessions iter.Seq[juggler.Session]) (ended int) {
	rules := c.rules.Load()
	for s := range sessions {
		for topic := range s.Topics() {
			if !rules.allow(s, frame.Sub, topic.Name, topic.Pattern) {
				s.Disconnect(closeRestart, "the rules have changed")
				ended++
				break
			}
		}
	}
	return ended
}

// closeRestart is the close code 1012, service restart: clients come back at once.
const closeRestart = frame.CloseRestart

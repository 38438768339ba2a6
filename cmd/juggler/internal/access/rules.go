// Package access decides who may connect, call, subscribe and publish: by
// tokens, and by a file of rules.
package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
	"github.com/juggler-go/juggler/rules"
)

// Rules is the content of a file of rules.
type Rules struct {
	*rules.Rules
	list []rules.Rule
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
	list := make([]rules.Rule, 0, len(f.Rules))
	for _, r := range f.Rules {
		rule := rules.Rule{Who: []string{rules.Everyone}, Call: r.Call, Subscribe: r.Subscribe, Publish: r.Publish}
		if r.Who != nil {
			rule.Who = *r.Who
		}
		list = append(list, rule)
	}
	compiled, err := rules.Compile(list...)
	if err != nil { // a line for each problem
		return nil, fmt.Errorf("%s: %s", path, strings.ReplaceAll(err.Error(), "\n", "\n"+path+": "))
	}
	return &Rules{compiled, list}, nil
}

// check reports what of the rules can be true of nobody, as the flags are.
func (r *Rules) check(f *Flags) error {
	const tokens = "--token-hmac-file or --token-jwks"
	var errs []error
	for i, rule := range r.list {
		problem := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: rule %d: %w", f.rulesFile, i+1, fmt.Errorf(format, args...)))
		}
		for _, who := range rule.Who {
			attribute, _, _ := strings.Cut(who, "=")
			switch {
			case who == rules.Everyone:
			case who == rules.Anonymous:
				if f.hasTokens() && !f.anonymous {
					problem("who: anonymous is nobody without --anonymous")
				}
			case !f.hasTokens():
				problem("who: %s is nobody without %s", who, tokens)
			case who != rules.Authenticated && attribute != "user" && !slices.Contains(f.attributes, attribute):
				problem("who: %s is nobody without --token-attributes %s", who, attribute)
			}
		}
		names := slices.Concat(rule.Call, rule.Subscribe, rule.Publish)
		if !f.hasTokens() && slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "{user}") }) {
			problem("{user} is nobody's without %s", tokens)
		}
	}
	return errors.Join(errs...)
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

// Current is an authorizer by rules that may be replaced while it is used.
type Current struct{ rules atomic.Pointer[Rules] }

// Set replaces the rules.
func (c *Current) Set(r *Rules) { c.rules.Store(r) }

// Authorizer returns what juggler.WithAuthorizer takes. It never waits.
func (c *Current) Authorizer() juggler.Authorizer {
	return juggler.NonBlocking(func(ctx context.Context, r *juggler.Request) error {
		return c.rules.Load().Authorize(ctx, r)
	})
}

package redis

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// peers are the processes that share the servers, as far as their settings go.
// Each says in a key what it has; one that has lanes, channels or keys of another
// kind would talk past the others in silence. Prefixes are told apart on purpose, but
// half a system under one and the other half under another is a mistake.
type peers struct {
	broker       *Broker
	node, callee atomic.Bool // what this process is, or was

	// Owned by the goroutine of the survey.
	told     bool            // others may have read what we have
	hidden   bool            // we may not use the key of other prefixes
	reported map[string]bool // what was logged and is still so
}

// commonPrefix is where processes of all prefixes say what they have.
const commonPrefix = "juggler"

// settings are what all processes of a system must have in common, and what one is.
type settings struct {
	prefix, format, role string
	history              string // a short name of the rules that it was given; empty: none
}

// Roles: who makes calls, who answers them, and who does neither.
const (
	roleNode   = "node"
	roleCallee = "callee"
	roleOther  = "other"
)

// historyField stands before the name of the rules of history. Processes that do not know
// of it take it for a part of the format, and warn: they cannot read what is kept.
const historyField = " history="

// String is what the key has.
func (s settings) String() string {
	format := s.format
	if s.history != "" {
		format += historyField + s.history
	}
	return fmt.Sprintf("prefix=%s %s role=%s", s.prefix, format, s.role)
}

func parseSettings(text string) (s settings, ok bool) {
	prefix, rest, ok1 := strings.Cut(text, " ")
	format, role, ok2 := strings.Cut(rest, " role=")
	prefix, ok3 := strings.CutPrefix(prefix, "prefix=")
	format, history, _ := strings.Cut(format, historyField)
	return settings{prefix, format, role, history}, ok1 && ok2 && ok3
}

// own returns our settings, in each role.
func (p *peers) own() []settings {
	c := &p.broker.config
	channels := "classic"
	if c.sharded {
		channels = "sharded"
	}
	s := settings{prefix: c.prefix, format: fmt.Sprintf("lanes=%d channels=%s layout=%d", c.lanes, channels, layout)}
	s.history = p.broker.history.given.name()
	var all []settings
	with := func(role string) { s.role = role; all = append(all, s) }
	if p.node.Load() {
		with(roleNode)
	}
	if p.callee.Load() {
		with(roleCallee)
	}
	if len(all) == 0 {
		with(roleOther)
	}
	return all
}

// processName names this process.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return fmt.Sprintf("%s (process %d)", host, os.Getpid())
}

// A peer is an entry of the key.
type peer struct {
	settings
	who string
}

// look tells the others, for so long, and compares.
func (p *peers) compare(ctx context.Context, lease time.Duration) {
	own := p.own()
	others, err := p.exchange(ctx, p.broker.config.prefix, own, lease)
	if err != nil {
		p.broker.config.logger.Debug("could not compare the settings with other processes", "error", err)
		return
	}
	p.told = true
	if p.broker.config.prefix != commonPrefix && !p.hidden {
		more, err := p.exchange(ctx, commonPrefix, own, lease)
		p.hidden = err != nil && resp.IsDenied(err.Error())
		others = append(others, more...)
	}
	found := map[string]bool{}
	for _, o := range others {
		if o.prefix == own[0].prefix && o.format != own[0].format {
			p.report(found, "another process of this system has other settings: calls and events do not pass between them",
				"here", own[0].String(), "there", o.String(), "process", o.who)
		}
		p.compareHistory(ctx, own[0], o, found)
	}
	p.compareRoles(own, others, found)
	p.reported = found
}

// compareHistory finds processes that were given other rules of history. A process that
// knows of none learns those that count.
func (p *peers) compareHistory(ctx context.Context, own settings, o peer, found map[string]bool) {
	switch {
	case o.prefix != own.prefix || o.history == "":
	case own.history == "":
		p.broker.lookForRules(ctx)
	case o.history != own.history:
		p.report(found, "another process of this system was given other rules of history: those of the last that was started count",
			"here", own.String(), "there", o.String(), "process", o.who)
	}
}

// compareRoles finds nodes without callees beside callees without nodes.
func (p *peers) compareRoles(own []settings, others []peer, found map[string]bool) {
	roles := map[string]map[string]peer{} // prefix -> role -> one who has it
	for _, o := range others {
		if roles[o.prefix] == nil {
			roles[o.prefix] = map[string]peer{}
		}
		roles[o.prefix][o.role] = o
	}
	missing := map[string]string{roleNode: roleCallee, roleCallee: roleNode}
	for _, s := range own {
		want, ok := missing[s.role]
		if _, served := roles[s.prefix][want]; !ok || served {
			continue
		}
		for prefix, there := range roles {
			other, has := there[want]
			if _, both := there[s.role]; prefix != s.prefix && has && !both {
				p.report(found, "this system lacks nodes or callees, and one with another prefix has them",
					"here", s.String(), "there", other.String(), "process", other.who)
			}
		}
	}
}

// report logs what was not found by the last look.
func (p *peers) report(found map[string]bool, message string, more ...any) {
	name := fmt.Sprint(message, more)
	found[name] = true
	if !p.reported[name] {
		p.broker.config.logger.Warn(message, more...)
	}
}

// leave takes back what we said, if that is quick.
func (p *peers) leave() {
	if !p.told {
		return
	}
	ctx, cancel := context.WithTimeout(background, p.broker.closeTimeout()/4)
	defer cancel()
	for _, prefix := range slices.Compact([]string{p.broker.config.prefix, commonPrefix}) {
		if prefix != p.broker.config.prefix && p.hidden {
			continue
		}
		p.exchange(ctx, prefix, p.own(), 0) //nolint:errcheck // it expires
	}
}

// exchange tells what we have and returns what the others do.
func (p *peers) exchange(ctx context.Context, prefix string, own []settings, lease time.Duration) ([]peer, error) {
	key := prefix + ":{peers}:systems"
	args := []any{lease.Milliseconds(), processName()}
	for _, s := range own {
		args = append(args, s.String())
	}
	c := peersScript.Command([]string{key}, args...)
	if err := p.broker.runAt(ctx, conn.Slot("peers"), c); err != nil {
		return nil, err
	}
	var all []peer
	for pair := range slices.Chunk(c.Reply.Texts(), 2) {
		if s, ok := parseSettings(pair[0]); ok && len(pair) == 2 {
			all = append(all, peer{s, pair[1]})
		}
	}
	return all, nil
}

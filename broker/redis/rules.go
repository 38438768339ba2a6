package redis

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/juggler-go/juggler/internal/kept"
	"github.com/juggler-go/juggler/internal/option"
)

// history is the rules of history. They lie in Redis, in each lane: all who publish have
// to follow the same, also those that were not given any. Scripts are told which version
// we know, and answer with the rules if others count. So at any instant all who publish on
// a lane have the same, and what is not kept lies before or behind a rule's time.
type history struct {
	given   *ruleSet                  // by the option; nil: we follow those of others
	newest  atomic.Pointer[ruleSet]   // of any lane; nil: none are known
	lanes   []atomic.Pointer[ruleSet] // as they were read; nil: not yet
	settled []atomic.Bool             // by lane: the given ones were set once
}

// A ruleSet is rules as they count in a lane. It does not change.
type ruleSet struct {
	kept.Rules
	ids     []string // 8 bytes each, with which positions begin a new life
	version string   // of what lies in Redis; empty: nothing does
	who     string   // set them
	lines   []string // as rules.lua takes them
}

// noRules are those of a lane that has none.
var noRules = &ruleSet{}

// rulesLife is for how long rules count after the last process that was given some has gone.
const rulesLife = time.Hour

// errRules: other rules count than were known.
var errRules = errors.New("other rules of history")

func (h *history) init(c *config) {
	h.lanes = make([]atomic.Pointer[ruleSet], c.lanes)
	h.settled = make([]atomic.Bool, c.lanes)
	if c.history == nil {
		return
	}
	h.given = &ruleSet{Rules: c.rules, ids: make([]string, len(c.history))}
	for i, r := range c.history {
		h.given.lines = append(h.given.lines, fmt.Sprintf("%d %d %q", r.Events, r.For.Milliseconds(), r.Channels))
		h.given.ids[i] = strings.Repeat("\x00", 8)
	}
	h.newest.Store(h.given)
}

// of returns the rules of a lane, as far as they are known.
func (h *history) of(lane int) *ruleSet {
	newest := h.newest.Load()
	if newest == nil {
		return noRules
	}
	if here := h.lanes[lane].Load(); here != nil {
		return here
	}
	return newest
}

// Kept implements [broker.History].
func (b *Broker) Kept(channel string) bool {
	if b.history.newest.Load() == nil {
		return false
	}
	return b.history.of(b.keys.laneOf(channel)).Find(channel) >= 0
}

// parseRules reads what lies in Redis.
func parseRules(value string) (*ruleSet, error) {
	if value == "" {
		return noRules, nil
	}
	lines := strings.Split(strings.TrimSuffix(value, "\n"), "\n")
	if len(lines) < 2 {
		return nil, errCorrupt
	}
	r := &ruleSet{version: lines[0], who: lines[1], lines: lines[2:]}
	var list []broker.HistoryRule
	for i, line := range r.lines {
		id, line, _ := strings.Cut(line, " ")
		number, err := strconv.ParseUint(id, 16, 64)
		var rule broker.HistoryRule
		var ms int64
		if err == nil {
			_, err = fmt.Sscanf(line, "%d %d %q", &rule.Events, &ms, &rule.Channels)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errCorrupt, err)
		}
		rule.For = time.Duration(ms) * time.Millisecond
		list, r.lines[i], r.ids = append(list, rule), line, append(r.ids, string(binary.BigEndian.AppendUint64(nil, number)))
	}
	problems := option.Problems{Package: "redis"}
	r.Rules = kept.Compile(&problems, list)
	return r, problems.Err()
}

// learn notes the rules that count in a lane.
func (b *Broker) learn(lane int, value string) error {
	r, err := parseRules(value)
	if err != nil {
		b.corrupt(b.keys.rules(lane), err)
		return err
	}
	h := &b.history
	if r != noRules || h.newest.Load() != nil {
		h.lanes[lane].Store(r)
	}
	if r == noRules {
		return nil
	}
	before := h.newest.Swap(r)
	if before != nil && before.version == r.version || h.given == nil || slices.Equal(h.given.lines, r.lines) {
		return nil
	}
	b.config.logger.Warn("other rules of history count than this process was given: the last that was started sets them",
		"here", h.given.String(), "there", r.String(), "process", r.who)
	return nil
}

// String says what the rules are.
func (r *ruleSet) String() string {
	var texts []string
	for i := range r.Len() {
		rule := r.At(i)
		texts = append(texts, fmt.Sprintf("%s:%d:%v", rule.Channels, rule.Events, rule.For))
	}
	return strings.Join(texts, " ")
}

// name is short, and the same for the same rules; empty if none were given.
func (r *ruleSet) name() string {
	if r == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(r.lines, "\n")))
	return fmt.Sprintf("%d-%x", r.Len(), sum[:4])
}

// lookForRules reads the rules of the lanes in use if none are known.
func (b *Broker) lookForRules(ctx context.Context) {
	if b.history.newest.Load() != nil {
		return
	}
	for _, lane := range b.lanesInUse() {
		c := resp.NewCommand("GET", b.keys.rules(lane))
		if b.runAt(ctx, b.keys.slotOf(lane), c) == nil {
			b.learn(lane, string(c.Reply.Text)) //nolint:errcheck // it is logged
		}
	}
}

// spreadRules sets the rules that this process was given in all lanes, and renews them: in
// lanes that are not in use, which may take a connection, only if all is true.
func (b *Broker) spreadRules(ctx context.Context, all bool) {
	if b.history.given == nil {
		return
	}
	for lane := range b.keys.tags {
		if b.history.settled[lane].Load() && b.used(lane) == nil && !all {
			continue
		}
		c := b.settleRules(lane)
		if err := b.runAt(ctx, b.keys.slotOf(lane), c); err == nil || resp.IsServerError(err) {
			b.settledRules(lane, c.Reply)
		}
	}
}

// settleRules returns the command that sets the rules of a lane, if that was not done, or
// renews or restores them; nil: this process was given none. Its reply is for settledRules.
func (b *Broker) settleRules(lane int) *resp.Command {
	h := &b.history
	if h.given == nil {
		return nil
	}
	rules, mode := h.of(lane), "renew"
	if !h.settled[lane].Load() {
		rules, mode = h.given, "set"
	} else if rules == noRules { // they could not be set
		rules = h.given
	}
	c := rulesScript.On([]string{b.keys.rules(lane)}, 64*len(rules.lines))
	c.AddText(mode)
	c.AddText(processName())
	c.AddText(fmt.Sprintf("%016x", newTag()))
	c.AddNumber(rulesLife.Milliseconds())
	for _, line := range rules.lines {
		c.AddText(line)
	}
	return c
}

// settledRules reads the reply of rules.lua. If that is an error there are no rules.
func (b *Broker) settledRules(lane int, reply resp.Reply) {
	if reply.Kind != '$' {
		b.history.lanes[lane].Store(noRules)
		return
	}
	if b.learn(lane, string(reply.Text)) == nil {
		b.history.settled[lane].Store(true)
	}
}

// restores reports whether this process is to restore the rules of a lane that has none.
func (h *history) restores(lane int, value string) bool {
	return value == "" && h.given != nil && h.of(lane) != noRules
}

// missRules handles that other rules count in a lane than we knew: value, or none. In
// place of none come those that we know, which the next batch restores, if we were given
// some.
func (b *batcher) missRules(value string) error {
	broker, lane := b.lane.broker, b.lane.index
	if broker.history.restores(lane, value) {
		b.settle = true
		return nil
	}
	return broker.learn(lane, value)
}

// missRules is the same for requests that are not of a batcher.
func (l *lane) missRules(ctx context.Context, value string) error {
	if !l.broker.history.restores(l.index, value) {
		return l.broker.learn(l.index, value)
	}
	reply, err := l.writer.do(ctx, l.broker.settleRules(l.index))
	if err == nil || resp.IsServerError(err) {
		l.broker.settledRules(l.index, reply)
		return nil
	}
	return err
}

package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// Brokers that are wrong about who is there, each in one thing.
var wrongPresence = []wrongBroker{
	{"tells of no changes", []string{"who is there", "put replaces", "a user on two nodes", "mine", "many members"}, told(func(c *broker.HereChange) bool { return c.Mine }), nil},
	{"drops every tenth change", []string{"watch while others put", "who is there by chance"}, func(*testing.T) *hooks {
		var n atomic.Int64
		return told(func(*broker.HereChange) bool { return n.Add(1)%10 != 0 })(nil)
	}, nil},
	{"numbers changes with holes", []string{"who is there", "slow changed"}, func(*testing.T) *hooks {
		return &hooks{
			openPresence: told(func(c *broker.HereChange) bool {
				c.Number *= 2
				return true
			})(nil).openPresence,
			readHere: func(c broker.PresenceConn, channel string, most int) (broker.Here, error) {
				h, err := c.ReadHere(context.Background(), channel, most)
				h.Number *= 2
				return h, err
			},
		}
	}, nil},
	{"counts wrongly", []string{"who is there"}, told(func(c *broker.HereChange) bool {
		c.Count += len(c.Left)
		return true
	}), nil},
	{"tells that those join who have changed", []string{"who is there", "info"}, told(func(c *broker.HereChange) bool {
		c.Joined, c.Changed = append(slices.Clone(c.Joined), c.Changed...), nil
		return true
	}), nil},
	{"tells of what is the same", []string{"put replaces"}, puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
		c.Put(channel, users)
		c.Put(channel, []broker.Member{{User: "again", Sessions: 1}})
		c.Put(channel, []broker.Member{{User: "again", Sessions: 0}})
	}), nil},
	{"adds to what was put", []string{"put replaces", "who is there"}, func(*testing.T) *hooks {
		sessions := make(map[string]int)
		return puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
			users = slices.Clone(users)
			for i := range users {
				u := &users[i]
				if u.Sessions > 0 {
					sessions[channel+u.User] += u.Sessions
				}
				u.Sessions = min(u.Sessions, 1) * sessions[channel+u.User]
			}
			c.Put(channel, users)
		})(nil)
	}, nil},
	{"removes who is not in a Put", []string{"put replaces", "who is there"}, puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
		h, _ := c.ReadHere(context.Background(), channel, 1000)
		for _, m := range h.Members {
			c.Put(channel, []broker.Member{{User: m.User}})
		}
		c.Put(channel, users)
	}), nil},
	{"counts users, not sessions", []string{"who is there", "a user on two nodes"}, puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
		users = slices.Clone(users)
		for i := range users {
			users[i].Sessions = min(users[i].Sessions, 1)
		}
		c.Put(channel, users)
	}), nil},
	{"takes the nodes of a user for one", []string{"a user on two nodes", "close presence", "who is there by chance"}, func(*testing.T) *hooks {
		var first broker.PresenceConn
		return &hooks{
			openedPresence: func(c broker.PresenceConn) {
				if first == nil {
					first = c
				}
			},
			put: func(_ broker.PresenceConn, channel string, users []broker.Member) { first.Put(channel, users) },
		}
	}, nil},
	{"keeps the first info", []string{"info", "who is there"}, puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
		h, _ := c.ReadHere(context.Background(), channel, 1000)
		users = slices.Clone(users)
		for i := range users {
			for _, m := range h.Members {
				if m.User == users[i].User {
					users[i].Info = m.Info
				}
			}
		}
		c.Put(channel, users)
	}), nil},
	{"cuts what is too long", []string{"info"}, puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
		users = slices.Clone(users)
		for i := range users {
			users[i].Info = users[i].Info[:min(len(users[i].Info), broker.MaxMemberInfo)]
		}
		c.Put(channel, users)
	}), nil},
	{"lists some of too many members", []string{"most"}, reads(func(h *broker.Here, most int) { h.Members = h.Members[:min(most, len(h.Members))] }), nil},
	{"lists all members", []string{"most"}, reads(func(*broker.Here, int) {}), nil},
	{"counts whom it lists", []string{"most"}, reads(func(h *broker.Here, most int) {
		if h.Count > most {
			h.Members, h.Count = nil, 0
		}
	}), nil},
	{"says to all that a change is theirs", []string{"mine"}, told(func(c *broker.HereChange) bool {
		c.Mine = true
		return true
	}), nil},
	{"says to none that a change is theirs", []string{"mine"}, told(func(c *broker.HereChange) bool {
		c.Mine = false
		return true
	}), nil},
	{"tells all of all changes", []string{"mine"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var all []func([]broker.HereChange)
		return &hooks{openPresence: func(_ context.Context, changed func([]broker.HereChange)) func([]broker.HereChange) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, changed)
			return func(changes []broker.HereChange) {
				mu.Lock()
				others := slices.Clone(all)
				mu.Unlock()
				changed(changes)
				for _, tell := range others {
					for _, c := range changes {
						if c.Mine {
							c.Mine = false
							tell([]broker.HereChange{c})
						}
					}
				}
			}
		}}
	}, nil},
	{"does not know channels apart", []string{"channels of who is there"}, puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
		c.Put(strings.Trim(channel, "\x00"), users)
	}), nil},
	{"reads who was there before", []string{"who is there"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		before := make(map[string]broker.Here)
		return &hooks{readHere: func(c broker.PresenceConn, channel string, _ int) (broker.Here, error) {
			h, err := c.ReadHere(context.Background(), channel, 1000)
			mu.Lock()
			defer mu.Unlock()
			old, ok := before[channel]
			if before[channel] = h; ok {
				h.Members, h.Count = old.Members, old.Count
			}
			return h, err
		}}
	}, nil},
	{"never unwatches", []string{"unwatch"}, func(*testing.T) *hooks {
		return &hooks{unwatch: func() bool { return false }}
	}, nil},
	{"leaves members behind", []string{"close presence", "many members"}, func(t *testing.T) *hooks {
		var left []broker.PresenceConn
		var mu sync.Mutex
		t.Cleanup(func() {
			for _, c := range left {
				c.Close()
			}
		})
		return &hooks{closePresence: func(c broker.PresenceConn) error {
			mu.Lock()
			defer mu.Unlock()
			left = append(left, c)
			return nil
		}}
	}, nil},
	{"does not wait in Close of a node", []string{"close presence waits"}, func(t *testing.T) *hooks {
		var closing sync.WaitGroup
		t.Cleanup(closing.Wait)
		return &hooks{closePresence: func(c broker.PresenceConn) error {
			closing.Go(func() { c.Close() })
			return nil
		}}
	}, nil},
	{"waits in Put for callbacks", []string{"slow changed"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		return &hooks{
			openPresence: func(_ context.Context, changed func([]broker.HereChange)) func([]broker.HereChange) {
				return func(changes []broker.HereChange) {
					mu.Lock()
					defer mu.Unlock()
					changed(changes)
				}
			},
			put: func(c broker.PresenceConn, channel string, users []broker.Member) {
				mu.Lock()
				defer mu.Unlock()
				c.Put(channel, users)
			},
		}
	}, nil},
	{"does not read in callbacks", []string{"put in changed"}, func(*testing.T) *hooks {
		var inside atomic.Int64
		return &hooks{
			openPresence: func(_ context.Context, changed func([]broker.HereChange)) func([]broker.HereChange) {
				return func(changes []broker.HereChange) {
					inside.Add(1)
					defer inside.Add(-1)
					changed(changes)
				}
			},
			readHere: func(c broker.PresenceConn, channel string, most int) (broker.Here, error) {
				if inside.Load() > 0 {
					return broker.Here{}, errors.New("called from a callback")
				}
				return c.ReadHere(context.Background(), channel, most)
			},
		}
	}, nil},
	{"keeps the slices of a Put", []string{"owner of a member"}, func(*testing.T) *hooks {
		var kept func()
		return &hooks{
			put: func(c broker.PresenceConn, channel string, users []broker.Member) {
				kept = func() { c.Put(channel, users) }
			},
			flush: func(ctx context.Context, next func(context.Context) error) error {
				kept()
				return next(ctx)
			},
		}
	}, nil},
	{"does not write before Flush returns", []string{"who is there", "who is there by chance"}, func(t *testing.T) *hooks {
		var writing sync.WaitGroup
		t.Cleanup(writing.Wait)
		return puts(func(c broker.PresenceConn, channel string, users []broker.Member) {
			users = slices.Clone(users)
			for i := range users {
				users[i].Info = bytes.Clone(users[i].Info)
			}
			writing.Go(func() {
				time.Sleep(time.Millisecond)
				c.Put(channel, users)
			})
		})(nil)
	}, nil},
	{"lasts as long as the context of its opening", []string{"presence outlives its opening"}, func(*testing.T) *hooks {
		var opening context.Context
		return &hooks{
			openPresence: func(ctx context.Context, changed func([]broker.HereChange)) func([]broker.HereChange) {
				opening = ctx
				return changed
			},
			flush: func(ctx context.Context, next func(context.Context) error) error {
				if err := opening.Err(); err != nil {
					return err
				}
				return next(ctx)
			},
		}
	}, nil},
}

// told bends a broker so that change changes what is told; false: it is not told.
func told(change func(*broker.HereChange) bool) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{openPresence: func(_ context.Context, changed func([]broker.HereChange)) func([]broker.HereChange) {
			return func(changes []broker.HereChange) {
				for _, c := range changes {
					if change(&c) {
						changed([]broker.HereChange{c})
					}
				}
			}
		}}
	}
}

// puts bends a broker so that its Put is put.
func puts(put func(c broker.PresenceConn, channel string, users []broker.Member)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		var mu sync.Mutex
		return &hooks{put: func(c broker.PresenceConn, channel string, users []broker.Member) {
			mu.Lock()
			defer mu.Unlock()
			put(c, channel, users)
		}}
	}
}

// reads bends a broker so that change changes what is read, which are all members at first.
func reads(change func(h *broker.Here, most int)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{readHere: func(c broker.PresenceConn, channel string, most int) (broker.Here, error) {
			h, err := c.ReadHere(context.Background(), channel, 100_000)
			change(&h, most)
			return h, err
		}}
	}
}

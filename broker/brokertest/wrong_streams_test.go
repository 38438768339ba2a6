package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/juggler-go/juggler/broker"
)

// sends bends SendPart.
func sends(f func(p *broker.Part, next func(*broker.Part) error) error) func(*testing.T) *hooks {
	return func(*testing.T) *hooks { return &hooks{sendPart: f} }
}

// delivered bends each part that is delivered.
func delivered(f func(p *broker.Part)) func(*testing.T) *hooks {
	return func(*testing.T) *hooks {
		return &hooks{parts: func(parts []broker.Part, next func([]broker.Part)) {
			bent := slices.Clone(parts)
			for i := range bent {
				f(&bent[i])
			}
			next(bent)
		}}
	}
}

// Brokers that carry answers in parts wrongly, each in one thing.
var wrongStreams = []wrongBroker{
	{"leaves out a part", []string{"parts", "owner of a part", "part sent again", "concurrent parts"}, sends(func(p *broker.Part, next func(*broker.Part) error) error {
		if p.N == 3 {
			return nil
		}
		return next(p)
	}), nil},
	{"loses the last part", []string{"parts", "concurrent parts"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		held := make(map[broker.Address]broker.Part)
		return &hooks{sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
			mu.Lock()
			defer mu.Unlock()
			last, ok := held[p.To]
			kept := *p
			kept.Args = bytes.Clone(p.Args)
			held[p.To] = kept
			if ok {
				return next(&last)
			}
			return nil
		}}
	}, nil},
	{"swaps parts", []string{"parts", "owner of a part"}, func(*testing.T) *hooks {
		var held *broker.Part
		return &hooks{sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
			if p.N == 2 {
				kept := *p
				kept.Args = bytes.Clone(p.Args)
				held = &kept
				return nil
			}
			err := next(p)
			if held != nil {
				next(held)
				held = nil
			}
			return err
		}}
	}, nil},
	{"takes a part that is sent again for another", []string{"part sent again"}, func(*testing.T) *hooks {
		n := uint32(0)
		return &hooks{sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
			n++
			anew := *p
			anew.N = n
			return next(&anew)
		}}
	}, nil},
	{"forgets what the callee knew", []string{"parts"}, delivered(func(p *broker.Part) { p.Window = broker.Window{} }), nil},
	{"does not say who sends", []string{"parts"}, delivered(func(p *broker.Part) { p.From = broker.ID{} }), nil},
	{"does not say how many parts there are", []string{"parts", "concurrent parts"}, func(*testing.T) *hooks {
		return &hooks{reply: func(results []broker.Result, next func([]broker.Result) error) error {
			bent := slices.Clone(results)
			for i := range bent {
				bent[i].Parts = 0
			}
			return next(bent)
		}}
	}, nil},
	{"mends invalid text of parts", []string{"parts"}, delivered(func(p *broker.Part) {
		p.Args = bytes.ToValidUTF8(p.Args, []byte("?"))
	}), nil},
	{"keeps the slices of parts", []string{"owner of a part"}, func(*testing.T) *hooks {
		var held *broker.Part
		return &hooks{sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
			if held != nil {
				next(held)
			}
			kept := *p // with its slice
			held = &kept
			return nil
		}}
	}, nil},
	{"has no windows", []string{"window", "grant", "parts for those who know none"}, func(*testing.T) *hooks {
		return &hooks{take: func(c broker.CalleeConn, ctx context.Context, dst []broker.Call) (int, error) {
			n, err := c.Take(ctx, dst)
			for i := range n {
				if dst[i].Window == (broker.Window{}) {
					dst[i].Window = broker.Window{Parts: 1, Bytes: 1}
				} else {
					dst[i].Window = broker.Window{}
				}
			}
			return n, err
		}, grant: func([]broker.Grant, func([]broker.Grant) error) error { return nil }}
	}, nil},
	{"grants nothing", []string{"grant", "grant in parts"}, func(*testing.T) *hooks {
		return &hooks{grant: func([]broker.Grant, func([]broker.Grant) error) error { return nil }}
	}, nil},
	{"grants all callees", []string{"grant"}, grantsToAll, nil},
	{"refuses grants for what it does not know", []string{"grant nothing"}, func(*testing.T) *hooks {
		parts := make(map[broker.Address]bool)
		return &hooks{
			parts: func(batch []broker.Part, next func([]broker.Part)) {
				for _, p := range batch {
					parts[p.To] = true
				}
				next(batch)
			},
			grant: func(grants []broker.Grant, next func([]broker.Grant) error) error {
				for _, g := range grants {
					if !parts[g.To] {
						return broker.ErrNoCallee
					}
				}
				return next(grants)
			},
		}
	}, nil},
	{"takes parts of calls that are over", []string{"part of a call that is over", "caller gone"}, sends(func(p *broker.Part, next func(*broker.Part) error) error {
		if err := next(p); !errors.Is(err, broker.ErrCallOver) {
			return err
		}
		return nil
	}), nil},
	{"calls it an outage that a call is over", []string{"part of a call that is over", "caller gone"}, sends(func(p *broker.Part, next func(*broker.Part) error) error {
		if err := next(p); !errors.Is(err, broker.ErrCallOver) {
			return err
		}
		return broker.ErrUnavailable
	}), nil},
	{"does not tell that a caller is gone", []string{"caller gone"}, func(*testing.T) *hooks {
		return &hooks{cancelled: func([]broker.Address, func([]broker.Address)) {}}
	}, nil},
	{"counts callees that know no parts as gone", []string{"parts for those who know none"}, func(*testing.T) *hooks {
		return &hooks{reply: func(results []broker.Result, next func([]broker.Result) error) error {
			bent := slices.Clone(results)
			for i := range bent {
				bent[i].Err = broker.ErrCalleeLost
			}
			return next(bent)
		}}
	}, nil},
	{"cannot be called from within a callback", []string{"grant in parts"}, func(*testing.T) *hooks {
		var lock sync.Mutex
		return &hooks{
			parts: func(parts []broker.Part, next func([]broker.Part)) {
				lock.Lock()
				defer lock.Unlock()
				next(parts)
			},
			grant: func(grants []broker.Grant, next func([]broker.Grant) error) error {
				if !lock.TryLock() {
					return errors.New("busy")
				}
				defer lock.Unlock()
				return next(grants)
			},
		}
	}, nil},
	{"forgets a part whose context has ended", []string{"contexts of parts"}, func(*testing.T) *hooks {
		first := true
		return &hooks{sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
			if first {
				first = false
				return errors.New("refused")
			}
			return next(p)
		}}
	}, nil},
	{"sends parts after Close", []string{"closed amid parts"}, sends(func(p *broker.Part, next func(*broker.Part) error) error {
		if err := next(p); !errors.Is(err, broker.ErrClosed) {
			return err
		}
		return nil
	}), nil},
	{"mixes the parts of calls up", []string{"concurrent parts"}, func(*testing.T) *hooks {
		var mu sync.Mutex
		var last []byte
		return &hooks{sendPart: func(p *broker.Part, next func(*broker.Part) error) error {
			mu.Lock()
			bent := *p
			if p.N == 7 && last != nil {
				bent.Args = last
			}
			last = bytes.Clone(p.Args)
			mu.Unlock()
			return next(&bent)
		}}
	}, nil},
}

// grantsToAll is a broker that tells every callee of every grant.
func grantsToAll(*testing.T) *hooks {
	var mu sync.Mutex
	var everyone []func([]broker.Grant)
	return &hooks{
		openStreamCallee: func(granted func([]broker.Grant)) {
			mu.Lock()
			defer mu.Unlock()
			everyone = append(everyone, granted)
		},
		granted: func(grants []broker.Grant, _ func([]broker.Grant)) {
			mu.Lock()
			defer mu.Unlock()
			for _, granted := range everyone {
				granted(grants)
			}
		},
	}
}

package redis

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/juggler-go/juggler/broker"
)

var errNoHere = errors.New("no change of who is in a channel")

// decodeHereChange reads what tell of heretell.lua makes, and which node has made the change.
func decodeHereChange(value []byte) (change broker.HereChange, node broker.ID, err error) {
	r := hereReader{rest: value}
	if len(value) == 0 || value[0] != 'H' {
		return change, node, errNoHere
	}
	r.rest = value[1:]
	change.Number = r.number()
	change.Count = int(r.number())
	joined, changed, left := r.number(), r.number(), r.number()
	copy(node[:], r.take(uint64(len(node))))
	change.Joined = r.members(joined)
	change.Changed = r.members(changed)
	for ; left > 0 && !r.bad; left-- {
		change.Left = append(change.Left, string(r.take(r.number())))
	}
	if r.bad || len(r.rest) > 0 {
		return broker.HereChange{}, node, errNoHere
	}
	return change, node, nil
}

// A hereReader takes a value apart. Once it is bad all is zero.
type hereReader struct {
	rest []byte
	bad  bool
}

// number takes digits and the space behind them.
func (r *hereReader) number() uint64 {
	digits, rest, found := bytes.Cut(r.rest, []byte(" "))
	n, err := strconv.ParseUint(string(digits), 10, 63)
	if !found || err != nil {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = rest
	return n
}

func (r *hereReader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *hereReader) members(n uint64) (all []broker.Member) {
	for ; n > 0 && !r.bad; n-- {
		user, sessions, info := r.number(), r.number(), r.number()
		m := broker.Member{User: string(r.take(user)), Sessions: int(sessions)}
		if info > 0 {
			m.Info = bytes.Clone(r.take(info))
		}
		all = append(all, m)
	}
	return all
}

// decodeHereValue reads a member's value: its sessions, a space, and its info.
func decodeHereValue(user string, value []byte) (broker.Member, bool) {
	r := hereReader{rest: value}
	m := broker.Member{User: user, Sessions: int(r.number())}
	if len(r.rest) > 0 {
		m.Info = bytes.Clone(r.rest)
	}
	return m, !r.bad
}

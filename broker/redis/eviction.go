package redis

import (
	"strconv"
	"strings"
	"time"
)

// A memoryStatus is what a server says of its memory.
type memoryStatus struct {
	asked   time.Time
	policy  string // that evicts keys; "" if none are
	evicted int64  // keys, since the start of the server
}

// readMemory reads a reply to INFO. ok is false if it says nothing of the memory.
func readMemory(info string) (m memoryStatus, ok bool) {
	limit, policy := infoValue(info, "maxmemory"), infoValue(info, "maxmemory_policy")
	if limit == "" || policy == "" {
		return m, false
	}
	if limit != "0" && policy != "noeviction" {
		m.policy = policy
	}
	m.evicted, _ = strconv.ParseInt(infoValue(info, "evicted_keys"), 10, 64) //nolint:errcheck // 0 then
	return m, true
}

// infoValue returns the value of a field of INFO, or "".
func infoValue(info, name string) string {
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return value
		}
	}
	return ""
}

// reportMemory says what has changed since the server was asked last. All keys of
// the broker expire, so policies that evict such keys only are no better.
func (b *Broker) reportMemory(server string, before, now memoryStatus) {
	log := b.config.logger.With("server", server, "policy", now.policy)
	switch {
	case now.policy != "" && now.policy != before.policy:
		log.Warn("the server evicts keys when its memory is full, and calls and results with them: set maxmemory-policy to noeviction")
	case now.policy == "" && before.policy != "":
		log.Info("the server evicts no keys any more")
	}
	if !before.asked.IsZero() && now.evicted > before.evicted {
		log.Warn("the server has evicted keys: calls and results may be among them", "keys", now.evicted-before.evicted)
	}
}

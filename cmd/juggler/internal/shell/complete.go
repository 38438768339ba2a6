package shell

import (
	"slices"
	"strings"
	"sync"
)

// A completer completes what is typed: verbs, and the names that were used
// before with the verbs that take such names.
type completer struct {
	mu    sync.Mutex
	names map[string][]string // by what kind of name a verb takes
}

// The kinds of names that verbs take.
const (
	uriName        = "uri"
	channelName    = "channel"
	connectionName = "connection"
	urlName        = "url"
	verbName       = "verb"
)

var nameKinds = map[string]string{
	"call": uriName, "stop": uriName, "sub": channelName, "psub": channelName, "unsb": channelName, "pub": channelName,
	"use": connectionName, "disconnect": connectionName, "connect": urlName, "help": verbName,
}

// learn remembers a name.
func (c *completer) learn(kind, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = make(map[string][]string)
	}
	if at, found := slices.BinarySearch(c.names[kind], name); !found && len(c.names[kind]) < maxNames {
		c.names[kind] = slices.Insert(c.names[kind], at, name)
	}
}

// maxNames bounds what is remembered: events bring names too.
const maxNames = 1000

// Complete returns what the word that ends at pos can be completed to: the
// longest beginning that all candidates share, and the candidates.
func (c *completer) Complete(line string, pos int) (completed string, candidates []string) {
	before := line[:pos]
	start := strings.LastIndexAny(before, " \t") + 1
	word, verb := before[start:], strings.ToLower(strings.TrimSpace(before[:start]))
	var known []string
	switch kind := nameKinds[verb]; {
	case verb == "":
		known = verbNames()
	case kind == verbName:
		known = verbNames()
	default:
		c.mu.Lock()
		known = slices.Clone(c.names[kind])
		c.mu.Unlock()
	}
	for _, k := range known {
		if strings.HasPrefix(k, word) {
			candidates = append(candidates, k)
		}
	}
	return commonPrefix(candidates), candidates
}

// commonPrefix returns what all words begin with.
func commonPrefix(words []string) string {
	if len(words) == 0 {
		return ""
	}
	prefix := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return strings.ToValidUTF8(prefix, "")
}

package redis

import (
	"bytes"
	"crypto/sha1"
	_ "embed" // the Lua scripts
	"encoding/hex"
	"fmt"
	"time"
)

// A script is sent as EVALSHA, and once more as EVAL when the server does not
// know it (NOSCRIPT, which says that nothing was done): after its start, after
// SCRIPT FLUSH, on another master. Keys, arguments and replies are described
// in the files, for callees in other languages use them too.
type script struct {
	source string
	sha    string
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

var (
	//go:embed lua/push.lua
	pushSource string
	//go:embed lua/take.lua
	takeSource string
	//go:embed lua/announce.lua
	announceSource string
	//go:embed lua/withdraw.lua
	withdrawSource string
	//go:embed lua/giveback.lua
	givebackSource string
	//go:embed lua/stop.lua
	stopSource string
	//go:embed lua/collect.lua
	collectSource string
	//go:embed lua/result.lua
	resultSource string
	//go:embed lua/cancel.lua
	cancelSource string
	//go:embed lua/dead.lua
	deadSource string
	//go:embed lua/reap.lua
	reapSource string
	//go:embed lua/refuse.lua
	refuseSource string
	//go:embed lua/check.lua
	checkSource string
	//go:embed lua/peers.lua
	peersSource string
	//go:embed lua/publish.lua
	publishSource string

	pushScript     = newScript(pushSource)
	takeScript     = newScript(takeSource)
	announceScript = newScript(announceSource)
	withdrawScript = newScript(withdrawSource)
	givebackScript = newScript(givebackSource)
	stopScript     = newScript(stopSource)
	collectScript  = newScript(collectSource)
	resultScript   = newScript(resultSource)
	cancelScript   = newScript(cancelSource)
	deadScript     = newScript(deadSource)
	reapScript     = newScript(reapSource)
	refuseScript   = newScript(refuseSource)
	checkScript    = newScript(checkSource)
	peersScript    = newScript(peersSource)
	publishScript  = newScript(publishSource)
)

// scriptValues is the most values that one script gets: Lua's unpack and its
// stack end at about 8,000, and several lists of them may be on it.
const scriptValues = 4000

// A command is what goes to the server, a script or a plain command, and the
// reply that it got.
type command struct {
	script *script       // nil: words are the whole command
	words  []byte        // as on the wire; of a script, what follows its name
	count  int           // of words
	blocks time.Duration // how long the server may wait before it replies
	reply  reply
}

// run returns a command that runs s.
func (s *script) run(keys []string, args ...any) *command {
	c := s.on(keys, 16*len(args))
	for _, a := range args {
		c.add(a)
	}
	return c
}

// on returns a command that runs s on keys, with room for size bytes of
// arguments, which are to be added.
func (s *script) on(keys []string, size int) *command {
	for _, k := range keys {
		size += len(k) + 16
	}
	c := &command{script: s, words: make([]byte, 0, size)}
	c.number(int64(len(keys)))
	for _, k := range keys {
		c.text(k)
	}
	return c
}

// plain returns a command that is not a script.
func plain(words ...any) *command {
	c := &command{}
	for _, w := range words {
		c.add(w)
	}
	return c
}

func (c *command) add(word any) {
	switch w := word.(type) {
	case string:
		c.text(w)
	case []byte:
		c.bytes(w)
	case int:
		c.number(int64(w))
	case int64:
		c.number(w)
	default:
		panic(fmt.Sprintf("redis: a %T in a command", word))
	}
}

func (c *command) text(s string) {
	c.words = appendText(c.words, s)
	c.count++
}

func (c *command) bytes(b []byte) {
	c.words = appendText(c.words, b)
	c.count++
}

func (c *command) number(n int64) {
	c.words = appendNumber(c.words, n)
	c.count++
}

// appendTo appends c as it goes to the server. A script goes by its hash, but
// after a reply NOSCRIPT itself.
func (c *command) appendTo(b []byte) []byte {
	switch {
	case c.script == nil:
		b = appendHeader(b, '*', c.count)
	case c.unknown():
		b = appendHeader(b, '*', c.count+2)
		b = appendText(appendText(b, "EVAL"), c.script.source)
	default:
		b = appendHeader(b, '*', c.count+2)
		b = appendText(appendText(b, "EVALSHA"), c.script.sha)
	}
	return append(b, c.words...)
}

// unknown reports whether the server did not know the script.
func (c *command) unknown() bool {
	return c.script != nil && c.reply.kind == '-' && bytes.HasPrefix(c.reply.text, []byte("NOSCRIPT"))
}

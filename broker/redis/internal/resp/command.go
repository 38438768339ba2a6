package resp

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"time"
)

// A Script is a Lua script. It is sent as EVALSHA, and once more as EVAL when the server does not
// know it (NOSCRIPT, which says that nothing was done): after its start, after
// SCRIPT FLUSH, on another master.
type Script struct {
	Source string // in Lua
	sha    string
}

// NewScript returns the script with this source.
func NewScript(source string) *Script {
	sum := sha1.Sum([]byte(source))
	return &Script{Source: source, sha: hex.EncodeToString(sum[:])}
}

// MaxScriptValues is the most values that one script gets: Lua's unpack and its
// stack end at about 8,000, and several lists of them may be on it.
const MaxScriptValues = 4000

// A Command is what goes to the server, a script or a plain command, and the reply that
// it got.
type Command struct {
	script *Script       // nil: words are the whole command
	words  []byte        // as on the wire; of a script, what follows its name
	count  int           // of words
	Blocks time.Duration // how long the server may wait before it replies
	Reply  Reply
}

// Command returns a command that runs s.
func (s *Script) Command(keys []string, args ...any) *Command {
	c := s.On(keys, 16*len(args))
	for _, a := range args {
		c.add(a)
	}
	return c
}

// On returns a command that runs s on keys, with room for size bytes of
// arguments, which are to be added.
func (s *Script) On(keys []string, size int) *Command {
	for _, k := range keys {
		size += len(k) + 16
	}
	c := &Command{script: s, words: make([]byte, 0, size)}
	c.AddNumber(int64(len(keys)))
	for _, k := range keys {
		c.AddText(k)
	}
	return c
}

// NewCommand returns a command that is not a script. Words are strings, bytes and
// integers.
func NewCommand(words ...any) *Command {
	c := &Command{}
	for _, w := range words {
		c.add(w)
	}
	return c
}

func (c *Command) add(word any) {
	switch w := word.(type) {
	case string:
		c.AddText(w)
	case []byte:
		c.AddBytes(w)
	case int:
		c.AddNumber(int64(w))
	case int64:
		c.AddNumber(w)
	default:
		panic(fmt.Sprintf("redis: a %T in a command", word))
	}
}

// AddText adds a word.
func (c *Command) AddText(s string) {
	c.words = appendText(c.words, s)
	c.count++
}

// AddBytes adds a word, of which it makes a copy.
func (c *Command) AddBytes(b []byte) {
	c.words = appendBytes(c.words, b)
	c.count++
}

// AddNumber adds a word of decimal digits.
func (c *Command) AddNumber(n int64) {
	c.words = appendNumber(c.words, n)
	c.count++
}

// Size is about how many bytes c has on its way.
func (c *Command) Size() int { return len(c.words) }

// AppendTo appends c as it goes to the server. A script goes by its hash, but
// after a reply NOSCRIPT itself.
func (c *Command) AppendTo(b []byte) []byte {
	switch {
	case c.script == nil:
		b = appendHeader(b, '*', c.count)
	case c.ScriptUnknown():
		b = appendHeader(b, '*', c.count+2)
		b = appendText(appendText(b, "EVAL"), c.script.Source)
	default:
		b = appendHeader(b, '*', c.count+2)
		b = appendText(appendText(b, "EVALSHA"), c.script.sha)
	}
	return append(b, c.words...)
}

// ScriptUnknown reports whether the server did not know the script.
func (c *Command) ScriptUnknown() bool {
	return c.script != nil && c.Reply.Kind == '-' && bytes.HasPrefix(c.Reply.Text, []byte("NOSCRIPT"))
}

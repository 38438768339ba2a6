package redis

import (
	"crypto/sha1"
	_ "embed" // the Lua scripts
	"encoding/hex"
	"strings"

	goredis "github.com/redis/go-redis/v9"
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
	//go:embed lua/result.lua
	resultSource string
	//go:embed lua/cancel.lua
	cancelSource string
	//go:embed lua/reap.lua
	reapSource string

	pushScript     = newScript(pushSource)
	takeScript     = newScript(takeSource)
	announceScript = newScript(announceSource)
	withdrawScript = newScript(withdrawSource)
	givebackScript = newScript(givebackSource)
	stopScript     = newScript(stopSource)
	resultScript   = newScript(resultSource)
	cancelScript   = newScript(cancelSource)
	reapScript     = newScript(reapSource)
)

// scriptValues is the most values that one script gets: Lua's unpack and its
// stack end at about 8,000, and several lists of them may be on it.
const scriptValues = 4000

// A command is what goes to the server: a script, or a plain command.
type command struct {
	script *script // nil: args are the whole command
	args   []any
	cmd    *goredis.Cmd // made by prepare, holds the reply
}

// run returns a command that runs s.
func (s *script) run(keys []string, args ...any) *command {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "EVALSHA", s.sha, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	return &command{script: s, args: append(all, args...)}
}

// plain returns a command that is not a script.
func plain(args ...any) *command { return &command{args: args} }

// prepare makes the next attempt of c. After a reply NOSCRIPT it carries the
// script itself.
func (c *command) prepare() *goredis.Cmd {
	if c.script != nil && c.cmd != nil && isNoScript(c.cmd.Err()) {
		c.args[0], c.args[1] = "EVAL", c.script.source
	}
	c.cmd = goredis.NewCmd(background, c.args...)
	return c.cmd
}

func isNoScript(err error) bool {
	return isServerError(err) && strings.HasPrefix(err.Error(), "NOSCRIPT")
}

// integers converts a reply that is an array of integers, or returns nil.
func integers(reply any) []int64 {
	array, ok := reply.([]any)
	if !ok {
		return nil
	}
	ints := make([]int64, len(array))
	for i, v := range array {
		if ints[i], ok = v.(int64); !ok {
			return nil
		}
	}
	return ints
}

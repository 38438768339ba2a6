package redis

import (
	"embed"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/juggler-go/juggler/broker/redis/internal/resp"
	"github.com/oklog/ulid/v2"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// optional are the scripts that the broker can do without.
var optional = []string{"check.lua", "peers.lua"}

var scriptCommand = regexp.MustCompile(`\b(?:p?call|failure)\('([A-Z]+)'`)

// commandsOfScripts returns the names of the commands that the scripts run.
func commandsOfScripts() []string {
	var names []string
	files, _ := luaFiles.ReadDir("lua") //nolint:errcheck // it is there
	for _, f := range files {
		if slices.Contains(optional, f.Name()) {
			continue
		}
		source, _ := luaFiles.ReadFile(path.Join("lua", f.Name())) //nolint:errcheck // it is there
		for _, m := range scriptCommand.FindAllSubmatch(source, -1) {
			if name := string(m[1]); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// checkRights tries out what the broker needs of a server, on a link of its own, and
// reports what that refuses: a command that it does not have, or a right that the user
// has not. Otherwise the first request that needs it would find out.
func (b *Broker) checkRights(l *conn.Link, lane int) error {
	key, channel := b.keys.key(lane, "check", ulid.Make().String()), b.keys.channel(lane, "check")
	subscribe, unsubscribe := "SUBSCRIBE", "UNSUBSCRIBE"
	if b.keys.sharded {
		subscribe, unsubscribe = "SSUBSCRIBE", "SUNSUBSCRIBE"
	}
	var inScripts []any
	for _, name := range commandsOfScripts() {
		inScripts = append(inScripts, name)
	}
	tried := map[string]*resp.Command{
		"BRPOP":          resp.NewCommand("BRPOP", key, "0.01"),
		"BZPOPMIN":       resp.NewCommand("BZPOPMIN", key, "0.01"),
		b.keys.publish(): resp.NewCommand(b.keys.publish(), channel, ""),
	}
	script := checkScript.Command([]string{key}, inScripts...)
	commands := []*resp.Command{script}
	for _, c := range tried {
		commands = append(commands, c)
	}
	tried[subscribe], tried[unsubscribe] = resp.NewCommand(subscribe, channel), resp.NewCommand(unsubscribe, channel)
	commands = append(commands, tried[subscribe], tried[unsubscribe]) // in this order, and last
	if err := l.RunOnce(commands); err != nil {
		return err
	}
	tried["EVALSHA"] = script
	if script.ScriptUnknown() {
		tried["EVAL"] = script
		delete(tried, "EVALSHA")
		if err := l.Run(script); err != nil {
			return err
		}
	}
	b.reportRefused(l.To.Addr, refusedOf(tried, script))
	return nil
}

// refusedOf returns the names of what was refused, with the errors.
func refusedOf(tried map[string]*resp.Command, script *resp.Command) map[string]string {
	refused := map[string]string{}
	for name, c := range tried {
		if c.Reply.Kind == '-' && resp.IsDenied(string(c.Reply.Text)) {
			refused[name] = string(c.Reply.Text)
		}
	}
	for pair := range slices.Chunk(script.Reply.Texts(), 2) {
		if len(pair) == 2 && resp.IsDenied(pair[1]) {
			refused[pair[0]] = pair[1]
		}
	}
	return refused
}

func (b *Broker) reportRefused(server string, refused map[string]string) {
	if len(refused) == 0 {
		b.config.logger.Debug("the server has what is needed", "server", server)
		return
	}
	var names []string
	for name := range refused {
		names = append(names, name)
	}
	slices.Sort(names)
	b.config.logger.Error("the server refuses what juggler needs; docs/redis.md says which commands and rights that are",
		"server", server, "commands", strings.Join(names, " "), "reason", refused[names[0]])
}

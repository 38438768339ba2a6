package shell

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/juggler-go/juggler/cmd/juggler/internal/nearest"
)

// errExit is returned by the verb that ends the shell.
var errExit = errors.New("exit")

// A verb is one kind of command.
type verb struct {
	name, usage, help  string
	minNames, maxNames int
	json               bool     // JSON follows the names
	options            []string // before the names

	run     func(*Shell, context.Context, Command) error // in a shell
	oneShot func(context.Context, Request) error         // as a process; nil: not possible
}

// verbs is filled by init, as help refers to it.
var verbs []verb

func init() {
	verbs = []verb{
		{name: "call", usage: "call [--stream] [--parts 128] [--key KEY] [--join] [--since PART] [--timeout 10s] [--header NAME=VALUE] URI [JSON]", minNames: 1, maxNames: 1, json: true, options: []string{"--timeout", "--header", "--stream", "--parts", "--key", "--join", "--since"},
			help: "call a procedure, with --stream for its answer in parts; its number is for cancel", run: (*Shell).call, oneShot: callOnce},
		{name: "cancel", usage: "cancel NUMBER", minNames: 1, maxNames: 1,
			help: "cancel a call; one with a key goes on without you", run: (*Shell).cancel},
		{name: "stop", usage: "stop URI KEY", minNames: 2, maxNames: 2,
			help: "end a call with a key for all who wait for it", run: (*Shell).stop, oneShot: stopOnce},
		{name: "sub", usage: "sub [--last 20] [--since POS] [--here] CHANNEL", minNames: 1, maxNames: 1, options: []string{"--last", "--since", "--here"},
			help: "subscribe to a channel, with its last events if the server keeps them, and with who is there", run: (*Shell).sub, oneShot: subOnce},
		{name: "psub", usage: "psub PATTERN", minNames: 1, maxNames: 1,
			help: "subscribe to a pattern, such as news.*", run: (*Shell).sub, oneShot: subOnce},
		{name: "unsb", usage: "unsb CHANNEL", minNames: 1, maxNames: 1,
			help: "end the subscription of a channel or pattern", run: (*Shell).unsb},
		{name: "pub", usage: "pub [--header NAME=VALUE] [--key KEY] CHANNEL [JSON]", minNames: 1, maxNames: 1, json: true, options: []string{"--header", "--key"},
			help: "publish an event", run: (*Shell).pub, oneShot: pubOnce},
		{name: "connect", usage: "connect URL [NAME]", minNames: 1, maxNames: 2,
			help: "open another connection and use it", run: (*Shell).connect},
		{name: "disconnect", usage: "disconnect [NAME]", maxNames: 1,
			help: "close a connection, the one in use if none is named", run: (*Shell).disconnect},
		{name: "use", usage: "use NAME", minNames: 1, maxNames: 1,
			help: "use another connection", run: (*Shell).use},
		{name: "status", usage: "status",
			help: "list connections, subscriptions, and calls without outcome", run: (*Shell).status},
		{name: "wait", usage: "wait [TIME]", maxNames: 1,
			help: "wait until all calls have an outcome, then TIME more, such as 2s", run: (*Shell).wait},
		{name: "help", usage: "help [VERB]", maxNames: 1,
			help: "list the verbs", run: (*Shell).help},
		{name: "exit", usage: "exit",
			help: "leave; so does the end of the input", run: func(*Shell, context.Context, Command) error { return errExit }},
	}
}

// verbNamed returns the verb with a name, in any case.
func verbNamed(name string) (*verb, error) {
	for i := range verbs {
		if strings.EqualFold(verbs[i].name, name) {
			return &verbs[i], nil
		}
	}
	if near := nearest.To(name, verbNames()); near != "" {
		return nil, fmt.Errorf("unknown verb %q; did you mean %q?", name, near)
	}
	return nil, fmt.Errorf("unknown verb %q; help lists them", name)
}

func verbNames() []string {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.name
	}
	return names
}

func oneShotVerbs() []string {
	var names []string
	for _, v := range verbs {
		if v.oneShot != nil {
			names = append(names, v.name)
		}
	}
	return names
}

func (s *Shell) help(_ context.Context, c Command) error {
	if len(c.Names) > 0 {
		v, err := verbNamed(c.Names[0])
		if err != nil {
			return err
		}
		s.out.line(span{plain, v.usage + "\n    " + v.help})
		return nil
	}
	var b strings.Builder
	for _, v := range verbs {
		fmt.Fprintf(&b, "  %-34s %s\n", strings.TrimPrefix(shortUsage(v), " "), v.help)
	}
	b.WriteString("JSON is any JSON value; strings stand in double quotes: call test.reverse \"abc\"")
	s.out.line(span{plain, b.String()})
	return nil
}

// shortUsage is the usage without options.
func shortUsage(v verb) string {
	usage := v.usage
	for {
		i := strings.Index(usage, "[--")
		if i < 0 {
			return usage
		}
		usage = usage[:i] + strings.TrimSpace(usage[i+strings.Index(usage[i:], "]")+1:])
	}
}

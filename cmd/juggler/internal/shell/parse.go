package shell

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// A Command is one command, whether it was typed, piped, or given as the
// arguments of a process.
type Command struct {
	Verb    string
	Names   []string          // what the verb's usage has in capitals
	JSON    json.RawMessage   // args of call and pub, nil if there are none
	Timeout time.Duration     // of call; 0: the client's default
	Headers map[string]string // of call and pub, or nil
	Last    int               // of sub: how many kept events come first; 0: none
	Since   client.Position   // of sub: go on after it; zero: with what comes
	Here    bool              // of sub: who is there, too
	Key     string            // of call and pub, or ""
	Join    bool              // of call with a key: it is not made
	After   int               // of call that joins: go on after this part
	Stream  bool              // of call: the answer may come in parts
	Parts   int               // of a stream: how many parts may wait; 0: the client's default
}

// Parse reads one line. A line without a command has the verb "".
//
// A line is a verb, options, names, and for some verbs JSON up to the end of
// the line. A name that contains spaces is written as a JSON string.
func Parse(line string) (Command, error) {
	word, rest := cutWord(line)
	if word == "" || strings.HasPrefix(word, "#") {
		return Command{}, nil
	}
	v, err := verbNamed(word)
	if err != nil {
		return Command{}, err
	}
	c := Command{Verb: v.name}
	if rest, err = c.parseOptions(v, rest); err != nil {
		return c, err
	}
	if c.Join && c.Key == "" {
		return c, errors.New("--join and --since go with --key only")
	}
	for len(c.Names) < v.maxNames && rest != "" {
		var name string
		if name, rest, err = cutName(rest); err != nil {
			return c, err
		}
		c.Names = append(c.Names, name)
	}
	return c, c.finish(v, rest)
}

// FromArgs makes a command of a process's arguments, which a shell has split
// into words. args[0] is the verb. Options are the process's own.
func FromArgs(args []string) (Command, error) {
	v, err := verbNamed(args[0])
	if err != nil {
		return Command{}, err
	}
	if v.oneShot == nil {
		return Command{}, fmt.Errorf("%s makes sense in an interactive client only; from the shell there are: %s", v.name, strings.Join(oneShotVerbs(), ", "))
	}
	c := Command{Verb: v.name}
	names := args[1:]
	if len(names) > v.maxNames {
		names = names[:v.maxNames]
	}
	c.Names = names
	return c, c.finish(v, strings.Join(args[1+len(names):], " "))
}

// finish takes what follows the names, and checks that nothing is missing.
func (c *Command) finish(v *verb, rest string) error {
	rest = strings.TrimSpace(rest)
	if len(c.Names) < v.minNames {
		return fmt.Errorf("usage: %s", v.usage)
	}
	if rest == "" {
		return nil
	}
	if !v.json {
		return fmt.Errorf("unexpected %q; usage: %s", rest, v.usage)
	}
	if err := checkJSON(rest); err != nil {
		return err
	}
	c.JSON = json.RawMessage(rest)
	return nil
}

// parseOptions takes the options of v off the front of rest.
func (c *Command) parseOptions(v *verb, rest string) (string, error) {
	for strings.HasPrefix(rest, "--") {
		option, after := cutWord(rest)
		switch {
		case len(v.options) == 0:
			return rest, fmt.Errorf("%s has no options; usage: %s", v.name, v.usage)
		case !slices.Contains(v.options, option):
			return rest, fmt.Errorf("unknown option %s; usage: %s", option, v.usage)
		}
		var value string
		if option != "--stream" && option != "--join" && option != "--here" {
			value, after = cutWord(after)
		}
		if err := c.setOption(option, value); err != nil {
			return rest, err
		}
		rest = after
	}
	return rest, nil
}

func (c *Command) setOption(option, value string) (err error) {
	switch option {
	case "--timeout":
		if c.Timeout, err = time.ParseDuration(value); err != nil || c.Timeout <= 0 {
			return fmt.Errorf("--timeout %q: want a time such as 500ms or 10s", value)
		}
	case "--last":
		if c.Last, err = strconv.Atoi(value); err != nil || c.Last < 1 || c.Last > frame.MaxLast {
			return fmt.Errorf("--last %q: want a number, 1 to %d", value, frame.MaxLast)
		}
	case "--stream":
		c.Stream = true
	case "--parts":
		if c.Parts, err = strconv.Atoi(value); err != nil || c.Parts < 1 || c.Parts > frame.MaxParts {
			return fmt.Errorf("--parts %q: want a number, 1 to %d", value, frame.MaxParts)
		}
		c.Stream = true
	case "--key":
		if c.Key = value; value == "" || len(value) > frame.MaxKey {
			return fmt.Errorf("--key %q: want 1 to %d bytes", value, frame.MaxKey)
		}
	case "--here":
		c.Here = true
	case "--join":
		c.Join = true
	case "--since":
		return c.SetSince(value)
	case "--header":
		return c.SetHeader(value)
	}
	return nil
}

// SetSince sets what the command goes on after: a part of the answer to a call, or the
// position of an event.
func (c *Command) SetSince(text string) (err error) {
	if c.Verb == "call" {
		c.Join = true
		if c.After, err = strconv.Atoi(text); err != nil || c.After < 0 || c.After > frame.MaxPart {
			return fmt.Errorf("--since %q: want the number of a part, or 0", text)
		}
		return nil
	}
	var ok bool
	if c.Since, ok = client.ParsePosition(text); !ok {
		return fmt.Errorf("--since %q: want the pos of an event, such as 57:AAAAAAAAAAE", text)
	}
	return nil
}

// SetHeader adds a header, given as NAME=VALUE.
func (c *Command) SetHeader(header string) error {
	name, value, ok := strings.Cut(header, "=")
	if !ok || name == "" {
		return fmt.Errorf("--header %q: want NAME=VALUE", header)
	}
	if c.Headers == nil {
		c.Headers = make(map[string]string)
	}
	c.Headers[name] = value
	return nil
}

// checkJSON says what is wrong with text that should be JSON, for someone who
// typed it.
func checkJSON(text string) error {
	var raw json.RawMessage
	err := json.Unmarshal([]byte(text), &raw)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset > 0 && syntax.Offset <= int64(len(text)) {
		at := text[syntax.Offset-1:]
		if len(at) > 20 {
			at = at[:20] + "…"
		}
		err = fmt.Errorf("%w, at %q", err, at)
	}
	if text[0] != '"' && text[0] != '{' && text[0] != '[' {
		return fmt.Errorf(`args are not JSON: %w; strings stand in double quotes`, err)
	}
	return fmt.Errorf("args are not JSON: %w", err)
}

// cutWord splits off the first word.
func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}

// cutName splits off a name, which may be a JSON string.
func cutName(s string) (name, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		name, rest = cutWord(s)
		return name, rest, nil
	}
	d := json.NewDecoder(strings.NewReader(s))
	if err := d.Decode(&name); err != nil {
		return "", "", fmt.Errorf("a name in double quotes is not a JSON string: %w", err)
	}
	return name, strings.TrimSpace(s[d.InputOffset():]), nil
}

package prober

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/juggler-go/juggler/cmd/juggler/internal/group"
	"github.com/juggler-go/juggler/internal/child"
)

const (
	maxLine   = 1 << 20         // bytes of a line of the program
	maxStderr = 4 << 10         // bytes that are kept of its standard error, from its end
	killTime  = 2 * time.Second // what its pipes have to close once it was killed
)

// A program has the client, and does with it what it is told.
type program struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	stderr tail

	lines map[string][][]byte // what it has told and no step has taken yet, by its queue

	over   bool // it has ended
	result error
}

// TokenVariable is the variable of a program that has the token to sign in with, if there is one.
const TokenVariable = "PROBER_TOKEN"

// start starts a program with the URL of the server as its last argument. It is ended, with what
// it has started, when ctx ends.
func start(ctx context.Context, command []string, url, token string) (*program, error) {
	p := &program{lines: make(map[string][][]byte)}
	p.cmd = exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], url)...)
	p.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	if token != "" {
		p.cmd.Env = append(p.cmd.Env, TokenVariable+"="+token)
	}
	group.Lead(p.cmd)
	p.cmd.WaitDelay = killTime
	p.cmd.Stderr = &p.stderr
	var err1, err2 error
	p.stdin, err1 = p.cmd.StdinPipe()
	p.stdout, err2 = p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, child.Start(p.cmd)); err != nil {
		return nil, err
	}
	// One that hangs, or what it has left behind, would keep it open.
	context.AfterFunc(ctx, func() { p.stdout.Close() })
	return p, nil
}

// read reads the lines that the program writes until it ends, and returns how that was.
func (p *program) read(each func(text []byte)) error {
	scanner := bufio.NewScanner(p.stdout)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		each(bytes.Clone(scanner.Bytes()))
	}
	defer group.End(p.cmd)
	if err := scanner.Err(); err != nil {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		return errors.Join(fmt.Errorf("its standard output: %w", err), p.cmd.Wait())
	}
	return p.cmd.Wait()
}

// ownRule is about the program, and not about its client.
const ownRule = "docs/writing-a-client.md"

// told takes a line that the program has written, and returns what is wrong with it.
func (p *program) told(text []byte) *fault {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return badLine(text, "want a JSON object a line on its standard output, and all else on its standard error")
	}
	if members["n"] == nil {
		return badLine(text, `want the member "n", the number of the command that it is about`)
	}
	queue := queueOf(members)
	p.lines[queue] = append(p.lines[queue], text)
	return nil
}

func badLine(text []byte, want string) *fault {
	return &fault{what: fmt.Sprintf("the program wrote %s: %s", cut(string(text)), want), rule: ownRule}
}

// queueOf returns the name of the queue of lines with such members. Lines of a queue are told in
// an order, but the outcome of a command may be told before or after what comes of it besides.
func queueOf(members map[string]json.RawMessage) string {
	n := string(members["n"])
	switch {
	case members["result"] != nil || members["error"] != nil:
		return n + " outcome"
	case members["here"] != nil:
		return n + " here"
	}
	return n
}

// toldMore returns the fault that a line with one of these members is which no step has taken.
func (p *program) toldMore(kinds ...string) *fault {
	for _, lines := range p.lines {
		for _, text := range lines {
			members := membersOf(text)
			if slices.ContainsFunc(kinds, func(kind string) bool { return members[kind] != nil }) {
				return &fault{what: fmt.Sprintf("the program told %s; nothing of that kind was due", cut(string(text)))}
			}
		}
	}
	return nil
}

// A tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-maxStderr):]
	return len(b), nil
}

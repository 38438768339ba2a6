package shell

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxLine bounds a line of a pipe, in bytes.
const maxLine = 16 << 20

// pipe reads lines that a program writes. It shows no prompt.
type pipe struct{ scanner *bufio.Scanner }

// Pipe returns the lines of r, each at most 16 MiB long.
func Pipe(r io.Reader) Lines {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	return pipe{s}
}

func (p pipe) SetPrompt(string) {}

func (p pipe) ReadLine() (string, error) {
	if p.scanner.Scan() {
		return p.scanner.Text(), nil
	}
	if err := p.scanner.Err(); err != nil {
		return "", err
	}
	return "", io.EOF
}

// A Terminal reads lines with an editor, and writes without disturbing what is
// being typed.
type Terminal struct {
	*term.Terminal
	in      *os.File
	state   *term.State
	history *history
}

// NewTerminal puts a terminal into raw mode; Close restores it. The history is
// kept in a file in the user's directory of configurations.
func NewTerminal(in, out *os.File) (*Terminal, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	t := &Terminal{in: in, state: state, history: openHistory(historyPath())}
	t.Terminal = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "")
	t.History = t.history
	t.fit()
	return t, nil
}

// CompleteWith completes with c when Tab is typed. Where several candidates
// are left it shows them.
func (t *Terminal) CompleteWith(s *Shell) {
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		completed, candidates := s.names.Complete(line, pos)
		start := strings.LastIndexAny(line[:pos], " \t") + 1
		switch {
		case len(candidates) == 0:
			return line, pos, true
		case len(candidates) == 1:
			completed += " "
		case completed == line[start:pos]:
			// The editor holds its lock here, so the line is written later.
			go s.out.line(span{dim, strings.Join(candidates, "  ")})
		}
		return line[:start] + completed + line[pos:], start + len(completed), true
	}
}

// fit tells the editor how wide the terminal is.
func (t *Terminal) fit() {
	if width, height, err := term.GetSize(int(t.in.Fd())); err == nil && width > 0 {
		_ = t.SetSize(width, height)
	}
}

// ReadLine reads a line; the size of the terminal may have changed before.
func (t *Terminal) ReadLine() (string, error) {
	t.fit()
	return t.Terminal.ReadLine()
}

// Close restores the terminal and saves the history.
func (t *Terminal) Close() error {
	return errors.Join(term.Restore(int(t.in.Fd()), t.state), t.history.save())
}

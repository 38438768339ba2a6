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
	search  search
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

// Keys that are not the editor's own.
const (
	keyTab   = '\t'
	keyCtrlR = 'R' & 0x1f
)

// CompleteWith completes with the names that s knows when Tab is typed. Ctrl-R
// finds the last line that has in it what is typed; again, the one before.
func (t *Terminal) CompleteWith(s *Shell) {
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		switch key {
		case keyTab:
			line, pos = s.complete(line, pos)
		case keyCtrlR:
			line = t.search.next(t.history, line)
			pos = len(line)
		default:
			return "", 0, false
		}
		return line, pos, true
	}
}

// complete completes the word that ends at pos. Where several candidates are
// left it shows them. It returns the line and where the cursor is then.
func (s *Shell) complete(line string, pos int) (string, int) {
	completed, candidates := s.names.Complete(line, pos)
	start := strings.LastIndexAny(line[:pos], " \t") + 1
	switch {
	case len(candidates) == 0:
		return line, pos
	case len(candidates) == 1:
		completed += " "
	case completed == line[start:pos]:
		s.out.line(span{dim, strings.Join(candidates, "  ")})
	}
	return line[:start] + completed + line[pos:], start + len(completed)
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

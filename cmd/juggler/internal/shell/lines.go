package shell

import (
	"bufio"
	"io"
	"os"

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
	in    *os.File
	state *term.State
}

// NewTerminal puts a terminal into raw mode; Close restores it.
func NewTerminal(in, out *os.File) (*Terminal, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	t := &Terminal{in: in, state: state}
	t.Terminal = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "")
	t.fit()
	return t, nil
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

// Close restores the terminal.
func (t *Terminal) Close() error { return term.Restore(int(t.in.Fd()), t.state) }

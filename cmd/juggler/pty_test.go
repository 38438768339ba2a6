//go:build unix

package main_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/juggler-go/juggler/cmd/juggler/internal/recordingtest"
	"github.com/juggler-go/juggler/internal/freeport"
)

// A screen is a pseudo-terminal with a program in it.
type screen struct {
	t    testing.TB
	tty  *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // has room for one
	eof  chan struct{}

	shown *recordingtest.Screen // what people see
}

func startScreen(t testing.TB, cmd *exec.Cmd) *screen {
	t.Helper()
	return startScreenOf(t, cmd, 24, 100)
}

func startScreenOf(t testing.TB, cmd *exec.Cmd, rows, columns int) *screen {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)})
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, tty: tty, cmd: cmd, more: make(chan struct{}, 1), eof: make(chan struct{}), shown: recordingtest.NewScreen(rows, columns)}
	go func() { // ends with the program, or the terminal
		io.Copy(s, tty) //nolint:errcheck // EIO is its end
		close(s.eof)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // may have ended
		tty.Close()
		<-s.eof
	})
	return s
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	s.shown.Write(p) //nolint:errcheck // never fails
	select {
	case s.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// sees waits for text after what was seen before, and forgets all up to it.
func (s *screen) sees(text string) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		if i := bytes.Index(s.text.Bytes(), []byte(text)); i >= 0 {
			s.text.Next(i + len(text))
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-s.eof:
			if !strings.Contains(s.String(), text) {
				s.t.Fatalf("the program ended without %q: %q", text, s.String())
			}
		case <-timeout:
			s.t.Fatalf("no %q in %q", text, s.String())
		}
	}
}

// shows waits until what people see is so.
func (s *screen) shows(what string, so func(*recordingtest.Screen) bool) {
	s.t.Helper()
	for timeout := time.After(patience); !so(s.shown); {
		select {
		case <-s.more:
		case <-s.eof:
			s.t.Fatalf("the program ended without %q:\n%s", what, strings.Join(s.shown.Text(), "\n"))
		case <-timeout:
			s.t.Fatalf("no %q in:\n%s", what, strings.Join(s.shown.Text(), "\n"))
		}
	}
}

func (s *screen) types(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, text); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the end of the program and returns its exit code.
func (s *screen) ends() int {
	s.t.Helper()
	done := make(chan struct{})
	go func() { // ends with the program
		s.cmd.Wait() //nolint:errcheck // its state is looked at
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Fatal("the program does not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

func TestInteractiveClient(t *testing.T) {
	_, url := startDemo(t)
	cmd := command(t, "client", url)
	cmd.Env = append(cmd.Env, "NO_COLOR=1")
	s := startScreen(t, cmd)
	s.sees("connected to " + url)
	s.sees("> ")
	s.types("call test.reverse \"abc\"\r")
	s.sees(`#1 RES "cba"  `)

	// An event that comes while a line is typed leaves the line whole.
	s.types("sub news\r")
	s.sees("subscribed to news")
	s.types("call test.ec")
	s.sees("call test.ec")
	if got := run(t, "", "client", url, "pub", "news", `{"n":1}`); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	s.sees(`EVNT news {"n":1}`)
	s.sees("> call test.ec") // drawn again under the event
	s.types("ho [1,2]\r")
	s.sees("#2 RES [1,2]")

	// Tab completes verbs, and URIs that were seen.
	s.types("cal\t")
	s.sees("call ")
	s.types("test.r\t")
	s.sees("test.reverse ")
	s.types("\"xyz\"\r")
	s.sees(`RES "zyx"`)

	// The arrow brings back what was typed.
	s.types("\x1b[A\r")
	s.sees(`#4 RES "zyx"`)

	// Tab shows what there is to choose from; Ctrl-R finds lines, and again older ones.
	s.types("call test.\t")
	s.sees("test.echo  test.reverse")
	s.sees("> call test.")
	s.types("\x15ec\x12") // the first clears the line
	s.sees("call test.echo [1,2]")
	s.types("\x15test.rev\x12\x12\r")
	s.sees(`#5 RES "cba"`)

	// A wrong command does not end it, and several connections have names.
	s.types("call test.echo {a}\r")
	s.sees("error: args are not JSON")
	s.types("connect " + url + " b\r")
	s.sees("[b] connected to")
	s.sees("b> ")
	s.types("exit\r")
	if code := s.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	history, err := os.ReadFile(filepath.Join(home(cmd), ".config", "juggler", "history"))
	if err != nil || !strings.Contains(string(history), `call test.reverse "xyz"`) {
		t.Errorf("history %q, %v", history, err)
	}
}

func home(cmd *exec.Cmd) string {
	for _, e := range cmd.Env {
		if h, ok := strings.CutPrefix(e, "HOME="); ok {
			return h
		}
	}
	return ""
}

func TestColours(t *testing.T) {
	_, url := startDemo(t)
	s := startScreen(t, command(t, "client", url))
	s.sees("\x1b[32mconnected to")
	s.types("\x04") // end of input
	if code := s.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The terminal is as it was before, also after an error.
func TestTerminalIsRestored(t *testing.T) {
	s := startScreen(t, command(t, "client", "ws://"+freeport.Address(t)+"/"))
	s.sees("is the server running there?\r\n") // the carriage return is the terminal's
	if code := s.ends(); code != 3 {
		t.Errorf("exit code %d", code)
	}
}

// A terminal that goes away ends the client.
func TestTerminalGoesAway(t *testing.T) {
	_, url := startDemo(t)
	s := startScreen(t, command(t, "client", url))
	s.sees("connected to")
	// The file is closed only when the read under way has returned, so some
	// output has to come after Close.
	s.types("call test.delay 300\r")
	s.tty.Close()
	s.ends()
}

func TestLogsForPeople(t *testing.T) {
	cmd := command(t, "serve", "--listen", "127.0.0.1:0")
	s := startScreen(t, cmd)
	s.sees("\x1b[32mINFO \x1b[0m command: serving \x1b[2mnode=\x1b[0m")
	s.types("\x03") // the interrupt key
	s.sees("stopped")
	if code := s.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestProgressLine(t *testing.T) {
	_, url := startDemo(t)
	s := startScreen(t, command(t, "load", "--clients", "2", "--duration", "1500ms", url))
	s.sees("calls ")
	s.sees("p99 ")
	s.sees("lost 0, unexpected 0")
	if code := s.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

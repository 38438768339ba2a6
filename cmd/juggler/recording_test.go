//go:build unix

package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/cmd/juggler/internal/recordingtest"
)

const picture = "../../docs/terminal.svg"

// A player types into a shell in a terminal, and records what is to be seen.
type player struct {
	*screen
	record *recordingtest.Recording
}

// startPlayers starts shells in terminals of so many rows each.
func startPlayers(t testing.TB, environment []string, rows ...int) []*player {
	t.Helper()
	var players []*player
	var screens []*recordingtest.Screen
	for _, n := range rows {
		cmd := command(t)
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-i"}
		cmd.Env = append([]string{"PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=xterm", "PS1=$ "}, environment...)
		s := startScreenOf(t, cmd, n, 80)
		players, screens = append(players, &player{screen: s}), append(screens, s.shown)
	}
	record := recordingtest.New(screens...)
	for _, p := range players {
		p.record = record
		p.awaitLines("$ ")
	}
	return players
}

// awaitLines waits until the line of the cursor is typed and each of texts is in
// a line.
func (p *player) awaitLines(typed string, texts ...string) {
	p.t.Helper()
	p.shows(typed+" and "+strings.Join(texts, " and "), func(s *recordingtest.Screen) bool {
		all := strings.Join(s.Text(), "\n")
		return s.Typed() == typed && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) })
	})
}

// plays records what is shown, for a time.
func (p *player) plays(d time.Duration) { p.record.Show(p.shown, d) }

// types types as people do, and records each key.
func (p *player) types(text string) {
	p.t.Helper()
	line := p.shown.Typed()
	for _, key := range text {
		line += string(key)
		p.screen.types(string(key))
		p.awaitLines(line)
		p.plays(55 * time.Millisecond)
	}
}

// enters ends the line, waits for texts and the prompt, and lets people read.
func (p *player) enters(prompt string, texts ...string) {
	p.t.Helper()
	p.screen.types("\r")
	p.awaitLines(prompt, texts...)
	p.plays(1100 * time.Millisecond)
}

// The picture in the README shows what the command does today: the session in
// it, played again, ends in the same lines but for ids, ports and times.
//
//	go test ./cmd/juggler -run TestRecording -update
//
// makes it anew. Port 8080 has to be free then.
func TestRecording(t *testing.T) {
	t.Parallel() // it mostly waits
	var environment []string
	if !*update {
		environment = append(environment, "JUGGLER_LISTEN=127.0.0.1:0")
	}
	players := startPlayers(t, environment, 4, 18)
	server, client := players[0], players[1]
	playSession(t, server, client)
	server.screen.types("\x03") // the interrupt key, so that nothing is left
	server.shows("the prompt", func(s *recordingtest.Screen) bool { return strings.HasSuffix(s.Typed(), "$ ") })

	var svg bytes.Buffer
	if err := client.record.WriteSVG(&svg, "A terminal: juggler demo, and juggler client that calls, subscribes and publishes"); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(picture, svg.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if svg.Len() > 60_000 {
		t.Errorf("the picture has %d bytes", svg.Len())
	}
	got, want := lastLines(t, svg.Bytes()), lastLines(t, []byte(readFile(t, picture)))
	if !slices.Equal(got, want) {
		t.Errorf("the picture is out of date: make it anew with -update. Now:\n%s\n\nIn the picture:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// playSession plays what the picture shows.
func playSession(t testing.TB, server, client *player) {
	server.plays(800 * time.Millisecond)
	server.types("juggler demo")
	server.screen.types("\r")
	server.shows("its URLs", func(s *recordingtest.Screen) bool {
		return strings.HasPrefix(s.Text()[1], "ws://") && strings.HasPrefix(s.Text()[2], "http://") && s.Typed() == ""
	})
	server.plays(900 * time.Millisecond)
	url := server.shown.Text()[1]

	client.types("juggler client " + url)
	client.enters("> ", "connected to")
	client.types(`call test.reverse "juggler"`)
	client.enters("> ", `#1 RES "relgguj"`)
	client.types("psub news.*")
	client.enters("> ", "subscribed to news.*")

	// An event comes from elsewhere while something is typed.
	client.types("pub chat {")
	if got := run(t, "", "client", url, "pub", "news.go", `"an event, while you type"`); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	client.awaitLines("> pub chat {", "EVNT news.go")
	client.plays(1500 * time.Millisecond)
	client.types(`"from":"me"}`)
	client.enters("> ", "published on chat")
	client.types("call test.echo hello")
	client.enters("> ", "error: ")
	client.types("call test.delay 500")
	client.enters("> ", "#2 RES 500")
	client.types("exit")
	client.enters("$ ")
	client.plays(4 * time.Second)
}

var varying = regexp.MustCompile(`session \S+|\d[0-9.]*(µs|ms|s)$|127\.0\.0\.1:\d+`)

// lastLines returns the last frame without what differs each time.
func lastLines(t testing.TB, svg []byte) []string {
	t.Helper()
	lines, err := recordingtest.LastFrame(bytes.NewReader(svg))
	if err != nil {
		t.Fatal(err)
	}
	for i := range lines {
		lines[i] = varying.ReplaceAllString(lines[i], "…")
	}
	return lines
}

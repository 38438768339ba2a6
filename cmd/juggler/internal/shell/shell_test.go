package shell

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/client"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Command // Verb "": an error
	}{
		{`call test.echo {"a": 1}`, Command{Verb: "call", Names: []string{"test.echo"}, JSON: []byte(`{"a": 1}`)}},
		{`  CALL   test.echo  `, Command{Verb: "call", Names: []string{"test.echo"}}},
		{`sub --last 20 room.7`, Command{Verb: "sub", Names: []string{"room.7"}, Last: 20}},
		{`sub --here room.7`, Command{Verb: "sub", Names: []string{"room.7"}, Here: true}},
		{`pub --key k7 --header a=b room.7 1`, Command{Verb: "pub", Names: []string{"room.7"}, JSON: []byte("1"), Key: "k7", Headers: map[string]string{"a": "b"}}},
		{`call --timeout 1s --header a=b=c test.echo "x y"`, Command{Verb: "call", Names: []string{"test.echo"}, JSON: []byte(`"x y"`), Timeout: time.Second, Headers: map[string]string{"a": "b=c"}}},
		{`call --stream test.echo 1`, Command{Verb: "call", Names: []string{"test.echo"}, JSON: []byte("1"), Stream: true}},
		{`call --parts 2 --timeout 1s test.echo`, Command{Verb: "call", Names: []string{"test.echo"}, Timeout: time.Second, Stream: true, Parts: 2}},
		{`call --key k7 --stream test.echo 1`, Command{Verb: "call", Names: []string{"test.echo"}, JSON: []byte("1"), Key: "k7", Stream: true}},
		{`call --key k7 --join test.echo`, Command{Verb: "call", Names: []string{"test.echo"}, Key: "k7", Join: true}},
		{`call --since 12 --key k7 test.echo`, Command{Verb: "call", Names: []string{"test.echo"}, Key: "k7", Join: true, After: 12}},
		{`stop test.echo k7`, Command{Verb: "stop", Names: []string{"test.echo", "k7"}}},
		{`sub --since 57:AAAAAAAAAAE room.7`, Command{Verb: "sub", Names: []string{"room.7"}, Since: client.Position{At: 57, Tag: 1}}},
		{`pub "two words" 1`, Command{Verb: "pub", Names: []string{"two words"}, JSON: []byte(`1`)}},
		{`sub "a\u00e9"`, Command{Verb: "sub", Names: []string{"aé"}}},
		{`wait`, Command{Verb: "wait"}},
		{`connect ws://a/ name`, Command{Verb: "connect", Names: []string{"ws://a/", "name"}}},
		{`call test.echo 'x'`, Command{}},
		{`call test.echo {"a":1} 2`, Command{}},
		{`sub "open`, Command{}},
		{`sub --timeout 1s a`, Command{}},
		{`pub --timeout 1s a`, Command{}},
		{`call --timeout -1s a`, Command{}},
		{`call --header x a`, Command{}},
		{`call --parts 0 a`, Command{}},
		{`call --parts a`, Command{}},
		{`pub --stream a 1`, Command{}},
		{`call --join a`, Command{}},
		{`call --key k --since -1 a`, Command{}},
		{`call --key k --since x a`, Command{}},
		{`sub --since 57 a`, Command{}},
		{`psub --here a*`, Command{}},
		{`stop a`, Command{}},
		{`exit now`, Command{}},
		{`nonsense`, Command{}},
	} {
		got, err := Parse(tt.line)
		if tt.want.Verb == "" {
			if err == nil {
				t.Errorf("%s: got %+v, want an error", tt.line, got)
			}
			continue
		}
		same := got.Verb == tt.want.Verb && slices.Equal(got.Names, tt.want.Names) && string(got.JSON) == string(tt.want.JSON) &&
			got.Timeout == tt.want.Timeout && got.Last == tt.want.Last && got.Key == tt.want.Key && got.Stream == tt.want.Stream && got.Parts == tt.want.Parts &&
			got.Join == tt.want.Join && got.Here == tt.want.Here && got.After == tt.want.After && got.Since == tt.want.Since && len(got.Headers) == len(tt.want.Headers) && got.Headers["a"] == tt.want.Headers["a"]
		if err != nil || !same {
			t.Errorf("%s: got %+v, %v", tt.line, got, err)
		}
	}
	for _, line := range []string{"", "   ", "# comment"} {
		if got, err := Parse(line); err != nil || got.Verb != "" {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{`call a 1`, `sub "x`, `pub --header a=b "c d" {}`, "call --timeout", "\x00", `call "\ud800"`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := Parse(line)
		if err != nil || c.Verb == "" {
			return
		}
		v, err := verbNamed(c.Verb)
		if err != nil || len(c.Names) < v.minNames || len(c.Names) > v.maxNames || c.JSON != nil && !v.json {
			t.Errorf("%q: %+v, %v", line, c, err)
		}
	})
}

func TestComplete(t *testing.T) {
	var c completer
	for _, name := range []string{"test.echo", "test.reverse", "test.echo"} {
		c.learn(uriName, name)
	}
	c.learn(channelName, "news")
	for _, tt := range []struct {
		line       string
		completed  string
		candidates string
	}{
		{"ca", "ca", "call cancel"},
		{"cal", "call", "call"},
		{"CALL t", "test.", "test.echo test.reverse"},
		{"call test.r", "test.reverse", "test.reverse"},
		{"sub ", "news", "news"},
		{"help unsb", "unsb", "unsb"},
		{"call test.echo ", "", ""},
		{"nonsense x", "", ""},
	} {
		completed, candidates := c.Complete(tt.line, len(tt.line))
		if completed != tt.completed || strings.Join(candidates, " ") != tt.candidates {
			t.Errorf("%q: %q, %q", tt.line, completed, candidates)
		}
	}
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "juggler", "history")
	h := openHistory(path)
	for _, line := range []string{"call a", "call a", " ", "sub b"} {
		h.Add(line)
	}
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	h = openHistory(path)
	if h.Len() != 2 || h.At(0) != "sub b" || h.At(1) != "call a" {
		t.Errorf("got %q", h.lines)
	}
	for range maxHistory {
		h.Add("a")
		h.Add("b")
	}
	if h.Len() != maxHistory {
		t.Errorf("%d lines", h.Len())
	}
}

func TestSearch(t *testing.T) {
	h := &history{}
	for _, line := range []string{"call a", "sub news", "call b", "pub news 1", "call a"} {
		h.Add(line)
	}
	for _, tt := range []struct {
		typed string
		want  []string // of each step
	}{
		{"call", []string{"call a", "call b", "call a", "call a"}},
		{"news", []string{"pub news 1", "sub news", "sub news"}},
		{"", []string{"call a", "pub news 1", "call b"}},
		{"nothing", []string{"nothing", "nothing"}},
		{"call a", []string{"call a"}},
	} {
		var s search
		line := tt.typed
		for i, want := range tt.want {
			if line = s.next(h, line); line != want {
				t.Errorf("%q, step %d: %q, want %q", tt.typed, i+1, line, want)
			}
		}
	}
	// What is typed after a step is searched for anew, from the newest line.
	var s search
	s.next(h, s.next(h, "call"))
	if got := s.next(h, "sub"); got != "sub news" {
		t.Errorf("got %q", got)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31mb\u009bc\x7f\nd"); got != "a\ufffd[31mb\ufffdc\ufffd\nd" {
		t.Errorf("got %q", got)
	}
}

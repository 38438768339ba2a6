package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for wire, want := range map[string]Reply{
		"+OK\r\n":                       {Kind: '+', Text: []byte("OK")},
		"-ERR no\r\n":                   {Kind: '-', Text: []byte("ERR no")},
		"-ERR " + long + "\r\n":         {Kind: '-', Text: []byte("ERR " + long)},
		":-42\r\n":                      {Kind: ':', Value: -42},
		"$5\r\na\r\nb\x00\r\n":          {Kind: '$', Text: []byte("a\r\nb\x00")},
		"$0\r\n\r\n":                    {Kind: '$', Text: []byte{}},
		"$100000\r\n" + long + "\r\n":   {Kind: '$', Text: []byte(long)},
		"$-1\r\n":                       {Kind: '_'},
		"*-1\r\n":                       {Kind: '_'},
		"*0\r\n":                        {Kind: '*', List: []Reply{}},
		"*2\r\n:1\r\n*1\r\n$1\r\na\r\n": {Kind: '*', List: []Reply{{Kind: ':', Value: 1}, {Kind: '*', List: []Reply{{Kind: '$', Text: []byte("a")}}}}},
		"*3\r\n$-1\r\n-ERR a\r\n+b\r\n": {Kind: '*', List: []Reply{{Kind: '_'}, {Kind: '-', Text: []byte("ERR a")}, {Kind: '+', Text: []byte("b")}}},
	} {
		in := bufio.NewReaderSize(strings.NewReader(wire+"+next\r\n"), 64)
		got, err := ReadReply(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.40q: %+v, %v", wire, got, err)
		}
		if next, err := ReadReply(in); err != nil || string(next.Text) != "next" {
			t.Errorf("after %.40q: %+v, %v", wire, next, err)
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, wire := range []string{
		"\r\n", "\n", "+\n", "OK\r\n", "%1\r\n", ":x\r\n", ":\r\n", "$-2\r\n", "$x\r\n", "*-2\r\n",
		"$600000000\r\n", "*600000000\r\n", "$1\r\nabc", "$100\r\n" + strings.Repeat("x", 102),
		strings.Repeat("*1\r\n", maxDepth+2) + ":1\r\n",
	} {
		if got, err := ReadReply(bufio.NewReaderSize(strings.NewReader(wire), 64)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%.40q: %+v, %v", wire, got, err)
		}
	}
	for _, wire := range []string{"", "+OK", "$5\r\nabc", "$100000\r\nabc", "*2\r\n:1\r\n", "*500000000\r\n:1\r\n"} {
		if got, err := ReadReply(bufio.NewReaderSize(strings.NewReader(wire), 64)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.40q: %+v, %v", wire, got, err)
		}
	}
}

// Whatever a server sends, what is understood of it is what was sent.
func FuzzReadReply(f *testing.F) {
	f.Add("+OK\r\n")
	f.Add("-ERR no\r\n")
	f.Add("*3\r\n$-1\r\n:7\r\n*1\r\n$3\r\na\r\n\r\n")
	f.Add("*1000000\r\n:1\r\n")
	f.Fuzz(func(t *testing.T, wire string) {
		got, err := ReadReply(bufio.NewReaderSize(strings.NewReader(wire), 64))
		if err != nil {
			return
		}
		again, err := ReadReply(bufio.NewReader(strings.NewReader(format(got))))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

func format(r Reply) string {
	switch r.Kind {
	case '$':
		return fmt.Sprintf("$%d\r\n%s\r\n", len(r.Text), r.Text)
	case ':':
		return fmt.Sprintf(":%d\r\n", r.Value)
	case '_':
		return "$-1\r\n"
	case '*':
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(r.List))
		for _, e := range r.List {
			b.WriteString(format(e))
		}
		return b.String()
	}
	return string(r.Kind) + string(r.Text) + "\r\n"
}

func TestCommandOnTheWire(t *testing.T) {
	s := NewScript("return 1")
	c := s.Command([]string{"k"}, "a", []byte("b\r\n"), 12, int64(-3))
	tail := "$1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$2\r\n12\r\n$2\r\n-3\r\n"
	byHash := "*8\r\n$7\r\nEVALSHA\r\n$40\r\n" + s.sha + "\r\n" + tail
	if got := string(c.AppendTo(nil)); got != byHash {
		t.Errorf("the script goes as %q", got)
	}
	c.Reply = Reply{Kind: '-', Text: []byte("NOSCRIPT No matching script.")}
	if got, want := string(c.AppendTo(nil)), "*8\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n"+tail; got != want {
		t.Errorf("the unknown script goes as %q", got)
	}
	if got, want := string(NewCommand("PING").AppendTo(nil)), "*1\r\n$4\r\nPING\r\n"; got != want {
		t.Errorf("PING goes as %q", got)
	}
}

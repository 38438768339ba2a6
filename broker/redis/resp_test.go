package redis

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
	for wire, want := range map[string]reply{
		"+OK\r\n":                       {kind: '+', text: []byte("OK")},
		"-ERR no\r\n":                   {kind: '-', text: []byte("ERR no")},
		"-ERR " + long + "\r\n":         {kind: '-', text: []byte("ERR " + long)},
		":-42\r\n":                      {kind: ':', value: -42},
		"$5\r\na\r\nb\x00\r\n":          {kind: '$', text: []byte("a\r\nb\x00")},
		"$0\r\n\r\n":                    {kind: '$', text: []byte{}},
		"$100000\r\n" + long + "\r\n":   {kind: '$', text: []byte(long)},
		"$-1\r\n":                       {kind: '_'},
		"*-1\r\n":                       {kind: '_'},
		"*0\r\n":                        {kind: '*', list: []reply{}},
		"*2\r\n:1\r\n*1\r\n$1\r\na\r\n": {kind: '*', list: []reply{{kind: ':', value: 1}, {kind: '*', list: []reply{{kind: '$', text: []byte("a")}}}}},
		"*3\r\n$-1\r\n-ERR a\r\n+b\r\n": {kind: '*', list: []reply{{kind: '_'}, {kind: '-', text: []byte("ERR a")}, {kind: '+', text: []byte("b")}}},
	} {
		in := bufio.NewReaderSize(strings.NewReader(wire+"+next\r\n"), 64)
		got, err := readReply(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.40q: %+v, %v", wire, got, err)
		}
		if next, err := readReply(in); err != nil || string(next.text) != "next" {
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
		if got, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), 64)); !errors.Is(err, errProtocol) {
			t.Errorf("%.40q: %+v, %v", wire, got, err)
		}
	}
	for _, wire := range []string{"", "+OK", "$5\r\nabc", "$100000\r\nabc", "*2\r\n:1\r\n", "*500000000\r\n:1\r\n"} {
		if got, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), 64)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
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
		got, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), 64))
		if err != nil {
			return
		}
		again, err := readReply(bufio.NewReader(strings.NewReader(format(got))))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

func format(r reply) string {
	switch r.kind {
	case '$':
		return fmt.Sprintf("$%d\r\n%s\r\n", len(r.text), r.text)
	case ':':
		return fmt.Sprintf(":%d\r\n", r.value)
	case '_':
		return "$-1\r\n"
	case '*':
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(r.list))
		for _, e := range r.list {
			b.WriteString(format(e))
		}
		return b.String()
	}
	return string(r.kind) + string(r.text) + "\r\n"
}

func TestCommandOnTheWire(t *testing.T) {
	s := newScript("return 1")
	c := s.run([]string{"k"}, "a", []byte("b\r\n"), 12, int64(-3))
	tail := "$1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$2\r\n12\r\n$2\r\n-3\r\n"
	byHash := "*8\r\n$7\r\nEVALSHA\r\n$40\r\n" + s.sha + "\r\n" + tail
	if got := string(c.appendTo(nil)); got != byHash {
		t.Errorf("the script goes as %q", got)
	}
	c.reply = reply{kind: '-', text: []byte("NOSCRIPT No matching script.")}
	if got, want := string(c.appendTo(nil)), "*8\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n"+tail; got != want {
		t.Errorf("the unknown script goes as %q", got)
	}
	if got, want := string(plain("PING").appendTo(nil)), "*1\r\n$4\r\nPING\r\n"; got != want {
		t.Errorf("PING goes as %q", got)
	}
}

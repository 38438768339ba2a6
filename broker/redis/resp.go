package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// The wire protocol of Redis, RESP2, as far as this package needs it: a
// command is an array of strings, a reply one of five types.
// https://redis.io/docs/latest/develop/reference/protocol-spec/

// A reply is what the server answered to one command. The zero reply is one
// that has not come.
type reply struct {
	kind  byte    // as on the wire: one of +-:$* or, for nothing, _
	text  []byte  // of +, - and $
	value int64   // of :
	list  []reply // of *
}

// errNoReply is the error of a command that was not answered.
var errNoReply = errors.New("no reply")

// err returns the server's error, or errNoReply.
func (r *reply) err() error {
	switch r.kind {
	case 0:
		return errNoReply
	case '-':
		return replyError(string(r.text))
	}
	return nil
}

// texts returns the strings of a list.
func (r *reply) texts() []string {
	texts := make([]string, len(r.list))
	for i := range r.list {
		texts[i] = string(r.list[i].text)
	}
	return texts
}

// A replyError is an error of the server.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError makes it an error reply for go-redis, too.
func (e replyError) RedisError() {}

// appendHeader appends a count or length, with its type.
func appendHeader(b []byte, kind byte, n int) []byte {
	b = strconv.AppendInt(append(b, kind), int64(n), 10)
	return append(b, '\r', '\n')
}

func appendText[T string | []byte](b []byte, s T) []byte {
	b = append(appendHeader(b, '$', len(s)), s...)
	return append(b, '\r', '\n')
}

func appendNumber(b []byte, n int64) []byte {
	var digits [20]byte
	return appendText(b, strconv.AppendInt(digits[:0], n, 10))
}

// errProtocol: the server does not speak RESP2, or we lost the thread.
var errProtocol = errors.New("unexpected reply")

// maxText is the longest string that Redis has, maxDepth how deep a list of
// lists is followed.
const (
	maxText  = 512 << 20
	maxDepth = 8
)

func readReply(in *bufio.Reader) (reply, error) { return readNested(in, maxDepth) }

func readNested(in *bufio.Reader, depth int) (r reply, err error) {
	line, err := readLine(in)
	if err != nil {
		return reply{}, err
	}
	r.kind = line[0]
	switch r.kind {
	case '+', '-':
		r.text = slices.Clone(line[1:])
		return r, nil
	case ':':
		r.value, err = number(line)
		return r, err
	case '$', '*':
	default:
		return reply{}, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	n, err := number(line)
	switch {
	case err != nil:
		return reply{}, err
	case n == -1:
		return reply{kind: '_'}, nil
	case n < 0 || n > maxText || r.kind == '*' && depth == 0:
		return reply{}, fmt.Errorf("%w: %.40q", errProtocol, line)
	case r.kind == '$':
		r.text, err = readText(in, int(n))
		return r, err
	}
	r.list = make([]reply, 0, min(n, 1024)) // of what is announced, much may not come
	for range n {
		e, err := readNested(in, depth-1)
		if err != nil {
			return reply{}, err
		}
		r.list = append(r.list, e)
	}
	return r, nil
}

// readLine returns a line without its end, at least one byte, valid until the
// next read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		// An error may be long: some carry what a script was about.
		long := append([]byte(nil), line...)
		line, err = in.ReadBytes('\n')
		line = append(long, line...)
	}
	if err != nil {
		return nil, err
	}
	if n := len(line); n > 2 && line[n-2] == '\r' {
		return line[:n-2], nil
	}
	return nil, fmt.Errorf("%w: %.40q", errProtocol, line)
}

func number(line []byte) (int64, error) {
	n, err := strconv.ParseInt(string(line[1:]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	return n, nil
}

// readText reads a string of n bytes and the end of its line.
func readText(in *bufio.Reader, n int) (text []byte, err error) {
	var end []byte
	if n+2 <= in.Size() {
		b, err := in.Peek(n + 2)
		if err != nil {
			return nil, err
		}
		text, end = slices.Clone(b[:n:n]), b[n:]
	} else {
		b := make([]byte, n+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		text, end = b[:n:n], b[n:]
	}
	if string(end) != "\r\n" {
		return nil, fmt.Errorf("%w: a string without an end", errProtocol)
	}
	if n+2 <= in.Size() {
		in.Discard(n + 2) //nolint:errcheck // it is in the buffer
	}
	return text, nil
}

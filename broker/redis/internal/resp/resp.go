// Package resp is the wire protocol of Redis, RESP2, as far as the broker needs it: a
// command is an array of strings, a reply one of five types. It knows commands, scripts,
// replies and what errors mean, and no connections.
//
// See https://redis.io/docs/latest/develop/reference/protocol-spec/.
package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// A Reply is what the server answered to one command. The zero Reply is one
// that has not come.
type Reply struct {
	Kind  byte    // as on the wire: one of +-:$* or, for nothing, _
	Text  []byte  // of +, - and $
	Value int64   // of :
	List  []Reply // of *
}

// ErrNoReply is the error of a command that was not answered.
var ErrNoReply = errors.New("no reply")

// Err returns the server's error, or ErrNoReply.
func (r *Reply) Err() error {
	switch r.Kind {
	case 0:
		return ErrNoReply
	case '-':
		return Error(string(r.Text))
	}
	return nil
}

// Texts returns the strings of a list.
func (r *Reply) Texts() []string {
	texts := make([]string, len(r.List))
	for i := range r.List {
		texts[i] = string(r.List[i].Text)
	}
	return texts
}

// An Error is an error of the server.
type Error string

func (e Error) Error() string { return string(e) }

// RedisError makes it an error reply for go-redis, too.
func (e Error) RedisError() {}

// appendHeader appends a count or length, with its type.
func appendHeader(b []byte, kind byte, n int) []byte {
	b = strconv.AppendInt(append(b, kind), int64(n), 10)
	return append(b, '\r', '\n')
}

func appendText(b []byte, s string) []byte {
	b = append(appendHeader(b, '$', len(s)), s...)
	return append(b, '\r', '\n')
}

// appendBytes is appendText for bytes. One generic function for both would be instantiated
// in other packages, where its argument escapes to the heap.
func appendBytes(b, s []byte) []byte {
	b = append(appendHeader(b, '$', len(s)), s...)
	return append(b, '\r', '\n')
}

func appendNumber(b []byte, n int64) []byte {
	var digits [20]byte
	return appendBytes(b, strconv.AppendInt(digits[:0], n, 10))
}

// ErrProtocol: the server does not speak RESP2, or we lost the thread.
var ErrProtocol = errors.New("unexpected reply")

// maxText is the longest string that Redis has, maxDepth how deep a list of
// lists is followed.
const (
	maxText  = 512 << 20
	maxDepth = 8
)

// ReadReply reads a reply, which may be an error of the server.
func ReadReply(in *bufio.Reader) (Reply, error) { return readNested(in, maxDepth) }

func readNested(in *bufio.Reader, depth int) (r Reply, err error) {
	line, err := readLine(in)
	if err != nil {
		return Reply{}, err
	}
	r.Kind = line[0]
	switch r.Kind {
	case '+', '-':
		r.Text = slices.Clone(line[1:])
		return r, nil
	case ':':
		r.Value, err = number(line)
		return r, err
	case '$', '*':
	default:
		return Reply{}, fmt.Errorf("%w: %.40q", ErrProtocol, line)
	}
	n, err := number(line)
	switch {
	case err != nil:
		return Reply{}, err
	case n == -1:
		return Reply{Kind: '_'}, nil
	case n < 0 || n > maxText || r.Kind == '*' && depth == 0:
		return Reply{}, fmt.Errorf("%w: %.40q", ErrProtocol, line)
	case r.Kind == '$':
		r.Text, err = readText(in, int(n))
		return r, err
	}
	r.List = make([]Reply, 0, min(n, 1024)) // of what is announced, much may not come
	for range n {
		e, err := readNested(in, depth-1)
		if err != nil {
			return Reply{}, err
		}
		r.List = append(r.List, e)
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
	return nil, fmt.Errorf("%w: %.40q", ErrProtocol, line)
}

func number(line []byte) (int64, error) {
	n, err := strconv.ParseInt(string(line[1:]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q", ErrProtocol, line)
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
		return nil, fmt.Errorf("%w: a string without an end", ErrProtocol)
	}
	if n+2 <= in.Size() {
		in.Discard(n + 2) //nolint:errcheck // it is in the buffer
	}
	return text, nil
}

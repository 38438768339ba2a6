package prober_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"

	"github.com/gobwas/ws"
)

// middle stands between a right client and the prober, and makes it wrong.
type middle struct {
	wrong
	server   string // host and port of the prober's
	listener net.Listener

	mu     sync.Mutex
	number int
	up     net.Conn // the newest connection to the prober
	down   net.Conn // and to the client
}

// serveWrong is a program with a wrong client.
func serveWrong(name, url string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m := &middle{wrong: wrongs[name], server: strings.Trim(strings.TrimPrefix(url, "ws://"), "/"), listener: l}
	go m.serve()
	if err := serveProber("ws://"+l.Addr().String()+"/", m); err != nil {
		return err
	}
	if m.end != nil {
		m.end()
	}
	return nil
}

// Write tells what the program with the right client tells, a line.
func (m *middle) Write(b []byte) (int, error) {
	lines := []string{strings.TrimSuffix(string(b), "\n")}
	if m.line != nil {
		lines = m.line(lines[0])
	}
	for _, line := range lines {
		fmt.Println(line)
	}
	return len(b), nil
}

func (m *middle) serve() {
	for {
		down, err := m.listener.Accept()
		if err != nil {
			return
		}
		go m.join(down)
	}
}

// stop refuses further connections of the client.
func (m *middle) stop() { m.listener.Close() }

// join passes on a connection of the client.
func (m *middle) join(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", m.server)
	if err != nil {
		return
	}
	defer up.Close()
	fromClient, fromServer := bufio.NewReader(down), bufio.NewReader(up)
	if !m.handshake(up, fromClient) {
		return
	}
	response, err := http.ReadResponse(fromServer, nil)
	if err != nil {
		return
	}
	if text, err := httputil.DumpResponse(response, false); err != nil || write(down, text) != nil {
		return
	}
	m.mu.Lock()
	m.number++
	n := m.number
	m.up, m.down = up, down
	m.mu.Unlock()
	go func() {
		defer up.Close()
		m.toServer(up, fromClient, n)
	}()
	m.toClient(up, down, fromServer, n)
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

func (m *middle) handshake(up io.Writer, client *bufio.Reader) bool {
	request, err := http.ReadRequest(client)
	if err != nil {
		return false
	}
	text, err := httputil.DumpRequest(request, false)
	if err != nil {
		return false
	}
	if m.request != nil {
		text = []byte(m.request(string(text)))
	}
	return write(up, text) == nil
}

// readFrame returns a frame as it came.
func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(r, f.Payload)
	}
	return f, err
}

func (m *middle) toServer(up io.Writer, client io.Reader, n int) {
	for {
		f, err := readFrame(client)
		if err != nil {
			return
		}
		f = ws.UnmaskFrameInPlace(f)
		if f.Header.OpCode != ws.OpText {
			m.write(up, f)
			continue
		}
		texts := []string{string(f.Payload)}
		if m.out != nil {
			texts = m.out(m, texts[0], n)
		}
		frames := make([]ws.Frame, 0, len(texts))
		for _, text := range texts {
			frames = append(frames, ws.NewTextFrame([]byte(text)))
		}
		m.write(up, frames...)
	}
}

// write writes frames of the client, at once.
func (m *middle) write(up io.Writer, frames ...ws.Frame) {
	var all []byte
	for _, f := range frames {
		if !m.bare {
			f = ws.MaskFrame(f)
		}
		b := ws.MustCompileFrame(f)
		if m.first != nil && f.Header.OpCode == ws.OpText {
			b[0] = m.first(b[0])
		}
		all = append(all, b...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	up.Write(all) //nolint:errcheck // the connection may have ended
}

// send sends a message to the prober, and give one to the client.
func (m *middle) send(text string) { m.write(m.up, ws.NewTextFrame([]byte(text))) }
func (m *middle) give(text string) {
	m.down.Write(ws.MustCompileFrame(ws.NewTextFrame([]byte(text)))) //nolint:errcheck // as above
}

func (m *middle) toClient(up, down io.ReadWriter, server io.Reader, n int) {
	for {
		f, err := readFrame(server)
		if err != nil {
			m.hearClose(1006)
			return
		}
		texts := []string{string(f.Payload)}
		if m.deaf != nil && m.deaf(byte(f.Header.OpCode)) {
			continue
		}
		if m.back != nil && f.Header.OpCode == ws.OpText {
			texts = m.back(m, texts[0], n)
		}
		for _, text := range texts {
			f.Payload, f.Header.Length = []byte(text), int64(len(text))
			if write(down, ws.MustCompileFrame(f)) != nil {
				return
			}
		}
		if f.Header.OpCode == ws.OpClose {
			m.hearClose(binary.BigEndian.Uint16(f.Payload))
		}
	}
}

func (m *middle) hearClose(code uint16) {
	if m.closed != nil {
		m.closed(m, code)
	}
}

// connect makes a connection that the client knows nothing of.
func (m *middle) connect() {
	go func() {
		d := ws.Dialer{Protocols: []string{"juggler.1"}}
		conn, buffer, _, err := d.Dial(context.Background(), "ws://"+m.server+"/")
		if err != nil {
			return
		}
		var r io.Reader = conn
		if buffer != nil {
			r = buffer
		}
		for {
			f, err := readFrame(r)
			if err != nil {
				return
			}
			if f.Header.OpCode == ws.OpClose {
				conn.Close()
				m.hearClose(binary.BigEndian.Uint16(f.Payload))
				return
			}
		}
	}()
}

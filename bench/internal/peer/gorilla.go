package peer

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// Without sizes, gorilla reuses the buffers of net/http; a write pool is what
// its documentation advises for many connections.
var gorillaUpgrader = websocket.Upgrader{WriteBufferPool: &sync.Pool{}}

// gorillaServe calls message with each message; its bytes are only valid
// during that call, so that reading allocates nothing.
func gorillaServe(opened, closed func(*websocket.Conn), message func(c *websocket.Conn, kind int, b []byte) error) (string, error) {
	return serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := gorillaUpgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		opened(c)
		go func() {
			defer c.Close()
			defer closed(c)
			var buf bytes.Buffer
			for {
				kind, r, err := c.NextReader()
				if err != nil {
					return
				}
				buf.Reset()
				if _, err := buf.ReadFrom(r); err != nil {
					return
				}
				if message(c, kind, buf.Bytes()) != nil {
					return
				}
			}
		}()
	}))
}

func gorillaEcho() (string, error) {
	nothing := func(*websocket.Conn) {}
	return gorillaServe(nothing, nothing, func(c *websocket.Conn, kind int, b []byte) error {
		return c.WriteMessage(kind, b)
	})
}

// gorillaBroadcast sends each message to all connections but the one it came
// from, as a prepared message.
func gorillaBroadcast() (string, error) {
	var mu sync.Mutex
	conns := make(map[*websocket.Conn]bool)
	opened := func(c *websocket.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns[c] = true
	}
	closed := func(c *websocket.Conn) {
		mu.Lock()
		defer mu.Unlock()
		delete(conns, c)
	}
	return gorillaServe(opened, closed, func(from *websocket.Conn, kind int, b []byte) error {
		prepared, err := websocket.NewPreparedMessage(kind, bytes.Clone(b))
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			if c != from {
				_ = c.WritePreparedMessage(prepared)
			}
		}
		return nil
	})
}

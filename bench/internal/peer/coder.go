package peer

import (
	"bytes"
	"context"
	"net/http"

	"github.com/coder/websocket"
)

func coderEcho() (string, error) {
	return serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(1 << 20)
		go func() {
			defer c.CloseNow()
			ctx := context.Background()
			var buf bytes.Buffer
			for {
				kind, r, err := c.Reader(ctx)
				if err != nil {
					return
				}
				buf.Reset()
				if _, err := buf.ReadFrom(r); err != nil {
					return
				}
				if c.Write(ctx, kind, buf.Bytes()) != nil {
					return
				}
			}
		}()
	}))
}

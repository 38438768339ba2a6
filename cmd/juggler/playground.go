package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/juggler-go/juggler/cmd/juggler/internal/listen"
	"github.com/juggler-go/juggler/cmd/juggler/internal/playground"
)

// printPlayground tells people where the playground is, if a browser can go there.
func printPlayground(out io.Writer, l net.Listener, tls bool) {
	if url, ok := strings.CutPrefix(listen.URL(l, playground.Path, tls), "ws"); ok && !strings.HasPrefix(url, "+unix") {
		fmt.Fprintln(out, "http"+url)
	}
}

// Command server is the Go side of the benchmark of the TypeScript client:
// juggler or centrifuge, with RPC and pub-sub in one process. It prints its
// URL and runs until its standard input ends.
//
// Both answer the URI "echo" with what they get, and "publish" after having
// published so many events of 128 bytes on the channel "bench".
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

// event is a JSON string of 128 bytes.
var event = json.RawMessage(`"` + strings.Repeat("x", 126) + `"`)

func main() {
	peer := flag.String("peer", "juggler", "juggler or centrifuge")
	flag.Parse()
	var h http.Handler
	var err error
	switch *peer {
	case "juggler":
		h, err = jugglerHandler()
	case "centrifuge":
		h, err = centrifugeHandler()
	default:
		err = fmt.Errorf("unknown peer %q", *peer)
	}
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("ws://%s/\n", l.Addr())
	go func() {
		bufio.NewReader(os.Stdin).WriteTo(io.Discard) // ends with the benchmark
		os.Exit(0)
	}()
	log.Fatal(http.Serve(l, h))
}

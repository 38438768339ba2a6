// Package load drives a juggler server with calls and publications, and
// measures what it does: latencies, errors, and whether anything is lost,
// doubled or out of order.
package load

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// Config says what to do.
type Config struct {
	URL      string
	Protocol frame.Protocol
	Header   http.Header // of handshakes
	TLS      *tls.Config

	Clients  int
	InFlight int           // requests of a client without outcome at a time
	Rate     float64       // requests a second of all clients together; 0: as fast as outcomes come
	Duration time.Duration // that is measured
	Ramp     time.Duration // in which the clients connect, before that
	Drain    time.Duration // that outcomes have to come, after that

	URI     string
	Args    json.RawMessage // of calls; nil: made up, and compared with the result if URI echoes
	Echo    bool            // the result must be the args
	Payload int             // bytes of args that are made up, at least
	Timeout time.Duration   // of calls

	Stream int // parts of each answer, the numbers from 1 on; 0: none

	Compress bool // messages, in both directions

	Publish  float64 // share of publications among requests, 0 to 1
	Channels int     // that the clients are spread on

	DropEvery time.Duration // clients drop their connection after about this long, and come back; 0: never

	Started  func()       // called when all clients are connected, or nil
	Progress func(Second) // called each second, or nil
}

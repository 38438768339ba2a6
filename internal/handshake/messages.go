package handshake

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/juggler-go/juggler/frame"
)

// Messages is a set of request types that a client may send, a bit for each
// frame.Type.
type Messages uint8

const all = Messages(1<<frame.Call | 1<<frame.Sub | 1<<frame.Unsb | 1<<frame.Pub)

// Has reports whether t may be sent. What is not one of the four may be sent always:
// AUTH and PONG, and CANCEL and MORE, which only ever name calls that were allowed.
func (m Messages) Has(t frame.Type) bool { return all&(1<<t) == 0 || m&(1<<t) != 0 }

// readMessages reads Juggler-Allowed-Messages, or the query parameter allow of
// those who cannot set headers; each may occur several times. A list that names nothing
// known is refused, and so is a query that cannot be read: guessing would open what was
// meant to be closed.
func readMessages(r *http.Request) (Messages, bool) {
	list := strings.Join(r.Header.Values("Juggler-Allowed-Messages"), ",")
	if list == "" {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return 0, false
		}
		list = strings.Join(query["allow"], ",")
	}
	list = strings.TrimSpace(list)
	if list == "" || list == "*" {
		return all, true
	}
	var m Messages
	for name := range strings.SplitSeq(list, ",") {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "call":
			m |= 1 << frame.Call
		case "sub":
			m |= 1 << frame.Sub
		case "unsb":
			m |= 1 << frame.Unsb
		case "pub":
			m |= 1 << frame.Pub
		}
	}
	return m, m != 0
}

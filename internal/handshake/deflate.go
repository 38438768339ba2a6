package handshake

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gobwas/httphead"
)

// What permessage-deflate and its parameters are called (RFC 7692, section 7).
const (
	deflate       = "permessage-deflate"
	serverForgets = "server_no_context_takeover"
	clientForgets = "client_no_context_takeover"
	serverWindow  = "server_max_window_bits"
	clientWindow  = "client_max_window_bits"
)

// widestWindow is log2 of the window of DEFLATE.
const widestWindow = 15

// Deflate agrees on the first offer of compression in a request that can be kept to, if
// there is one: window is log2 of how many bytes of a message the client keeps to inflate
// it, 0 if nothing is agreed on, and answer what the response has to say. It returns false
// if what the client offers cannot be read.
//
// Neither side keeps anything from one message to the next, whatever was offered. What
// the client says of its own window is no matter, as any can be read.
func Deflate(header http.Header) (window uint8, answer string, ok bool) {
	text := strings.Join(header.Values("Sec-WebSocket-Extensions"), ",")
	if text == "" {
		return 0, "", true
	}
	var offers []offer
	ok = httphead.ScanOptions([]byte(text), func(i int, name, param, value []byte) httphead.Control {
		if i == len(offers) {
			offers = append(offers, offer{declined: string(name) != deflate})
		}
		if param != nil {
			offers[i].take(string(param), string(value), value != nil)
		}
		return httphead.ControlContinue
	})
	if i := slices.IndexFunc(offers, func(o offer) bool { return !o.declined }); ok && i >= 0 {
		window = widestWindow
		answer = deflate + "; " + serverForgets + "; " + clientForgets
		if bits := offers[i].window; bits > 0 {
			window = bits
			answer += "; " + serverWindow + "=" + strconv.Itoa(int(bits))
		}
	}
	return window, answer, ok
}

// An offer is one of those in Sec-WebSocket-Extensions.
type offer struct {
	declined bool
	params   []string
	window   uint8 // log2 of what the server is to keep to; 0: it is not said
}

// take reads a parameter. One that is not defined, comes twice or has a value that it
// must not have makes the offer one that is declined (RFC 7692, section 7.1).
func (o *offer) take(param, value string, hasValue bool) {
	valid := false
	switch param {
	case serverForgets, clientForgets:
		valid = !hasValue
	case serverWindow:
		o.window, valid = windowBits(value)
	case clientWindow:
		_, valid = windowBits(value)
		valid = valid || !hasValue
	}
	if !valid || slices.Contains(o.params, param) {
		o.declined = true
	}
	o.params = append(o.params, param)
}

// windowBits reads the number of a window parameter: 8 to 15, without zeros before it.
func windowBits(value string) (bits uint8, ok bool) {
	n, err := strconv.ParseUint(value, 10, 8)
	return uint8(n), err == nil && n >= 8 && n <= widestWindow && value[0] != '0'
}

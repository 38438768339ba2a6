package handshake

import (
	"net/http"
	"strings"
	"testing"
)

// What is agreed on is RFC 7692, section 7.1: the answer is in the order of its rules.
func TestDeflateOffers(t *testing.T) {
	const always = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, tt := range []struct {
		rule   string
		offers []string // lines of the header
		answer string   // "": declined
		window uint8
	}{
		{"no offer", nil, "", 0},
		{"another extension", []string{"x-webkit-deflate-frame, permessage-bzip2"}, "", 0},
		{"names have a case", []string{"Permessage-Deflate"}, "", 0},
		{"the plain offer", []string{"permessage-deflate"}, always, 15},
		{"what browsers offer", []string{"permessage-deflate; client_max_window_bits"}, always, 15},

		{"5: the first that can be kept to", []string{"permessage-deflate; x, permessage-deflate; server_max_window_bits=10, permessage-deflate"}, always + "; server_max_window_bits=10", 10},
		{"5: on lines of their own", []string{"permessage-deflate; x=1", "permessage-deflate"}, always, 15},
		{"5: behind another extension", []string{"foo; bar=\"a, b; c\", permessage-deflate"}, always, 15},

		{"7.1: a parameter that is not defined", []string{"permessage-deflate; window=15"}, "", 0},
		{"7.1: names of parameters have a case", []string{"permessage-deflate; Client_max_window_bits"}, "", 0},
		{"7.1: a parameter twice", []string{"permessage-deflate; client_max_window_bits; client_max_window_bits"}, "", 0},
		{"7.1: a parameter twice, once with a value", []string{"permessage-deflate; client_max_window_bits=10; client_max_window_bits"}, "", 0},
		{"7.1: a parameter twice, of the server", []string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, "", 0},

		{"7.1.1.1: server_no_context_takeover", []string{"permessage-deflate; server_no_context_takeover"}, always, 15},
		{"7.1.1.1: has no value", []string{"permessage-deflate; server_no_context_takeover=1"}, "", 0},
		{"7.1.1.1: not even an empty one", []string{`permessage-deflate; server_no_context_takeover=""`}, "", 0},
		{"7.1.1.2: client_no_context_takeover", []string{"permessage-deflate; client_no_context_takeover"}, always, 15},
		{"7.1.1.2: has no value", []string{"permessage-deflate; client_no_context_takeover=true"}, "", 0},

		{"7.1.2.1: the server's window", []string{"permessage-deflate; server_max_window_bits=8"}, always + "; server_max_window_bits=8", 8},
		{"7.1.2.1: quoted", []string{`permessage-deflate; server_max_window_bits="12"`}, always + "; server_max_window_bits=12", 12},
		{"7.1.2.1: the widest", []string{"permessage-deflate; server_max_window_bits=15"}, always + "; server_max_window_bits=15", 15},
		{"7.1.2.1: has a value", []string{"permessage-deflate; server_max_window_bits"}, "", 0},
		{"7.1.2.1: of 8", []string{"permessage-deflate; server_max_window_bits=7"}, "", 0},
		{"7.1.2.1: to 15", []string{"permessage-deflate; server_max_window_bits=16"}, "", 0},
		{"7.1.2.1: without zeros", []string{"permessage-deflate; server_max_window_bits=010"}, "", 0},
		{"7.1.2.1: a number", []string{"permessage-deflate; server_max_window_bits=1e1"}, "", 0},
		{"7.1.2.1: not a great one", []string{"permessage-deflate; server_max_window_bits=266"}, "", 0},

		{"7.1.2.2: the client's window", []string{"permessage-deflate; client_max_window_bits=9"}, always, 15},
		{"7.1.2.2: of 8", []string{"permessage-deflate; client_max_window_bits=0"}, "", 0},
		{"7.1.2.2: to 15", []string{"permessage-deflate; client_max_window_bits=16"}, "", 0},
		{"7.1.2.2: not empty", []string{`permessage-deflate; client_max_window_bits=""`}, "", 0},

		{"7.1.3: all together", []string{"permessage-deflate; client_max_window_bits=10; server_max_window_bits=11; client_no_context_takeover; server_no_context_takeover"}, always + "; server_max_window_bits=11", 11},
	} {
		window, answer, ok := Deflate(http.Header{"Sec-Websocket-Extensions": tt.offers})
		if !ok || answer != tt.answer || window != tt.window {
			t.Errorf("%s: %q is answered with %q and window %d, %v, want %q and %d", tt.rule, tt.offers, answer, window, ok, tt.answer, tt.window)
		}
	}
}

// RFC 6455, section 9.1: what is not of the form of the header fails the handshake.
func TestExtensionsThatCannotBeRead(t *testing.T) {
	for _, line := range []string{"permessage-deflate;;", "permessage-deflate; =1", "; permessage-deflate", `permessage-deflate; server_max_window_bits="1`, "permessage-deflate; a=b=c", ","} {
		if _, _, ok := Deflate(http.Header{"Sec-Websocket-Extensions": {line}}); ok {
			t.Errorf("%q is taken", line)
		}
	}
}

// Without the setting the header is not read at all, and nothing is agreed on.
func TestDeflateIsOffUnlessSet(t *testing.T) {
	for _, on := range []bool{false, true} {
		r, err := http.NewRequest(http.MethodGet, "http://example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "juggler.1", "Sec-WebSocket-Extensions": "permessage-deflate"} {
			r.Header.Set(k, v)
		}
		q, no := Read(r, http.Header{}, Settings{Deflate: on})
		if no != nil {
			t.Fatal(no.Message)
		}
		if said := strings.Contains(string(q.Upgrade(nil)), "Sec-WebSocket-Extensions: permessage-deflate;"); said != on || (q.Window > 0) != on {
			t.Errorf("with Deflate %v: the answer has the extension: %v, window %d", on, said, q.Window)
		}
		r.Header.Set("Sec-WebSocket-Extensions", ";")
		if _, no := Read(r, http.Header{}, Settings{Deflate: on}); (no != nil) != on {
			t.Errorf("with Deflate %v, a header that cannot be read: refused with %+v", on, no)
		}
	}
}

func FuzzDeflateOffers(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits, permessage-deflate; server_max_window_bits=\"9\"")
	f.Add("foo;bar=\"\\\"\", (comment) permessage-deflate")
	f.Fuzz(func(t *testing.T, line string) {
		window, answer, ok := Deflate(http.Header{"Sec-Websocket-Extensions": {line}})
		if agreed := window != 0; agreed != (answer != "") || agreed && (!ok || window < 8 || window > 15 || !strings.Contains(line, deflate)) {
			t.Fatalf("%q: %v, %q, window %d", line, ok, answer, window)
		}
	})
}

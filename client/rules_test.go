package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

// rule is a row of a table in docs/protocol.md, "What a client does when": its cells,
// and of the one that lists codes, each of them, or of a range both ends.
type rule struct {
	cells []string
	codes []int
}

// rules returns the rows of the table whose header begins with first.
func rules(t *testing.T, first string, codes int) (all []rule) {
	t.Helper()
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n| "+first+" |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range strings.Split(table, "\n")[2:] {
		r := rule{cells: strings.Split(strings.Trim(row, "| "), " | ")}
		for _, n := range regexp.MustCompile(`\d+`).FindAllString(r.cells[codes], -1) {
			code, _ := strconv.Atoi(n)
			r.codes = append(r.codes, code)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		t.Fatalf("docs/protocol.md has no table %q", first)
	}
	return all
}

// first is how the first connection ends, with a code, in the words of the table.
var first = map[string]func(s *server, code int){
	"close code":              closeWith,
	"close code in juggler.1": closeWith,
	"close code in juggler.0": func(s *server, code int) { s.proto = frame.Juggler0; closeWith(s, code) },
	"close code after HELLO, before the answer to AUTH": func(s *server, code int) {
		s.script = signingIn(func(p *peer, _ *frame.Frame) { p.close(code, "no AUTH in time") })
	},
	"NACK of the AUTH that signs in": func(s *server, code int) {
		s.script = signingIn(func(p *peer, auth *frame.Frame) { p.nack(auth, code, 0); p.untilClosed() })
	},
	"HTTP status with `Juggler-Refusal`": func(s *server, code int) {
		s.refuse = answer(code, http.Header{frame.RefusalHeader: {fmt.Sprint(code)}})
	},
	"HTTP status without it": func(s *server, code int) {
		s.refuse = answer(code, http.Header{"Location": {"/elsewhere"}})
	},
	"HTTP 101 without a subprotocol that was offered": func(s *server, _ int) {
		s.other = func(n int) bool { return n == 1 }
	},
}

func closeWith(s *server, code int) {
	s.script = func(n int, p *peer) {
		if n == 1 {
			p.close(code, "because")
			return
		}
		p.serve()
	}
}

// signingIn serves AUTH on the first connection with f.
func signingIn(f func(p *peer, auth *frame.Frame)) func(n int, p *peer) {
	return func(n int, p *peer) {
		if n == 1 {
			f(p, p.expect(frame.Auth))
			return
		}
		p.auth("t2", 0)
		p.serve()
	}
}

func answer(status int, header http.Header) func(n int, w http.ResponseWriter) bool {
	return func(n int, w http.ResponseWriter) bool {
		if n == 1 {
			for name, values := range header {
				w.Header()[name] = values
			}
			w.WriteHeader(status)
		}
		return n == 1
	}
}

// What ends the first connection, and whether the client goes on, is as the protocol
// says; and all the same for one that was connected before.
func TestWhatEndsAClient(t *testing.T) {
	for _, r := range rules(t, "what ends a connection, or an attempt", 1) {
		end, known := first[r.cells[0]]
		if !known || r.cells[2] != "ends" && r.cells[2] != "connects again" {
			t.Errorf("no test of %q", r.cells)
			continue
		}
		for _, code := range r.codes {
			t.Run(fmt.Sprint(r.cells[0], " ", code), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, serveAll)
					end(s, code)
					var opts []client.Option
					if strings.Contains(r.cells[0], "AUTH") {
						opts = append(opts, client.WithToken(tokens()))
					}
					checkEnd(t, s.client(append(opts, client.WithProtocols(s.proto))...), r.cells[2] == "ends")
				})
			})
		}
	}
}

// checkEnd makes a call, which reaches the second connection unless the client has ended.
func checkEnd(t *testing.T, c *client.Client, ends bool) {
	t.Helper()
	err := c.Connect(t.Context())
	for err == nil && c.State() == client.Open {
		if err = c.Call(t.Context(), "u", nil, nil); err == nil {
			break
		}
		if errors.Is(err, client.ErrUnknownOutcome) { // it was sent before the close frame came
			err = nil
		}
		synctest.Wait()
	}
	if !ends {
		if err := c.Call(t.Context(), "u", nil, nil); err != nil || c.State() != client.Open {
			t.Errorf("not connected anew: %v", err)
		}
		return
	}
	if err := c.Call(t.Context(), "u", nil, nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// What of an answer is an error that may be retried is as the protocol says.
func TestWhatMayBeRetried(t *testing.T) {
	for _, r := range rules(t, "error of a request", 0) {
		for _, code := range r.codes {
			for i, refused := range []bool{true, false} {
				e := &client.Error{Code: client.Code(code), Refused: refused}
				if e.Retryable() != (r.cells[1+i] == "may be retried") {
					t.Errorf("%d, refused %v: retryable is %v, the protocol says %q", code, refused, e.Retryable(), r.cells[1+i])
				}
			}
		}
	}
}

// A redirect is not followed: not to another host, nor out of TLS, nor to itself.
func TestRedirectsAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, serveAll)
		s.refuse = func(n int, w http.ResponseWriter) bool {
			w.Header().Set("Location", "https://elsewhere.test/ws?token=secret")
			w.WriteHeader(http.StatusFound)
			return true
		}
		begin := time.Now()
		c := s.client(client.WithHTTPHeader(http.Header{"Authorization": {"Bearer secret"}}))
		c.Call(t.Context(), "u", nil, nil, client.WithTimeout(time.Minute))
		if n := s.connections(); n < 2 || n > 30 {
			t.Errorf("asked %d times in %v", n, time.Since(begin))
		}
		_, err := client.Dial(t.Context(), s.url, client.WithDialer(s.dial))
		var e *client.HandshakeError
		if !errors.As(err, &e) || e.Status != 302 || e.Own || e.Location != "https://elsewhere.test/ws" || !strings.Contains(err.Error(), e.Location) {
			t.Errorf("got %v", err)
		}
	})
}

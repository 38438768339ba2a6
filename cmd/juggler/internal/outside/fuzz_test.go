package outside

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/juggler-go/juggler/calleekit"
)

// Whatever a web server or a program writes, each part is JSON and not too long, and it does
// not matter in which pieces it is read.
func FuzzParts(f *testing.F) {
	for _, body := range []string{"1\n2", "{\"a\":1}\r\n\n x", "data: 1\n\n", "data:[\ndata: 1]\r\n\r\n: c\nevent: e\ndata", `{"error":{"code":1,"message":""}}`, "data"} {
		f.Add(body)
	}
	limits := Limits{MaxOutput: 32}
	answer := func(t *testing.T, body io.Reader, read func(*parts, context.Context, io.Reader) error) string {
		var r calleekit.Recorder
		_, err := r.Serve(t.Context(), func(ctx context.Context, c *calleekit.Call) (any, error) {
			p := &parts{call: c, limits: limits}
			if err := read(p, ctx, body); err != nil {
				return nil, err
			}
			return nil, p.release(ctx)
		}, &calleekit.Call{})
		for _, part := range r.Parts {
			if !json.Valid(part) || len(part) > limits.MaxOutput {
				t.Errorf("part %q", part)
			}
		}
		return fmt.Sprintf("%q, %v", r.Parts, err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, read := range []func(*parts, context.Context, io.Reader) error{(*parts).lines, (*parts).events} {
			whole := answer(t, strings.NewReader(body), read)
			if pieces := answer(t, iotest.OneByteReader(strings.NewReader(body)), read); pieces != whole {
				t.Errorf("%q: %s; in pieces %s", body, whole, pieces)
			}
		}
	})
}

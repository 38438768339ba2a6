package outside_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/outside"
	"github.com/juggler-go/juggler/internal/waiting"
)

func texts(parts []json.RawMessage) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%s ", p)
	}
	return strings.TrimSpace(b.String())
}

// inParts has a program answer a caller that takes parts.
func inParts(t *testing.T, r *calleekit.Recorder, ctx context.Context, script string, limits outside.Limits) (json.RawMessage, error) {
	t.Helper()
	p, err := outside.NewProgram("sh -c '"+script+"'", limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	return r.Serve(ctx, p.AnswerInParts, &calleekit.Call{URI: "u"})
}

// Each line of a program is a part, and how it ends is the result.
func TestProgramInParts(t *testing.T) {
	long := strings.Repeat("1", limits.MaxOutput)
	for _, test := range []struct {
		name   string
		script string
		parts  string
		failed string // "": the result is null
	}{
		{"lines", `echo 1; echo; echo " {\"a\": 2} "; printf 3`, `1 {"a": 2} 3`, ""},
		{"nothing", `true`, ``, ""},
		{"exit code", `echo 1; echo why >&2; exit 3`, `1`, `exit status 3; its standard error: "why\n"`},
		{"wrong args", `echo 1; exit 65`, `1`, "the args are wrong"},
		{"error", `echo 1; echo "{\"error\":{\"code\":409,\"message\":\"sold out\"}}"; exit 1`, `1`, "sold out"},
		{"a part like an error", `echo "{\"error\":{\"code\":1,\"message\":\"\"}}"; echo 2`, `{"error":{"code":1,"message":""}} 2`, ""},
		{"a last part like an error", `echo "{\"error\":{\"code\":1,\"message\":\"\"}}"`, `{"error":{"code":1,"message":""}}`, ""},
		{"cut line", `echo 1; printf 23; exit 1`, `1`, "exit status 1"},
		{"no JSON", `echo 1; echo two; sleep 600`, `1`, "a part of its answer is not JSON"},
		{"no JSON at the end", `echo 1; printf two`, `1`, "a part of its answer is not JSON"},
		{"longest line", `echo ` + long, long, ""},
		{"too long", `echo 1; echo ` + long + `1; sleep 600`, `1`, "the answer has more than 1024 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r calleekit.Recorder
			result, err := inParts(t, &r, t.Context(), test.script, limits)
			if got := texts(r.Parts); got != test.parts {
				t.Errorf("parts %s, want %s", got, test.parts)
			}
			switch {
			case test.failed == "" && (err != nil || string(result) != "null"):
				t.Errorf("got %s, %v", result, err)
			case test.failed != "" && (err == nil || !strings.Contains(err.Error(), test.failed)):
				t.Errorf("got %v, want %s", err, test.failed)
			}
		})
	}
	p, err := outside.NewProgram("printf 1\n2", limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.AnswerInParts(t.Context(), &calleekit.Call{URI: "u"}); err != nil || got != nil && string(got.(json.RawMessage)) != "null" {
		t.Errorf("for a caller that wants no parts: %v, %v", got, err)
	}
}

// A program is ended with its call, in the middle of an answer, and when it takes too long.
func TestProgramInPartsEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	var r calleekit.Recorder
	r.Most = 3
	if _, err := inParts(t, &r, t.Context(), "echo $$ >"+file+"; yes 1", limits); !errors.Is(err, context.Canceled) || len(r.Parts) != 3 {
		t.Errorf("cancelled: %d parts, %v", len(r.Parts), err)
	}
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat"); err == nil {
		t.Errorf("the program is left: %s", stat)
	}
	hurried := limits
	hurried.Timeout = 50 * time.Millisecond
	if _, err := inParts(t, new(calleekit.Recorder), t.Context(), "echo 1; sleep 600", hurried); err == nil || !strings.Contains(err.Error(), "it took too long") {
		t.Errorf("too long: %v", err)
	}
}

// A program whose caller takes no parts does not run ahead, and what it wrote before its end
// is not lost for that.
func TestProgramIsPaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "written")
	p, err := outside.NewProgram("sh -c 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo $i; done; echo x >"+file+"'", limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	var r calleekit.Recorder
	free := make(chan struct{})
	result, err := r.Serve(t.Context(), func(ctx context.Context, c *calleekit.Call) (any, error) {
		c.WrapSend(func(next calleekit.SendFunc) calleekit.SendFunc {
			return func(ctx context.Context, v any) error {
				<-free
				return next(ctx, v)
			}
		})
		time.AfterFunc(50*time.Millisecond, func() {
			if _, err := os.Stat(file); err == nil {
				t.Error("the program has written all, though nobody takes it")
			}
			close(free)
		})
		return p.AnswerInParts(ctx, c)
	}, &calleekit.Call{URI: "u"})
	if err != nil || string(result) != "null" || len(r.Parts) != 30000 {
		t.Errorf("%d parts, %s, %v", len(r.Parts), result, err)
	}
	for i, part := range r.Parts {
		if string(part) != fmt.Sprint(i+1) {
			t.Fatalf("part %d is %s", i+1, part)
		}
	}
}

// The lines, or events, of a webhook's body are parts.
func TestWebhookInParts(t *testing.T) {
	long := strings.Repeat("1", limits.MaxOutput)
	for _, test := range []struct {
		name   string
		kind   string
		body   string
		parts  string
		failed string
	}{
		{"lines", "application/x-ndjson", "1\n\n{\"a\": 2}\r\n3", `1 {"a": 2} 3`, ""},
		{"jsonl", "application/jsonl; charset=utf-8", "1\n2\n", `1 2`, ""},
		{"nothing", "application/x-ndjson", "", ``, ""},
		{"error", "application/x-ndjson", "1\n{\"error\":{\"code\":409,\"message\":\"sold out\"}}\n", `1`, "sold out"},
		{"no JSON", "application/x-ndjson", "1\ntwo\n3\n", `1`, "a part of its answer is not JSON"},
		{"too long", "application/x-ndjson", "1\n" + long + "1\n", `1`, "the answer has more than 1024 bytes"},
		{"events", "text/event-stream", ": hello\n\nevent: word\nid: 1\ndata: \"Once\"\n\ndata:{\"a\":\r\ndata: 2}\r\n\r\nretry: 5\n\ndata: 3", "\"Once\" {\"a\":\n2} 3", ""},
		{"longest event", "text/event-stream", "data: " + long[6:] + "\n\n", long[6:], ""},
		{"long event", "text/event-stream", "data: [\n" + strings.Repeat("data:1,\n", 1000) + "data:1]\n\n", "", "the answer has more than 1024 bytes"},
		{"failed event", "text/event-stream", "data: 1\n\ndata: {\"error\":{\"code\":409,\"message\":\"sold out\"}}\n\n", `1`, "sold out"},
		{"one answer", "application/json", "[1]\n", ``, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var accept string
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				accept = r.Header.Get("Accept")
				w.Header().Set("Content-Type", test.kind)
				io.WriteString(w, test.body)
			}))
			defer web.Close()
			h, err := outside.NewWebhook(web.URL, limits)
			if err != nil {
				t.Fatal(err)
			}
			var r calleekit.Recorder
			result, err := r.Serve(t.Context(), h.Answer, &calleekit.Call{URI: "u"})
			if got := texts(r.Parts); got != test.parts {
				t.Errorf("parts %s, want %s", got, test.parts)
			}
			want := "null"
			if test.kind == "application/json" {
				want = "[1]"
			}
			switch {
			case test.failed == "" && (err != nil || string(result) != want):
				t.Errorf("got %s, %v", result, err)
			case test.failed != "" && (err == nil || !strings.Contains(err.Error(), test.failed)):
				t.Errorf("got %v, want %s", err, test.failed)
			}
			if !strings.Contains(accept, "application/x-ndjson") {
				t.Errorf("Accept %q", accept)
			}
			if _, err := h.Answer(t.Context(), &calleekit.Call{URI: "u"}); (err != nil) != (test.failed != "") || accept != "" {
				t.Errorf("for a caller that wants no parts: %v; Accept %q", err, accept)
			}
		})
	}
}

// Parts come as they are written; the webhook learns that the caller has gone, and a body
// that is cut off is a failure.
func TestWebhookInPartsEnds(t *testing.T) {
	gone := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		io.WriteString(w, "1\n2")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "2\n3\n4\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer web.Close()
	h, err := outside.NewWebhook(web.URL, limits)
	if err != nil {
		t.Fatal(err)
	}
	r := calleekit.Recorder{Most: 2}
	if _, err := r.Serve(t.Context(), h.Answer, &calleekit.Call{URI: "u"}); !errors.Is(err, context.Canceled) || texts(r.Parts) != "1 22" {
		t.Errorf("cancelled: %s, %v", texts(r.Parts), err)
	}
	select {
	case <-gone:
	case <-time.After(waiting.Most):
		t.Error("the webhook goes on")
	}
	cut, err := outside.NewWebhook(web.URL+"/cut", limits)
	if err != nil {
		t.Fatal(err)
	}
	r = calleekit.Recorder{}
	if _, err := r.Serve(t.Context(), cut.Answer, &calleekit.Call{URI: "u"}); err == nil || !strings.Contains(err.Error(), "unexpected EOF") || texts(r.Parts) != "1" {
		t.Errorf("cut: %s, %v", texts(r.Parts), err)
	}
}

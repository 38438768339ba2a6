package outside_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/cmd/juggler/internal/outside"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The thread that starts programs stays to the end of the process.
		goleak.IgnoreAnyFunction("github.com/juggler-go/juggler/internal/child.runOnOneThread"))
}

var (
	limits = outside.Limits{Timeout: time.Minute, MaxOutput: 1 << 10}
	silent = slog.New(slog.DiscardHandler)
)

func answer(t *testing.T, ctx context.Context, command, args string) (any, error) {
	t.Helper()
	p, err := outside.NewProgram(command, limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	return p.Answer(ctx, &calleekit.Call{URI: "u", Args: json.RawMessage(args)})
}

// Programs and web servers get the key of a call, if it has one.
func TestKeys(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(r.Header.Values("Idempotency-Key"))
	}))
	defer web.Close()
	hook, err := outside.NewWebhook(web.URL, limits)
	if err != nil {
		t.Fatal(err)
	}
	program, err := outside.NewProgram(`sh -c 'printf "\"%s\"" "${JUGGLER_KEY-none}"'`, limits, silent)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		f         calleekit.HandlerFunc
		key, want string
	}{{program.Answer, "k7", `"k7"`}, {program.Answer, "", `"none"`}, {hook.Answer, "k7", `["k7"]`}, {hook.Answer, "", `null`}} {
		r := calleekit.Recorder{Key: tt.key}
		if got, err := r.Serve(t.Context(), tt.f, &calleekit.Call{URI: "u"}); err != nil || string(got) != tt.want {
			t.Errorf("%q: %s, %v; want %s", tt.key, got, err, tt.want)
		}
	}
}

// A command line is split into words, with quotes and nothing else of a shell.
func TestWords(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{`printf '"%s|%s"' 'a b' c`, `"a b|c"`},
		{`printf '"%s"' $HOME`, `"$HOME"`},
		{`printf '"%s"' a";"b`, `"a;b"`},
		{"  printf \t'\"%s\"'   ''  ", `""`},
	} {
		got, err := answer(t, t.Context(), tt.line, "1")
		if text, _ := got.(json.RawMessage); err != nil || string(text) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.line, got, err, tt.want)
		}
	}
	for _, line := range []string{"", "  ", `cat 'a`, `cat "a`, "/nowhere/program"} {
		if _, err := outside.NewProgram(line, limits, silent); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

// A program ends with the context of its call, and says why.
func TestProgramEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := answer(t, ctx, "sleep 600", "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := answer(t, ctx, "sleep 600", "1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("expired: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := answer(t, ctx, "sleep 600", "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

// What a webhook gets: the args as its body, the rest in headers that any name
// and value fit in.
func TestWebhookRequest(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode([]string{r.Method, r.Header.Get("Content-Type"), r.Header.Get("Juggler-URI"), r.Header.Get("Juggler-Headers"), string(body)})
	}))
	defer web.Close()
	h, err := outside.NewWebhook(web.URL, limits)
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Answer(t.Context(), &calleekit.Call{URI: "a b\r\nX: é"})
	want := `["POST","application/json","a%20b%0D%0AX:%20%C3%A9","{}","null"]`
	if text, _ := got.(json.RawMessage); err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	headers := "{\n\t\"a\" :\r\n\"\u00e9 \x7f \U0001f600\" }"
	got, err = h.Answer(t.Context(), &calleekit.Call{URI: "u", RawHeaders: []byte(headers)})
	want = `["POST","application/json","u","{\"a\":\"\\u00e9 \\u007f \\ud83d\\ude00\"}","null"]`
	if text, _ := got.(json.RawMessage); err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// The error of a webhook that fails, which is logged, has none of the secrets in its URL.
func TestWebhookSecrets(t *testing.T) {
	h, err := outside.NewWebhook("http://ann:hush@127.0.0.1:1/?key=hush", limits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Answer(t.Context(), &calleekit.Call{URI: "u"}); err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), "http://ann:xxxxx@127.0.0.1:1/?key=xxxxx") {
		t.Error(err)
	}
	if _, err := outside.NewWebhook("htp://ann:hush@h/", limits); err == nil || strings.Contains(err.Error(), "hush") {
		t.Error(err)
	}
}

// A program gets the environment, but not the settings of the command.
func TestProgramEnvironment(t *testing.T) {
	t.Setenv("JUGGLER_REDIS", "redis://:hush@h")
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		t.Setenv("OTEL_EXPORTER_OTLP_"+signal+"HEADERS", "api-key=hush")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c")
	t.Setenv("OTHER", "x")
	got, err := answer(t, t.Context(), `sh -c 'env | grep -q hush && exit 1; printf "\"%s\"" "$OTHER$OTEL_EXPORTER_OTLP_ENDPOINT$JUGGLER_URI"'`, "1")
	if text, _ := got.(json.RawMessage); err != nil || string(text) != `"xhttp://cu"` {
		t.Errorf("%s, %v", got, err)
	}
}

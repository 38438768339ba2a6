package client_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/frame"
)

const anyURL = "ws://server.test/ws"

func TestOptions(t *testing.T) {
	token := func(context.Context) (string, error) { return "", nil }
	for _, test := range []struct {
		option string
		good   []client.Option
		bad    []client.Option
	}{
		{"WithProtocols",
			[]client.Option{client.WithProtocols(frame.Juggler0), client.WithProtocols(frame.Juggler1, frame.Juggler0)},
			[]client.Option{client.WithProtocols(), client.WithProtocols(2), client.WithProtocols(frame.Juggler1, frame.Juggler1)}},
		{"WithHandshakeTimeout",
			[]client.Option{client.WithHandshakeTimeout(time.Millisecond), client.WithHandshakeTimeout(time.Hour)},
			[]client.Option{client.WithHandshakeTimeout(0), client.WithHandshakeTimeout(time.Hour + 1)}},
		{"WithWriteTimeout",
			[]client.Option{client.WithWriteTimeout(time.Millisecond), client.WithWriteTimeout(time.Hour)},
			[]client.Option{client.WithWriteTimeout(0), client.WithWriteTimeout(time.Hour + 1)}},
		{"WithCloseTimeout",
			[]client.Option{client.WithCloseTimeout(time.Millisecond), client.WithCloseTimeout(time.Minute)},
			[]client.Option{client.WithCloseTimeout(0), client.WithCloseTimeout(time.Minute + 1)}},
		{"WithPingInterval",
			[]client.Option{client.WithPingInterval(time.Millisecond), client.WithPingInterval(24 * time.Hour)},
			[]client.Option{client.WithPingInterval(0), client.WithPingInterval(24*time.Hour + 1)}},
		{"WithCallTimeout",
			[]client.Option{client.WithCallTimeout(time.Millisecond), client.WithCallTimeout(24 * time.Hour)},
			[]client.Option{client.WithCallTimeout(0), client.WithCallTimeout(24*time.Hour + 1)}},
		{"WithStallTimeout",
			[]client.Option{client.WithStallTimeout(0), client.WithStallTimeout(time.Hour)},
			[]client.Option{client.WithStallTimeout(-1), client.WithStallTimeout(time.Hour + 1)}},
		{"WithBackoff",
			[]client.Option{client.WithBackoff(time.Millisecond, time.Millisecond), client.WithBackoff(24*time.Hour, 24*time.Hour)},
			[]client.Option{client.WithBackoff(0, time.Second), client.WithBackoff(2, 1), client.WithBackoff(time.Second, 24*time.Hour+1)}},
		{"WithEventBuffer",
			[]client.Option{client.WithEventBuffer(1), client.WithEventBuffer(1 << 20)},
			[]client.Option{client.WithEventBuffer(0), client.WithEventBuffer(1<<20 + 1)}},
		{"WithWriteBuffer",
			[]client.Option{client.WithWriteBuffer(1 << 10), client.WithWriteBuffer(1 << 30)},
			[]client.Option{client.WithWriteBuffer(1<<10 - 1), client.WithWriteBuffer(1<<30 + 1)}},
		{"WithMaxMessageBytes",
			[]client.Option{client.WithMaxMessageBytes(1 << 10), client.WithMaxMessageBytes(1 << 30)},
			[]client.Option{client.WithMaxMessageBytes(1<<10 - 1), client.WithMaxMessageBytes(1<<30 + 1)}},
		{"WithHTTPClient", []client.Option{client.WithHTTPClient(http.DefaultClient)}, []client.Option{client.WithHTTPClient(nil)}},
		{"WithTLSConfig", nil, []client.Option{client.WithTLSConfig(nil)}},
		{"WithDialer", nil, []client.Option{client.WithDialer(nil)}},
		{"WithToken", []client.Option{client.WithToken(token)}, []client.Option{client.WithToken(nil)}},
		{"WithLogger", []client.Option{client.WithLogger(slog.New(slog.DiscardHandler))}, []client.Option{client.WithLogger(nil)}},
		{"WithStateHook", []client.Option{client.WithStateHook(func(client.StateChange) {})}, []client.Option{client.WithStateHook(nil)}},
	} {
		for i, o := range test.good {
			c, err := client.New(anyURL, o)
			if err != nil {
				t.Errorf("%s, good value %d: %v", test.option, i, err)
				continue
			}
			c.Close()
		}
		for i, o := range test.bad {
			_, err := client.New(anyURL, o)
			if !errors.Is(err, client.ErrInvalidOption) || !strings.Contains(err.Error(), test.option+"(") {
				t.Errorf("%s, bad value %d: got %v", test.option, i, err)
			}
		}
	}
}

func TestOptionsThatExcludeEachOther(t *testing.T) {
	_, err := client.New(anyURL,
		client.WithHTTPClient(http.DefaultClient), client.WithDialer(newPipeListener().dial),
		client.WithToken(func(context.Context) (string, error) { return "", nil }), client.WithProtocols(frame.Juggler1, frame.Juggler0),
		client.WithCallTimeout(0))
	for _, option := range []string{"WithHTTPClient", "WithToken", "WithCallTimeout"} {
		if err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("got %v, want all problems, %s too", err, option)
		}
	}
}

func TestURL(t *testing.T) {
	for _, url := range []string{"", "server", "ftp://server", "ws://", "ws://a b", "://"} {
		if _, err := client.New(url); !errors.Is(err, client.ErrInvalidOption) {
			t.Errorf("%q: got %v", url, err)
		}
	}
	if _, err := client.New(anyURL, nil); !errors.Is(err, client.ErrInvalidOption) {
		t.Errorf("nil option: got %v", err)
	}
}

// What the comment of an option says about its default is true; and no option
// of which a number is said is left out here.
func TestDocumentedDefaults(t *testing.T) {
	times, bytes, counts := client.DefaultOf()
	want := map[string]string{}
	for name, all := range times {
		var texts []string
		for _, d := range all {
			if d%time.Second == 0 {
				texts = append(texts, fmt.Sprintf("%d s", d/time.Second))
			} else {
				texts = append(texts, fmt.Sprintf("%d ms", d/time.Millisecond))
			}
		}
		want[name] = strings.Join(texts, " and ")
	}
	for name, n := range bytes {
		want[name] = fmt.Sprintf("%d MiB", n>>20)
	}
	for name, n := range counts {
		want[name] = fmt.Sprint(n)
	}

	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`default is (\d.*?)[.;](\s|$)`)
	got := map[string]string{}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !f.Name.IsExported() {
			continue
		}
		doc := strings.Join(strings.Fields(f.Doc.Text()), " ")
		if m := said.FindStringSubmatch(doc); m != nil {
			got[f.Name.Name] = m[1]
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("documented: %v\nreal:       %v", got, want)
	}
}

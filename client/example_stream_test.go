package client_test

import (
	"context"
	"fmt"
	"iter"
	"net/http/httptest"
	"strings"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
)

// wordServer starts a server with the callee text.words, which answers with one word after
// the other.
func wordServer() (url string, stop func()) {
	b, err := memory.New()
	if err != nil {
		panic(err)
	}
	h, err := juggler.New(juggler.WithBroker(b), juggler.WithAuthorizer(juggler.AllowAll()),
		juggler.WithKeyScope(func(juggler.Session) string { return "reader" })) // it is the user's by default
	if err != nil {
		panic(err)
	}
	callee, err := calleekit.New(b)
	if err != nil {
		panic(err)
	}
	callee.Handle("text.words", calleekit.Stream(func(_ context.Context, text string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for word := range strings.FieldsSeq(text) {
				if !yield(word, nil) {
					return
				}
			}
		}
	}))
	if err := callee.Start(context.Background()); err != nil {
		panic(err)
	}
	s := httptest.NewServer(h)
	return s.URL, func() {
		callee.Close()
		h.Shutdown(context.Background())
		s.Close()
		b.Close()
	}
}

func ExampleClient_Stream() {
	url, stop := wordServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	s, err := c.Stream(ctx, "text.words", "Once upon a time")
	if err != nil {
		fmt.Println(err)
		return
	}
	for word, err := range client.PartsAs[string](s) {
		if err != nil {
			fmt.Println(err) // what has come is all that will
			return
		}
		fmt.Println(word)
		if word == "a" {
			break // cancels the call
		}
	}
	// Output:
	// Once
	// upon
	// a
}

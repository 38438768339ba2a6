package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// A publication of a program without a handler arrives like any other.
func TestPublish(t *testing.T) {
	var got *broker.Event
	b := publisher(func(e *broker.Event) error {
		got = e
		return nil
	})
	headers := map[string]string{"tenant": "a"}
	if err := broker.Publish(t.Context(), b, "news.go", map[string]string{"title": "Go"}, headers); err != nil {
		t.Fatal(err)
	}
	if got.Channel != "news.go" || string(got.Args) != `{"title":"Go"}` || string(got.Headers) != `{"tenant":"a"}` || got.ID == (broker.ID{}) {
		t.Errorf("published %+v", got)
	}
	first := got.ID
	if err := broker.Publish(t.Context(), b, "news.go", nil, nil); err != nil {
		t.Fatal(err)
	}
	if string(got.Args) != "null" || len(got.Headers) != 0 || got.ID == first {
		t.Errorf("published %+v after an event of id %x", got, first)
	}
}

// What no server would send is refused before it is published, what the broker refuses
// has its error.
func TestPublishRefused(t *testing.T) {
	down := publisher(func(*broker.Event) error { return broker.ErrUnavailable })
	if err := broker.Publish(t.Context(), down, "c", 1, nil); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	never := publisher(func(e *broker.Event) error {
		t.Errorf("published %.100s", e.Args)
		return nil
	})
	for _, c := range []struct {
		name  string
		value any
		code  int // 0: of encoding/json
	}{
		{"", 1, frame.CodeBadRequest},
		{"\xff", 1, frame.CodeBadRequest},
		{strings.Repeat("c", 1<<16+1), 1, frame.CodeBadRequest},
		{"c", json.RawMessage("\"\xff\""), frame.CodeBadRequest},
		{"c", json.RawMessage(strings.Repeat("[", 600) + strings.Repeat("]", 600)), frame.CodeBadRequest},
		{"c", json.RawMessage("{"), 0},
		{"c", func() {}, 0},
	} {
		err := broker.Publish(t.Context(), never, c.name, c.value, nil)
		wantRefusal(t, err, c.code)
		_, err = broker.NewCall(c.name, c.value, nil)
		wantRefusal(t, err, c.code)
	}
}

// Names of headers that nodes add are not the caller's.
func TestNewCallRefusesReservedHeaders(t *testing.T) {
	_, err := broker.NewCall("u", 1, map[string]string{"a": "b", "@a": "b"})
	wantRefusal(t, err, frame.CodeBadRequest)
	if _, err := broker.NewCall("u", 1, map[string]string{"a@": "@"}); err != nil {
		t.Error(err)
	}
}

// No two users and keys have one key.
func TestKeyOf(t *testing.T) {
	seen := make(map[string]string)
	for _, user := range []string{"", "a", "ab", "1:a", ":", "2:", "1"} {
		for _, key := range []string{"", "a", "b", "ba", "1:a", ":a", "2:ab", ":"} {
			who := user + " and " + key
			if other, ok := seen[broker.KeyOf(user, key)]; ok {
				t.Errorf("%s has the key of %s", who, other)
			}
			seen[broker.KeyOf(user, key)] = who
		}
	}
}

// A PubSub that keeps nothing minds no keys, so nothing is published through it.
func TestPublishKeyedWithoutHistory(t *testing.T) {
	b := publisher(func(*broker.Event) error {
		t.Error("published")
		return nil
	})
	if _, err := broker.PublishKeyed(t.Context(), b, "k", "c", 1, nil); !errors.Is(err, broker.ErrNotKept) {
		t.Error(err)
	}
	_, err := broker.PublishKeyed(t.Context(), b, strings.Repeat("k", frame.MaxKey+1), "c", 1, nil)
	wantRefusal(t, err, frame.CodeBadRequest)
}

// wantRefusal checks the code of an error; 0: it has none.
func wantRefusal(t *testing.T, err error, code int) {
	t.Helper()
	var own *broker.Error
	switch {
	case err == nil:
		t.Error("no error")
	case errors.As(err, &own) != (code != 0), own != nil && int(own.Code) != code:
		t.Errorf("got %v, want code %d", err, code)
	}
}

// A publisher is a broker that only publishes.
type publisher func(*broker.Event) error

func (p publisher) Publish(_ context.Context, e *broker.Event) error { return p(e) }

func (publisher) OpenSubscriber(context.Context, func([]broker.Delivery)) (broker.SubscriberConn, error) {
	return nil, errors.ErrUnsupported
}

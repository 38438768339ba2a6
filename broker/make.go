package broker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
)

// NewID makes a ULID: 48 bits of time in ms, then 80 random ones. The random
// source of math/rand/v2 is seeded by the system and does not repeat; ids are
// names here, never secrets.
func NewID() ID {
	var id ID
	binary.BigEndian.PutUint64(id[:8], uint64(time.Now().UnixMilli())<<16|rand.Uint64()>>48)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

// Publish publishes value on channel through b, from a program that may have nothing
// else of juggler: what it sends is what [NewEvent] makes. It returns when the engine
// has taken the event, or when ctx ends. The errors are those of [PubSub], and those of
// NewEvent, for which nothing was published.
//
// A server has [juggler.Handler.Publish], which also heeds how far its own sessions are
// behind.
//
// [juggler.Handler.Publish]: https://pkg.go.dev/github.com/juggler-go/juggler#Handler.Publish
func Publish(ctx context.Context, b PubSub, channel string, value any, headers map[string]string) error {
	e, err := NewEvent(channel, value, headers)
	if err == nil {
		err = b.Publish(ctx, &e)
	}
	if err != nil {
		return fmt.Errorf("publish on %s: %w", channel, err)
	}
	return nil
}

// PublishKeyed is [Publish] of what may have been published before, with the same key,
// through a PubSub that is a [History]. See [juggler.Handler.PublishKeyed], which does the
// same: both have the same keys. The errors include [ErrKeyConflict] and [ErrNotKept].
//
// [juggler.Handler.PublishKeyed]: https://pkg.go.dev/github.com/juggler-go/juggler#Handler.PublishKeyed
func PublishKeyed(ctx context.Context, b PubSub, key, channel string, value any, headers map[string]string) (Published, error) {
	p, err := NewPublication(key, channel, value, headers)
	switch history, ok := b.(History); {
	case err != nil:
	case !ok || !history.Kept(channel):
		err = ErrNotKept
	default:
		var done [1]Published
		history.PublishKept(ctx, []Publication{p}, done[:])
		if err = done[0].Err; err == nil {
			return done[0], nil
		}
	}
	return Published{}, fmt.Errorf("publish on %s: %w", channel, err)
}

// KeyOf returns what [Publication].Key is for the key of a user; no two users and keys have
// the same. The empty user is the application itself.
func KeyOf(user, key string) string {
	return strconv.Itoa(len(user)) + ":" + user + key
}

// NewPublication is [NewEvent] with a key of the application, as [KeyOf] makes it of key,
// which has 1 to 64 bytes of UTF-8; else the error has code 400.
func NewPublication(key, channel string, value any, headers map[string]string) (Publication, error) {
	if len(key) < 1 || len(key) > frame.MaxKey || !utf8.ValidString(key) {
		return Publication{}, refuse(frame.CodeBadRequest, fmt.Sprintf("key %.80q, want 1 to %d bytes of UTF-8", key, frame.MaxKey))
	}
	e, err := NewEvent(channel, value, headers)
	if err != nil {
		return Publication{}, err
	}
	return Publication{Event: e, Key: KeyOf("", key)}, nil
}

// NewEvent makes a publication with a new ID. value is encoded with encoding/json,
// which makes a json.RawMessage compact; nil is null. headers may be nil.
//
// The error is that of encoding/json, or an [Error] for what no server would send to a
// client: with code 400 for a channel that is empty, not UTF-8, or longer than 65,536
// bytes, and for a json.RawMessage that is not UTF-8, or nested deeper than 512; with
// code 413 for value and headers of more than 1 GiB. A server makes a gap of what is
// larger than it lets wait for a client (juggler.WithMaxQueueBytes, 1 MiB by default).
func NewEvent(channel string, value any, headers map[string]string) (Event, error) {
	if err := checkName("channel", channel); err != nil {
		return Event{}, err
	}
	args, head, err := encode(value, headers)
	if err != nil {
		return Event{}, err
	}
	return Event{ID: NewID(), Channel: channel, Headers: head, Args: args}, nil
}

// NewCall makes a call that lacks ReplyTo and Timeout. Values and errors are those of
// [NewEvent], for the URI in place of the channel; besides, names of headers that begin
// with @ are refused, with code 400: see [frame.ReservedHeader].
func NewCall(uri string, value any, headers map[string]string) (Call, error) {
	if err := checkName("URI", uri); err != nil {
		return Call{}, err
	}
	for name := range headers {
		if strings.HasPrefix(name, frame.ReservedHeader) {
			return Call{}, refuse(frame.CodeBadRequest, fmt.Sprintf("header %.80q: names that begin with @ are reserved", name))
		}
	}
	args, head, err := encode(value, headers)
	if err != nil {
		return Call{}, err
	}
	return Call{URI: uri, Headers: head, Args: args}, nil
}

// checkName refuses what no server takes for a name from a client, whatever its
// options.
func checkName(what, name string) error {
	most := option.ServerMaxNameBytes.Max
	switch {
	case name == "":
		return refuse(frame.CodeBadRequest, "empty "+what)
	case len(name) > most:
		return refuse(frame.CodeBadRequest, fmt.Sprintf("%s of %d bytes, more than %d", what, len(name), most))
	case !utf8.ValidString(name):
		return refuse(frame.CodeBadRequest, what+" is not UTF-8")
	}
	return nil
}

// refuse returns the error for what is certainly not done.
func refuse(code frame.Code, message string) *Error {
	return &Error{Code: code, Message: message, Refused: true}
}

// encode makes payloads of a value and of headers.
func encode(value any, headers map[string]string) (args, head []byte, err error) {
	if args, err = json.Marshal(value); err != nil {
		return nil, nil, err
	}
	if !frame.ValidJSON(args) {
		return nil, nil, refuse(frame.CodeBadRequest, "args are not UTF-8, or nested too deeply")
	}
	head = frame.AppendHeaders(nil, headers)
	if size, most := len(args)+len(head), option.ServerMaxQueueBytes.Max; size > most {
		return nil, nil, refuse(frame.CodeTooLarge, fmt.Sprintf("args and headers of %d bytes, more than %d", size, most))
	}
	return args, head, nil
}

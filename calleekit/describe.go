package calleekit

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"github.com/juggler-go/juggler/frame"
)

// A Function is what a callee knows of one that was registered, for those who describe it
// to others: see the package contract.
type Function struct {
	URI string

	// The Go types of arguments, result and parts, as [Typed] and [Stream] have them, or
	// [WithArgs], [WithResult] and [WithParts]. Args and Result are nil if nobody has said
	// them, Part also if the answer has no parts. The arguments of a function that takes
	// none are a struct{}.
	Args, Result, Part reflect.Type

	Null       bool // the result is null, as that of Stream
	Doc        string
	Deprecated string                // why, and what to use; empty: it is not
	Errors     map[frame.Code]string // what its own codes mean
	StrictArgs bool                  // see WithStrictArgs
}

// Functions returns what was registered until now, in that order.
func (c *Callee) Functions() []Function {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Function, len(c.routes))
	for i, r := range c.routes {
		all[i] = r.about
		all[i].URI, all[i].StrictArgs, all[i].Errors = r.uri, r.strictArgs, maps.Clone(r.about.Errors)
	}
	return all
}

type handleOption func(*route)

func (f handleOption) applyRoute(r *route) { f(r) }

// WithDoc says what a function does, for those who call it.
func WithDoc(text string) HandleOption {
	return handleOption(func(r *route) { r.about.Doc = text })
}

// WithDeprecated says that a function should not be called any more, why, and what to call
// in its place. It is called nevertheless.
func WithDeprecated(why string) HandleOption {
	if why == "" {
		panic("calleekit: WithDeprecated without a reason")
	}
	return handleOption(func(r *route) { r.about.Deprecated = why })
}

// WithErrorCode says when a function returns an [Error] with a code of its own.
func WithErrorCode(code frame.Code, when string) HandleOption {
	if code <= 0 {
		panic(fmt.Sprintf("calleekit: WithErrorCode(%d): want a positive code", code))
	}
	return handleOption(func(r *route) {
		if r.about.Errors == nil {
			r.about.Errors = map[frame.Code]string{}
		}
		r.about.Errors[code] = when
	})
}

// WithArgs says of which Go type the arguments are that a function decodes by itself.
func WithArgs[T any]() HandleOption {
	return handleOption(func(r *route) { r.about.Args = reflect.TypeFor[T]() })
}

// WithResult says of which Go type the results of a function are that returns any.
func WithResult[T any]() HandleOption {
	return handleOption(func(r *route) { r.about.Result, r.about.Null = reflect.TypeFor[T](), false })
}

// WithParts says of which Go type the parts are that a function sends by [Call.Send].
func WithParts[T any]() HandleOption {
	return handleOption(func(r *route) { r.about.Part = reflect.TypeFor[T]() })
}

// A signature asks a function of Typed or Stream for its types: called with one as its
// context, it fills that in and does nothing else.
type signature struct {
	context.Context
	args, result, part reflect.Type
}

// asked reports whether a function of In, Out and Part was called for its types only.
func asked[In, Out, Part any](ctx context.Context) bool {
	s, ok := ctx.(*signature)
	if ok {
		s.args, s.result, s.part = reflect.TypeFor[In](), reflect.TypeFor[Out](), reflect.TypeFor[Part]()
	}
	return ok
}

// none is in place of what a function does not have: parts, or a result.
type none struct{}

// answering has the addresses of the code of functions that answer a signature: a function
// value has no other place for its types. Code that is not from here is not called with one,
// so that no function of a user runs without a call.
var answering sync.Map // uintptr to struct{}

// answers notes that f answers a signature.
func answers(f HandlerFunc) HandlerFunc {
	answering.Store(reflect.ValueOf(f).Pointer(), struct{}{})
	return f
}

// describe returns the types of f, as far as it can tell them.
func describe(f HandlerFunc) (about Function) {
	if _, ok := answering.Load(reflect.ValueOf(f).Pointer()); !ok {
		return about
	}
	s := &signature{Context: context.Background()}
	_, _ = f(s, nil)
	about.Args, about.Result, about.Part = s.args, s.result, s.part
	nothing := reflect.TypeFor[none]()
	if about.Null = s.result == nothing; about.Null {
		about.Result = nil
	}
	if s.part == nothing {
		about.Part = nil
	}
	return about
}

package calleekit

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Typed makes a function with Go types one that [Callee.Handle] takes.
//
// Arguments are decoded as by [Call.Decode]; those that do not fit get code
// 400 and f is not called. [WithStrictArgs] says what fits. [CallFrom] gives f the call itself.
func Typed[In, Out any](f func(ctx context.Context, in In) (Out, error)) HandlerFunc {
	if f == nil {
		panic("calleekit: Typed(nil)")
	}
	return answers(func(ctx context.Context, c *Call) (any, error) {
		if asked[In, Out, none](ctx) {
			return nil, nil
		}
		var in In
		if err := c.Decode(&in); err != nil {
			return nil, err
		}
		out, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	})
}

// Decode stores the arguments in the value that v points to, by the rules of
// encoding/json: unknown members are ignored, null and absent arguments change
// nothing; [WithStrictArgs] has them refused. Nothing of what it stores points into
// Args.
//
// Its error is an [*Error] with code 400 whose message says which part of the
// arguments is wrong in words of JSON, not of Go. A type's UnmarshalJSON may
// return an Error of its own, which is passed on.
func (c *Call) Decode(v any) error {
	args := c.Args
	if len(args) == 0 {
		if !c.strict {
			return nil
		}
		args = null
	}
	if err := json.Unmarshal(args, v); err != nil {
		var own *Error
		if errors.As(err, &own) {
			return own
		}
		return Errorf(CodeBadRequest, "%w", &misfit{err})
	}
	if c.strict {
		return checkStrictly(args, reflect.TypeOf(v).Elem())
	}
	return nil
}

// misfit has the text that callers read in place of that of what encoding/json returned.
type misfit struct{ cause error }

func (m *misfit) Error() string { return describeMismatch(m.cause) }
func (m *misfit) Unwrap() error { return m.cause }

const maxNumber = 32 // bytes of a number in a message

// describeMismatch says what is wrong with arguments for which encoding/json
// returned err. The text of err itself has Go types and names in it.
func describeMismatch(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("args are not valid JSON, at byte %d", syntax.Offset)
	}
	var mismatch *json.UnmarshalTypeError
	if !errors.As(err, &mismatch) {
		return "args are not of the form that is expected here"
	}
	// Only the last name of the path is surely one of JSON's: those before it
	// may be of embedded Go types. The offset makes up for them.
	where := "args"
	if i := strings.LastIndexByte(mismatch.Field, '.') + 1; i < len(mismatch.Field) {
		where = fmt.Sprintf("args, %q at byte %d", mismatch.Field[i:], mismatch.Offset)
	}
	want := jsonName(mismatch.Type)
	if number, ok := strings.CutPrefix(mismatch.Value, "number "); ok {
		if len(number) > maxNumber {
			number = number[:maxNumber] + "…"
		}
		return fmt.Sprintf("%s: %s is not %s in range", where, number, want)
	}
	return fmt.Sprintf("%s: want %s, got %s", where, want, withArticle(mismatch.Value))
}

// What encoding/json decodes from something else than their kinds would say.
var (
	numberType = reflect.TypeFor[json.Number]()
	textType   = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// jsonName says what of JSON a Go type is decoded from.
func jsonName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return jsonName(t.Elem())
	case t == numberType:
		return "a number"
	case reflect.PointerTo(t).Implements(textType):
		return "a string"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return "an integer of 0 or more"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a base64 string"
		}
		return "an array"
	case reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "another value"
	}
}

// withArticle makes the word for a JSON value in an UnmarshalTypeError part of
// a sentence.
func withArticle(value string) string {
	switch value {
	case "bool":
		return "a boolean"
	case "array", "object":
		return "an " + value
	default:
		return "a " + value
	}
}

package frame

import (
	"fmt"
	"unicode/utf8"
)

// DecodeRequest decodes the message b of a client into f, which is reset
// first. Its slices then are parts of b, in which escapes may have been
// replaced; Args and Headers are untouched. It does not allocate.
//
// Every error is a *[DecodeError]; b may have been changed by then. Members
// that are unknown, or that the type does not have, are ignored; of those that
// occur twice the last counts; null is the same as absent, except for args.
// Nesting is limited by [MaxDepth]; limits of size are the caller's business.
func (p Protocol) DecodeRequest(b []byte, f *Frame) error {
	f.Reset()
	var err *DecodeError
	if p == Juggler0 {
		err = decodeRequest0(b, f)
	} else {
		err = decodeRequest1(b, f)
	}
	return orNil(err)
}

// DecodeAnswer decodes the message b of a server into f, under the same rules
// as [Protocol.DecodeRequest]. No error has Nack set.
//
// Messages may be added to juggler.1, so one of an unknown type is not refused
// but to be ignored: Type is [Invalid] then, and Message is what it says its
// type is. In juggler.0 an unknown type is an error.
//
// In juggler.0 a RES has no place for an error: what its callee's error
// looks like is in Args, usually {"error":{"message":"…"}}.
func (p Protocol) DecodeAnswer(b []byte, f *Frame) error {
	f.Reset()
	var err *DecodeError
	if p == Juggler0 {
		err = decodeAnswer0(b, f)
	} else {
		err = decodeAnswer1(b, f)
	}
	return orNil(err)
}

// orNil returns err as an error that is nil if err is.
func orNil(err *DecodeError) error {
	if err == nil {
		return nil
	}
	return err
}

func nack(reason string) *DecodeError {
	return &DecodeError{Nack: true, Code: CodeBadRequest, Reason: reason}
}

func closing1002(reason string) *DecodeError {
	return &DecodeError{Code: CloseProtocolError, Reason: reason}
}

// begin begins the walk over the members of the object that the message b is.
func (m *members) begin(b []byte) *DecodeError {
	if !utf8.Valid(b) {
		return &DecodeError{Code: CloseInvalidText, Reason: "not valid UTF-8"}
	}
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '{' {
		return closing1002("not a JSON object")
	}
	m.b, m.i, m.depth = b, i+1, 1
	return nil
}

// end returns what ended the walk before the end of the message, or nil if
// there was nothing but the object.
func (m *members) end() *DecodeError {
	switch {
	case m.i == tooDeep:
		return closing1002(fmt.Sprintf("JSON nested deeper than %d", MaxDepth))
	case m.i < 0:
		return closing1002(fmt.Sprintf("not valid JSON from byte %d on", ^m.i))
	}
	if i := skipSpace(m.b, m.i); i < len(m.b) {
		return closing1002(fmt.Sprintf("text after the JSON object, at byte %d", i))
	}
	return nil
}

// unknownType names the type that is unknown, or its beginning.
func unknownType(raw []byte) string {
	return fmt.Sprintf("unknown type %+.10q", raw)
}

// What is wanted, in reasons that begin with the name of the member.
const (
	wantID           = "want a string of 1 to 64 bytes" // MaxID
	wantKey          = "want a string of 1 to 64 bytes" // MaxKey
	wantText         = "want a string that is not empty"
	wantBoolean      = "want true or false"
	wantMilliseconds = "want an integer number of milliseconds, 0 or more"
)

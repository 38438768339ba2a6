// Package prober plays the server for a client of whatever language, case by case, and
// says what the client did wrong. The cases are data, in the folder cases; docs/writing-a-client.md
// says how they reach a client.
package prober

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
)

//go:embed cases/*.json
var files embed.FS

// Levels are what clients may be able to do, each a file of cases. All clients have the first.
var Levels = []string{"basic", "streams", "history", "presence", "keys", "auth"}

// A Case is a scripted session.
type Case struct {
	Name string `json:"name"` // unique
	What string `json:"what"` // what is right, in a sentence
	Rule string `json:"rule"` // words of docs/protocol.md that say so

	// Protocol is what the server takes of what the client offers. Who does not offer it
	// has not to pass. Absent: juggler.1.
	Protocol string `json:"protocol,omitempty"`

	// Token is what the client has to sign in with. Empty: it does not sign in.
	Token string `json:"token,omitempty"`

	Level string `json:"level,omitempty"` // the name of the file

	Steps []Step `json:"steps"`
}

// A Step of a case has one of these members, and those below that belong to it.
type Step struct {
	// Of the program:
	Tell json.RawMessage `json:"tell,omitempty"` // is a command for it
	Told json.RawMessage `json:"told,omitempty"` // is what it has to say next about a command

	// Of its connection: the newest, or the one with the number On, from 1.
	Accept *Accept         `json:"accept,omitempty"` // it connects; before the first step it does so by itself
	Want   json.RawMessage `json:"want,omitempty"`   // is the client's next message, but for PONG
	Send   json.RawMessage `json:"send,omitempty"`   // is a message for the client
	Text   string          `json:"text,omitempty"`   // is one, byte for byte
	Pings  int             `json:"pings,omitempty"`  // so many PINGs are answered, in the interval of HELLO
	WSPing string          `json:"wsping,omitempty"` // the client answers a ping of WebSocket with this text
	Close  int             `json:"close,omitempty"`  // is the code that the server closes with
	Drop   bool            `json:"drop,omitempty"`   // the server's side resets the connection
	Gone   bool            `json:"gone,omitempty"`   // the client ends it
	On     int             `json:"on,omitempty"`
	Split  int             `json:"split,omitempty"` // Send and Text go in so many frames, with a ping of WebSocket between
	After  int             `json:"after,omitempty"` // Want comes so many ms after the step before, or later

	// Of both:
	Storm  *Storm   `json:"storm,omitempty"`
	Quiet  int      `json:"quiet,omitempty"`  // so many ms pass without a connection or a request
	Either [][]Step `json:"either,omitempty"` // the first of these that begins with what comes; each begins with Told, Want or Accept
}

// Accept says how the server answers a handshake.
type Accept struct {
	// Hello has members of HELLO besides, or in place of, the usual ones.
	Hello map[string]json.RawMessage `json:"hello,omitempty"`

	Mute bool `json:"mute,omitempty"` // from then on nothing is said that the case does not say

	Status     int  `json:"status,omitempty"`     // of HTTP, with which it is refused
	NoProtocol bool `json:"noProtocol,omitempty"` // the answer names no subprotocol
}

// Storm is a time in which each connection is closed with a code. There must not be more than Most.
type Storm struct {
	Close int `json:"close"`
	For   int `json:"for"` // ms
	Most  int `json:"most"`
}

// Cases returns all cases, by their levels.
func Cases() []Case {
	var all []Case
	for _, level := range Levels {
		cases, err := read(level)
		if err != nil {
			panic(err) // a test reads them
		}
		all = append(all, cases...)
	}
	return all
}

func read(level string) ([]Case, error) {
	name := "cases/" + level + ".json"
	text, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var cases []Case
	if err := d.Decode(&cases); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range cases {
		cases[i].Level = level
	}
	return cases, nil
}

package main

import (
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/rules"
)

// An account is somebody who may sign in. These are for trying things out: yours are in a
// database, with passwords that are hashed.
type account struct{ name, password, role string }

var accounts = map[string]account{
	"ann": {"ann", "ann", "staff"},
	"bob": {"bob", "bob", "staff"},
	"eve": {"eve", "eve", "guest"},
}

// User and HasAttribute make an account a rules.Subject.
func (a account) User() string                         { return a.name }
func (a account) HasAttribute(name, value string) bool { return name == "role" && value == a.role }

// rooms are all rooms, and who may be in them.
var rooms = []struct{ name, who string }{
	{"general", rules.Authenticated},
	{"random", rules.Authenticated},
	{"staff", "role=staff"},
}

// rights say who may do what. Nothing else does: each room has URIs and channels of its own, so
// that no callee has to look who calls.
var rights = func() *rules.Rules {
	list := []rules.Rule{{
		Who:       []string{rules.Authenticated},
		Call:      []string{"me.*"},
		Subscribe: []string{"reads.{user}"},
	}}
	for _, room := range rooms {
		list = append(list, rules.Rule{
			Who:       []string{room.who},
			Call:      []string{"room." + room.name + ".*"},
			Subscribe: []string{"room." + room.name, "here." + room.name, "typing." + room.name + ".*"},
			Publish:   []string{"typing." + room.name + ".{user}"}, // nobody types as somebody else
		})
	}
	compiled, err := rules.Compile(list...)
	if err != nil {
		panic(err)
	}
	return compiled
}()

// roomsOf are the rooms that somebody may be in.
func roomsOf(a account) (names []string) {
	for _, room := range rooms {
		if rights.Allows(a, frame.Sub, "room."+room.name, false) {
			names = append(names, room.name)
		}
	}
	return names
}

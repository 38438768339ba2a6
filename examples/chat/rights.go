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

// accesses are all rooms, and who may be in them.
var accesses = []struct{ room, who string }{
	{"general", rules.Authenticated},
	{"random", rules.Authenticated},
	{"staff", "role=staff"},
}

// rights say who may do what. Nothing else does: each room has URIs and channels of its own, so
// that no callee has to look who calls.
var rights = rules.MustCompile(makeRules()...)

func makeRules() []rules.Rule {
	list := []rules.Rule{{
		Who:       []string{rules.Authenticated},
		Call:      []string{"me.*"},
		Subscribe: []string{"reads.{user}"},
	}}
	for _, a := range accesses {
		list = append(list, rules.Rule{
			Who:       []string{a.who},
			Call:      []string{"room." + a.room + ".*"},
			Subscribe: []string{"room." + a.room, "here." + a.room, "typing." + a.room + ".*"},
			Publish:   []string{"typing." + a.room + ".{user}"}, // nobody types as somebody else
		})
	}
	return list
}

// roomsOf are the rooms that somebody may be in.
func roomsOf(who account) (names []string) {
	for _, a := range accesses {
		if rights.Allows(who, frame.Sub, "room."+a.room, false) {
			names = append(names, a.room)
		}
	}
	return names
}

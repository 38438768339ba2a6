package main

import (
	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/option"
)

// bindPresence adds of which channels it is known who is there, and what is told of users.
func bindPresence(flags *pflag.FlagSet, o *settings.Options[juggler.Option]) {
	var channels, attributes []string
	flags.Var(listOf("channels", &channels), "presence", "`channels` of which clients may ask who is there: a name, or how names begin and then a star, such as room.*")
	flags.Var(listOf("attributes", &attributes), "presence-info", "`attributes` of users that others are told there, each the first value of it")
	o.WhenSet(flags.Lookup("presence"), func() juggler.Option {
		rules := make([]juggler.PresenceRule, len(channels))
		for i, c := range channels {
			rules[i] = juggler.PresenceRule{Channels: c, Info: attributeInfo(attributes)}
		}
		return juggler.WithPresence(rules...)
	})
	o.Duration(flags, option.ServerPresenceGrace, juggler.WithPresenceGrace, "how long a user who has left counts as there")
	o.Int(flags, option.ServerMaxPresent, juggler.WithMaxPresent, "users in a channel of whom clients are told who they are; of more the number")
}

// listOf is a setting that is a list of texts.
func listOf(kind string, into *[]string) *settings.List {
	return &settings.List{Kind: kind, Take: func(texts []string) error {
		*into = texts
		return nil
	}}
}

// attributeInfo tells attributes of a session's user, those that it has. It is nil if none
// are to be told.
func attributeInfo(names []string) func(juggler.Session, string) any {
	if len(names) == 0 {
		return nil
	}
	return func(s juggler.Session, _ string) any {
		info := make(map[string]string)
		for _, name := range names {
			if value, ok := s.Attribute(name); ok {
				info[name] = value
			}
		}
		if len(info) == 0 {
			return nil
		}
		return info
	}
}

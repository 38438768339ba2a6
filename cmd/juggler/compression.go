package main

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
	"github.com/juggler-go/juggler/internal/option"
)

// bindCompression adds whether messages are compressed, and which.
func bindCompression(flags *pflag.FlagSet, o *settings.Options[juggler.Option]) {
	var c juggler.Compression
	from, level := option.DeflateFrom, option.DeflateLevel
	on := flags.Bool("compression", false, "compress messages for clients that ask for it, as browsers do, and take such messages")
	settings.BytesVar(flags, &c.Threshold, "compression-threshold", from.Default, from.Min, from.Max, "size of a message from which on it is compressed")
	settings.IntVar(flags, &c.Level, "compression-level", level.Default, level.Min, level.Max, "how much work is put into it")
	flags.Var(listOf("names", &c.Exempt), "compression-exempt", "`names` of URIs and channels of which nothing is compressed, as they have secrets beside what strangers can choose: a name, or how names begin and then a star, such as account.*")
	o.When(func() bool { return *on }, func() juggler.Option { return juggler.WithCompression(c) })
}

// checkCompression refuses settings of compression without it.
func checkCompression(flags *pflag.FlagSet) error {
	on, err := flags.GetBool("compression")
	return errors.Join(err, settings.Needs(flags, on, "--compression", "compression-threshold", "compression-level", "compression-exempt"))
}

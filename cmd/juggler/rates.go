package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/cmd/juggler/internal/settings"
)

// bindRates adds what clients may send.
func bindRates(flags *pflag.FlagSet, o *settings.Options[juggler.Option]) {
	var session, user juggler.Rates
	var address juggler.AddressRates
	add := func(value *ratesFlag, name, usage string, option func() juggler.Option) {
		flags.Var(value, name, usage)
		o.WhenSet(flags.Lookup(name), option)
	}
	add(sessionRatesFlag(&session), "session-rates", "what a session may send, as messages=10000/2000,calls=500: so many a second, so many at once; none for no bounds (default messages=10000/2000,subscriptions=500/1000)",
		func() juggler.Option { return juggler.WithSessionRates(session) })
	add(sessionRatesFlag(&user), "user-rates", "what all sessions of a user may send together (default none)",
		func() juggler.Option { return juggler.WithUserRates(user) })
	add(addressRatesFlag(&address), "address-rates", "what clients of one address may send together, and how many handshakes and failed-sign-ins they may have; of addresses that are known, see --trusted-proxies (default messages=20000/100000,subscriptions=2000/50000,handshakes=100/2000,failed-sign-ins=10/200)",
		func() juggler.Option { return juggler.WithAddressRates(address) })
}

// ratesFlag is a flag for rates: NAME=PER_SECOND or NAME=PER_SECOND/BURST, with commas
// between them, or none.
type ratesFlag struct {
	names []string
	rates []*juggler.Rate // by name
	text  string
}

func sessionRatesFlag(r *juggler.Rates) *ratesFlag {
	return &ratesFlag{
		names: []string{"messages", "calls", "publications", "subscriptions"},
		rates: []*juggler.Rate{&r.Messages, &r.Calls, &r.Publications, &r.Subscriptions},
	}
}

func addressRatesFlag(r *juggler.AddressRates) *ratesFlag {
	f := sessionRatesFlag(&r.Rates)
	f.names = append(f.names, "handshakes", "failed-sign-ins")
	f.rates = append(f.rates, &r.Handshakes, &r.FailedSignIns)
	return f
}

// String and Type are for pflag.
func (f *ratesFlag) String() string { return f.text }

func (f *ratesFlag) Type() string { return "rates" }

// Set reads the rates. Those that are not named are no bounds.
func (f *ratesFlag) Set(text string) error {
	for _, r := range f.rates {
		*r = juggler.Rate{}
	}
	f.text = text
	if text == "none" {
		return nil
	}
	for one := range strings.SplitSeq(text, ",") {
		name, numbers, _ := strings.Cut(strings.TrimSpace(one), "=")
		perSecond, burst, both := strings.Cut(numbers, "/")
		i := slices.Index(f.names, name)
		n, err := strconv.Atoi(perSecond)
		if i < 0 || err != nil || n < 1 {
			return f.want(one)
		}
		f.rates[i].PerSecond = n
		if !both {
			continue
		}
		if f.rates[i].Burst, err = strconv.Atoi(burst); err != nil || f.rates[i].Burst < 1 {
			return f.want(one)
		}
	}
	return nil
}

func (f *ratesFlag) want(got string) error {
	return fmt.Errorf("%q: want none, or NAME=PER_SECOND or NAME=PER_SECOND/BURST with commas between them, where NAME is one of %s",
		got, strings.Join(f.names, ", "))
}

package juggler

import (
	"fmt"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/rate"
)

// A Rate bounds how often something may happen: PerSecond in the long run, Burst at
// once after a pause. A Burst of 0 is as many as in one second. The zero Rate is no
// bound. Neither may be more than 1,000,000.
type Rate struct{ PerSecond, Burst int }

// Rates bound what clients send; see [WithSessionRates].
type Rates struct {
	// Messages are those of whatever type, also the ones that cannot be read, and
	// the frames of the WebSocket that are no message: pings, pongs, and the parts of
	// one. A message counts once for each KiB that it begins, at most as a burst.
	Messages Rate

	Calls         Rate // CALL
	Publications  Rate // PUB
	Subscriptions Rate // SUB
}

// AddressRates bound what comes from one address; see [WithAddressRates].
type AddressRates struct {
	Rates // of all its sessions together

	Handshakes    Rate // requests for a WebSocket
	FailedSignIns Rate // handshakes and AUTHs that were refused with 401 or 403
}

// What a client may send by default: more than applications do, and so much less than
// one can that it harms nobody. That of an address is enough for those who share one.
var (
	defaultSessionRates = Rates{
		Messages:      Rate{PerSecond: 10_000, Burst: 2000},
		Subscriptions: Rate{PerSecond: 500, Burst: 1000},
	}
	defaultAddressRates = AddressRates{
		Rates: Rates{
			Messages:      Rate{PerSecond: 20_000, Burst: 100_000},
			Subscriptions: Rate{PerSecond: 2000, Burst: 50_000},
		},
		Handshakes:    Rate{PerSecond: 100, Burst: 2000},
		FailedSignIns: Rate{PerSecond: 10, Burst: 200},
	}
)

// counted is what rates count: of a session, and of an address, two more.
type counted uint8

const (
	countedMessages counted = iota
	countedCalls
	countedPublications
	countedSubscriptions
	numOfSession
	countedHandshakes    = numOfSession
	countedFailedSignIns = numOfSession + 1
	numCounted           = numOfSession + 2
)

var countedNames = [numCounted]string{"messages", "calls", "publications", "subscriptions", "handshakes", "failed sign-ins"}

// countedAs returns what a request counts as besides being a message.
func countedAs(t frame.Type) (c counted, ok bool) {
	switch t {
	case frame.Call:
		return countedCalls, true
	case frame.Pub:
		return countedPublications, true
	case frame.Sub:
		return countedSubscriptions, true
	}
	return 0, false
}

// list returns the rates in the order of the constants, with their names.
func (r *Rates) list() []namedRate {
	return []namedRate{
		{countedNames[countedMessages], &r.Messages},
		{countedNames[countedCalls], &r.Calls},
		{countedNames[countedPublications], &r.Publications},
		{countedNames[countedSubscriptions], &r.Subscriptions},
	}
}

// list returns the rates with their names.
func (r *AddressRates) list() []namedRate {
	return append(r.Rates.list(),
		namedRate{countedNames[countedHandshakes], &r.Handshakes},
		namedRate{countedNames[countedFailedSignIns], &r.FailedSignIns})
}

type namedRate struct {
	name string
	rate *Rate
}

// validateRates refuses rates that make no sense, and fills in bursts.
func validateRates(p *option.Problems, option string, rates []namedRate) {
	const most = 1_000_000
	for _, r := range rates {
		switch {
		case r.rate.PerSecond < 0 || r.rate.PerSecond > most || r.rate.Burst < 0 || r.rate.Burst > most:
			p.Add(fmt.Sprintf("%s: %s: %+v: want 0 to %d", option, r.name, *r.rate, most))
		case r.rate.PerSecond == 0 && r.rate.Burst > 0:
			p.Add(fmt.Sprintf("%s: %s: %+v: want a number a second, too", option, r.name, *r.rate))
		case r.rate.Burst == 0:
			r.rate.Burst = r.rate.PerSecond
		}
	}
}

// bound returns r for accounts.
func (r Rate) bound() rate.Rate { return rate.New(r.PerSecond, r.Burst) }

// bounds are Rates as they are counted.
type bounds struct {
	of   [numCounted]rate.Rate
	some bool   // there is one
	who  string // what they are of, for the texts of refusals
}

// newBounds returns the bounds that a list of rates comes to.
func newBounds(who string, list []namedRate) bounds {
	b := bounds{who: who}
	for i, named := range list {
		b.of[i] = named.rate.bound()
		b.some = b.some || b.of[i].Bounded()
	}
	return b
}

// tooOften refuses what comes too early.
func tooOften(what, who string, wait time.Duration) *Error {
	return &Error{Code: CodeLimit, Message: "too many " + what + " of " + who, RetryAfter: max(wait, time.Millisecond)}
}

// hello returns the rates of a session as HELLO says them.
func (r *Rates) hello() frame.HelloRates {
	return frame.HelloRates{
		Messages:      frame.Rate(r.Messages),
		Calls:         frame.Rate(r.Calls),
		Publications:  frame.Rate(r.Publications),
		Subscriptions: frame.Rate(r.Subscriptions),
	}
}

// exceeded is the reason that a session which goes on in spite of refusals is closed with.
func (n namedRate) exceeded() string {
	return "too many " + n.name + ": " + strconv.Itoa(n.rate.PerSecond) + " a second are allowed"
}

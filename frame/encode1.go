package frame

import (
	"strconv"
	"time"
)

// append1 appends f in juggler.1.
func append1(dst []byte, f *Frame) []byte {
	switch f.Type {
	case Call:
		dst = text1(append(dst, `{"type":"CALL","id":`...), f.ID)
		dst = text1(append(dst, `,"uri":`...), f.URI)
		dst = rawMember1(dst, `,"args":`, f.Args)
		dst = timeMember1(dst, `,"timeout":`, f.Timeout)
		dst = rawMember1(dst, `,"headers":`, f.Headers)
		dst = countMember1(dst, `,"parts":`, f.Parts)
		dst = callKey1(dst, f)
	case Cancel:
		dst = text1(append(dst, `{"type":"CANCEL","for":`...), f.For)
		dst = flag1(dst, `,"stop":`, f.Stop)
	case Sub:
		dst = text1(append(dst, `{"type":"SUB","id":`...), f.ID)
		dst = topic1(append(dst, ','), f)
		dst = flag1(dst, `,"own":`, f.Own)
		dst = history1(dst, f)
		dst = flag1(dst, `,"here":`, f.WantsHere)
	case Unsb:
		dst = text1(append(dst, `{"type":"UNSB","id":`...), f.ID)
		dst = topic1(append(dst, ','), f)
	case Pub:
		dst = text1(append(dst, `{"type":"PUB","id":`...), f.ID)
		dst = text1(append(dst, `,"channel":`...), f.Channel)
		dst = rawMember1(dst, `,"args":`, f.Args)
		dst = rawMember1(dst, `,"headers":`, f.Headers)
		if len(f.Key) > 0 {
			dst = text1(append(dst, `,"key":`...), f.Key)
			dst = flag1(dst, `,"again":`, f.Again)
		}
	case Auth:
		dst = text1(append(dst, `{"type":"AUTH","id":`...), f.ID)
		dst = text1(append(dst, `,"token":`...), f.Token)
	case More:
		dst = text1(append(dst, `{"type":"MORE","for":`...), f.For)
		dst = countMember1(dst, `,"parts":`, f.Parts)
	case Pong:
		dst = append(dst, `{"type":"PONG"`...)
	default:
		return appendAnswer1(dst, f)
	}
	return append(dst, '}')
}

// appendAnswer1 appends the answer f in juggler.1.
func appendAnswer1(dst []byte, f *Frame) []byte {
	switch f.Type {
	case Hello:
		dst = hello1(dst, &f.Hello)
	case Ack:
		dst = text1(append(dst, `{"type":"ACK","for":`...), f.For)
		dst = timeMember1(dst, `,"expires":`, f.Expires)
		dst = flag1(dst, `,"keys":`, f.Keys)
		dst = flag1(dst, `,"keyed":`, f.Keyed)
		dst = state1(dst, f)
		dst = position1(dst, f.Pos)
		dst = recovery1(dst, f.Recovery)
		dst = here1(dst, f)
	case Nack:
		dst = text1(append(dst, `{"type":"NACK","for":`...), f.For)
		dst = error1(dst, &f.Err)
	case Part:
		dst = text1(append(dst, `{"type":"PART","for":`...), f.For)
		dst = countMember1(dst, `,"n":`, f.N)
		dst = append(append(dst, `,"args":`...), orNull(f.Args)...)
	case Res:
		dst = text1(append(dst, `{"type":"RES","for":`...), f.For)
		if f.Err.Code != 0 {
			dst = error1(dst, &f.Err)
		} else {
			dst = append(append(dst, `,"args":`...), orNull(f.Args)...)
		}
	case Evnt:
		dst = append(AppendULID(append(dst, `{"type":"EVNT","id":"`...), f.Publication), '"')
		if len(f.Matched) == 0 {
			dst = position1(dst, f.Pos)
		}
		dst = text1(append(dst, `,"channel":`...), f.Channel)
		if len(f.Matched) > 0 {
			dst = text1(append(dst, `,"pattern":`...), f.Matched)
		}
		dst = flag1(dst, `,"own":`, f.Own)
		dst = append(append(dst, `,"args":`...), orNull(f.Args)...)
		dst = rawMember1(dst, `,"headers":`, f.Headers)
	case Gap:
		dst = place1(append(dst, `{"type":"GAP",`...), f)
	case Subs:
		dst = place1(append(dst, `{"type":"SUBS",`...), f)
	case Unss:
		dst = topic1(append(dst, `{"type":"UNSS",`...), f)
		dst = flag1(dst, `,"own":`, f.Own)
		dst = error1(dst, &f.Err)
	case Here:
		dst = text1(append(dst, `{"type":"HERE","channel":`...), f.Channel)
		dst = rawMember1(dst, `,"join":`, f.Joined)
		dst = rawMember1(dst, `,"leave":`, f.Left)
		dst = here1(dst, f)
	case Ping:
		dst = append(dst, `{"type":"PING"`...)
	case GoAway:
		dst = strconv.AppendInt(append(dst, `{"type":"GOAWAY","after":`...), wholeMilliseconds(f.After), 10)
		if len(f.Message) > 0 {
			dst = text1(append(dst, `,"message":`...), f.Message)
		}
	default:
		return dst
	}
	return append(dst, '}')
}

func hello1(dst []byte, h *HelloBody) []byte {
	dst = AppendULID(append(dst, `{"type":"HELLO","session":"`...), h.Session)
	dst = AppendULID(append(dst, `","node":"`...), h.Node)
	dst = strconv.AppendInt(append(dst, `","ping":`...), wholeMilliseconds(h.Ping), 10)
	dst = strconv.AppendInt(append(dst, `,"limits":{"message":`...), int64(h.MaxMessage), 10)
	dst = strconv.AppendInt(append(dst, `,"subscriptions":`...), int64(h.MaxSubscriptions), 10)
	dst = strconv.AppendInt(append(dst, `,"calls":`...), int64(h.MaxCalls), 10)
	if h.MaxCallsPerURI > 0 {
		dst = strconv.AppendInt(append(dst, `,"calls_per_uri":`...), int64(h.MaxCallsPerURI), 10)
	}
	dst = timeMember1(dst, `,"timeout":`, h.MaxCallTimeout)
	dst = rates1(dst, &h.Rates)
	dst = timeMember1(append(dst, '}'), `,"expires":`, h.Expires)
	dst = flag1(dst, `,"keys":`, h.Keys)
	dst = flag1(dst, `,"keyed":`, h.Keyed)
	return flag1(dst, `,"here":`, h.Here)
}

// rates1 appends the member rates with those that bound.
func rates1(dst []byte, r *HelloRates) []byte {
	if *r == (HelloRates{}) {
		return dst
	}
	dst = append(dst, `,"rates":`...)
	between := byte('{')
	for _, named := range r.named() {
		if named.rate.PerSecond == 0 {
			continue
		}
		dst = append(append(append(dst, between, '"'), named.name...), `":{"per_second":`...)
		dst = strconv.AppendInt(dst, int64(named.rate.PerSecond), 10)
		dst = append(strconv.AppendInt(append(dst, `,"burst":`...), int64(named.rate.Burst), 10), '}')
		between = ','
	}
	return append(dst, '}')
}

// namedRate is a rate with its name in HELLO.
type namedRate struct {
	name string
	rate *Rate
}

func (r *HelloRates) named() [4]namedRate {
	return [...]namedRate{
		{"messages", &r.Messages},
		{"calls", &r.Calls},
		{"publications", &r.Publications},
		{"subscriptions", &r.Subscriptions},
	}
}

func error1(dst []byte, e *ErrorBody) []byte {
	dst = strconv.AppendInt(append(dst, `,"error":{"code":`...), int64(e.Code), 10)
	dst = text1(append(dst, `,"message":`...), e.Message)
	dst = rawMember1(dst, `,"data":`, e.Data)
	dst = timeMember1(dst, `,"retry_after":`, e.RetryAfter)
	return append(dst, '}')
}

func topic1(dst []byte, f *Frame) []byte {
	dst = text1(append(dst, `"channel":`...), f.Channel)
	return flag1(dst, `,"pattern":`, f.Pattern)
}

// place1 appends a topic of the server or of the client, and where it stands.
func place1(dst []byte, f *Frame) []byte {
	dst = topic1(dst, f)
	dst = flag1(dst, `,"own":`, f.Own)
	if !f.Pattern {
		dst = position1(dst, f.Pos)
	}
	return dst
}

// here1 appends who is in a channel.
func here1(dst []byte, f *Frame) []byte {
	dst = rawMember1(dst, `,"here":`, f.Members)
	if f.HasCount {
		dst = strconv.AppendInt(append(dst, `,"count":`...), int64(f.Count), 10)
	}
	return dst
}

// callKey1 appends the key of a CALL, and the part after which it goes on.
func callKey1(dst []byte, f *Frame) []byte {
	if len(f.Key) == 0 {
		return dst
	}
	dst = text1(append(dst, `,"key":`...), f.Key)
	if f.HasSince {
		dst = strconv.AppendInt(append(dst, `,"since":`...), int64(f.N), 10)
	}
	return dst
}

// state1 appends what an ACK says of a call with a key.
func state1(dst []byte, f *Frame) []byte {
	if f.State == NoState {
		return dst
	}
	dst = append(append(append(dst, `,"state":"`...), f.State.String()...), '"')
	return countMember1(dst, `,"from":`, f.N)
}

// history1 appends what a SUB wants of the events that are kept.
func history1(dst []byte, f *Frame) []byte {
	if f.HasSince {
		dst = append(dst, `,"since":{`...)
		if f.Since.isPosition() {
			dst = atAndTag1(dst, f.Since)
		}
		dst = append(dst, '}')
	}
	return countMember1(dst, `,"last":`, f.Last)
}

// position1 appends the members of a position, unless it is none.
func position1(dst []byte, p Position) []byte {
	if !p.isPosition() {
		return dst
	}
	return atAndTag1(append(dst, ','), p)
}

// atAndTag1 appends the members of a position.
func atAndTag1(dst []byte, p Position) []byte {
	dst = strconv.AppendUint(append(dst, `"at":`...), p.At, 10)
	return append(appendTag(append(dst, `,"tag":"`...), p.Tag), '"')
}

func recovery1(dst []byte, r Recovery) []byte {
	switch r {
	case Recovered:
		return append(dst, `,"recovered":true`...)
	case NotRecovered:
		return append(dst, `,"recovered":false`...)
	}
	return dst
}

// flag1 appends a member that is true, unless it is false.
func flag1(dst []byte, key string, flag bool) []byte {
	if !flag {
		return dst
	}
	return append(append(dst, key...), "true"...)
}

func text1(dst, s []byte) []byte { return appendText(dst, s, false) }

// rawMember1 appends a member whose value is JSON, unless it is empty.
func rawMember1(dst []byte, key string, value []byte) []byte {
	if len(value) == 0 {
		return dst
	}
	return append(append(dst, key...), value...)
}

// countMember1 appends a member that counts something, unless it is 0.
func countMember1(dst []byte, key string, n int) []byte {
	if n <= 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), int64(n), 10)
}

// timeMember1 appends a member in milliseconds, unless it is 0.
func timeMember1(dst []byte, key string, d time.Duration) []byte {
	if d <= 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), wholeMilliseconds(d), 10)
}

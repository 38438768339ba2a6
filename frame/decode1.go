package frame

// members1 are the members of any message of juggler.1, as they stand in the
// text. Each message reads those that it has.
type members1 struct {
	typ, id, forID              []byte
	uri, channel, pattern       []byte
	args, headers, timeout      []byte
	parts, n                    []byte
	token                       []byte
	err                         []byte
	session, node, ping, limits []byte
	expires                     []byte
	after, message              []byte
	key, again, keys            []byte
	stop, state, from, keyed    []byte
	since, last                 []byte
	at, tag, recovered          []byte
	own, here, count            []byte
	join, leave                 []byte
	unknown                     []byte
}

func (r *members1) slot(name []byte) *[]byte {
	switch string(name) {
	case "type":
		return &r.typ
	case "id":
		return &r.id
	case "for":
		return &r.forID
	case "uri":
		return &r.uri
	case "channel":
		return &r.channel
	case "pattern":
		return &r.pattern
	case "args":
		return &r.args
	case "headers":
		return &r.headers
	case "timeout":
		return &r.timeout
	case "parts":
		return &r.parts
	case "n":
		return &r.n
	case "token":
		return &r.token
	case "error":
		return &r.err
	case "session":
		return &r.session
	case "node":
		return &r.node
	case "ping":
		return &r.ping
	case "limits":
		return &r.limits
	case "expires":
		return &r.expires
	case "after":
		return &r.after
	case "message":
		return &r.message
	case "key":
		return &r.key
	case "again":
		return &r.again
	case "keys":
		return &r.keys
	case "stop":
		return &r.stop
	case "state":
		return &r.state
	case "from":
		return &r.from
	case "keyed":
		return &r.keyed
	case "since":
		return &r.since
	case "last":
		return &r.last
	case "at":
		return &r.at
	case "tag":
		return &r.tag
	case "recovered":
		return &r.recovered
	case "own":
		return &r.own
	case "here":
		return &r.here
	case "count":
		return &r.count
	case "join":
		return &r.join
	case "leave":
		return &r.leave
	}
	return &r.unknown
}

// read fills in r from the message b. No escape of a value is replaced yet.
func (r *members1) read(b []byte) *DecodeError {
	var m members
	if err := m.begin(b); err != nil {
		return err
	}
	for m.next() {
		slot := r.slot(m.name())
		*slot = m.value()
	}
	return m.end()
}

// decodeRequest1 decodes a message of a client in juggler.1.
func decodeRequest1(b []byte, f *Frame) *DecodeError {
	var r members1
	if err := r.read(b); err != nil {
		return err
	}
	name, ok := text(r.typ)
	if ok {
		f.Type = requestType1(name)
	}
	switch f.Type {
	case Pong:
		return nil
	case Cancel:
		if f.For, ok = readID(r.forID); !ok {
			return closing1002("for: " + wantID)
		}
		if f.Stop, ok = boolean(r.stop); !ok {
			return closing1002("stop: " + wantBoolean)
		}
		return nil
	case More:
		if f.For, ok = readID(r.forID); !ok {
			return closing1002("for: " + wantID)
		}
		if f.Parts, ok = readParts(r.parts); !ok {
			return closing1002("parts: " + wantParts)
		}
		return nil
	}
	if f.ID, ok = readID(r.id); !ok {
		return closing1002("id: " + wantID)
	}
	if reason := r.request(f, name); reason != "" {
		return nack(reason)
	}
	return nil
}

func requestType1(name []byte) Type {
	switch string(name) {
	case "CALL":
		return Call
	case "CANCEL":
		return Cancel
	case "SUB":
		return Sub
	case "UNSB":
		return Unsb
	case "PUB":
		return Pub
	case "AUTH":
		return Auth
	case "MORE":
		return More
	case "PONG":
		return Pong
	}
	return Invalid
}

// request reads the members of the request f.Type, other than its id, and
// returns what is wrong with them.
func (r *members1) request(f *Frame, typeName []byte) (reason string) {
	switch f.Type {
	case Call:
		return r.call(f)
	case Sub:
		if reason := r.subscription(f); reason != "" {
			return reason
		}
		return r.history(f)
	case Unsb:
		return r.topic(f)
	case Pub:
		return r.publication(f)
	case Auth:
		var ok bool
		if f.Token, ok = nonEmpty(r.token); !ok {
			return "token: " + wantText
		}
		return ""
	}
	if typeName == nil {
		return "type: want a string"
	}
	return unknownType(typeName)
}

func (r *members1) call(f *Frame) (reason string) {
	var ok bool
	if f.URI, ok = nonEmpty(r.uri); !ok {
		return "uri: " + wantText
	}
	if f.Timeout, ok = milliseconds(r.timeout); !ok {
		return "timeout: " + wantMilliseconds
	}
	if !absent(r.parts) {
		if f.Parts, ok = readParts(r.parts); !ok {
			return "parts: " + wantParts
		}
	}
	if reason := r.callKey(f); reason != "" {
		return reason
	}
	return r.callPayload(f)
}

// callKey reads the key of a CALL, and the part after which it goes on.
func (r *members1) callKey(f *Frame) (reason string) {
	var ok bool
	if !absent(r.key) {
		if f.Key, ok = readKey(r.key); !ok {
			return "key: " + wantKey
		}
	}
	if f.HasSince = !absent(r.since); !f.HasSince {
		return ""
	}
	if len(f.Key) == 0 {
		return "since: not without a key"
	}
	n, ok := integer(r.since)
	if f.N = int(n); !ok || n < 0 || n > MaxPart {
		return "since: want an integer of 0 to 2147483647" // MaxPart
	}
	return ""
}

// readKey reads the key of a CALL or a PUB.
func readKey(raw []byte) (key []byte, ok bool) {
	key, ok = nonEmpty(raw)
	return key, ok && len(key) <= MaxKey
}

const wantParts = "want an integer of 1 to 1000000" // MaxParts

func readParts(raw []byte) (parts int, ok bool) {
	n, ok := integer(raw)
	return int(n), ok && n >= 1 && n <= MaxParts
}

func (r *members1) topic(f *Frame) (reason string) {
	var ok bool
	if f.Pattern, ok = boolean(r.pattern); !ok {
		return "pattern: " + wantBoolean
	}
	return r.channelName(f)
}

// subscription reads the topic of a SUB, and whether it wants to know who is there.
func (r *members1) subscription(f *Frame) (reason string) {
	if reason := r.ownTopic(f); reason != "" {
		return reason
	}
	var ok bool
	if f.WantsHere, ok = boolean(r.here); !ok {
		return "here: " + wantBoolean
	}
	switch {
	case f.WantsHere && f.Pattern:
		return "here: not with a pattern"
	case f.WantsHere && f.Own:
		return "here: not with own"
	}
	return ""
}

// ownTopic reads a topic that may be of the server's own.
func (r *members1) ownTopic(f *Frame) (reason string) {
	var ok bool
	if f.Own, ok = boolean(r.own); !ok {
		return "own: " + wantBoolean
	}
	return r.topic(f)
}

// history reads what a SUB wants of the events that are kept.
func (r *members1) history(f *Frame) (reason string) {
	if f.HasSince = !absent(r.since); f.HasSince {
		f.Since = readSince(r.since)
	}
	if !absent(r.last) {
		last, ok := integer(r.last)
		if !ok || last < 1 || last > MaxLast {
			return "last: want an integer of 1 to 1000000" // MaxLast
		}
		f.Last = int(last)
	}
	switch {
	case f.HasSince && f.Last > 0:
		return "since, last: want one of them"
	case f.Pattern && f.HasSince:
		return "since: not with a pattern"
	case f.Pattern && f.Last > 0:
		return "last: not with a pattern"
	}
	return ""
}

// readSince reads the position that the member since is; it is zero if the form is not
// known, since positions may get another one.
func readSince(raw []byte) Position {
	if raw[0] != '{' {
		return Position{}
	}
	var at, tag []byte
	m := members{b: raw, i: 1, depth: 2}
	for m.next() {
		switch name := m.name(); string(name) {
		case "at":
			at = m.value()
		case "tag":
			tag = m.value()
		default:
			m.value()
		}
	}
	return readPosition(at, tag)
}

// readPosition reads the two members of a position.
func readPosition(rawAt, rawTag []byte) Position {
	at, isInteger := integer(rawAt)
	tag, _ := text(rawTag)
	p, _ := newPosition(at, isInteger, tag)
	return p
}

func (r *members1) publication(f *Frame) (reason string) {
	if reason := r.channelName(f); reason != "" {
		return reason
	}
	if !absent(r.key) {
		var ok bool
		if f.Key, ok = readKey(r.key); !ok {
			return "key: " + wantKey
		}
		if f.Again, ok = boolean(r.again); !ok {
			return "again: " + wantBoolean
		}
	}
	return r.payload(f)
}

func (r *members1) channelName(f *Frame) (reason string) {
	var ok bool
	if f.Channel, ok = nonEmpty(r.channel); !ok {
		return "channel: " + wantText
	}
	return zeroByte(f.Channel)
}

// zeroByte refuses a name that begins as those of the server's own channels do.
func zeroByte(channel []byte) (reason string) {
	if len(channel) > 0 && channel[0] == 0 {
		return "channel: the name begins with a zero byte"
	}
	return ""
}

// callPayload is payload of a CALL, in whose headers what a node says in addition has
// names of its own.
func (r *members1) callPayload(f *Frame) (reason string) {
	if reason := r.payload(f); reason != "" {
		return reason
	}
	if hasReserved(f.Headers) {
		return "headers: names that begin with @ are reserved"
	}
	return ""
}

// payload reads args and headers.
func (r *members1) payload(f *Frame) (reason string) {
	f.Args = r.args
	if absent(r.headers) {
		return ""
	}
	if !validHeaders(r.headers) {
		return "headers: want an object of strings"
	}
	f.Headers = r.headers
	return ""
}

// decodeAnswer1 decodes a message of a server in juggler.1.
func decodeAnswer1(b []byte, f *Frame) *DecodeError {
	var r members1
	if err := r.read(b); err != nil {
		return err
	}
	name, ok := text(r.typ)
	if !ok || name == nil {
		return closing1002("type: want a string")
	}
	f.Type = answerType1(name)
	if f.Type == Invalid {
		if requestType1(name) != Invalid {
			return closing1002(unknownType(name))
		}
		f.Message = name
		return nil
	}
	if reason := r.answer(f); reason != "" {
		return closing1002(reason)
	}
	return nil
}

func answerType1(name []byte) Type {
	switch string(name) {
	case "HELLO":
		return Hello
	case "ACK":
		return Ack
	case "NACK":
		return Nack
	case "PART":
		return Part
	case "RES":
		return Res
	case "EVNT":
		return Evnt
	case "GAP":
		return Gap
	case "SUBS":
		return Subs
	case "UNSS":
		return Unss
	case "HERE":
		return Here
	case "PING":
		return Ping
	case "GOAWAY":
		return GoAway
	}
	return Invalid
}

// answer reads the members of the answer f.Type and returns what is wrong
// with them.
func (r *members1) answer(f *Frame) (reason string) {
	var ok bool
	switch f.Type {
	case Ack, Nack, Res:
		if f.For, ok = readID(r.forID); !ok {
			return "for: " + wantID
		}
		return r.outcome(f)
	case Part:
		return r.part(f)
	case Evnt:
		return r.event(f)
	case Gap, Subs:
		if reason := r.ownTopic(f); reason != "" {
			return reason
		}
		r.position(f)
	case Unss:
		if reason := r.ownTopic(f); reason != "" {
			return reason
		}
		return readError(r.err, &f.Err)
	case Here:
		if reason := r.channelName(f); reason != "" {
			return reason
		}
		return r.presence(f)
	case Hello:
		return r.hello(&f.Hello)
	case GoAway:
		if f.After, ok = milliseconds(r.after); !ok {
			return "after: " + wantMilliseconds
		}
		if f.Message, ok = text(r.message); !ok {
			return "message: want a string"
		}
	}
	return ""
}

// outcome reads what an ACK, NACK or RES has besides for.
func (r *members1) outcome(f *Frame) (reason string) {
	switch {
	case f.Type == Ack:
		return r.acknowledgement(f)
	case f.Type == Res && absent(r.err):
		f.Args = r.args
		return ""
	}
	return readError(r.err, &f.Err)
}

func (r *members1) acknowledgement(f *Frame) (reason string) {
	var ok bool
	if f.Expires, ok = milliseconds(r.expires); !ok {
		return "expires: " + wantMilliseconds
	}
	if f.Keys, ok = boolean(r.keys); !ok {
		return "keys: " + wantBoolean
	}
	if f.Keyed, ok = boolean(r.keyed); !ok {
		return "keyed: " + wantBoolean
	}
	if !absent(r.state) {
		name, ok := text(r.state)
		if !ok {
			return "state: want a string"
		}
		f.State = readState(name)
	}
	if !absent(r.from) {
		if f.N, ok = readPart(r.from); !ok {
			return "from: " + wantPart
		}
	}
	if !absent(r.recovered) {
		recovered, ok := boolean(r.recovered)
		if !ok {
			return "recovered: " + wantBoolean
		}
		f.Recovery = NotRecovered
		if recovered {
			f.Recovery = Recovered
		}
	}
	r.position(f)
	return r.presence(f)
}

// presence reads who is in a channel.
func (r *members1) presence(f *Frame) (reason string) {
	if f.HasCount = !absent(r.count); f.HasCount {
		count, ok := integer(r.count)
		if f.Count = int(count); !ok || count < 0 || int64(f.Count) != count {
			return "count: want an integer, 0 or more"
		}
	}
	if f.Members = orNone(r.here); !validMembers(f.Members) {
		return "here: " + wantMembers
	}
	if f.Joined = orNone(r.join); !validMembers(f.Joined) {
		return "join: " + wantMembers
	}
	if f.Left = orNone(r.leave); !validTexts(f.Left) {
		return "leave: want an array of strings"
	}
	return ""
}

const wantMembers = "want an array of objects with user and n"

// orNone returns raw, or nil for null.
func orNone(raw []byte) []byte {
	if absent(raw) {
		return nil
	}
	return raw
}

// position reads the position of an answer, which those for patterns do not have.
func (r *members1) position(f *Frame) {
	if !f.Pattern && len(f.Matched) == 0 && !absent(r.at) {
		f.Pos = readPosition(r.at, r.tag)
	}
}

func (r *members1) part(f *Frame) (reason string) {
	var ok bool
	if f.For, ok = readID(r.forID); !ok {
		return "for: " + wantID
	}
	if f.N, ok = readPart(r.n); !ok {
		return "n: " + wantPart
	}
	f.Args = r.args
	return ""
}

const wantPart = "want an integer of 1 or more"

// readPart reads the number of a part.
func readPart(raw []byte) (n int, ok bool) {
	number, ok := integer(raw)
	return int(number), ok && number >= 1 && int64(int(number)) == number
}

func (r *members1) event(f *Frame) (reason string) {
	var ok bool
	if f.Publication, ok = readULID(r.id); !ok {
		return "id: want a ULID"
	}
	if f.Matched, ok = text(r.pattern); !ok {
		return "pattern: want a string"
	}
	if f.Own, ok = boolean(r.own); !ok {
		return "own: " + wantBoolean
	}
	if reason := r.channelName(f); reason != "" {
		return reason
	}
	r.position(f)
	return r.payload(f)
}

// errorMembers are the members of the error of a NACK or RES.
type errorMembers struct{ code, message, data, retryAfter, unknown []byte }

func (r *errorMembers) slot(name []byte) *[]byte {
	switch string(name) {
	case "code":
		return &r.code
	case "message":
		return &r.message
	case "data":
		return &r.data
	case "retry_after":
		return &r.retryAfter
	}
	return &r.unknown
}

// readError reads the object that the member error is, valid JSON or nil.
func readError(raw []byte, e *ErrorBody) (reason string) {
	if len(raw) == 0 || raw[0] != '{' {
		return "error: want an object"
	}
	var r errorMembers
	m := members{b: raw, i: 1, depth: 2}
	for m.next() {
		slot := r.slot(m.name())
		*slot = m.value()
	}
	code, ok := integer(r.code)
	e.Code = int(code)
	if !ok || code == 0 || int64(e.Code) != code {
		return "error.code: want an integer other than 0"
	}
	if e.Message, ok = text(r.message); !ok {
		return "error.message: want a string"
	}
	if e.RetryAfter, ok = milliseconds(r.retryAfter); !ok {
		return "error.retry_after: " + wantMilliseconds
	}
	e.Data = r.data
	return ""
}

func (r *members1) hello(h *HelloBody) (reason string) {
	var ok bool
	if h.Session, ok = readULID(r.session); !ok {
		return "session: want a ULID"
	}
	if h.Node, ok = readULID(r.node); !ok {
		return "node: want a ULID"
	}
	if h.Ping, ok = milliseconds(r.ping); !ok {
		return "ping: " + wantMilliseconds
	}
	if h.Expires, ok = milliseconds(r.expires); !ok {
		return "expires: " + wantMilliseconds
	}
	if h.Keys, ok = boolean(r.keys); !ok {
		return "keys: " + wantBoolean
	}
	if h.Keyed, ok = boolean(r.keyed); !ok {
		return "keyed: " + wantBoolean
	}
	if h.Here, ok = boolean(r.here); !ok {
		return "here: " + wantBoolean
	}
	if absent(r.limits) {
		return ""
	}
	return readLimits(r.limits, h)
}

// readLimits reads the object that the member limits of a HELLO is.
func readLimits(raw []byte, h *HelloBody) (reason string) {
	if raw[0] != '{' {
		return "limits: want an object"
	}
	m := members{b: raw, i: 1, depth: 2}
	for m.next() {
		var limit *int
		switch string(m.name()) {
		case "message":
			limit = &h.MaxMessage
		case "subscriptions":
			limit = &h.MaxSubscriptions
		case "calls":
			limit = &h.MaxCalls
		case "calls_per_uri":
			limit = &h.MaxCallsPerURI
		case "rates":
			if !h.Rates.read(m.value()) {
				return "limits.rates: want objects with per_second and burst, integers above 0"
			}
			continue
		case "timeout":
			var ok bool
			if h.MaxCallTimeout, ok = milliseconds(m.value()); !ok {
				return "limits.timeout: " + wantMilliseconds
			}
			continue
		}
		n, ok := integer(m.value())
		if limit == nil {
			continue
		}
		if *limit = int(n); !ok || n < 0 || int64(*limit) != n {
			return "limits: want integers, 0 or more"
		}
	}
	return ""
}

// read reads the object that the member rates of limits is.
func (r *HelloRates) read(raw []byte) (ok bool) {
	if raw[0] != '{' {
		return false
	}
	m := members{b: raw, i: 1, depth: 3}
	for m.next() {
		var one *Rate
		for _, named := range r.named() {
			if string(m.name()) == named.name {
				one = named.rate
			}
		}
		if value := m.value(); one != nil && !one.read(value) {
			return false
		}
	}
	return true
}

func (r *Rate) read(raw []byte) (ok bool) {
	if raw[0] != '{' {
		return false
	}
	m := members{b: raw, i: 1, depth: 4}
	for m.next() {
		n, isInteger := integer(m.value())
		var to *int
		switch string(m.name()) {
		case "per_second":
			to = &r.PerSecond
		case "burst":
			to = &r.Burst
		default:
			continue
		}
		if *to = int(n); !isInteger || int64(*to) != n {
			return false
		}
	}
	return r.PerSecond > 0 && r.Burst > 0
}

// readID reads the id of a request.
func readID(raw []byte) (id []byte, ok bool) {
	id, ok = text(raw)
	return id, ok && len(id) >= 1 && len(id) <= MaxID
}

func readULID(raw []byte) (id [16]byte, ok bool) {
	s, ok := text(raw)
	if !ok {
		return id, false
	}
	return ParseULID(s)
}

package frame

// String returns the name of the message as juggler.1 writes it, "invalid"
// for a Type that is none.
func (t Type) String() string {
	if t == Invalid || int(t) >= len(typeNames) {
		return "invalid"
	}
	return typeNames[t]
}

// MarshalText implements [encoding.TextMarshaler], for JSON and logs.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

var typeNames = [...]string{
	Call: "CALL", Cancel: "CANCEL", Sub: "SUB", Unsb: "UNSB", Pub: "PUB", Auth: "AUTH", More: "MORE", Pong: "PONG",
	Hello: "HELLO", Ack: "ACK", Nack: "NACK", Part: "PART", Res: "RES", Evnt: "EVNT", Gap: "GAP", Subs: "SUBS", Unss: "UNSS", Here: "HERE", Ping: "PING", GoAway: "GOAWAY",
}

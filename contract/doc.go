// Package contract says in JSON what a server offers, for clients in other languages and
// for whoever wants to know what a change breaks: which URIs can be called, with which
// arguments, results, parts and errors, and what the events of channels are. The shape of
// values is said in JSON Schema 2020-12, made of the Go types, by the rules of
// encoding/json.
//
//	var messages = contract.Channel[Message]("room.{room}.messages", contract.Doc("What is said."))
//
//	callee.Handle("room.send", calleekit.Typed(send), calleekit.WithDoc("Says something in a room."))
//	c, err := contract.New(contract.Callee(callee), messages)
//	if err != nil {
//		return err
//	}
//	err = c.WriteFile("contract.json")
//
// What [calleekit.Typed] and [calleekit.Stream] make is known by itself; the options of
// [calleekit.Callee.Handle] say more: WithDoc, WithErrorCode, WithDeprecated, WithParts, and
// for functions without Go types WithArgs and WithResult.
//
// [Contract.TypeScript] makes the interface for the TypeScript client of it, [Compare] says
// what a new contract breaks; the command does both with files: juggler contract ts, juggler
// contract check. [Contract.CheckFile] in a test keeps the files from falling behind.
//
// # Go types
//
// Members that are not always written are optional: those with omitempty or omitzero, where
// these have an effect, and those of embedded pointers. What may be nil may be null, unless
// it is left out then. A tag doc:"…" is the description of a member. Types with a name are
// definitions. A type that encodes itself may be anything, but for [time.Time], which is a
// date, and what has MarshalText, which is a string; [Described] says more. Arguments of an
// empty struct are none; those that may be null may be left out.
//
// Arguments are described as encoding/json would write them. It reads more than that:
// members that are missing, names in another case. What a client may leave out has to say
// omitempty.
package contract

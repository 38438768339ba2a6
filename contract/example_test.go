package contract_test

import (
	"context"
	"fmt"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/contract"
)

type Message struct {
	From string `json:"from"`
	Text string `json:"text" doc:"As it was typed."`
}

type Text struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

func say(context.Context, Text) (struct{}, error) { return struct{}{}, nil }

// Errors are left out.
func Example() {
	b, _ := memory.New()
	defer b.Close()
	callee, _ := calleekit.New(b)
	callee.Handle("room.send", calleekit.Typed(say),
		calleekit.WithDoc("Says something in a room."),
		calleekit.WithErrorCode(423, "the room is closed"))
	messages := contract.Channel[Message]("room.{room}.messages")

	c, _ := contract.New(contract.Callee(callee), messages)
	module, _ := c.TypeScript(contract.AppName)
	fmt.Printf("%s", module)
	// Output:
	// // Written from a contract of juggler: change that and write it anew.
	//
	// /** What the server offers, for `new Client<App>(…)`. */
	// export interface App {
	//   calls: {
	//     /**
	//      * Says something in a room.
	//      * @throws 423: the room is closed
	//      */
	//     'room.send': (args: Text) => { [key: string]: unknown };
	//   };
	//   channels: {
	//     [channel: `room.${string}.messages`]: Message;
	//   };
	// }
	//
	// export interface Message {
	//   from: string;
	//   /** As it was typed. */
	//   text: string;
	// }
	//
	// export interface Text {
	//   room: string;
	//   text: string;
	// }
}

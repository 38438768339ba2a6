package main

import (
	"flag"
	"testing"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/contract"
)

var update = flag.Bool("update", false, "write web/src/contract.ts anew")

// The pages know what the callee offers by a file that is made of its code.
func TestContract(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	callee, err := newCallee(b, b, store{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.New(contract.Callee(callee),
		contract.Channel[message]("room.{room}", contract.Doc("What is said in a room.")),
		contract.Channel[mark]("reads.{user}", contract.Doc("How far a user has read a room.")),
		contract.Channel[bool]("typing.{room}.{user}", contract.Doc("Somebody types."), contract.FromClients()))
	if err != nil {
		t.Fatal(err)
	}
	const file = "web/src/contract.ts"
	if *update {
		err = c.WriteFile(file)
	} else {
		err = c.CheckFile(file)
	}
	if err != nil {
		t.Error(err)
	}
}

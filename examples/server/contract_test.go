package main

import (
	"flag"
	"testing"

	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/contract"
)

var update = flag.Bool("update", false, "write contract.json anew")

// contract.json says what the code does.
func TestContract(t *testing.T) {
	b, err := memory.New()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	callee, err := calleekit.New(b) // it is not started
	if err != nil {
		t.Fatal(err)
	}
	register(callee)
	c, err := contract.New(contract.Callee(callee))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		err = c.WriteFile("contract.json")
	} else {
		err = c.CheckFile("contract.json")
	}
	if err != nil {
		t.Error(err)
	}
}

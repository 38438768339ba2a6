package client_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/juggler-go/juggler/internal/race"
)

// A call allocates next to nothing: what is counted here includes the server
// and the callee, which decode and answer it.
func TestCallAllocations(t *testing.T) {
	if race.Enabled {
		t.Log("not counted under the race detector, which makes sync.Pool forget at random")
		return
	}
	cl := newCluster(t)
	cl.start()
	c := cl.client()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, out := json.RawMessage(`{"n":1}`), json.RawMessage{}
	var err error
	got := testing.AllocsPerRun(2000, func() {
		if e := c.Call(ctx, "test.echo", in, &out); e != nil {
			err = e
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const most = 3 // measured: 2
	if got > most {
		t.Errorf("%v allocations a call, want %d at most", got, most)
	}
}

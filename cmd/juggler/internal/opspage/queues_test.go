package opspage

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
)

func (p *testPage) readQueues(t *testing.T) (q Queues) {
	t.Helper()
	if err := json.NewDecoder(p.ask("GET", "/ops/queues", "localhost", nil, "").Body).Decode(&q); err != nil {
		t.Fatal(err)
	}
	return q
}

// The page tells how many calls wait for which callees: those first for which most wait,
// and not more than a page takes.
func TestQueues(t *testing.T) {
	p := newPage(t)
	uris := []string{hostileName}
	for i := range 150 {
		uris = append(uris, fmt.Sprint("u.", i))
	}
	callee, err := p.Engine.Memory.OpenCallee(t.Context(), uris, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	node, err := p.Engine.Memory.OpenCaller(t.Context(), broker.ID{1}, func([]broker.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for i := range 3 {
		if err := node.Call(t.Context(), &broker.Call{URI: hostileName, ReplyTo: broker.Address{Node: broker.ID{1}, Ref: [16]byte{byte(i)}}, Timeout: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	q := p.readQueues(t)
	if want := (broker.Queue{URI: hostileName, Calls: 3, Callees: 1}); len(q.Queues) != queuesShown || q.Queues[0] != want || q.URIs != 152 || q.Calls != 3 || !q.All || q.Error != "" {
		t.Errorf("%+v", q)
	}
}

// The broker is asked once in a while, however many look, and again afterwards. What it
// cannot tell has a reason.
func TestQueuesAskedRarely(t *testing.T) {
	p := newPage(t)
	p.queueAsker.last = Queues{Asked: time.Now().Add(time.Hour), URIs: 7}
	if q := p.readQueues(t); q.URIs != 7 {
		t.Errorf("the broker was asked: %+v", q)
	}
	p.queueAsker.last.Asked = time.Now().Add(-queuesEvery)
	if q := p.readQueues(t); q.URIs != 1 || q.Queues[0].URI != "echo" {
		t.Errorf("the broker was not asked: %+v", q)
	}
	p.queueAsker.last.Asked = time.Time{}
	p.Engine.Memory.Close()
	if q := p.readQueues(t); q.Error == "" || q.All || len(q.Queues) > 0 {
		t.Errorf("the broker is closed: %+v", q)
	}
}

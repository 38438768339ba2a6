package main

import (
	"fmt"

	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/bench/internal/peer"
)

// connections measures servers from the outside: what requests cost them in
// allocations and in system calls that read and write. The server is the one
// of the benchmarks, and the callee in it, which returns its arguments as a
// slice, allocates once for each call.
func connections() (all []guarded, err error) {
	for _, of := range []func(*clientCalls) ([]guarded, error){echoes, calls, subscriptions, publications, fanOuts} {
		more, err := of(&clientCalls{})
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// readBuffer is room for what a client reads at once.
const readBuffer = 1 << 16

// requests measures requests on one connection, inFlight at a time, each of
// which is answered by some messages.
func requests(what, server, subprotocol string, counted *clientCalls, inFlight, answers int, messages ...string) (g guarded, err error) {
	addr, err := peer.Start(server)
	if err != nil {
		return g, err
	}
	c, err := dialRaw(addr, subprotocol, counted, make([]byte, readBuffer))
	if err != nil {
		return g, err
	}
	defer c.close()
	out := masked(messages...)
	return trial{what: what, times: max(100, 1000/inFlight), calls: counted, do: func() error {
		if err := c.write(out); err != nil {
			return err
		}
		return c.messages(answers)
	}}.measure()
}

func echoes(counted *clientCalls) (all []guarded, err error) {
	for _, inFlight := range []int{1, 64} {
		messages := make([]string, inFlight)
		for i := range messages {
			messages[i] = "0123456789abcdef"
		}
		g, err := requests(fmt.Sprintf("wsconn: echo, %d at once", inFlight), "juggler-echo", "", counted,
			inFlight, inFlight, messages...)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

func calls(counted *clientCalls) (all []guarded, err error) {
	for _, of := range []struct {
		what, server string
		inFlight     int
	}{
		{"handler: a call to ACK and RES", "juggler", 1},
		{"handler: 64 calls at once", "juggler", 64},
		{"handler: a call, hooks that do not block", "juggler-nonblocking", 1},
		{"handler: 64 calls at once, hooks that do not block", "juggler-nonblocking", 64},
		{"handler: 64 calls at once, hooks that may block", "juggler-blocking", 64},
	} {
		messages := make([]string, of.inFlight)
		for i := range messages {
			messages[i] = fmt.Sprintf(`{"type":"CALL","id":"%d","uri":"echo","args":{"text":"0123456789"}}`, i)
		}
		g, err := requests(of.what, of.server, "juggler.1", counted, of.inFlight, 2*of.inFlight, messages...)
		if err != nil {
			return nil, err
		}
		if of.server == "juggler-blocking" {
			// Goroutines answer: how many answers meet in a write is a matter of luck.
			delete(g.Costs, writes)
		}
		all = append(all, g)
	}
	return all, nil
}

func subscriptions(counted *clientCalls) ([]guarded, error) {
	g, err := requests("handler: SUB and UNSB of a channel", "juggler", "juggler.1", counted, 1, 2,
		`{"type":"SUB","id":"1","channel":"guard"}`, `{"type":"UNSB","id":"2","channel":"guard"}`)
	return []guarded{g}, err
}

// publications measures events of a channel that nobody listens to, where
// others are kept, and of one that is.
func publications(counted *clientCalls) (all []guarded, err error) {
	for _, of := range []struct{ what, channel string }{
		{"handler: a PUB that no rule keeps", "news"},
		{"handler: a PUB that is kept", load.KeptPrefix + "news"},
	} {
		g, err := requests(of.what, "juggler-history", "juggler.1", counted, 1, 1,
			`{"type":"PUB","id":"1","channel":"`+of.channel+`","args":{"text":"0123456789"}}`)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

// fanOuts measures deliveries to many subscribers of one channel.
func fanOuts(counted *clientCalls) (all []guarded, err error) {
	const subscribers = 100
	addr, err := peer.Start("juggler")
	if err != nil {
		return nil, err
	}
	conns := make([]*rawConn, subscribers)
	for i := range conns {
		c, err := dialRaw(addr, "juggler.1", counted, make([]byte, readBuffer))
		if err != nil {
			return nil, err
		}
		defer c.close()
		if err := c.write(masked(`{"type":"SUB","id":"1","channel":"c"}`)); err != nil {
			return nil, err
		}
		if err := c.messages(1); err != nil {
			return nil, err
		}
		conns[i] = c
	}
	publisher, err := dialRaw(addr, "juggler.1", counted, make([]byte, readBuffer))
	if err != nil {
		return nil, err
	}
	defer publisher.close()
	conns = append(conns, publisher) // which gets as many ACKs as the others events
	for _, outstanding := range []int{1, 16} {
		messages := make([]string, outstanding)
		for i := range messages {
			messages[i] = fmt.Sprintf(`{"type":"PUB","id":"%d","channel":"c","args":{"text":"0123456789"}}`, i)
		}
		out := masked(messages...)
		g, err := trial{
			what:  fmt.Sprintf("handler: publications to 100 subscribers, %d at once", outstanding),
			times: 50,
			calls: counted,
			do: func() error {
				if err := publisher.write(out); err != nil {
					return err
				}
				for _, c := range conns {
					if err := c.messages(outstanding); err != nil {
						return err
					}
				}
				return nil
			},
		}.measure()
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// callCases are about what a call and its result carry, and to whom.
var callCases = []testCase{
	{"call", "A call reaches a callee of its URI as it was made, and ends in a Result for the node that made it.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "math.add", "math.sub")
		made := broker.Call{URI: "math.sub", ReplyTo: n.address(), Timeout: longEnough, Headers: []byte(`{"tenant":"a"}`), Args: []byte("[3,2]")}
		x.must("Call", n.send(&made))
		took := c.take()
		if took.URI != made.URI || took.ReplyTo != made.ReplyTo || !bytes.Equal(took.Headers, made.Headers) || !bytes.Equal(took.Args, made.Args) {
			x.errorf("made %+v, took %+v", made, took)
		}
		if took.Timeout > made.Timeout {
			x.errorf("the call was made with %v left and taken with %v left", made.Timeout, took.Timeout)
		}
		const ran = 1234567 * time.Microsecond
		c.reply(broker.Result{To: took.ReplyTo, Args: []byte("1"), Ran: ran})
		if r := n.result(made.ReplyTo); string(r.Args) != "1" || r.Err != nil || r.Ran != ran && r.Ran != 0 {
			x.errorf("the result is %+v, not 1 after %v", r, ran)
		}
	}},
	{"error", "A Result with Err set arrives with its code, message, data and retry-after.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		sent := &broker.Error{Code: 422, Message: "not a number: \"ä\"\n\x00", Data: []byte(`{"at":1}`), RetryAfter: 250 * time.Millisecond}
		first := n.call("u", "1")
		c.reply(broker.Result{To: c.take().ReplyTo, Err: sent})
		if got := n.result(first).Err; got == nil || got.Code != sent.Code || got.Message != sent.Message || got.RetryAfter != sent.RetryAfter || !bytes.Equal(got.Data, sent.Data) {
			x.errorf("the callee sent %+v, %+v arrived", sent, got)
		}
		second := n.call("u", "2")
		c.reply(broker.Result{To: c.take().ReplyTo, Err: &broker.Error{Code: frame.CodeInternal}})
		if got := n.result(second).Err; got == nil || got.Code != frame.CodeInternal || got.Message != "" || len(got.Data) != 0 {
			x.errorf("the callee sent a bare code 500, %+v arrived", got)
		}
	}},
	{"payloads", "Rule 7: payloads arrive as they were sent, whatever their bytes; nil and empty are the same.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		for name, p := range payloads() {
			to := n.address()
			x.must("Call", n.send(&broker.Call{URI: "u", ReplyTo: to, Timeout: longEnough, Headers: p, Args: p}))
			took := c.take()
			if !bytes.Equal(took.Headers, p) || !bytes.Equal(took.Args, p) {
				x.errorf("payload %s: a call arrived with other headers or arguments", name)
			}
			c.reply(broker.Result{To: to, Args: p})
			if !bytes.Equal(n.result(to).Args, p) {
				x.errorf("payload %s: a result arrived with other bytes", name)
			}
			to = n.call("u", "")
			c.take()
			c.reply(broker.Result{To: to, Err: &broker.Error{Code: frame.CodeInternal, Data: p}})
			if !bytes.Equal(n.result(to).Err.Data, p) {
				x.errorf("payload %s: an error arrived with other data", name)
			}
		}
	}},
	{"names", "URIs and addresses are bytes that the engine does not interpret.", rpc, func(x *trial) {
		n := x.node(x.process())
		uris := []string{"a b", "a.b", "a.B", "a:{b}:c", "a*", "line\r\nbreak", "nul\x00", "\xff\xfe", strings.Repeat("long", 500)}
		c := x.callee(x.process(), uris...)
		for _, uri := range uris {
			to := broker.Address{Node: n.id}
			copy(to.Ref[:], uri+"\x00\x01\r\n\xff\xff\xff\xff\xff\xff\xff\xff")
			x.must("Call", n.send(&broker.Call{URI: uri, ReplyTo: to, Timeout: longEnough}))
			took := c.take()
			if took.URI != uri || took.ReplyTo != to {
				x.errorf("a call to %q for %x arrived as one to %q for %x", uri, to, took.URI, took.ReplyTo)
			}
			c.echo(took)
			n.result(to)
		}
	}},
	{"owner of a call", "Rule 3: the slices of a Call belong to its maker again when Call returns.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		headers, args := []byte("headers"), []byte("arguments")
		x.must("Call", n.send(&broker.Call{URI: "u", ReplyTo: n.address(), Timeout: longEnough, Headers: headers, Args: args}))
		scribble(headers, args)
		if took := c.take(); string(took.Headers) != "headers" || string(took.Args) != "arguments" {
			x.errorf("the callee got %q and %q, which the caller wrote after Call returned", took.Headers, took.Args)
		}
	}},
	{"owner of a result", "Rule 3: the slices of a Result belong to the callee again when Reply returns.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		var to []broker.Address
		for range 50 {
			to = append(to, n.call("u", ""))
		}
		for i, call := range c.takeAll(len(to), 8) {
			args, data := []byte("result"), []byte("data")
			result := broker.Result{To: call.ReplyTo, Args: args}
			if i%2 == 1 {
				result = broker.Result{To: call.ReplyTo, Err: &broker.Error{Code: frame.CodeInternal, Data: data}}
			}
			c.reply(result)
			scribble(args, data)
		}
		for _, a := range to {
			if r := n.result(a); r.Err == nil && string(r.Args) != "result" || r.Err != nil && string(r.Err.Data) != "data" {
				x.errorf("the node got %+v, which the callee wrote after Reply returned", r)
			}
		}
	}},
	{"owner of a taken call", "Rule 4: the slices of a Call that was taken are valid until the Reply that answers it returns.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		for i := range 20 {
			n.call("u", fmt.Sprint("kept ", i))
		}
		kept := c.takeAll(20, 8)
		for i := range 200 {
			n.call("u", fmt.Sprint("other ", i))
			c.echo(c.take())
		}
		for i, call := range kept {
			want := fmt.Sprint("kept ", i)
			if string(call.Args) != want {
				x.errorf("a call was taken with %q; before its answer this became %q", want, call.Args)
			}
			c.echo(call)
			if r := n.result(call.ReplyTo); string(r.Args) != want {
				x.errorf("a result made of its call's arguments %q arrived as %q", want, r.Args)
			}
		}
	}},
	{"two nodes", "A result goes to the node in its address and to no other, though Ref may be the same.", rpc, func(x *trial) {
		a, b, c := x.node(x.process()), x.node(x.process()), x.callee(x.process(), "u")
		a.refs.Store(1000)
		b.refs.Store(1000)
		toA, toB := a.call("u", "a"), b.call("u", "b")
		for _, call := range c.takeAll(2, 2) {
			c.echo(call)
		}
		if r := a.result(toA); string(r.Args) != "a" {
			x.errorf("node a got %q", r.Args)
		}
		if r := b.result(toB); string(r.Args) != "b" {
			x.errorf("node b got %q", r.Args)
		}
		for _, n := range []*node{a, b} {
			n.close()
			for to := range n.answers() {
				if to.Node != n.id {
					x.errorf("a node got the result of another")
				}
			}
		}
	}},
	{"late replies", "Reply ignores results of calls that it does not know, and of those answered, cancelled or past their time, without error.", rpc, func(x *trial) {
		n, c := x.node(x.process()), x.callee(x.process(), "u")
		const short = time.Second
		late := c.takeInTime(short, func() {
			_, err := n.try("u", "late", short)
			x.must("Call", err)
		})
		cancelled := n.call("u", "cancelled")
		unwanted := c.take()
		n.cancel("u", cancelled)
		answered := n.call("u", "answered")
		call := c.take()
		c.echo(call)
		n.result(answered)
		pass(short)
		unknown := n.address()
		last := n.call("u", "last")
		c.reply(
			broker.Result{To: call.ReplyTo, Args: []byte("again")},
			broker.Result{To: unknown, Args: []byte("unknown")},
			echoed(late),
			echoed(c.take()),
			echoed(unwanted),
		)
		n.result(last)
		if r, ok := n.find(unknown); ok {
			x.errorf("the result %+v of a call that was never made arrived", r)
		}
		if r := n.result(answered); string(r.Args) != "answered" {
			x.errorf("the first answer was replaced by %q", r.Args)
		}
	}},
	{"batch of results", "Reply stores the results of several nodes' calls at once.", rpc, func(x *trial) {
		nodes := []*node{x.node(x.process()), x.node(x.process()), x.node(x.process())}
		c := x.callee(x.process(), "u")
		var to []broker.Address
		for i := range 30 {
			to = append(to, nodes[i%3].call("u", fmt.Sprint(i)))
		}
		var results []broker.Result
		for _, call := range c.takeAll(30, 30) {
			results = append(results, echoed(call))
		}
		c.reply(results...)
		for i, a := range to {
			if r := nodes[i%3].result(a); string(r.Args) != fmt.Sprint(i) {
				x.errorf("call %d was answered with %q", i, r.Args)
			}
		}
	}},
	{"no callee", "A Call to a URI without a callee gets ErrNoCallee and is not queued.", rpc | discovery, func(x *trial) {
		n := x.node(x.process())
		if _, err := n.try("nobody", "", longEnough); !errors.Is(err, broker.ErrNoCallee) {
			x.fatalf("Call returned %v", err)
		}
		x.callee(x.process(), "somebody")
		if _, err := n.try("nobody", "", longEnough); !errors.Is(err, broker.ErrNoCallee) {
			x.errorf("with a callee of another URI, Call returned %v", err)
		}
		c := x.callee(x.process(), "nobody")
		want := n.call("nobody", "wanted")
		if took := c.take(); took.ReplyTo != want {
			x.errorf("a call that was refused was taken: %+v", took)
		}
	}},
	{"announcement", "When OpenCallee returns, calls to each of its URIs are accepted.", rpc, func(x *trial) {
		n := x.node(x.process())
		for i := range 20 {
			var uris []string
			for j := range 5 {
				uris = append(uris, fmt.Sprintf("u.%d.%d", i, j))
			}
			c := x.callee(x.process(), uris...)
			for _, uri := range uris {
				n.call(uri, uri)
			}
			for _, call := range c.takeAll(len(uris), 3) {
				if i := slices.Index(uris, call.URI); i < 0 || string(call.Args) != uris[i] {
					x.errorf("took %+v", call)
				}
				c.echo(call)
			}
			c.close()
		}
	}},
}

// payloads returns bytes that an engine may stumble over, by name.
func payloads() map[string][]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return map[string][]byte{
		"nil":               nil,
		"empty":             {},
		"null":              []byte("null"),
		"one zero byte":     {0},
		"all bytes":         all,
		"line breaks":       []byte("\r\n$3\r\nfoo\r\n"),
		"digits":            []byte("0123456789"),
		"invalid UTF-8":     []byte("\xff\xfe\xc0\x80"),
		"64 KiB":            bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16),
		"1 MiB of anything": bytes.Repeat(all, 1<<20/len(all)),
	}
}

// scribble overwrites slices that belong to the case again.
func scribble(slices ...[]byte) {
	for _, s := range slices {
		for i := range s {
			s[i] = '!'
		}
	}
}

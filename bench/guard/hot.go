package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/frame"
	"github.com/juggler-go/juggler/internal/glob"
	"github.com/juggler-go/juggler/internal/topk"
	"github.com/juggler-go/juggler/internal/wheel"
)

// A hot function runs on one goroutine, so that its instructions can be
// counted. prepare returns it.
type hot struct {
	what    string
	prepare func() (func(), error)
}

const (
	call1 = `{"type":"CALL","id":"17","uri":"math.add","args":[1,2],"timeout":5000}`
	call0 = `{"meta":{"type":1,"uuid":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"math.add","timeout":1000000000,"args":[1,2]}}`
)

var hotFunctions = []hot{
	{"frame: decode a CALL, juggler.1", decode(frame.Juggler1, call1)},
	{"frame: decode a CALL, juggler.0", decode(frame.Juggler0, call0)},
	{"frame: decode a PUB of 600 bytes, juggler.1", decode(frame.Juggler1,
		`{"type":"PUB","id":"17","channel":"news.go","args":["`+strings.Repeat("text ", 110)+`"]}`)},
	{"frame: encode ACK and RES, juggler.1", encode(frame.Juggler1)},
	{"frame: encode ACK and RES, juggler.0", encode(frame.Juggler0)},
	{"memory broker: a call, from Call to its result", memoryCalls},
	{"memory broker: an event, 1 exact subscriber", memoryEvents(0)},
	{"memory broker: an event, and 3 patterns", memoryEvents(3)},
	{"memory broker: an event that no rule keeps", memoryEvents(0, newsRule("new.*"), newsRule("news.1"))},
	{"memory broker: an event that is kept", memoryEvents(0, newsRule("news.*"))},
	{"memory broker: an event that no rule keeps, and nobody subscribes", memoryUnheard(1, "new.*")},
	{"memory broker: an event that is kept, and nobody subscribes", memoryUnheard(1, "news.*")},
	{"memory broker: 16 events that are kept, and nobody subscribes", memoryUnheard(16, "news.*")},
	{"glob: 200 bytes beside a pattern that goes back", worstGlob},
	{"wheel: set a timer and advance", timers},
	{"topk: a name that has a counter", mostFrequent(64)},
	{"topk: a name that takes a counter over", mostFrequent(32)},
}

func decode(p frame.Protocol, text string) func() (func(), error) {
	return func() (func(), error) {
		b := []byte(text)
		var f frame.Frame
		return func() { _ = p.DecodeRequest(b, &f) }, p.DecodeRequest(b, &f)
	}
}

func encode(p frame.Protocol) func() (func(), error) {
	return func() (func(), error) {
		ack := frame.Frame{
			Type: frame.Ack, For: []byte("13374918-84ac-47bc-b1f8-6a89a3a0ca0f"),
			ForType: frame.Call, URI: []byte("math.add"),
		}
		res := ack
		res.Type, res.Args = frame.Res, []byte("3")
		buf := make([]byte, 0, 1024)
		return func() { p.Append(p.Append(buf, &ack), &res) }, nil
	}
}

// memoryCalls makes a call, takes and answers it.
func memoryCalls() (func(), error) {
	ctx := context.Background()
	b, err := memory.New()
	if err != nil {
		return nil, err
	}
	answered, serial := uint64(0), uint64(0)
	caller, err := b.OpenCaller(ctx, broker.ID{1}, func(rs []broker.Result) { answered += uint64(len(rs)) })
	if err != nil {
		return nil, err
	}
	callee, err := b.OpenCallee(ctx, []string{"math.add"}, nil)
	if err != nil {
		return nil, err
	}
	call := broker.Call{URI: "math.add", Timeout: time.Minute, Args: []byte("[1,2]")}
	call.ReplyTo.Node = broker.ID{1}
	taken, results := make([]broker.Call, 1), make([]broker.Result, 1)
	return func() {
		serial++
		binary.LittleEndian.PutUint64(call.ReplyTo.Ref[:], serial)
		err := caller.Call(ctx, &call)
		if err == nil {
			_, err = callee.Take(ctx, taken)
		}
		results[0] = broker.Result{To: taken[0].ReplyTo, Args: taken[0].Args}
		if err == nil {
			err = callee.Reply(ctx, results)
		}
		if err != nil || answered != serial {
			panic(fmt.Sprint("the memory broker does not answer: ", err))
		}
	}, nil
}

// newsRule keeps the events of channels.
func newsRule(channels string) broker.HistoryRule {
	return broker.HistoryRule{Channels: channels, Events: 100, For: time.Hour}
}

// memoryEvents publishes to one subscriber of the channel and of some
// patterns, where rules say what is kept.
func memoryEvents(patterns int, rules ...broker.HistoryRule) func() (func(), error) {
	return func() (func(), error) {
		ctx := context.Background()
		b, err := memory.New(memory.WithHistory(rules...))
		if err != nil {
			return nil, err
		}
		delivered := 0
		s, err := b.OpenSubscriber(ctx, func(ds []broker.Delivery) { delivered += len(ds) })
		if err != nil {
			return nil, err
		}
		topics := []broker.Topic{{Name: "news.0"}}
		for i := range patterns {
			topics = append(topics, broker.Topic{Name: fmt.Sprint("news.*.", i), Pattern: true})
		}
		for _, topic := range topics {
			if err := s.Subscribe(ctx, topic); err != nil {
				return nil, err
			}
		}
		e := &broker.Event{Channel: "news.0", Args: []byte(`{"title":"Go"}`)}
		return func() {
			had := delivered
			if err := b.Publish(ctx, e); err != nil || delivered == had {
				panic(fmt.Sprint("the memory broker does not deliver: ", err))
			}
		}, nil
	}
}

// memoryUnheard publishes to nobody, as a node does that has had one PUB or many, where a
// rule says what is kept.
func memoryUnheard(many int, kept string) func() (func(), error) {
	return func() (func(), error) {
		b, err := memory.New(memory.WithHistory(newsRule(kept)))
		if err != nil {
			return nil, err
		}
		events, errs := make([]broker.Event, many), make([]error, many)
		for i := range events {
			events[i] = broker.Event{Channel: "news.0", Args: []byte(`{"title":"Go"}`)}
		}
		return func() {
			if many == 1 {
				errs[0] = b.Publish(context.Background(), &events[0])
			} else {
				b.PublishBatch(context.Background(), events, errs)
			}
			if errs[many-1] != nil {
				panic(fmt.Sprint("the memory broker does not publish: ", errs[many-1]))
			}
		}, nil
	}
}

// worstGlob compares a name with a pattern that makes matchers go back for each byte.
func worstGlob() (func(), error) {
	pattern, name := glob.Compile("*"+strings.Repeat("a", 50)+"b*"), strings.Repeat("a", 200)
	return func() {
		if pattern.Match(name) {
			panic("glob: a name matches that does not")
		}
	}, nil
}

// timers sets one of 1,000 timers, which is what a message does to its
// connection's.
func timers() (func(), error) {
	var w wheel.Wheel[timed]
	items := make([]timed, 1000)
	for i := range items {
		items[i].timer.Owner = &items[i]
	}
	i := 0
	return func() {
		i++
		w.Set(&items[i%len(items)].timer, int64(i/100+25_000))
		w.Advance(int64(i/100), func(*timed) {})
	}, nil
}

type timed struct{ timer wheel.Timer[timed] }

// mostFrequent counts 64 names in turn, which is the worst for so many counters or less.
func mostFrequent(counters int) func() (func(), error) {
	return func() (func(), error) {
		s, i := topk.New(counters), 0
		names := make([]string, 64)
		for i := range names {
			names[i] = fmt.Sprint("some.name.", i)
		}
		return func() {
			s.Add(names[i&63], 1)
			i++
		}, nil
	}
}

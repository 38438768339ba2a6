package frame_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/juggler-go/juggler/frame"
)

// A golden is a message as it is on the wire, and what it says.
type golden struct {
	text string
	want frame.Frame
}

// The messages of juggler.0 are those captured from its first implementation,
// without their final line feed.
var golden0 = []golden{
	{
		`{"meta":{"type":1,"uuid":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"test.echo","timeout":1000000000,"args":null}}`,
		frame.Frame{
			Type: frame.Call, ID: []byte("13374918-84ac-47bc-b1f8-6a89a3a0ca0f"),
			URI: []byte("test.echo"), Timeout: time.Second, Args: []byte("null"),
		},
	},
	{
		`{"meta":{"type":2,"uuid":"7f50dc1a-228e-4457-b699-6604ed8bcb61"},"payload":{"channel":"c","args":[1]}}`,
		frame.Frame{
			Type: frame.Pub, ID: []byte("7f50dc1a-228e-4457-b699-6604ed8bcb61"),
			Channel: []byte("c"), Args: []byte("[1]"),
		},
	},
	{
		`{"meta":{"type":3,"uuid":"9c9cc467-28ff-4871-97ed-7b3b2c2d4460"},"payload":{"channel":"c","pattern":true}}`,
		frame.Frame{
			Type: frame.Sub, ID: []byte("9c9cc467-28ff-4871-97ed-7b3b2c2d4460"),
			Channel: []byte("c"), Pattern: true,
		},
	},
	{
		`{"meta":{"type":4,"uuid":"d3532470-dbb5-4697-ab63-b4451513898e"},"payload":{"channel":"c","pattern":true}}`,
		frame.Frame{
			Type: frame.Unsb, ID: []byte("d3532470-dbb5-4697-ab63-b4451513898e"),
			Channel: []byte("c"), Pattern: true,
		},
	},
	{
		`{"meta":{"type":8,"uuid":"c7d6f877-f358-4213-815d-3ef3b3ca16e7"},"payload":{"for":"63b189cb-516e-4b1e-9270-ac089f10babc","for_type":1,"uri":"test.echo"}}`,
		frame.Frame{
			Type: frame.Ack, UUID: uuid("c7d6f877-f358-4213-815d-3ef3b3ca16e7"),
			For: []byte("63b189cb-516e-4b1e-9270-ac089f10babc"), ForType: frame.Call,
			URI: []byte("test.echo"),
		},
	},
	{
		`{"meta":{"type":8,"uuid":"3a6bb260-9129-46d7-b840-7a8f03491171"},"payload":{"for":"e769a1e2-07ed-4f1c-8955-d34971043dd9","for_type":3,"channel":"news.*"}}`,
		frame.Frame{
			Type: frame.Ack, UUID: uuid("3a6bb260-9129-46d7-b840-7a8f03491171"),
			For: []byte("e769a1e2-07ed-4f1c-8955-d34971043dd9"), ForType: frame.Sub,
			Channel: []byte("news.*"),
		},
	},
	{
		`{"meta":{"type":7,"uuid":"6a501a13-bd85-4e55-93ec-bf21b517723d"},"payload":{"for":"b57cd85f-4377-4838-aaf4-d1d9bbe08783","for_type":1,"uri":"test.echo","code":500,"message":"ERR invalid expire time in 'set' command script: b0cdecc8e595fb86f90aa79d69ba149d92d94b0b, on @user_script:2."}}`,
		frame.Frame{
			Type: frame.Nack, UUID: uuid("6a501a13-bd85-4e55-93ec-bf21b517723d"),
			For: []byte("b57cd85f-4377-4838-aaf4-d1d9bbe08783"), ForType: frame.Call,
			URI: []byte("test.echo"),
			Err: frame.ErrorBody{Code: 500, Message: []byte("ERR invalid expire time in 'set' command script: b0cdecc8e595fb86f90aa79d69ba149d92d94b0b, on @user_script:2.")},
		},
	},
	{
		`{"meta":{"type":7,"uuid":"a372187d-7e2b-442e-a594-cc5b1b75011a"},"payload":{"for":"e4c25caa-9cb9-46fe-a8eb-0af86c5eb54f","for_type":1,"uri":"cap.q","code":500,"message":"list capacity exceeded"}}`,
		frame.Frame{
			Type: frame.Nack, UUID: uuid("a372187d-7e2b-442e-a594-cc5b1b75011a"),
			For: []byte("e4c25caa-9cb9-46fe-a8eb-0af86c5eb54f"), ForType: frame.Call,
			URI: []byte("cap.q"),
			Err: frame.ErrorBody{Code: 500, Message: []byte("list capacity exceeded")},
		},
	},
	{
		`{"meta":{"type":9,"uuid":"dfe405f5-81b7-4ba2-99d1-f555dcb32618"},"payload":{"for":"63b189cb-516e-4b1e-9270-ac089f10babc","uri":"test.echo","args":"hello"}}`,
		frame.Frame{
			Type: frame.Res, UUID: uuid("dfe405f5-81b7-4ba2-99d1-f555dcb32618"),
			For: []byte("63b189cb-516e-4b1e-9270-ac089f10babc"),
			URI: []byte("test.echo"), Args: []byte(`"hello"`),
		},
	},
	{
		`{"meta":{"type":9,"uuid":"42b6d0ea-f29a-4b36-a2ee-0fba73adf6f9"},"payload":{"for":"e3d5d19d-4640-4dad-94c2-f7146b857447","uri":"test.delay","args":{"error":{"message":"strconv.Atoi: parsing \"abc\": invalid syntax"}}}}`,
		frame.Frame{
			Type: frame.Res, UUID: uuid("42b6d0ea-f29a-4b36-a2ee-0fba73adf6f9"),
			For: []byte("e3d5d19d-4640-4dad-94c2-f7146b857447"), URI: []byte("test.delay"),
			Args: []byte(`{"error":{"message":"strconv.Atoi: parsing \"abc\": invalid syntax"}}`),
		},
	},
	{
		`{"meta":{"type":10,"uuid":"82b07322-4c21-43a0-98c1-a2c9b4e20b80"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","pattern":"news.*","args":{"title":"Go"}}}`,
		frame.Frame{
			Type: frame.Evnt, UUID: uuid("82b07322-4c21-43a0-98c1-a2c9b4e20b80"),
			Publication: uuid("93613f5d-7265-4e88-bab3-15f01032925a"),
			Channel:     []byte("news.go"), Matched: []byte("news.*"), Args: []byte(`{"title":"Go"}`),
		},
	},
	{
		`{"meta":{"type":10,"uuid":"b93109c8-ebef-4ba3-a4a2-ef2c5a97d0ae"},"payload":{"for":"93613f5d-7265-4e88-bab3-15f01032925a","channel":"news.go","args":{"title":"Go"}}}`,
		frame.Frame{
			Type: frame.Evnt, UUID: uuid("b93109c8-ebef-4ba3-a4a2-ef2c5a97d0ae"),
			Publication: uuid("93613f5d-7265-4e88-bab3-15f01032925a"),
			Channel:     []byte("news.go"), Args: []byte(`{"title":"Go"}`),
		},
	},
	{
		`{"meta":{"type":10,"uuid":"b2fc46de-f9a8-4100-81f0-1b065e99061b"},"payload":{"for":"c9d3accf-3a99-42e1-883b-552160037637","channel":"news.rust","pattern":"news.*","args":[1,2.5,true,null]}}`,
		frame.Frame{
			Type: frame.Evnt, UUID: uuid("b2fc46de-f9a8-4100-81f0-1b065e99061b"),
			Publication: uuid("c9d3accf-3a99-42e1-883b-552160037637"),
			Channel:     []byte("news.rust"), Matched: []byte("news.*"), Args: []byte(`[1,2.5,true,null]`),
		},
	},
}

// The messages of juggler.1 are the examples of docs/protocol.md, with what
// stands there as "…" filled in, and those that it only describes.
var golden1 = []golden{
	{
		`{"type":"CALL","id":"1","uri":"math.add","args":[1,2],"timeout":5000,"headers":{"traceparent":"00-1-2-03"}}`,
		frame.Frame{
			Type: frame.Call, ID: []byte("1"), URI: []byte("math.add"), Args: []byte("[1,2]"),
			Timeout: 5 * time.Second, Headers: []byte(`{"traceparent":"00-1-2-03"}`),
		},
	},
	{
		`{"type":"CALL","id":"1","uri":"math.pi"}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("math.pi")},
	},
	{
		`{"type":"CALL","id":"1","uri":"ai.answer","args":"Why?","parts":32}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("ai.answer"), Args: []byte(`"Why?"`), Parts: 32},
	},
	{
		`{"type":"CALL","id":"1","uri":"order.pay","args":7,"key":"4mT_x"}`,
		frame.Frame{Type: frame.Call, ID: []byte("1"), URI: []byte("order.pay"), Args: []byte("7"), Key: []byte("4mT_x")},
	},
	{
		`{"type":"CALL","id":"9","uri":"ai.answer","parts":32,"key":"k7","since":0}`,
		frame.Frame{Type: frame.Call, ID: []byte("9"), URI: []byte("ai.answer"), Parts: 32, Key: []byte("k7"), HasSince: true},
	},
	{
		`{"type":"CALL","id":"9","uri":"ai.answer","key":"k7","since":2147483647}`,
		frame.Frame{Type: frame.Call, ID: []byte("9"), URI: []byte("ai.answer"), Key: []byte("k7"), HasSince: true, N: frame.MaxPart},
	},
	{
		`{"type":"CANCEL","for":"1","stop":true}`,
		frame.Frame{Type: frame.Cancel, For: []byte("1"), Stop: true},
	},
	{
		`{"type":"CANCEL","for":"1"}`,
		frame.Frame{Type: frame.Cancel, For: []byte("1")},
	},
	{
		`{"type":"MORE","for":"1","parts":1000000}`,
		frame.Frame{Type: frame.More, For: []byte("1"), Parts: frame.MaxParts},
	},
	{
		`{"type":"PART","for":"1","n":1,"args":"Once"}`,
		frame.Frame{Type: frame.Part, For: []byte("1"), N: 1, Args: []byte(`"Once"`)},
	},
	{
		`{"type":"SUB","id":"2","channel":"news.*","pattern":true}`,
		frame.Frame{Type: frame.Sub, ID: []byte("2"), Channel: []byte("news.*"), Pattern: true},
	},
	{
		`{"type":"SUB","id":"2","channel":"news.go"}`,
		frame.Frame{Type: frame.Sub, ID: []byte("2"), Channel: []byte("news.go")},
	},
	{
		`{"type":"UNSB","id":"3","channel":"news.*","pattern":true}`,
		frame.Frame{Type: frame.Unsb, ID: []byte("3"), Channel: []byte("news.*"), Pattern: true},
	},
	{
		`{"type":"PUB","id":"4","channel":"news.go","args":{"title":"Go"},"headers":{"tenant":"a"}}`,
		frame.Frame{
			Type: frame.Pub, ID: []byte("4"), Channel: []byte("news.go"),
			Args: []byte(`{"title":"Go"}`), Headers: []byte(`{"tenant":"a"}`),
		},
	},
	{
		`{"type":"SUB","id":"2","channel":"room.7","since":{"at":57,"tag":"AQIDBAUGBwg"}}`,
		frame.Frame{
			Type: frame.Sub, ID: []byte("2"), Channel: []byte("room.7"),
			HasSince: true, Since: frame.Position{At: 57, Tag: 0x0102030405060708},
		},
	},
	{
		`{"type":"SUB","id":"2","channel":"room.7","since":{}}`,
		frame.Frame{Type: frame.Sub, ID: []byte("2"), Channel: []byte("room.7"), HasSince: true},
	},
	{
		`{"type":"SUB","id":"2","channel":"room.7","last":20}`,
		frame.Frame{Type: frame.Sub, ID: []byte("2"), Channel: []byte("room.7"), Last: 20},
	},
	{
		`{"type":"PUB","id":"4","channel":"room.7","args":1,"key":"4mT_x\""}`,
		frame.Frame{
			Type: frame.Pub, ID: []byte("4"), Channel: []byte("room.7"), Args: []byte("1"), Key: []byte(`4mT_x"`),
		},
	},
	{
		`{"type":"PUB","id":"4","channel":"room.7","args":1,"key":"k","again":true}`,
		frame.Frame{
			Type: frame.Pub, ID: []byte("4"), Channel: []byte("room.7"), Args: []byte("1"), Key: []byte("k"), Again: true,
		},
	},
	{
		`{"type":"AUTH","id":"5","token":"secret"}`,
		frame.Frame{Type: frame.Auth, ID: []byte("5"), Token: []byte("secret")},
	},
	{`{"type":"PONG"}`, frame.Frame{Type: frame.Pong}},

	{
		`{"type":"HELLO","session":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","node":"01KAVPZZZZTGT1GJJ6JRW5Y0Z5","ping":25000,"limits":{"message":65536,"subscriptions":128,"calls":128,"timeout":600000}}`,
		frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{
			Session: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"), Node: ulid("01KAVPZZZZTGT1GJJ6JRW5Y0Z5"),
			Ping: 25 * time.Second, MaxMessage: 65536, MaxSubscriptions: 128, MaxCalls: 128, MaxCallTimeout: 10 * time.Minute,
		}},
	},
	{
		`{"type":"HELLO","session":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","node":"01KAVPZZZZTGT1GJJ6JRW5Y0Z5","ping":0,"limits":{"message":1,"subscriptions":0,"calls":0,"calls_per_uri":32,"rates":{"messages":{"per_second":10000,"burst":20000},"calls":{"per_second":1,"burst":1},"subscriptions":{"per_second":500,"burst":1000}}}}`,
		frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{
			Session: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"), Node: ulid("01KAVPZZZZTGT1GJJ6JRW5Y0Z5"),
			MaxMessage: 1, MaxCallsPerURI: 32, Rates: frame.HelloRates{
				Messages: frame.Rate{PerSecond: 10_000, Burst: 20_000}, Calls: frame.Rate{PerSecond: 1, Burst: 1},
				Subscriptions: frame.Rate{PerSecond: 500, Burst: 1000},
			},
		}},
	},
	{
		`{"type":"HELLO","session":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","node":"01KAVPZZZZTGT1GJJ6JRW5Y0Z5","ping":0,"limits":{"message":1,"subscriptions":0,"calls":0},"expires":60000}`,
		frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{
			Session: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"), Node: ulid("01KAVPZZZZTGT1GJJ6JRW5Y0Z5"),
			Expires: time.Minute, MaxMessage: 1,
		}},
	},
	{
		`{"type":"HELLO","session":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","node":"01KAVPZZZZTGT1GJJ6JRW5Y0Z5","ping":0,"limits":{"message":1,"subscriptions":0,"calls":0},"keys":true}`,
		frame.Frame{Type: frame.Hello, Hello: frame.HelloBody{
			Session: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"), Node: ulid("01KAVPZZZZTGT1GJJ6JRW5Y0Z5"),
			MaxMessage: 1, Keys: true,
		}},
	},
	{
		`{"type":"ACK","for":"5","expires":60000,"keys":true}`,
		frame.Frame{Type: frame.Ack, For: []byte("5"), Expires: time.Minute, Keys: true},
	},
	{
		`{"type":"ACK","for":"2","at":9007199254740991,"tag":"__________8","recovered":true}`,
		frame.Frame{
			Type: frame.Ack, For: []byte("2"), Recovery: frame.Recovered,
			Pos: frame.Position{At: 1<<53 - 1, Tag: 1<<64 - 1},
		},
	},
	{
		`{"type":"ACK","for":"1","state":"new"}`,
		frame.Frame{Type: frame.Ack, For: []byte("1"), State: frame.New},
	},
	{
		`{"type":"ACK","for":"1","state":"running","from":13}`,
		frame.Frame{Type: frame.Ack, For: []byte("1"), State: frame.Running, N: 13},
	},
	{
		`{"type":"ACK","for":"1","state":"done"}`,
		frame.Frame{Type: frame.Ack, For: []byte("1"), State: frame.Done},
	},
	{
		`{"type":"ACK","for":"5","keys":true,"keyed":true}`,
		frame.Frame{Type: frame.Ack, For: []byte("5"), Keys: true, Keyed: true},
	},
	{
		`{"type":"SUB","id":"2","channel":"room.7","here":true}`,
		frame.Frame{Type: frame.Sub, ID: []byte("2"), Channel: []byte("room.7"), WantsHere: true},
	},
	{
		`{"type":"SUB","id":"2","channel":"user:u1","own":true,"since":{"at":57,"tag":"AAAAAAAAAAE"}}`,
		frame.Frame{
			Type: frame.Sub, ID: []byte("2"), Channel: []byte("user:u1"), Own: true,
			HasSince: true, Since: frame.Position{At: 57, Tag: 1},
		},
	},
	{
		`{"type":"ACK","for":"2","here":[{"user":"u1","n":2,"info":{"name":"Ann"}},{"user":"u2","n":1}],"count":2}`,
		frame.Frame{
			Type: frame.Ack, For: []byte("2"), Count: 2, HasCount: true,
			Members: []byte(`[{"user":"u1","n":2,"info":{"name":"Ann"}},{"user":"u2","n":1}]`),
		},
	},
	{
		`{"type":"ACK","for":"2","count":0}`,
		frame.Frame{Type: frame.Ack, For: []byte("2"), HasCount: true},
	},
	{
		`{"type":"HERE","channel":"room.7","join":[{"user":"u3","n":1}],"leave":["u9"],"count":313}`,
		frame.Frame{
			Type: frame.Here, Channel: []byte("room.7"), Joined: []byte(`[{"user":"u3","n":1}]`), Left: []byte(`["u9"]`),
			Count: 313, HasCount: true,
		},
	},
	{
		`{"type":"HERE","channel":"room.7","here":[],"count":0}`,
		frame.Frame{Type: frame.Here, Channel: []byte("room.7"), Members: []byte(`[]`), HasCount: true},
	},
	{
		`{"type":"SUBS","channel":"user:u1","own":true,"at":57,"tag":"AAAAAAAAAAE"}`,
		frame.Frame{Type: frame.Subs, Channel: []byte("user:u1"), Own: true, Pos: frame.Position{At: 57, Tag: 1}},
	},
	{
		`{"type":"SUBS","channel":"news.*","pattern":true}`,
		frame.Frame{Type: frame.Subs, Channel: []byte("news.*"), Pattern: true},
	},
	{
		`{"type":"UNSS","channel":"room.7","error":{"code":403,"message":"removed from the room"}}`,
		frame.Frame{Type: frame.Unss, Channel: []byte("room.7"), Err: frame.ErrorBody{Code: 403, Message: []byte("removed from the room")}},
	},
	{
		`{"type":"EVNT","id":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","channel":"user:u1","own":true,"args":1}`,
		frame.Frame{
			Type: frame.Evnt, Publication: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"), Channel: []byte("user:u1"), Own: true, Args: []byte("1"),
		},
	},
	{
		`{"type":"GAP","channel":"user:u1","own":true}`,
		frame.Frame{Type: frame.Gap, Channel: []byte("user:u1"), Own: true},
	},
	{
		`{"type":"ACK","for":"2","recovered":false}`,
		frame.Frame{Type: frame.Ack, For: []byte("2"), Recovery: frame.NotRecovered},
	},
	{
		`{"type":"ACK","for":"1"}`,
		frame.Frame{Type: frame.Ack, For: []byte("1")},
	},
	{
		`{"type":"ACK","for":"5","expires":3600000}`,
		frame.Frame{Type: frame.Ack, For: []byte("5"), Expires: time.Hour},
	},
	{
		`{"type":"NACK","for":"2","error":{"code":403,"message":"not allowed to subscribe to news.*"}}`,
		frame.Frame{Type: frame.Nack, For: []byte("2"), Err: frame.ErrorBody{
			Code: 403, Message: []byte("not allowed to subscribe to news.*"),
		}},
	},
	{
		`{"type":"NACK","for":"1","error":{"code":503,"message":"queue of math.add is full","retry_after":250}}`,
		frame.Frame{Type: frame.Nack, For: []byte("1"), Err: frame.ErrorBody{
			Code: 503, Message: []byte("queue of math.add is full"), RetryAfter: 250 * time.Millisecond,
		}},
	},
	{
		`{"type":"RES","for":"1","args":3}`,
		frame.Frame{Type: frame.Res, For: []byte("1"), Args: []byte("3")},
	},
	{
		`{"type":"RES","for":"1","error":{"code":422,"message":"not a number","data":{"at":1}}}`,
		frame.Frame{Type: frame.Res, For: []byte("1"), Err: frame.ErrorBody{
			Code: 422, Message: []byte("not a number"), Data: []byte(`{"at":1}`),
		}},
	},
	{
		`{"type":"EVNT","id":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","channel":"news.go","pattern":"news.*","args":{"title":"Go"},"headers":{"tenant":"a"}}`,
		frame.Frame{
			Type: frame.Evnt, Publication: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"),
			Channel: []byte("news.go"), Matched: []byte("news.*"),
			Args: []byte(`{"title":"Go"}`), Headers: []byte(`{"tenant":"a"}`),
		},
	},
	{
		`{"type":"EVNT","id":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","channel":"news.go","args":null}`,
		frame.Frame{
			Type: frame.Evnt, Publication: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"),
			Channel: []byte("news.go"), Args: []byte("null"),
		},
	},
	{
		`{"type":"GAP","channel":"news.*","pattern":true}`,
		frame.Frame{Type: frame.Gap, Channel: []byte("news.*"), Pattern: true},
	},
	{
		`{"type":"EVNT","id":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","at":58,"tag":"AAAAAAAAAAE","channel":"room.7","args":1}`,
		frame.Frame{
			Type: frame.Evnt, Publication: ulid("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"),
			Channel: []byte("room.7"), Args: []byte("1"), Pos: frame.Position{At: 58, Tag: 1},
		},
	},
	{
		`{"type":"GAP","channel":"room.7","at":71,"tag":"AAAAAAAAAAA"}`,
		frame.Frame{Type: frame.Gap, Channel: []byte("room.7"), Pos: frame.Position{At: 71}},
	},
	{
		`{"type":"GAP","channel":"news.go"}`,
		frame.Frame{Type: frame.Gap, Channel: []byte("news.go")},
	},
	{`{"type":"PING"}`, frame.Frame{Type: frame.Ping}},
	{
		`{"type":"GOAWAY","after":1500,"message":"deploying"}`,
		frame.Frame{Type: frame.GoAway, After: 1500 * time.Millisecond, Message: []byte("deploying")},
	},
	{
		`{"type":"GOAWAY","after":0}`,
		frame.Frame{Type: frame.GoAway},
	},
}

// TestGolden decodes and encodes each message: both must be exact.
func TestGolden(t *testing.T) {
	for _, protocol := range []struct {
		frame.Protocol
		messages []golden
		end      string
	}{
		{frame.Juggler0, golden0, "\n"},
		{frame.Juggler1, golden1, ""},
	} {
		for _, g := range protocol.messages {
			var got frame.Frame
			if err := decode(protocol.Protocol, g.want.Type, []byte(g.text+protocol.end), &got); err != nil {
				t.Errorf("%s\nrefused: %v", g.text, err)
			} else if !reflect.DeepEqual(got, g.want) {
				t.Errorf("%s\ndecoded:  %+v\nwant: %+v", g.text, got, g.want)
			}
			if got := string(protocol.Append(nil, &g.want)); got != g.text+protocol.end {
				t.Errorf("encoded:  %q\nwant: %q", got, g.text+protocol.end)
			}
		}
	}
}

// decode decodes a message that is a request or an answer, as its type says.
func decode(p frame.Protocol, typ frame.Type, b []byte, f *frame.Frame) error {
	if typ.IsRequest() {
		return p.DecodeRequest(b, f)
	}
	return p.DecodeAnswer(b, f)
}

func uuid(text string) [16]byte {
	id, ok := frame.ParseUUID([]byte(text))
	if !ok {
		panic("not a UUID: " + text)
	}
	return id
}

func ulid(text string) [16]byte {
	id, ok := frame.ParseULID([]byte(text))
	if !ok {
		panic("not a ULID: " + text)
	}
	return id
}

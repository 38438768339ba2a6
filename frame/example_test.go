package frame_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/juggler-go/juggler/frame"
)

// A server reads a call and answers it.
func Example() {
	message := []byte(`{"type":"CALL","id":"1","uri":"math.add","args":[1,2],"timeout":5000}`)

	var call frame.Frame
	if err := frame.Juggler1.DecodeRequest(message, &call); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%v of %s with %s within %v\n", call.Type, call.URI, call.Args, call.Timeout)

	out := frame.Juggler1.Append(nil, &frame.Frame{Type: frame.Ack, For: call.ID})
	out = append(out, '\n')
	out = frame.Juggler1.Append(out, &frame.Frame{Type: frame.Res, For: call.ID, Args: []byte("3")})
	os.Stdout.Write(out)

	// Output:
	// CALL of math.add with [1,2] within 5s
	// {"type":"ACK","for":"1"}
	// {"type":"RES","for":"1","args":3}
}

// A request that is wrong gets a NACK if it can be answered; anything else
// ends the connection.
func ExampleProtocol_DecodeRequest_refused() {
	for _, message := range []string{
		`{"type":"SUB","id":"1","channel":""}`,
		`{"type":"SUB","channel":"news.go"}`,
	} {
		var f frame.Frame
		err := frame.Juggler1.DecodeRequest([]byte(message), &f)
		var refused *frame.DecodeError
		if !errors.As(err, &refused) {
			continue
		}
		if !refused.Nack {
			fmt.Println("close with", refused.Code, refused.Reason)
			continue
		}
		fmt.Printf("%s\n", frame.Juggler1.Append(nil, &frame.Frame{Type: frame.Nack, For: f.ID, Err: frame.ErrorBody{
			Code: refused.Code, Message: []byte(refused.Reason),
		}}))
	}
	// Output:
	// {"type":"NACK","for":"1","error":{"code":400,"message":"channel: want a string that is not empty"}}
	// close with 1002 id: want a string of 1 to 64 bytes
}

// The same event for a client of each protocol.
func ExampleProtocol_Append() {
	id, _ := frame.ParseULID([]byte("01KAVQ0RV0TGT1GJJ6JRW5Y0Z4"))
	event := frame.Frame{
		Type: frame.Evnt, Publication: id,
		Channel: []byte("news.go"), Matched: []byte("news.*"), Args: []byte(`{"title": "<Go>"}`),
	}
	fmt.Printf("%s\n", frame.Juggler1.Append(nil, &event))
	fmt.Printf("%s", frame.Juggler0.Append(nil, &event))
	// Output:
	// {"type":"EVNT","id":"01KAVQ0RV0TGT1GJJ6JRW5Y0Z4","channel":"news.go","pattern":"news.*","args":{"title": "<Go>"}}
	// {"meta":{"type":10,"uuid":"00000000-0000-0000-0000-000000000000"},"payload":{"for":"019ab770-6360-d434-184a-4696385f03e4","channel":"news.go","pattern":"news.*","args":{"title":"\u003cGo\u003e"}}}
}

func ExampleHeaderSeq() {
	for name, value := range frame.HeaderSeq([]byte(`{"tenant":"a","traceparent":"00-1-2-03"}`)) {
		fmt.Println(name, value)
	}
	// Output:
	// tenant a
	// traceparent 00-1-2-03
}

// No client can pass itself off as another user.
func ExampleSetHeader() {
	fromClient := []byte(`{"user":"root","us\u0065r":"root","tenant":"a"}`)
	fmt.Printf("%s\n", frame.SetHeader(nil, fromClient, "user", "7"))
	// Output:
	// {"tenant":"a","user":"7"}
}

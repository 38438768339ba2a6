package load

import (
	"strings"
	"testing"
)

// What is wrong with a recovery is seen, in either protocol.
func TestRecoveryFaults(t *testing.T) {
	const missed = 3
	id := func(number int) string { return "10000000" + string(rune('0'+number)) }
	jugglerSays := func(recovered string, events ...int) (messages []string) {
		messages = append(messages, `{"type":"ACK","for":"sub","at":9,"tag":"AAAAAAAAAAE","recovered":`+recovered+`}`)
		for _, e := range events {
			messages = append(messages, `{"type":"EVNT","id":"01","at":9,"tag":"AAAAAAAAAAE","channel":"c","args":"`+id(e)+`"}`)
		}
		return messages
	}
	centrifugeSays := func(recovered string, events ...int) []string {
		var publications []string
		for _, e := range events {
			publications = append(publications, `{"data":"`+id(e)+`","offset":1}`)
		}
		return []string{`{"id":2,"subscribe":{"recoverable":true,"epoch":"e","publications":[` +
			strings.Join(publications, ",") + `],"recovered":` + recovered + `,"offset":3}}`}
	}
	for name, says := range map[string]func(string, ...int) []string{"juggler": jugglerSays, "centrifuge": centrifugeSays} {
		p := protocols[name](Spec{}).(recoverer)
		for _, test := range []struct {
			recovered string
			events    []int
			want      faults
		}{
			{"true", []int{0, 1, 2}, faults{}},
			{"false", nil, faults{lost: 4}},
			{"true", []int{0, 1}, faults{lost: 1}},
			{"true", []int{0, 2}, faults{disordered: 1}},
			{"true", []int{0, 1, 1, 2}, faults{duplicated: 1}},
			{"true", []int{1, 0, 2}, faults{disordered: 1, duplicated: 1}},
		} {
			var told recovery
			for _, message := range says(test.recovered, test.events...) {
				if err := p.recovery([]byte(message), &told); err != nil {
					t.Fatal(err)
				}
			}
			if got := told.faults(missed); !told.answered || got != test.want {
				t.Errorf("%s, recovered %s, events %v: %+v, want %+v", name, test.recovered, test.events, got, test.want)
			}
		}
		if err := p.recovery([]byte(`{"type":"NACK","for":"sub","code":400}`), new(recovery)); err == nil {
			t.Errorf("%s: a refusal is no error", name)
		}
	}
}

// A position goes back to the server as it came.
func TestRecoveryPosition(t *testing.T) {
	for _, test := range []struct{ protocol, answer, want string }{
		{"juggler", `{"type":"ACK","for":"sub","at":57,"tag":"AAAAAAAAAAE"}`, `"since":{"at":57,"tag":"AAAAAAAAAAE"}`},
		{"juggler", `{"type":"ACK","for":"sub"}`, ""},
		{"centrifuge", `{"id":2,"subscribe":{"recoverable":true,"epoch":"xyz","positioned":true}}`, `"recover":true,"epoch":"xyz","offset":0`},
		{"centrifuge", `{"id":2,"subscribe":{"recoverable":true,"epoch":"xyz","offset":7}}`, `"recover":true,"epoch":"xyz","offset":7`},
		{"centrifuge", `{"id":2,"subscribe":{}}`, ""},
	} {
		p := protocols[test.protocol](Spec{}).(recoverer)
		position := p.position([]byte(test.answer))
		if got := string(p.subscribingAfter("c", position)); !strings.Contains(got, test.want) || (position == "") != (test.want == "") {
			t.Errorf("%s is gone on after with %s, want %s in it", test.answer, got, test.want)
		}
	}
}

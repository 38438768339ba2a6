package frame_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/juggler-go/juggler/frame"
)

var update = flag.Bool("update", false, "write the files that tests compare with anew")

// vectors are the messages of juggler.1 in the tables of these tests, for tests of encoders and
// decoders in other languages.
type vectors struct {
	About    string        `json:"about"`
	Requests vectorsOneWay `json:"requests"` // of clients
	Answers  vectorsOneWay `json:"answers"`  // of servers
}

type vectorsOneWay struct {
	Right   []vector `json:"right"`             // as our own encoder writes them
	Odd     []vector `json:"odd"`               // that mean what Means says
	Ignored []vector `json:"ignored,omitempty"` // of a type that is unknown
	Wrong   []vector `json:"wrong"`             // for Reason, closed with Close or refused by a NACK with Code
}

type vector struct {
	Text   string          `json:"text"`
	Means  json.RawMessage `json:"means,omitempty"`
	Close  int             `json:"close,omitempty"`
	Code   int             `json:"code,omitempty"`
	Reason string          `json:"reason,omitempty"`
}

func allVectors() vectors {
	v := vectors{About: "Messages of juggler.1, docs/protocol.md. " +
		"right: as our encoder writes them. odd: they mean the message in means. ignored: of an unknown type. " +
		"wrong: who gets one closes with close, or answers NACK with code; reason is for people."}
	for _, g := range golden1 {
		way := &v.Answers
		if g.want.Type.IsRequest() {
			way = &v.Requests
		}
		way.Right = append(way.Right, vector{Text: g.text})
	}
	v.Requests.Odd, v.Answers.Odd = odd(acceptedRequests1), odd(acceptedAnswers1)
	v.Requests.Wrong = refusedVectors(refusedSyntax, refusedRequests1)
	v.Answers.Wrong = refusedVectors(refusedSyntax, refusedAnswers1)
	for _, a := range unknownAnswers {
		v.Answers.Ignored = append(v.Answers.Ignored, vector{Text: a.text})
	}
	return v
}

func odd(goldens []golden) (all []vector) {
	for _, g := range goldens {
		all = append(all, vector{Text: g.text, Means: frame.Juggler1.Append(nil, &g.want)})
	}
	return all
}

func refusedVectors(tables ...[]refusal) (all []vector) {
	for _, table := range tables {
		for _, r := range table {
			v := vector{Text: r.text, Close: frame.CloseProtocolError, Reason: r.reason}
			if r.typ != frame.Invalid || r.id != "" {
				v.Close, v.Code = 0, frame.CodeBadRequest
			}
			all = append(all, v)
		}
	}
	return all
}

// The file of vectors is what the tables of these tests have.
func TestVectors(t *testing.T) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(allVectors()); err != nil {
		t.Fatal(err)
	}
	const file = "../docs/vectors/juggler.1.json"
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(file); err != nil || !bytes.Equal(old, text.Bytes()) {
		t.Errorf("%s is not what the tables of messages say (%v): go test ./frame -run TestVectors -update writes it anew", file, err)
	}
}

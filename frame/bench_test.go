package frame_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/frame"
)

const (
	smallCall1 = `{"type":"CALL","id":"17","uri":"math.add","args":[1,2],"timeout":5000}`
	smallCall0 = `{"meta":{"type":1,"uuid":"13374918-84ac-47bc-b1f8-6a89a3a0ca0f"},"payload":{"uri":"math.add","timeout":1000000000,"args":[1,2]}}` + "\n"
)

// BenchmarkDecode decodes requests beside CALL.
func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string]string{
		"SUB":          `{"type":"SUB","id":"17","channel":"news.go"}`,
		"PUB":          `{"type":"PUB","id":"17","channel":"news.go","args":{"title":"Go 1.26 is out"}}`,
		"CALL-headers": `{"type":"CALL","id":"17","uri":"math.add","headers":{"traceparent":"00-1-2-03","tenant":"a"},"args":[1,2]}`,
		"CALL-escapes": `{"type":"CALL","id":"a\"b","uri":"math.\u0061dd","args":["\n\u00e9\ud83d\ude00"]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var f frame.Frame
			buf := make([]byte, 0, len(text))
			for b.Loop() {
				if err := frame.Juggler1.DecodeRequest(append(buf, text...), &f); err != nil { // which unescapes in place
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendEvent encodes what a fan-out encodes once.
func BenchmarkAppendEvent(b *testing.B) {
	event := frame.Frame{
		Type: frame.Evnt, ID: []byte("01JDG0000000000000000000"), Channel: []byte("news.go"),
		Args: []byte(`{"title":"Go 1.26 is out"}`),
	}
	for _, p := range []frame.Protocol{frame.Juggler1, frame.Juggler0} {
		b.Run(p.String(), func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = p.Append(buf[:0], &event)
			}
		})
	}
}

// BenchmarkHeaders sets a header in an object of two.
func BenchmarkHeaders(b *testing.B) {
	headers := frame.AppendHeaders(nil, smallHeaders)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = frame.SetHeader(buf[:0], headers, "user", "u-17")
	}
}

// BenchmarkID writes and reads the ids of both protocols.
func BenchmarkID(b *testing.B) {
	id := [16]byte{1, 2, 3}
	buf := make([]byte, 0, 64)
	b.Run("ULID", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := frame.ParseULID(frame.AppendULID(buf, id)); !ok {
				b.Fatal("not read again")
			}
		}
	})
	b.Run("UUID", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := frame.ParseUUID(frame.AppendUUID(buf, id)); !ok {
				b.Fatal("not read again")
			}
		}
	})
}

func BenchmarkDecodeCall(b *testing.B) {
	for _, bench := range []struct {
		p    frame.Protocol
		text string
	}{{frame.Juggler1, smallCall1}, {frame.Juggler0, smallCall0}} {
		b.Run(bench.p.String(), func(b *testing.B) {
			text := []byte(bench.text)
			var f frame.Frame
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.p.DecodeRequest(text, &f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A publication with args of 16 KB, beside what encoding/json takes to check
// the same text.
func BenchmarkDecodeLargePub(b *testing.B) {
	item := `{"id":12345,"title":"an event with a title of some length","tags":["a","b"],"price":12.5,"text":"日本語"},`
	text := []byte(`{"type":"PUB","id":"17","channel":"news.go","args":[` + strings.Repeat(item, 150) + `null]}`)
	b.Run("juggler.1", func(b *testing.B) {
		var f frame.Frame
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if err := frame.Juggler1.DecodeRequest(text, &f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json-valid", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if !json.Valid(text) {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("append-juggler.0", func(b *testing.B) {
		var f frame.Frame
		if err := frame.Juggler1.DecodeRequest(text, &f); err != nil {
			b.Fatal(err)
		}
		event := frame.Frame{Type: frame.Evnt, Channel: f.Channel, Args: f.Args}
		var buf []byte
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			buf = frame.Juggler0.Append(buf[:0], &event)
		}
	})
}

func BenchmarkAppendAckAndRes(b *testing.B) {
	ack := frame.Frame{
		Type: frame.Ack, For: []byte("13374918-84ac-47bc-b1f8-6a89a3a0ca0f"),
		ForType: frame.Call, URI: []byte("math.add"),
	}
	res := ack
	res.Type, res.Args = frame.Res, []byte("3")
	for _, p := range []frame.Protocol{frame.Juggler1, frame.Juggler0} {
		b.Run(p.String(), func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = p.Append(p.Append(buf[:0], &ack), &res)
			}
		})
	}
}

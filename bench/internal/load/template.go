package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// A template is a message that was built once; its copies differ in their id.
type template struct {
	bytes  []byte
	ids    []place
	varint bool // the id is four bytes of a protobuf varint, not digits
}

// A place is where an id stands.
type place struct {
	at   int
	mask [4]byte // what its first byte is masked with, and so on
}

// maskKey is the key of all frames that the generator sends.
var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// sampleID stands in a message that becomes a template, once or more, as
// digits or as a varint.
const (
	sampleID       = "123456789"
	sampleIDVarint = "\x95\x9a\xef\x3a"
)

// newTemplate makes a template of a message that has sampleID in it. With
// opcode 0 the message is sent as it is, else as one masked WebSocket frame.
func newTemplate(opcode byte, message string) template {
	return makeTemplate(opcode, message, sampleID)
}

func newVarintTemplate(opcode byte, message string) template {
	t := makeTemplate(opcode, message, sampleIDVarint)
	t.varint = true
	return t
}

func makeTemplate(opcode byte, message, sample string) template {
	t := template{bytes: []byte(message)}
	header := 0
	if opcode != 0 {
		t.bytes = appendFrame(nil, opcode, []byte(message))
		header = len(t.bytes) - len(message)
	}
	for from := 0; ; {
		at := strings.Index(message[from:], sample)
		if at < 0 {
			break
		}
		at += from
		p := place{at: header + at}
		if opcode != 0 {
			for i := range p.mask {
				p.mask[i] = maskKey[(at+i)&3]
			}
		}
		t.ids = append(t.ids, p)
		from = at + len(sample)
	}
	if len(t.ids) == 0 {
		panic(fmt.Sprintf("load: no id in the template %q", message))
	}
	return t
}

// append appends the message with another id.
func (t *template) append(dst []byte, id uint32) []byte {
	start := len(dst)
	dst = append(dst, t.bytes...)
	for i := range t.ids {
		p := &t.ids[i]
		if t.varint {
			p.putVarint(dst[start+p.at:], id)
		} else {
			p.putDigits(dst[start+p.at:], id)
		}
	}
	return dst
}

func (p *place) putDigits(dst []byte, id uint32) {
	for i := idDigits - 1; i >= 0; i-- {
		dst[i] = byte('0'+id%10) ^ p.mask[i&3]
		id /= 10
	}
}

// putVarint writes ids from 1<<21 to 1<<28, which all of ours are.
func (p *place) putVarint(dst []byte, id uint32) {
	dst[0] = (byte(id) | 0x80) ^ p.mask[0]
	dst[1] = (byte(id>>7) | 0x80) ^ p.mask[1]
	dst[2] = (byte(id>>14) | 0x80) ^ p.mask[2]
	dst[3] = byte(id>>21) ^ p.mask[3]
}

// filler returns n bytes that hold no id, and get as much smaller by compression as the
// records of an application do. Servers ask for it with each message.
func filler(n int) string {
	if text, ok := fillers.Load(n); ok {
		return text.(string)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "{id:%d,symbol:ACME%d,price:%.2f,side:buy,at:2026-11-30T09:%02d:%02dZ},",
			r.IntN(1_000_000), r.IntN(50), 1000*r.Float64(), r.IntN(60), r.IntN(60))
	}
	text, _ := fillers.LoadOrStore(n, b.String()[:n])
	return text.(string)
}

// fillers are the texts that filler has made, by their lengths.
var fillers sync.Map

// publicationText is what a publication carries: its id, then filler.
func publicationText(n int) string { return sampleID + filler(max(0, n-idDigits)) }

// idIn finds the id of a publication that was received, in a message whose
// text (of the length of publicationText) is followed by after.
func idIn(message []byte, textLen int, after string) (id uint32, ok bool) {
	at := len(message) - len(after) - textLen
	if at < 0 || !bytes.HasSuffix(message, []byte(after)) {
		return 0, false
	}
	return parseID(message[at:])
}

// idAfter finds the id of a publication of any size behind the first before.
func idAfter(message []byte, before string) (id uint32, ok bool) {
	at := bytes.Index(message, []byte(before))
	if at < 0 {
		return 0, false
	}
	return parseID(message[at+len(before):])
}

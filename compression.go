package juggler

import (
	"fmt"
	"slices"

	"github.com/gobwas/ws"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/names"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/wsconn"
)

// Compression says what is compressed of what sessions are sent; see [WithCompression].
type Compression struct {
	// Threshold is how many bytes a message has at least that is compressed, 128 B to 1 MiB:
	// shorter ones get hardly smaller. Default, and 0: 512.
	Threshold int

	// Level is how much work is put into it, 1 to 6; the greatest takes twice as long as the
	// least, for a tenth fewer bytes. Default, and 0: 3.
	Level int

	// Exempt names the URIs and channels of which nothing is sent compressed: results,
	// parts and events that have a secret beside text that somebody else may choose. Who can
	// choose that and sees how long messages are on the wire may guess the secret (CRIME,
	// BREACH). Each is a name, or how names begin and then a star: "account.*". Up to 256.
	Exempt []string
}

// WithCompression lets clients ask for compressed messages (permessage-deflate, RFC 7692),
// as browsers do by themselves, and send them. Default: nothing is compressed.
//
// No message refers to another one, so that an idle session costs no more than without. An
// event is compressed once for all sessions of an event loop. Messages of more than 1 MiB
// are not: one would hold up the others of its loop for more than a few milliseconds.
// [WithMaxMessageBytes] bounds what a client's message holds, and is looked at while it is
// inflated; rates count that, too. [WithMaxQueueBytes] counts what waits as it is sent.
func WithCompression(c Compression) Option {
	return optionFunc(func(cfg *config) { cfg.compress(c) })
}

// compress notes how to compress, or the problems that c has.
func (cfg *config) compress(c Compression) {
	refuse := func(problem string, args ...any) {
		cfg.problems.Add("WithCompression: " + fmt.Sprintf(problem, args...))
	}
	if from := option.DeflateFrom; c.Threshold == 0 {
		c.Threshold = from.Default
	} else if c.Threshold < from.Min || c.Threshold > from.Max {
		refuse("Threshold is %d, want %d to %d", c.Threshold, from.Min, from.Max)
	}
	if level := option.DeflateLevel; c.Level == 0 {
		c.Level = level.Default
	} else if c.Level < level.Min || c.Level > level.Max {
		refuse("Level is %d, want %d to %d", c.Level, level.Min, level.Max)
	}
	if len(c.Exempt) > option.DeflateExempt {
		refuse("Exempt has %d names, want up to %d", len(c.Exempt), option.DeflateExempt)
	}
	cfg.exempt = nil
	for _, text := range c.Exempt {
		set, ok := names.Parse(text)
		if !ok {
			refuse("Exempt has %q, want %s", text, names.Want)
		}
		cfg.exempt = append(cfg.exempt, set)
	}
	cfg.compression = &c
}

// compresses reports whether what is sent of a URI or channel may be compressed.
func (cfg *config) compresses(name string) bool {
	name, _ = broker.IsOwn(name)
	return !slices.ContainsFunc(cfg.exempt, func(s names.Set) bool { return s.Has(name) })
}

// A deflatedFrame is a frame for many sessions of a shard, compressed when the first of
// them takes it so.
type deflatedFrame struct {
	frame []byte // empty: it is sent as it is
	tried bool
}

// of returns framed, about a channel, as sessions get it that take it compressed; empty:
// as it is.
func (d *deflatedFrame) of(sh *shard, framed []byte, name string) []byte {
	if !d.tried {
		d.tried, d.frame = true, d.frame[:0]
		if sh.h.cfg.compresses(name) {
			d.frame = sh.group.AppendDeflated(d.frame, wsconn.Payload(framed))
		}
	}
	return d.frame
}

// writeShared queues framed, or in its place what that is compressed, unless it is empty.
func (s *session) writeShared(framed, deflated []byte) {
	if len(deflated) == 0 {
		s.WriteRaw(framed)
		return
	}
	s.shard.h.follower.Load().sentFramed(s, framed)
	s.Conn.WriteRaw(deflated)
	s.shard.h.stats.deflated(len(framed), len(deflated))
}

// write queues a message about a URI or channel.
func (s *session) write(message, name []byte) {
	h := s.shard.h
	if !s.Deflates(len(message)) || !h.cfg.compresses(string(name)) {
		s.WriteText(message)
		return
	}
	h.follower.Load().sent(s, message)
	if n := s.WriteDeflated(ws.OpText, message); n > 0 {
		h.stats.deflated(len(message), n)
	}
}

// writeFramed queues a frame about a channel for s alone.
func (s *session) writeFramed(framed []byte, name string) {
	if message := wsconn.Payload(framed); s.Deflates(len(message)) {
		s.write(message, bytesOf(name))
	} else {
		s.WriteRaw(framed)
	}
}

// deflated counts a message that is sent compressed.
func (c *counters) deflated(from, to int) {
	c.deflatedFrom.Add(uint64(from))
	c.deflatedTo.Add(uint64(to))
}

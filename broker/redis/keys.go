package redis

import (
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
	"github.com/oklog/ulid/v2"
)

// layout is the version of what lies in Redis. It changes when processes of before
// cannot work together with those of now.
const layout = 2

// keyspace names the keys and channels of a broker. All processes of a system
// need the same prefix and the same number of lanes.
//
// URIs and nodes are hashed onto lanes. A lane is a hash tag: its keys live in
// one slot, so that one script may use them together, and the lanes' slots lie
// evenly over the cluster.
type keyspace struct {
	prefix   string
	channels string   // what channels begin with, before a colon
	tags     []string // by lane, with the braces
	sharded  bool     // channels are sharded ones
}

func newKeyspace(prefix string, lanes int, sharded bool) *keyspace {
	ks := &keyspace{prefix: prefix, channels: prefix, tags: make([]string, lanes), sharded: sharded}
	for i := range ks.tags {
		ks.tags[i] = laneTag(i, lanes)
	}
	return ks
}

// in has channels say in which database the keys are: Redis has the same channels
// for all databases of a server.
func (ks *keyspace) in(database int) *keyspace {
	if database != 0 {
		ks.channels = ks.prefix + ":db" + strconv.Itoa(database)
	}
	return ks
}

// laneTag returns "{i.k}" with the smallest k that puts the tag into the
// middle half of the i-th of n equal ranges of slots. Masters own ranges: a
// tag in the middle stays with its range however the cluster rounds them.
func laneTag(i, n int) string {
	low, width := i*conn.Slots/n, conn.Slots/n
	for k := 0; ; k++ {
		tag := strconv.Itoa(i) + "." + strconv.Itoa(k)
		if s := conn.Slot(tag); s >= low+width/4 && s <= low+width*3/4 {
			return "{" + tag + "}"
		}
	}
}

// laneOf returns the lane of a URI, a channel or the bytes of a node's id: its
// FNV-1a hash of 32 bits modulo the number of lanes.
func (ks *keyspace) laneOf(name string) int {
	if len(ks.tags) == 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(name)) //nolint:errcheck // never fails
	return int(h.Sum32() % uint32(len(ks.tags)))
}

func (ks *keyspace) laneOfNode(node broker.ID) int { return ks.laneOf(string(node[:])) }

// key returns prefix:{lane}:kind:name, or prefix:{lane}:kind without a name.
func (ks *keyspace) key(lane int, kind, name string) string {
	if name == "" {
		return ks.prefix + ":" + ks.tags[lane] + ":" + kind
	}
	return ks.prefix + ":" + ks.tags[lane] + ":" + kind + ":" + name
}

// appendKeys appends the keys of one name and several kinds. They are made as one
// string, since each call needs some.
func (ks *keyspace) appendKeys(names []string, lane int, name string, kinds ...string) []string {
	const longest = len("registry-names")
	var all strings.Builder
	all.Grow(len(kinds) * (len(ks.prefix) + len(ks.tags[lane]) + longest + len(name) + 3))
	for _, kind := range kinds {
		start := all.Len()
		for _, part := range [...]string{ks.prefix, ":", ks.tags[lane], ":", kind, ":", name} {
			all.WriteString(part)
		}
		names = append(names, all.String()[start:])
	}
	return names
}

// Keys of a URI, in its lane. bunch.go has others.
func (ks *keyspace) calls(lane int, uri string) string     { return ks.key(lane, "calls", uri) }
func (ks *keyspace) cancelled(lane int, uri string) string { return ks.key(lane, "cancelled", uri) }
func (ks *keyspace) bunches(lane int, uri string) string   { return ks.key(lane, "bunches", uri) }

// Keys of a lane and of one of its callees.
func (ks *keyspace) callees(lane int) string              { return ks.key(lane, "callees", "") }
func (ks *keyspace) watch(lane int) string                { return ks.key(lane, "watch", "") }
func (ks *keyspace) uris(lane int) string                 { return ks.key(lane, "uris", "") }
func (ks *keyspace) taken(lane int, callee string) string { return ks.key(lane, "taken", callee) }
func (ks *keyspace) stop(lane int, callee string) string  { return ks.key(lane, "stop", callee) }

// uriOf returns the URI whose list of calls this is.
func (ks *keyspace) uriOf(lane int, calls string) string {
	return strings.TrimPrefix(calls, ks.key(lane, "calls", "")+":")
}

// refused is a key of a lane and of a node that calls it.
func (ks *keyspace) refused(lane int, node broker.ID) string {
	return ks.key(lane, "refused", ulid.ULID(node).String())
}

// Keys of a channel whose events are kept, in its lane.
func (ks *keyspace) log(lane int, channel string) string { return ks.key(lane, "log", channel) }
func (ks *keyspace) pos(lane int, channel string) string { return ks.key(lane, "pos", channel) }

// note is the key that a channel's publication with a key of its own is noted at.
func (ks *keyspace) note(lane int, channel, key string) string {
	return ks.key(lane, "note", strconv.Itoa(len(channel))+":"+channel+":"+key)
}

// Keys of a node, in its lane.
func (ks *keyspace) node(lane int, node broker.ID) string {
	return ks.key(lane, "node", ulid.ULID(node).String())
}

func (ks *keyspace) results(lane int, node broker.ID) string {
	return ks.key(lane, "results", ulid.ULID(node).String())
}

// Keys of the parts for a node, in its lane: the parts, their bytes, the token that says
// that there are some, and who reads them.
func (ks *keyspace) parts(lane int, node broker.ID) string {
	return ks.key(lane, "parts", ulid.ULID(node).String())
}

func (ks *keyspace) partsBytes(lane int, node broker.ID) string {
	return ks.key(lane, "parts-bytes", ulid.ULID(node).String())
}

func (ks *keyspace) partsToken(lane int, node broker.ID) string {
	return ks.key(lane, "parts-token", ulid.ULID(node).String())
}

func (ks *keyspace) partsReader(lane int, node broker.ID) string {
	return ks.key(lane, "parts-reader", ulid.ULID(node).String())
}

// Keys of a call with a key, in the lane of its URI: its record and its parts. Both, and the
// address, have no more of the key than this; the record has all of it.
func (ks *keyspace) keyed(lane int, node broker.ID) string {
	return ks.key(lane, "keyed", hex.EncodeToString(node[len(keyedMark):]))
}

func (ks *keyspace) keyedParts(lane int, node broker.ID) string {
	return ks.key(lane, "keyed-parts", hex.EncodeToString(node[len(keyedMark):]))
}

// keyedOwner is the key of the records that are counted together with that of a call.
func (ks *keyspace) keyedOwner(lane int, ref [16]byte) string {
	return ks.key(lane, "keyed-owner", hex.EncodeToString(ref[:ownerLength]))
}

// grantsChannel is where a callee hears what the nodes of a lane grant it.
func (ks *keyspace) grantsChannel(lane int, callee broker.ID) string {
	return ks.channel(lane, "grants:"+ulid.ULID(callee).String())
}

// cancelChannel is where a lane's callees hear of cancellations.
func (ks *keyspace) cancelChannel(lane int) string { return ks.channel(lane, "cancel") }

// Kinds of channels that events are published on, with the colons around them. The server's
// own have another, so that no pattern of Redis can reach them: all that we ask for begin
// as eventKind says.
const (
	eventKind = ":event:"
	ownKind   = ":own:"
)

// eventChannel returns the Redis channel of a topic. A sharded channel lies in
// the slot of its lane; a classic one needs no slot, and all of a kind have one prefix
// so that patterns reach them. The zero byte of one of the server's own is its kind.
func (ks *keyspace) eventChannel(topic string) string {
	kind, name := eventKind, topic
	if own, ok := broker.IsOwn(topic); ok {
		kind, name = ownKind, own
	}
	if ks.sharded {
		return ks.channels + ":" + ks.tags[ks.laneOf(topic)] + kind + name
	}
	return ks.channels + kind + name
}

// eventPattern returns the Redis pattern of the channels of topics that match a pattern.
func (ks *keyspace) eventPattern(pattern string) string { return ks.channels + eventKind + pattern }

// isEventChannel reports whether a Redis channel of ours is that of a topic.
func (ks *keyspace) isEventChannel(name string) bool {
	rest := strings.TrimPrefix(name, ks.channels)
	if ks.sharded {
		_, rest, _ = strings.Cut(rest, "}") // the tag of its lane
	}
	return strings.HasPrefix(rest, eventKind) || strings.HasPrefix(rest, ownKind)
}

// topicOf returns whose channel of a lane this is; none if it is that of a probe.
func (ks *keyspace) topicOf(lane int, name string) (topic string, ok bool) {
	rest := strings.TrimPrefix(name, ks.channels)
	if ks.sharded {
		if rest, ok = strings.CutPrefix(rest, ":"+ks.tags[lane]); !ok {
			return "", false
		}
	}
	if topic, ok = strings.CutPrefix(rest, ownKind); ok {
		return broker.OwnChannel(topic), true
	}
	if topic, ok = strings.CutPrefix(rest, eventKind); !ok {
		return "", false
	}
	return topic, true
}

// probeChannel is a channel of one feed alone, of a lane or classic.
func (ks *keyspace) probeChannel(lane int, feed string) string {
	if lane == classicFeed {
		return ks.channels + ":probe:" + feed
	}
	return ks.channel(lane, "probe:"+feed)
}

func (ks *keyspace) channel(lane int, name string) string {
	return ks.channels + ":" + ks.tags[lane] + ":" + name
}

// Keys of who is in channels, in their lane: the nodes with members there, the stays that
// are over, and since when nodes have come; the channels of a stay, what it has put in one,
// and the members of a channel, of all nodes.
func (ks *keyspace) hereNodes(lane int) string            { return ks.key(lane, "here-nodes", "") }
func (ks *keyspace) hereDead(lane int) string             { return ks.key(lane, "here-dead", "") }
func (ks *keyspace) hereWatch(lane int) string            { return ks.key(lane, "here-watch", "") }
func (ks *keyspace) hereOf(lane int, stay string) string  { return ks.key(lane, "here-of", stay) }
func (ks *keyspace) here(lane int, channel string) string { return ks.key(lane, "here", channel) }

func (ks *keyspace) herePut(lane int, stay, channel string) string {
	return ks.key(lane, "here-put", stay+":"+channel)
}

// hereChannel is where those hear of changes who watch a channel.
func (ks *keyspace) hereChannel(channel string) string {
	if ks.sharded {
		return ks.channel(ks.laneOf(channel), "here:"+channel)
	}
	return ks.channels + ":here:" + channel
}

// rules is the key of a lane's rules of history.
func (ks *keyspace) rules(lane int) string { return ks.key(lane, "rules", "") }

// laneOfChannel returns the lane whose tag a sharded channel has.
func (ks *keyspace) laneOfChannel(name string) int {
	for i, tag := range ks.tags {
		if strings.HasPrefix(name[len(ks.channels)+1:], tag) {
			return i
		}
	}
	return 0
}

// slotOf returns the hash slot of a lane.
func (ks *keyspace) slotOf(lane int) int {
	tag := ks.tags[lane]
	return conn.Slot(tag[1 : len(tag)-1])
}

// publish is the command for the kind of channels in use.
func (ks *keyspace) publish() string {
	if ks.sharded {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// kind is the kind of channels in use.
func (ks *keyspace) kind() subjectKind {
	if ks.sharded {
		return shardedChannel
	}
	return channel
}

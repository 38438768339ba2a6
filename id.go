package juggler

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/juggler-go/juggler/broker"
)

// newID makes a ULID: 48 bits of time in ms, then 80 random ones. The random
// source of math/rand/v2 is seeded by the system and does not repeat; ids are
// names here, never secrets.
func newID() broker.ID {
	var id broker.ID
	binary.BigEndian.PutUint64(id[:8], uint64(time.Now().UnixMilli())<<16|rand.Uint64()>>48)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

// idTime returns when an id was made.
func idTime(id broker.ID) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16))
}

// newSessionID makes the ULID of a session, whose random part begins with
// where the session is found again: no index by id is needed.
func newSessionID(shard uint8, slot uint32) broker.ID {
	id := newID()
	id[6] = shard
	binary.BigEndian.PutUint32(id[7:11], slot)
	return id
}

// sessionPlace reads back what newSessionID put into id.
func sessionPlace(id broker.ID) (shard uint8, slot uint32) {
	return id[6], binary.BigEndian.Uint32(id[7:11])
}

// idText returns the 26 characters of a ULID.
func idText(id broker.ID) string { return ulid.ULID(id).String() }

// parseID reads the 26 characters of a ULID.
func parseID(text string) (broker.ID, bool) {
	u, err := ulid.ParseStrict(text)
	return broker.ID(u), err == nil
}

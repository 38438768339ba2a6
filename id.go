package juggler

import (
	"encoding/binary"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/juggler-go/juggler/broker"
)

// idTime returns when an id was made.
func idTime(id broker.ID) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16))
}

// newSessionID makes the ULID of a session, whose random part begins with
// where the session is found again: no index by id is needed.
func newSessionID(shard uint8, slot uint32) broker.ID {
	id := broker.NewID()
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

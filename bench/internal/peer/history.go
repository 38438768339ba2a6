package peer

import (
	"strings"
	"time"

	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/broker"
)

// What servers with history keep of each channel whose name begins with
// load.KeptPrefix, and of no other: more than a client misses, and for longer
// than a run takes.
const (
	keptEvents = 1000
	keptFor    = time.Hour
)

var historyRule = broker.HistoryRule{Channels: load.KeptPrefix + "*", Events: keptEvents, For: keptFor}

func isKept(channel string) bool { return strings.HasPrefix(channel, load.KeptPrefix) }

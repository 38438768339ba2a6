package option

import "time"

// Those of the handler, package juggler. [ServerMaxSessions] is less by default where
// the process may open fewer files. [ServerMaxCallTimeout] bounds [ServerCallTimeout].
// There are at most 32 event loops since a topic keeps the set of its shards in one
// word, half of it for those of portable connections.
var (
	ServerEventLoops        = Range[int]{"WithEventLoops", 0, 0, 32}
	ServerDrainRate         = Range[int]{"WithDrainRate", 500, 1, 1_000_000}
	ServerMaxMessageBytes   = Range[int]{"WithMaxMessageBytes", 64 << 10, 256, 16 << 20}
	ServerMaxArgsBytes      = Range[int]{"WithMaxArgsBytes", 0, 0, 16 << 20}
	ServerMaxHeadersBytes   = Range[int]{"WithMaxHeadersBytes", 4 << 10, 0, 1 << 20}
	ServerMaxNameBytes      = Range[int]{"WithMaxNameBytes", 1 << 10, 1, 1 << 16}
	ServerMaxSubscriptions  = Range[int]{"WithMaxSubscriptions", 128, 0, 1_000_000}
	ServerMaxPatterns       = Range[int]{"WithMaxPatterns", 16, 0, 1_000_000}
	ServerMaxPatternBytes   = Range[int]{"WithMaxPatternBytes", 256, 1, 1 << 16}
	ServerMaxNodePatterns   = Range[int]{"WithMaxNodePatterns", 1 << 14, 1, 1 << 24}
	ServerMaxCalls          = Range[int]{"WithMaxCalls", 128, 0, 1_000_000}
	ServerMaxCallsPerURI    = Range[int]{"WithMaxCallsPerURI", 128, 1, 1_000_000}
	ServerMaxKeys           = Range[int]{"WithMaxKeys", 100, 1, 1_000_000}
	ServerMaxPresent        = Range[int]{"WithMaxPresent", 100, 1, 1000}
	ServerStreamWindow      = Range[int]{"WithStreamWindow", 128, 1, 1 << 16}
	ServerStreamWindowBytes = Range[int]{"WithStreamWindowBytes", 64 << 10, 1 << 10, 16 << 20}
	ServerMaxRequests       = Range[int]{"WithMaxRequests", 64, 1, 100_000}
	ServerMaxQueueBytes     = Range[int]{"WithMaxQueueBytes", 1 << 20, 4 << 10, 1 << 30}
	ServerCallStats         = Range[int]{"WithCallStats", 0, 0, 1000}
	ServerTop               = Range[int]{"WithTop", 0, 0, 1000}
	ServerMaxNodeQueueBytes = Range[int64]{"WithMaxNodeQueueBytes", 256 << 20, 4 << 10, 1 << 40}
	ServerMaxSessions       = Range[int]{"WithMaxSessions", 1 << 16, 1, 1 << 24}
	ServerMaxSignIns        = Range[int]{"WithMaxSignIns", 128, 1, 1 << 20}

	ServerMaxUserSessions           = Range[int]{"WithMaxUserSessions", 0, 0, 1_000_000}
	ServerMaxUserSessionsEverywhere = Range[int]{"WithMaxUserSessionsEverywhere", 0, 0, 1_000_000}
	ServerMaxAddressSessions        = Range[int]{"WithMaxAddressSessions", 0, 0, 1 << 24}

	// By default half of the sessions.
	ServerMaxUnauthenticated = Range[int]{"WithMaxUnauthenticated", 1 << 15, 1, 1 << 24}

	ServerDeferredAuth   = Range[time.Duration]{"WithDeferredAuth", 10 * time.Second, time.Millisecond, time.Hour}
	ServerCallTimeout    = Range[time.Duration]{"WithCallTimeout", time.Minute, time.Millisecond, 24 * time.Hour}
	ServerMaxCallTimeout = Range[time.Duration]{"WithMaxCallTimeout", 10 * time.Minute, time.Millisecond, 24 * time.Hour}
	ServerPing           = Range[time.Duration]{"WithPing", 25 * time.Second, 10 * time.Millisecond, time.Hour}
	ServerReadTimeout    = Range[time.Duration]{"WithReadTimeout", 10 * time.Second, 10 * time.Millisecond, time.Hour}
	ServerWriteTimeout   = Range[time.Duration]{"WithWriteTimeout", 10 * time.Second, 10 * time.Millisecond, time.Hour}
	ServerBrokerTimeout  = Range[time.Duration]{"WithBrokerTimeout", 10 * time.Second, 10 * time.Millisecond, time.Hour}
	ServerPresenceGrace  = Range[time.Duration]{"WithPresenceGrace", 10 * time.Second, 0, time.Hour}
	ServerStreamStall    = Range[time.Duration]{"WithStreamStall", 30 * time.Second, 10 * time.Millisecond, time.Hour}
	ServerClusterLease   = Range[time.Duration]{"WithClusterLease", 15 * time.Second, time.Second, 10 * time.Minute}
)

// Those of the embedded broker, broker/memory.
var (
	MemoryQueueCapacity = Range[int]{"WithQueueCapacity", 1024, 1, 1 << 24}
	MemoryQueueBytes    = Range[int64]{"WithQueueBytes", 256 << 20, 64 << 10, 1 << 40}
	MemoryCalleeGrace   = Range[time.Duration]{"WithCalleeGrace", 5 * time.Second, 0, time.Hour}
	MemoryHistoryBytes  = Range[int64]{"WithMaxHistoryBytes", 64 << 20, 64 << 10, 1 << 40}
	MemoryKeyedBytes    = Range[int64]{"WithMaxKeyedBytes", 64 << 20, 64 << 10, 1 << 40}
)

// What rules of outcomes may say: for how long they are kept, and how many bytes of parts.
// What they do not say is the default.
const OutcomeRules = 256

var (
	OutcomeKeep      = Range[time.Duration]{"WithOutcomes", 10 * time.Minute, time.Second, 30 * 24 * time.Hour}
	OutcomePartBytes = Range[int]{"WithOutcomes", 1 << 20, 1 << 10, 64 << 20}
)

// What Compression may say: from how many bytes on a message is compressed, how
// hard, and of how many names it is not.
var (
	DeflateFrom  = Range[int]{"WithCompression", 512, 128, 1 << 20}
	DeflateLevel = Range[int]{"WithCompression", 3, 1, 6}
)

// DeflateExempt is how many names there may be of which nothing is compressed.
const DeflateExempt = 256

// PresenceRules is how many rules there may be for who is in channels.
const PresenceRules = 256

// What rules of history may say, in every broker: how many events, and for how long.
const (
	HistoryRules    = 256
	HistoryEvents   = 1_000_000
	HistoryShortest = time.Second
	HistoryLongest  = 30 * 24 * time.Hour
)

// Those of the broker on Redis, broker/redis. The default of [RedisBackoff] is its
// first pause.
var (
	RedisLanes         = Range[int]{"WithLanes", 1, 1, 256}
	RedisQueueCapacity = Range[int]{"WithQueueCapacity", 10_000, 1, 10_000_000}
	RedisMaxBatch      = Range[int]{"WithMaxBatch", 512, 1, 2000}
	RedisCalleeGrace   = Range[time.Duration]{"WithCalleeGrace", 5 * time.Second, 0, time.Hour}
	RedisCalleeLease   = Range[time.Duration]{"WithCalleeLease", 5 * time.Second, 400 * time.Millisecond, time.Minute}
	RedisReplyTimeout  = Range[time.Duration]{"WithReplyTimeout", 2 * time.Second, 100 * time.Millisecond, time.Minute}
	RedisBackoff       = Range[time.Duration]{"WithBackoff", 50 * time.Millisecond, time.Millisecond, time.Minute}
)

// What the broker on Redis has by default beside these: the lanes of a cluster, the
// longest pause, and the prefix of keys and channels.
const (
	RedisClusterLanes   = 16
	RedisLongestBackoff = 2 * time.Second
	RedisPrefix         = "juggler"
)

// Those of calleekit.
var (
	CalleeConcurrency  = Range[int]{"WithConcurrency", 256, 1, 1 << 16}
	CalleeDrainTimeout = Range[time.Duration]{"WithDrainTimeout", 10 * time.Second, 0, 24 * time.Hour}
)

// That of package caller.
var CallerCallTimeout = Range[time.Duration]{"WithCallTimeout", 30 * time.Second, time.Millisecond, 24 * time.Hour}

// Those of the Go client. The default of [ClientBackoff] is its first pause.
var (
	ClientHandshakeTimeout = Range[time.Duration]{"WithHandshakeTimeout", 10 * time.Second, time.Millisecond, time.Hour}
	ClientWriteTimeout     = Range[time.Duration]{"WithWriteTimeout", 10 * time.Second, time.Millisecond, time.Hour}
	ClientCloseTimeout     = Range[time.Duration]{"WithCloseTimeout", time.Second, time.Millisecond, time.Minute}
	ClientPingInterval     = Range[time.Duration]{"WithPingInterval", 25 * time.Second, time.Millisecond, 24 * time.Hour}
	ClientCallTimeout      = Range[time.Duration]{"WithCallTimeout", 30 * time.Second, time.Millisecond, 24 * time.Hour}
	ClientStallTimeout     = Range[time.Duration]{"WithStallTimeout", 5 * time.Second, 0, time.Hour}
	ClientBackoff          = Range[time.Duration]{"WithBackoff", 500 * time.Millisecond, time.Millisecond, 24 * time.Hour}

	ClientEventBuffer     = Range[int]{"WithEventBuffer", 1024, 1, 1 << 20}
	ClientWriteBuffer     = Range[int]{"WithWriteBuffer", 1 << 20, 1 << 10, 1 << 30}
	ClientMaxMessageBytes = Range[int]{"WithMaxMessageBytes", 4 << 20, 1 << 10, 1 << 30}
)

// ClientLongestBackoff is the longest pause by default.
const ClientLongestBackoff = 30 * time.Second

package kept

import "github.com/juggler-go/juggler/broker"

// A Loss is kept events that an engine loses because a test says so.
type Loss struct {
	Channel string

	// Newest is how many of the newest events are lost, as in a failover to a replica that
	// lacks them: their numbers are given out again. With 0 all events go as if their time
	// were over.
	Newest int
}

// A CallLoser is a broker that loses what it keeps of a call when it is told to.
type CallLoser interface{ LoseCall(broker.CallKey) }

// A Loser is a broker that loses what it is told to lose.
type Loser interface{ LoseKept(Loss) }

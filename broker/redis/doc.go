// Package redis is the broker for many machines, on Redis 6.2 or later:
// standalone, Sentinel or Cluster.
//
//	// goredis is github.com/redis/go-redis/v9
//	b, err := redis.New(redis.WithServer(&goredis.Options{Addr: "localhost:6379"}))
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer b.Close()
//	h, err := juggler.New(juggler.WithBroker(b))
//
// docs/redis.md tells how it works, how to run and to size it, and what lies
// in Redis, to the byte.
package redis

// For those who change it:
//
// # Files
//
// Requests: op.go is one, batch.go makes commands of many, outcome.go reads the replies;
// writer.go has them sent by a writer of internal/conn. A node:
// caller.go, results.go, reaper.go, unserved.go. A callee: callee.go, announce.go,
// puller.go, finder.go, bunch.go, answered.go, reply.go, outbox.go. Leases of both:
// heartbeat.go; state_loss.go says when they prove nothing. Events: pubsub.go, hub.go,
// feed.go, feed_monitor.go, probe.go, mailbox.go. What is warned of: survey.go,
// eviction.go, rights.go, peers.go. Below: lane.go. What lies in Redis:
// keys.go, value.go, scripts.go and lua/.
//
// What any client of Redis needs is apart: internal/conn makes connections to the
// right servers and puts commands through them, many at once where they do not block;
// internal/resp is the wire protocol.
//
// # Goroutines
//
// A broker has a view, which asks and listens, and a survey; for each lane in use a
// writer, a heartbeat loop and, with results to retry, an outbox; for each connection
// for events a feed and its monitor. A CallerConn has a results and a reaper for each
// lane, a CalleeConn a puller for each lane and a mailbox, a SubscriberConn a mailbox.
// Close ends each and waits for it.
//
// # Locks
//
// None is held while the server or a callback is waited for, except the locks
// calleeConn.taking and View.looking, which are there for that. Where two are held,
// the order is Broker.mu, hub.mu, calleeConn.mu, View.mu, then the others; a
// writer's mu is last.

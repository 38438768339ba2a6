//go:build long

package redis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// While the slot moves that records are in, each call has its outcome, and runs once. A
// failover may lose some, and calls that begin after it have theirs.
func TestKeyedCallsInCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, calmCluster...)
	client := cluster.Client()
	b := newBroker(t, patient(withCluster(cluster))...)
	node := openKeyedNode(t, b, 1)
	callee := openKeyedCallee(t, newBroker(t, patient(withCluster(cluster))...), nil)
	go answer(t.Context(), callee, []byte("1"))
	round := func(name string, disturb func(slot int)) {
		for i := range 200 {
			key := fmt.Sprint(name, i)
			await(t, "a call", func() bool { return node.conn.Attach(t.Context(), attachment(key)) == nil })
			if i == 100 {
				for _, record := range keyedKeys(t, client) {
					if strings.Contains(record, ":keyed:") {
						disturb(int(client.ClusterKeySlot(t.Context(), record).Val()))
						break
					}
				}
			}
		}
	}
	outcomes := func(name string) {
		for i := range 200 {
			records := make([]broker.CallRecord, 1)
			key := fmt.Sprint(name, i)
			await(t, "the outcome of "+key, func() bool {
				node.conn.ReadCalls(t.Context(), []broker.CallRead{{URI: keyedURI, Key: keyOfCall(key)}}, records)
				return records[0].State == broker.CallDone
			})
			if string(records[0].Result.Args) != "1" {
				t.Errorf("key %s: %+v", key, records[0])
			}
		}
	}
	round("moved", func(slot int) {
		from := cluster.Owner(slot)
		cluster.MigrateSlot(slot, from, (from+1)%len(cluster.Masters))
	})
	outcomes("moved")
	round("lost", func(slot int) { cluster.Failover(cluster.Owner(slot)) })
	round("after", func(int) {})
	outcomes("after")
	wantExpiry(t, client, "juggler")
}

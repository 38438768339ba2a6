//go:build long

package redis_test

import (
	"fmt"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/redistest"
)

// However the nodes of a cluster name themselves, all masters are found.
func TestClusterEndpoints(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, calmCluster...)
	for _, setting := range []string{"unknown-endpoint", "hostname", "ip"} {
		cluster.Do("CONFIG", "SET", "cluster-preferred-endpoint-type", setting)
		b := newBroker(t, calm(withCluster(cluster))...)
		for i := range 32 { // over all lanes
			if err := b.Publish(t.Context(), &broker.Event{Channel: fmt.Sprint("c", i)}); err != nil {
				t.Errorf("%s: %v", setting, err)
			}
		}
	}
}

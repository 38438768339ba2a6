//go:build long && unix

package redistest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/internal/redistest"
)

func TestScale(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "10000")
	set := func(value string) {
		t.Helper()
		client := cluster.Client() // one that knew the removed master would ask that
		for i := range 100 {
			if err := client.Set(t.Context(), fmt.Sprint("key", i), value, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	owners := func() map[int]bool {
		all := map[int]bool{}
		for slot := 0; slot < 16384; slot += 128 {
			all[cluster.Owner(slot)] = true
		}
		return all
	}
	set("before")
	removed := cluster.ScaleIn(1)
	if info := removed.Do("CLUSTER", "INFO"); !strings.Contains(info.(string), "cluster_known_nodes:1\r\n") {
		t.Errorf("the removed master says %s", info)
	}
	if n := len(owners()); n != 2 {
		t.Errorf("%d masters have slots after one of three was removed", n)
	}
	set("between")
	added := cluster.ScaleOut()
	if n := len(owners()); n != 3 {
		t.Errorf("%d masters have slots after one was added", n)
	}
	if n := added.Do("DBSIZE").(int64); n < 10 {
		t.Errorf("%d keys of 100 are on the added master", n)
	}
	set("after")
	client := cluster.Client()
	for i := range 100 {
		if got, err := client.Get(t.Context(), fmt.Sprint("key", i)).Result(); got != "after" {
			t.Fatalf("key %d: got %q, %v", i, got, err)
		}
	}
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	cluster.Failover(0)
	if i := cluster.Owner(0); i != 0 {
		t.Errorf("the owner of slot 0 is %d", i)
	}
	if err := cluster.Client().Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Error(err)
	}
}

package redis

import (
	"os"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis/internal/conn"
)

// The lanes' slots lie evenly: each in its own of equal ranges, so that a
// master has its share of them, give or take one.
func TestLanesLieEvenly(t *testing.T) {
	for _, lanes := range []int{1, 2, 3, 5, 16, 64, 256} {
		ks := newKeyspace("p", lanes, false)
		for i := range lanes {
			if s := ks.slotOf(i); s*lanes/conn.Slots != i {
				t.Errorf("of %d lanes, number %d has slot %d", lanes, i, s)
			}
		}
		for _, masters := range []int{3, 6, 10} {
			owned := make([]int, masters)
			for i := range lanes {
				owned[ks.slotOf(i)*masters/conn.Slots]++
			}
			for m, n := range owned {
				if n > lanes/masters+1 || n < lanes/masters-1 {
					t.Errorf("of %d lanes, master %d of %d has %d", lanes, m, masters, n)
				}
			}
		}
	}
}

// Callees in other languages need the tags and the hash: docs/redis.md has
// them, and these are they.
func TestDocumentedKeys(t *testing.T) {
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, tag := range newKeyspace("juggler", clusterLanes, false).tags {
		tags = append(tags, strings.Trim(tag, "{}"))
	}
	for _, want := range []string{
		strings.Join(tags, " "),
		"`" + newKeyspace("juggler", 1, false).calls(0, "math.add") + "`",
		"math.add is in lane " + strings.Split(tags[newKeyspace("juggler", clusterLanes, false).laneOf("math.add")], ".")[0],
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/redis.md does not say %q", want)
		}
	}
}

// The topic of a channel is found again, and probes have none: they are never kept.
func TestTopicOf(t *testing.T) {
	for _, ks := range []*keyspace{newKeyspace("p", 1, false), newKeyspace("p", 16, true), newKeyspace("p", 16, false).in(3), newKeyspace("p", 16, true).in(3)} {
		for _, topic := range []string{"room.7", ":event:", "probe:x", "own:x", broker.OwnChannel("room.7"), broker.OwnChannel(":event:"), broker.OwnChannel("")} {
			lane := ks.laneOf(topic)
			if got, ok := ks.topicOf(lane, ks.eventChannel(topic)); !ok || got != topic {
				t.Errorf("%q is the channel of %q, %v; want %q", ks.eventChannel(topic), got, ok, topic)
			}
		}
		for _, name := range []string{ks.probeChannel(classicFeed, "f"), ks.probeChannel(0, "f"), ks.cancelChannel(0), "", "p", "q:event:x"} {
			if got, ok := ks.topicOf(0, name); ok || got != "" {
				t.Errorf("%q is the channel of %q", name, got)
			}
		}
	}
}

// The channels of topics are told from all others, whatever topics are called.
func TestEventChannels(t *testing.T) {
	for _, ks := range []*keyspace{newKeyspace("p", 1, false), newKeyspace("p}:", 16, true), newKeyspace("p", 16, false).in(3), newKeyspace("p", 16, true).in(3)} {
		for _, topic := range []string{"room.7", ":event:", "}:cancel", "{0.1}", broker.OwnChannel("room.7"), broker.OwnChannel("}:cancel")} {
			if name := ks.eventChannel(topic); !ks.isEventChannel(name) {
				t.Errorf("%s is not the channel of a topic", name)
			}
		}
		for _, name := range []string{ks.cancelChannel(0), ks.grantsChannel(0, broker.ID{':', 'e'})} {
			if ks.isEventChannel(name) {
				t.Errorf("%s is the channel of a topic", name)
			}
		}
	}
}

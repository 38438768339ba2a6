package memory_test

import (
	"strings"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/internal/option"
	"github.com/juggler-go/juggler/internal/option/optiontest"
)

func try(o memory.Option) error {
	b, err := memory.New(o)
	if err == nil {
		b.Close()
	}
	return err
}

func TestOptions(t *testing.T) {
	optiontest.Range(t, option.MemoryQueueCapacity, memory.WithQueueCapacity, try)
	optiontest.Range(t, option.MemoryQueueBytes, memory.WithQueueBytes, try)
	optiontest.Range(t, option.MemoryCalleeGrace, memory.WithCalleeGrace, try)
	optiontest.Range(t, option.MemoryHistoryBytes, memory.WithMaxHistoryBytes, try)
	optiontest.Range(t, option.MemoryKeyedBytes, memory.WithMaxKeyedBytes, try)
	optiontest.Refused(t, `memory: WithHistory("a*b"): want the name of a channel, or how names begin and then a star`, try(memory.WithHistory(broker.HistoryRule{Channels: "a*b"})))
	if err := try(memory.WithoutCalleeDiscovery()); err != nil {
		t.Error(err)
	}
	optiontest.Refused(t, "memory: New(nil): want an Option", try(nil))
}

// All that is wrong is said at once.
func TestOptionErrorsAreJoined(t *testing.T) {
	_, err := memory.New(memory.WithQueueCapacity(-1), memory.WithCalleeGrace(-time.Second))
	if err == nil || !strings.Contains(err.Error(), "WithQueueCapacity(-1)") || !strings.Contains(err.Error(), "WithCalleeGrace(-1s)") {
		t.Errorf("the error is %v", err)
	}
}

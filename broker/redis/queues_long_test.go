//go:build long

package redis

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/internal/waiting"
)

// While one master of a cluster is of no use, what the others know is told, and that it is
// not all.
func TestQueuesWithoutMaster(t *testing.T) {
	t.Parallel()
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newSickCluster(t)
			d.callee(d.broker())
			b := d.broker()
			// read reads for at most a second, and returns which of both URIs has its callee.
			read := func() (told [2]bool, all bool, err error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				queues, all, err := b.ReadQueues(ctx)
				for which, uri := range d.uris {
					told[which] = slices.Contains(queues, broker.Queue{URI: uri, Callees: 1})
				}
				return told, all, err
			}
			both := func() bool {
				told, all, err := read()
				return err == nil && all && told == [2]bool{true, true}
			}
			waiting.Until(t, "both are told", both)
			failure.begin(d.sick)
			waiting.Until(t, "the one is told, and an error", func() bool {
				told, all, err := read()
				if err != nil && !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrUnknownOutcome) && !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				return err != nil && !all && told == [2]bool{well: true}
			})
			failure.end(d.sick)
			waiting.Until(t, "both are told again", both)
		})
	}
}

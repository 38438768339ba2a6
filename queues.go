package juggler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/juggler-go/juggler/broker"
)

// Queues returns what the broker says now of the URIs of all nodes that have callees, or calls
// that wait for one: those first for which most calls wait, and of these those with the fewest
// callees. The broker bounds how many it looks at; unless all is true there may be more. It
// is for people who look: it asks the broker each time, and Redis works on it for some milliseconds
// where there are thousands of URIs.
//
// With an error there is what is known nonetheless. The error wraps [errors.ErrUnsupported]
// if the broker is no [broker.QueueReader]; ours are.
func (h *Handler) Queues(ctx context.Context) (queues []broker.Queue, all bool, err error) {
	reader, ok := h.cfg.caller.(broker.QueueReader)
	if !ok {
		return nil, false, fmt.Errorf("juggler: the broker cannot tell of its queues: %w", errors.ErrUnsupported)
	}
	queues, all, err = reader.ReadQueues(ctx)
	slices.SortFunc(queues, func(a, b broker.Queue) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Callees, b.Callees), cmp.Compare(a.URI, b.URI))
	})
	return queues, all, err
}

package opspage

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/juggler-go/juggler/broker"
)

const (
	queuesEvery = 5 * time.Second // the broker is asked, however many look
	queuesShown = 100
)

// Queues is what /ops/queues tells, in JSON: what the broker knew when it was asked last, at
// most 5 s ago.
type Queues struct {
	Asked time.Time
	URIs  int    // that have callees, or calls that wait
	Calls int    // that wait, for all of these
	All   bool   // false: the broker has not looked at all URIs
	Error string // why some are not known, or ""

	Queues []broker.Queue // 100 of them at most, those first for which most calls wait
}

// queueAsker asks the broker for all who look.
type queueAsker struct {
	mu   sync.Mutex // held while the broker is asked
	last Queues
}

// queues tells what waits for which callees.
func (p *Page) queues(w http.ResponseWriter, r *http.Request) {
	answer(w, p.queueAsker.ask(r.Context(), p))
}

func (a *queueAsker) ask(ctx context.Context, p *Page) Queues {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.last.Asked) < queuesEvery {
		return a.last
	}
	// Others get the same: it does not end with who asked.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	all, whole, err := p.Handler.Queues(ctx)
	a.last = Queues{Asked: time.Now(), URIs: len(all), All: whole, Error: textOf(err), Queues: all[:min(len(all), queuesShown)]}
	for _, q := range all {
		a.last.Calls += q.Calls
	}
	return a.last
}

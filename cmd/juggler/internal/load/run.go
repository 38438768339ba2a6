package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
)

// run is one run.
type run struct {
	config  Config
	name    string // part of the names of channels: runs do not meet
	record  *record
	traffic traffic
	clients []*client
	epoch   time.Time
	cancel  context.CancelCauseFunc
	open    atomic.Bool // for new requests
}

func (r *run) now() int64     { return int64(time.Since(r.epoch)) }
func (r *run) sending() bool  { return r.open.Load() }
func (r *run) fail(err error) { r.cancel(err) }

// Run drives the server as c says, until it is done or ctx ends, and reports. If
// ctx ends the outcomes that are on their way still count. It fails if it cannot
// connect.
func Run(ctx context.Context, c Config) (*Report, error) {
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r := &run{config: c, name: ulid.Make().String(), record: newRecord(), epoch: time.Now(), cancel: cancel}
	report := &Report{Config: describe(&c)}

	var serving sync.WaitGroup
	defer serving.Wait() // ends with the context of the clients
	clients, stop := context.WithCancel(running)
	defer stop()
	connected := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	if err := r.connect(clients, &serving); err != nil {
		return nil, err
	}
	connected()
	if c.Started != nil {
		c.Started()
	}
	start, cpu := time.Now(), cpuTime()
	report.BytesSent, report.BytesReceived = -r.traffic.sent.Load(), -r.traffic.received.Load()
	r.start(clients, &serving)
	measuring, enough := context.WithCancel(running)
	defer enough()
	context.AfterFunc(ctx, enough)
	r.measure(measuring, report, start)
	report.Duration = time.Since(start).Seconds()
	report.CPU = cpuShare(cpuTime()-cpu, time.Since(start))
	r.open.Store(false)
	r.drain(running)
	if err := context.Cause(running); err != nil {
		return nil, err
	}
	r.finish(report)
	return report, nil
}

// connect opens all clients, spread over the ramp.
func (r *run) connect(ctx context.Context, serving *sync.WaitGroup) error {
	n := r.config.Clients
	for i := range n {
		r.clients = append(r.clients, newClient(r, i))
	}
	start := time.Now()
	failure := make(chan error, n)
	for i, c := range r.clients {
		if due := start.Add(r.config.Ramp * time.Duration(i) / time.Duration(n)); time.Until(due) > 0 {
			select {
			case <-time.After(time.Until(due)):
			case err := <-failure:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		serving.Go(func() { c.serve(ctx, func(err error) { failure <- err }) })
	}
	for _, c := range r.clients {
		select {
		case <-c.ready:
		case err := <-failure:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(r.config.Drain + r.config.Ramp):
			return fmt.Errorf("client %d of %d is not ready after %v", c.index, n, r.config.Drain+r.config.Ramp)
		}
	}
	return nil
}

// start opens the clients for requests.
func (r *run) start(ctx context.Context, serving *sync.WaitGroup) {
	r.open.Store(true)
	if r.config.Rate > 0 {
		serving.Go(func() { r.pace(ctx) })
		return
	}
	for _, c := range r.clients {
		c.mu.Lock()
		c.begin()
		c.mu.Unlock()
	}
}

// paceInterval is how often requests that are due are sent.
const paceInterval = time.Millisecond

// pace has requests sent at the rate, whatever the outcomes do.
func (r *run) pace(ctx context.Context) {
	start := r.now()
	tick := time.NewTicker(paceInterval)
	defer tick.Stop()
	for sent := int64(0); r.sending(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for now := r.now(); ; sent++ {
			due := start + int64(float64(sent)/r.config.Rate*1e9)
			if due > now {
				break
			}
			r.clients[sent%int64(len(r.clients))].request(due)
		}
	}
}

// measure takes what was counted each second until the time is over.
func (r *run) measure(ctx context.Context, report *Report, start time.Time) {
	total := newCounts()
	report.total = total
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	end := time.NewTimer(r.config.Duration)
	defer end.Stop()
	last := start
	take := func() {
		c := r.record.take()
		took := time.Since(last)
		last = time.Now()
		total.add(c)
		if took < 100*time.Millisecond && len(report.Seconds) > 0 {
			return // too short for a rate
		}
		second := newSecond(last.Sub(start), took, c)
		report.Seconds = append(report.Seconds, second)
		if r.config.Progress != nil {
			r.config.Progress(second)
		}
	}
	for {
		select {
		case <-tick.C:
			take()
			continue
		case <-end.C:
		case <-ctx.Done():
		}
		take()
		return
	}
}

// drain waits until no request is without an outcome, and a moment more, in
// which second outcomes would come.
func (r *run) drain(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(r.config.Drain)
	for quiet := 0; quiet < 20; quiet++ {
		select {
		case <-tick.C:
		case <-end:
			return
		case <-ctx.Done():
			return
		}
		for _, c := range r.clients {
			if c.open() > 0 {
				quiet = 0
				break
			}
		}
	}
}

func (c *client) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests.open()
}

package load

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/juggler-go/juggler/bench/internal/control"
)

// measure runs work, which is the window of s, and fills in what all
// processes used meanwhile.
func measure(s Spec, r *Result, work func() error) (err error) {
	w, err := watch(s)
	if err != nil {
		return err
	}
	defer w.close()
	if s.Profile != "" && len(w.servers) > 0 {
		if err := w.servers[0].Profile(s.Profile); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.servers[0].StopProfile()) }()
	}
	before, err := w.read()
	if err != nil {
		return err
	}
	ownBefore, began := control.CPU(), time.Now()
	if err := work(); err != nil {
		return err
	}
	r.Elapsed, r.LoadCPU = time.Since(began), control.CPU()-ownBefore
	after, err := w.read()
	if err != nil {
		return err
	}
	r.ServerCPU = after.CPU - before.CPU
	r.Mallocs = after.Mallocs - before.Mallocs
	r.Switches = after.Switches - before.Switches
	r.Reads, r.Writes = after.Reads-before.Reads, after.Writes-before.Writes
	r.RedisCPU = after.redis.cpu - before.redis.cpu
	r.RedisSent = after.redis.sent - before.redis.sent
	r.RedisCommands = after.redis.commands - before.redis.commands
	r.RedisReads = after.redis.reads - before.redis.reads
	return nil
}

// A watcher reads what the processes of a run have used.
type watcher struct {
	servers []*control.Client
	redis   *redisInfo // nil: without Redis
}

// reading is the sum of what the processes have used.
type reading struct {
	control.Usage
	redis redisUsage
}

func watch(s Spec) (*watcher, error) {
	w := &watcher{}
	for _, addr := range s.Controls {
		c, err := control.Dial(addr)
		if err != nil {
			w.close()
			return nil, err
		}
		w.servers = append(w.servers, c)
	}
	if s.Redis != "" {
		w.redis = newRedisInfo(s.Redis)
	}
	return w, nil
}

func (w *watcher) close() {
	for _, c := range w.servers {
		_ = c.Close()
	}
	if w.redis != nil {
		w.redis.close()
	}
}

func (w *watcher) read() (sum reading, err error) {
	for _, c := range w.servers {
		u, err := c.Usage()
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		sum.Mallocs += u.Mallocs
		sum.Switches += u.Switches
		sum.Reads += u.Reads
		sum.Writes += u.Writes
	}
	if w.redis != nil {
		sum.redis, err = w.redis.read()
	}
	return sum, err
}

// measureCount measures after the warm-up for a window, in which others count messages.
func measureCount(s Spec, r *Result, count *atomic.Int64) error {
	time.Sleep(s.Warmup)
	return measure(s, r, func() error {
		first := count.Load()
		time.Sleep(s.Window)
		r.Messages = int(count.Load() - first)
		return nil
	})
}

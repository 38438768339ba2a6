package redis

import (
	"sync"

	"github.com/juggler-go/juggler/broker"
)

// news tells nodes that something was stored in the records of calls with keys which they
// have joined: a key at a time, through the lists of parts, whose readers of before cannot
// have joined any. News are hints: what does not arrive is not sent again. While some are on
// their way, others of the same key and node are told once. A goroutine exists only while
// there are some.
type news struct {
	broker *Broker

	mu      sync.Mutex // guards the following
	pending map[newsItem]struct{}
	running bool
	stopped bool
	runs    sync.WaitGroup
}

type newsItem struct {
	node broker.ID
	key  broker.CallKey
}

// newsLength is the length of news on their way.
const newsLength = 1 + len(broker.CallKey{})

// tell tells what a script has returned: a key, and nodes.
func (n *news) tell(what []byte) {
	if len(what) < 32 || len(what)%16 != 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return
	}
	if n.pending == nil {
		n.pending = map[newsItem]struct{}{}
	}
	key := broker.CallKey(what[:16])
	for rest := what[16:]; len(rest) > 0; rest = rest[16:] {
		n.pending[newsItem{broker.ID(rest[:16]), key}] = struct{}{}
	}
	if !n.running {
		n.running = true
		n.runs.Go(n.run)
	}
}

func (n *news) run() {
	for items := n.next(); items != nil; items = n.next() {
		w := newWaiter(len(items))
		bundle := bundle{size: len(items)}
		for item := range items {
			o := &op{kind: opPart, node: item.node, value: append([]byte{formatNews}, item.key[:]...), waiter: w}
			if l := n.broker.lane(n.broker.keys.laneOfNode(item.node)); l == nil {
				o.Finish(broker.ErrClosed)
			} else {
				bundle.add(l, o)
			}
		}
		bundle.submit()
		<-w.done // the writers finish each op within their timeouts
	}
}

// next returns what is to be told; nil: there is nothing, and the goroutine ends.
func (n *news) next() map[newsItem]struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	items := n.pending
	n.pending = nil
	if n.running = len(items) > 0 && !n.stopped; !n.running {
		return nil
	}
	return items
}

func (n *news) stop() {
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	n.runs.Wait()
}

// decodeNews returns the key that news are of; false for what is none.
func decodeNews(value []byte) (key broker.CallKey, ok bool) {
	if len(value) != newsLength || value[0] != formatNews {
		return key, false
	}
	return broker.CallKey(value[1:]), true
}

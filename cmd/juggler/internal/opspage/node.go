package opspage

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/memory"
	"github.com/juggler-go/juggler/broker/redis"
)

// askTimeout bounds how long the broker may take to say what the page asks.
const askTimeout = time.Second

// Node is what /ops/node tells, in JSON. Its names are stable: fields may be added.
type Node struct {
	Node     string // its id
	Host     string
	PID      int
	Now      time.Time
	NotReady string // why no clients should come here, as /readyz says it, or ""

	Stats juggler.Stats
	Top   juggler.Top

	Redis    []Redis       // the brokers, by what settings name them; none: there is one in the node,
	Embedded *memory.Stats // which has this
}

// Redis is a broker on Redis, as the node sees it.
type Redis struct {
	Address string
	Health  string // why it does not do its work, or ""
	Stats   redis.Stats
}

// Nodes is what /ops/nodes tells, in JSON.
type Nodes struct {
	InCluster bool // the node knows of others
	Nodes     []juggler.NodeInfo
	Error     string // why they are not known, or ""
}

// node tells what goes on here. It does not wait for the broker.
func (p *Page) node(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	host, _ := os.Hostname()
	n := Node{Node: p.Handler.Node(), Host: host, PID: os.Getpid(), Now: time.Now(),
		NotReady: textOf(p.Ready(ctx)), Stats: p.Handler.Stats(), Top: p.Handler.Top()}
	for i, b := range p.Engine.Redis {
		n.Redis = append(n.Redis, Redis{p.Engine.Address(i), textOf(b.Health()), b.Stats()})
	}
	if b := p.Engine.Memory; b != nil {
		stats := b.Stats()
		n.Embedded = &stats
	}
	answer(w, n)
}

// nodes tells which nodes there are, as the broker knows it.
func (p *Page) nodes(w http.ResponseWriter, r *http.Request) {
	n := Nodes{InCluster: p.InCluster}
	if n.InCluster {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		var err error
		n.Nodes, err = p.Handler.Cluster().Nodes(ctx)
		n.Error = textOf(err)
	}
	answer(w, n)
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/juggler-go/juggler/bench/internal/control"
	"github.com/juggler-go/juggler/bench/internal/load"
	"github.com/juggler-go/juggler/bench/internal/peer"
	"github.com/juggler-go/juggler/bench/internal/redisd"
)

// Every contender of every scenario does its work for a moment, on a few
// connections and in this process, without a fault.
func TestContenders(t *testing.T) {
	controlAddr, err := control.Serve()
	if err != nil {
		t.Fatal(err)
	}
	server, err := redisd.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	t.Setenv(peer.RedisVariable, server.Addr)

	addrs := make(map[string]string)
	start := func(name string) string {
		if name != "" && addrs[name] == "" {
			if addrs[name], err = peer.Start(name); err != nil {
				t.Fatal(err)
			}
		}
		return addrs[name]
	}
	ran := make(map[string]bool)
	for _, s := range scenarios {
		for _, c := range s.contenders {
			start(c.callee)
			spec := s.spec(c)
			spec.Addr, spec.Controls, spec.Redis = start(c.server), []string{controlAddr}, server.Addr
			spec.Missed = min(spec.Missed, 4)
			spec.Conns, spec.InFlight, spec.Channels = min(spec.Conns, 4), min(spec.InFlight, 4), min(spec.Channels, 4)
			spec.Warmup, spec.Window = 5*time.Millisecond, 100*time.Millisecond
			if key := fmt.Sprint(spec); ran[key] {
				continue
			} else {
				ran[key] = true
			}
			r, err := load.Run(spec)
			for err == nil && r.Messages == 0 && spec.Window < 10*time.Second { // a busy machine
				spec.Window *= 3
				r, err = load.Run(spec)
			}
			switch {
			case err != nil:
				t.Errorf("%s, %s: %v", s.name, c.name, err)
			case r.Messages == 0 || r.Faults() > 0:
				t.Errorf("%s, %s: %d messages, %d lost, %d twice, %d out of order",
					s.name, c.name, r.Messages, r.Lost, r.Duplicated, r.Disordered)
			}
		}
	}
}

func TestGoalsNameContenders(t *testing.T) {
	names := make(map[string]bool)
	for _, s := range scenarios {
		if names[s.name] {
			t.Errorf("two scenarios are called %s", s.name)
		}
		names[s.name] = true
		for _, short := range []bool{false, true} {
			if short {
				s = s.shortened()
			}
			for _, g := range s.goals {
				named := (g.who == "" || s.contender(g.who) >= 0) && (g.peer == "" || s.contender(g.peer) >= 0)
				if !named && len(s.contenders) > 0 {
					t.Errorf("%s: a goal of %q against %q, not both of whom take part (quick: %v)", s.name, g.who, g.peer, short)
				}
			}
		}
	}
}

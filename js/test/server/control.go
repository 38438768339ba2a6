package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/frame"
)

// control mounts the paths with which a test makes things happen:
//
//	POST /control/drain                   drains the node behind /ws; answers when that is done
//	POST /control/publish?channel=&n=     publishes the numbers below n from this process
//	POST /control/tell?user=&n=           publishes them on the own channel of a user
//	POST /control/subscribe?user=&channel=        subscribes the user's sessions to a channel
//	POST /control/unsubscribe?user=&channel=&code=  ends their subscriptions, with an error of this code
//	POST /control/release?n=              lets calls of test.paced send n parts more
//	GET  /control/counters                what the callees have counted, as JSON
//	GET  /control/compressed              how many bytes /ws has sent and received compressed, before that
//	GET  /control/sessions                how many sessions /ws has
func control(mux *http.ServeMux, n *nodes, c *counters) {
	mux.HandleFunc("POST /control/drain", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
		defer cancel()
		fail(w, n.drain(ctx))
	})
	publish := func(w http.ResponseWriter, r *http.Request, channel string) {
		count, err := strconv.Atoi(r.FormValue("n"))
		for i := 0; i < count && err == nil; i++ {
			c.published.Store(int64(i))
			err = n.newest().Publish(r.Context(), channel, i, nil)
		}
		fail(w, err)
	}
	mux.HandleFunc("POST /control/publish", func(w http.ResponseWriter, r *http.Request) {
		publish(w, r, r.FormValue("channel"))
	})
	mux.HandleFunc("POST /control/tell", func(w http.ResponseWriter, r *http.Request) {
		publish(w, r, juggler.User(r.FormValue("user")))
	})
	mux.HandleFunc("POST /control/subscribe", func(w http.ResponseWriter, r *http.Request) {
		var err error
		for s := range n.newest().SessionsOf(r.FormValue("user")) {
			err = errors.Join(err, s.Subscribe(r.Context(), broker.Topic{Name: r.FormValue("channel")}))
		}
		fail(w, err)
	})
	mux.HandleFunc("POST /control/unsubscribe", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.FormValue("code"))
		why := &juggler.Error{Code: frame.Code(code), Message: "removed by the test"}
		for s := range n.newest().SessionsOf(r.FormValue("user")) {
			err = errors.Join(err, s.Unsubscribe(r.Context(), broker.Topic{Name: r.FormValue("channel")}, why))
		}
		fail(w, err)
	})
	mux.HandleFunc("POST /control/release", func(w http.ResponseWriter, r *http.Request) {
		count, err := strconv.Atoi(r.FormValue("n"))
		for range count {
			c.released <- struct{}{}
		}
		fail(w, err)
	})
	mux.HandleFunc("GET /control/counters", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]int64{"cancelled": c.cancelled.Load(), "called": c.called.Load(), "sent": c.sent.Load()})
	})
	mux.HandleFunc("GET /control/compressed", func(w http.ResponseWriter, _ *http.Request) {
		stats := n.newest().Stats()
		json.NewEncoder(w).Encode(map[string]uint64{"sent": stats.DeflatedFrom, "received": stats.InflatedTo})
	})
	mux.HandleFunc("GET /control/sessions", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(n.newest().NumSessions())
	})
}

// fail answers 500 if err is not nil.
func fail(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

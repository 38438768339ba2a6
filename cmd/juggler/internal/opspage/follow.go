package opspage

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/juggler-go/juggler"
)

// Follow is what a POST to /ops/follow asks for, in JSON.
type Follow struct {
	Session, User string // one of both
	Seconds       int    // 0: a minute; at most that
	Text          bool   // with what juggler.FollowOptions calls Text
}

// Following is the first line of the answer. A juggler.FollowedFrame a line comes behind it.
type Following struct {
	Sessions int // of these that are here now
}

// maxRequest bounds a request, in bytes.
const maxRequest = 16 << 10

// follow answers with what somebody and the server send each other, line by line as it comes.
func (p *Page) follow(w http.ResponseWriter, r *http.Request) {
	// A page of another origin could send another type without asking first.
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "want application/json", http.StatusUnsupportedMediaType)
		return
	}
	var f Follow
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest)) // all of it, or net/http does not notice when the client leaves
	if err == nil {
		in := json.NewDecoder(bytes.NewReader(body))
		in.DisallowUnknownFields()
		err = in.Decode(&f)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	frames, err := p.Handler.Follow(r.Context(), juggler.FollowOptions{
		Session: f.Session, User: f.User, For: time.Duration(f.Seconds) * time.Second, Text: f.Text})
	if err != nil {
		http.Error(w, err.Error(), followStatus(err))
		return
	}
	p.Log.Info("somebody looks at what a user or session sends and gets", "user", f.User, "session", f.Session, "remote", r.RemoteAddr)
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	write := func(line any) bool { return out.Encode(line) == nil && flush.Flush() == nil }
	if !write(Following{p.here(&f)}) {
		return
	}
	for frame := range frames {
		if !write(frame) {
			return
		}
	}
}

// followStatus is how a browser is told why nobody is followed.
func followStatus(err error) int {
	switch {
	case errors.Is(err, juggler.ErrFollowed):
		return http.StatusConflict
	case errors.Is(err, juggler.ErrSessionEnded):
		return http.StatusNotFound
	case errors.Is(err, juggler.ErrShutdown):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// here returns how many sessions that f is about are on this node.
func (p *Page) here(f *Follow) (n int) {
	if f.Session != "" {
		return 1
	}
	for range p.Handler.SessionsOf(f.User) {
		n++
	}
	return n
}

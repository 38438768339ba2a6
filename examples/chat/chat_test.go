package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/jugglertest"
)

// A system is the chat in memory, but for its database.
type system struct {
	*testing.T
	*jugglertest.Server
	login login
}

func start(t *testing.T) system {
	l := newLogin("")
	srv := jugglertest.NewWithHistory(t, history, nodeOptions(l)...)
	db, err := openStore(t.Context(), filepath.Join(t.TempDir(), "chat.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	callee, err := newCallee(srv.Broker, srv.Broker, db)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start(callee)
	return system{t, srv, l}
}

// signIn returns a client with the cookie of somebody.
func (s system) signIn(name string) *client.Client {
	s.Helper()
	return s.Client(client.WithHTTPHeader(cookieOf(s.T, s.login, name)))
}

// cookieOf returns the header of who has signed in.
func cookieOf(t *testing.T, l login, name string) http.Header {
	value, err := l.cookies.Encode(cookieName, ticket{name, time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Cookie": {cookieName + "=" + value}}
}

// Who may not enter a room can do nothing there, and nobody types or reads as somebody else.
func TestRights(t *testing.T) {
	s := start(t)
	ann, eve := s.signIn("ann"), s.signIn("eve")
	call := func(c *client.Client, uri string) error { return c.Call(t.Context(), uri, nil, nil) }
	subscribe := func(c *client.Client, channel string) error {
		_, err := c.Subscribe(t.Context(), channel)
		return err
	}
	publish := func(c *client.Client, channel string) error { return c.Publish(t.Context(), channel, true) }
	for what, err := range map[string]error{
		"ann reads staff":       call(ann, "room.staff.history"),
		"ann hears staff":       subscribe(ann, "room.staff"),
		"ann types in staff":    publish(ann, "typing.staff.ann"),
		"eve reads general":     call(eve, "room.general.history"),
		"eve types in general":  publish(eve, "typing.general.eve"),
		"eve hears of her read": subscribe(eve, "reads.eve"),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"eve reads staff":            call(eve, "room.staff.history"),
		"eve reports on staff":       call(eve, "room.staff.report"),
		"eve hears staff":            subscribe(eve, "room.staff"),
		"eve sees who is in staff":   subscribe(eve, "here.staff"),
		"eve types in staff":         publish(eve, "typing.staff.eve"),
		"eve types as ann":           publish(eve, "typing.general.ann"),
		"eve says without storing":   publish(eve, "room.general"),
		"eve hears what ann reads":   subscribe(eve, "reads.ann"),
		"eve forges what ann reads":  publish(eve, "reads.ann"),
		"ann calls what is not hers": call(ann, "nothing"),
	} {
		if !errors.Is(err, client.CodeForbidden) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// A message that is sent twice, as after a lost connection, is there once, under the sender's
// true name, and those who listen hear of it once.
func TestMessageOnce(t *testing.T) {
	s := start(t)
	ann, bob := s.signIn("ann"), s.signIn("bob")
	heard, err := bob.Subscribe(t.Context(), "room.general")
	if err != nil {
		t.Fatal(err)
	}
	say := func(key, text string) (m message) {
		args := map[string]string{"key": key, "text": text, "user": "bob"}
		if err := ann.Call(t.Context(), "room.general.post", args, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	first, again, next := say("k1", "hello"), say("k1", "hello"), say("k2", "there")
	if first != again || first.ID >= next.ID || first.User != "ann" {
		t.Errorf("got %v, again %v, next %v", first, again, next)
	}
	var got []message
	for len(got) < 2 { // one that came twice would be the second
		var m message
		e, err := heard.Next(t.Context())
		if err := errors.Join(err, e.Decode(&m)); err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
	}
	var stored []message
	if err := bob.Call(t.Context(), "room.general.history", nil, &stored); err != nil {
		t.Fatal(err)
	}
	if want := []message{first, next}; !slices.Equal(got, want) || !slices.Equal(stored, want) {
		t.Errorf("heard %v, stored %v, want %v", got, stored, want)
	}
	if err := ann.Call(t.Context(), "room.general.post", post{"k3", "  "}, nil); !errors.Is(err, client.Code(422)) {
		t.Errorf("an empty message: %v", err)
	}
}

// What is read on one device is read on all of the user, and never becomes unread.
func TestReads(t *testing.T) {
	s := start(t)
	laptop, phone := s.signIn("bob"), s.signIn("bob")
	told, err := laptop.Subscribe(t.Context(), "reads.bob")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{7, 5} {
		if err := phone.Call(t.Context(), "room.random.read", id, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got mark
	e, err := told.Next(t.Context())
	if err := errors.Join(err, e.Decode(&got)); err != nil || got != (mark{"random", 7}) {
		t.Errorf("told %v, %v", got, err)
	}
	var reads map[string]int64
	if err := laptop.Call(t.Context(), "me.reads", nil, &reads); err != nil || fmt.Sprint(reads) != "map[random:7]" {
		t.Errorf("got %v, %v", reads, err)
	}
}

// An answer goes on while the connection is lost: whoever comes back has all words, each once.
func TestAnswerSurvives(t *testing.T) { synctest.Test(t, testAnswerSurvives) }

func testAnswerSurvives(t *testing.T) {
	s := start(t)
	c := s.signIn("ann")
	answer, err := c.Stream(t.Context(), "me.answer", "Why?", client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for word, err := range client.PartsAs[string](answer) {
		if err != nil {
			t.Fatal(err)
		}
		if words = append(words, word); len(words) == 3 {
			s.Drop(c)
		}
	}
	if got, want := strings.Join(words, " "), fmt.Sprintf(wisdom, "Why?"); got != want {
		t.Errorf("got %q", got)
	}
}

// A report says how far it is, and ends when nobody wants it any more.
func TestReport(t *testing.T) { synctest.Test(t, testReport) }

func testReport(t *testing.T) {
	s := start(t)
	c := s.signIn("ann")
	for i := range 12 {
		if err := c.Call(t.Context(), "room.general.post", post{fmt.Sprint(i), "two words"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	report, err := c.Stream(t.Context(), "room.general.report", nil)
	if err != nil {
		t.Fatal(err)
	}
	var parts []progress
	for p, err := range client.PartsAs[progress](report) {
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	var words map[string]int
	if err := report.Result(t.Context(), &words); err != nil || words["ann"] != 24 || !slices.Equal(parts, []progress{{0, 12}, {3, 12}, {6, 12}, {9, 12}}) {
		t.Errorf("got %v, %v, %v", parts, words, err)
	}
	caller := calleekit.Recorder{Most: 1}
	if _, err := caller.Serve(t.Context(), calleekit.Stream(answer), &calleekit.Call{Args: []byte(`"Why?"`)}); err == nil {
		t.Error("an answer goes on that nobody wants")
	}
}

// Only who knows the password gets a cookie, and only a page of ours may ask for one.
func TestLogin(t *testing.T) {
	h, err := juggler.New(juggler.WithAuthorizer(rights))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Shutdown(context.Background()) })
	site := routes(h, newLogin("a secret of 32 bytes or of more..."), t.TempDir())
	ask := func(method, path, cookie, from string, form url.Values) *http.Response {
		r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", from)
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
		}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		return w.Result()
	}
	ann := url.Values{"name": {"ann"}, "password": {"ann"}}
	for _, test := range []struct {
		from string
		form url.Values
		want int
	}{
		{"same-origin", ann, 200},
		{"same-origin", url.Values{"name": {"ann"}, "password": {"bob"}}, 403},
		{"same-origin", url.Values{"name": {"nobody"}}, 403},
		{"cross-site", ann, 403},
	} {
		if got := ask("POST", "/login", "", test.from, test.form); got.StatusCode != test.want || (len(got.Cookies()) == 1) != (test.want == 200) {
			t.Errorf("%v: got %d, %v", test, got.StatusCode, got.Cookies())
		}
	}
	cookie := ask("POST", "/login", "", "same-origin", ann).Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
		t.Errorf("scripts or other pages get the cookie: %v", cookie)
	}
	for value, want := range map[string]string{
		cookie.Value:       `{"rooms":["general","random","staff"],"user":"ann"}`,
		cookie.Value + "x": "null",
		"":                 "null",
	} {
		me, err := io.ReadAll(ask("GET", "/me", value, "same-origin", nil).Body)
		if got := strings.TrimSpace(string(me)); err != nil || got != want {
			t.Errorf("%q: got %s, %v", value, got, err)
		}
	}
}

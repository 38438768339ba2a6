package main

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/juggler-go/juggler"
)

const (
	cookieName = "chat"
	validFor   = 12 * time.Hour
)

// A login knows people by a signed cookie. All nodes have the same secret.
type login struct{ cookies *securecookie.SecureCookie }

// ticket is what the cookie says.
type ticket struct {
	Name  string
	Until time.Time
}

func newLogin(secret string) login {
	key := []byte(secret)
	if secret == "" { // one node: whoever signed in does so again after its restart
		key = securecookie.GenerateRandomKey(32)
	}
	return login{securecookie.New(key, nil).SetSerializer(securecookie.JSONEncoder{}).MaxAge(int(validFor.Seconds()))}
}

func (l login) signIn(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	a, ok := accounts[name]
	if !ok || subtle.ConstantTimeCompare([]byte(a.password), []byte(r.PostFormValue("password"))) == 0 {
		http.Error(w, "Wrong name or password.", http.StatusForbidden)
		return
	}
	value, err := l.cookies.Encode(cookieName, ticket{name, time.Now().Add(validFor)})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	setCookie(w, r, value, int(validFor.Seconds()))
}

func (l login) signOut(w http.ResponseWriter, r *http.Request) { setCookie(w, r, "", -1) }

func setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	secure := r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode})
}

// authenticate says whose request it is, and until when that is sure.
func (l login) authenticate(r *http.Request) (*juggler.Identity, error) {
	var t ticket
	cookie, err := r.Cookie(cookieName)
	if err == nil {
		err = l.cookies.Decode(cookieName, cookie.Value, &t)
	}
	a, known := accounts[t.Name]
	if err != nil || !known {
		return nil, juggler.ErrUnauthenticated
	}
	return &juggler.Identity{User: a.name, Expires: t.Until, Attributes: []juggler.Attribute{{Name: "role", Value: a.role}}}, nil
}

// me tells the page who has signed in; null is nobody.
func (l login) me(w http.ResponseWriter, r *http.Request) {
	var me any
	if id, err := l.authenticate(r); err == nil {
		me = map[string]any{"user": id.User, "rooms": roomsOf(accounts[id.User])}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(me) //nolint:errcheck // the browser is gone
}

package juggler

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/juggler-go/juggler/broker"
)

// Identity is who a client is. Authenticators make it; the handler copies
// what it keeps of it.
type Identity struct {
	// User identifies the user, for [Handler.SessionsOf] and
	// [Handler.DisconnectUser]. Empty: the client is authenticated, but has
	// no user.
	User string

	// Attributes are what else is known, e.g. a tenant or a role, in any
	// order. A name may occur more than once: who has two roles has an
	// attribute for each.
	Attributes []Attribute

	// Channels are what the server subscribes the session to, as [Session.Subscribe] does:
	// when it begins, or right behind the ACK of its AUTH. [User] and [broker.OwnChannel]
	// may be among them. If the broker cannot be reached the session ends with 1013, or
	// its AUTH is refused with 503: it is never there without them. A session that signs in
	// with other channels keeps those that are in both. Clients of juggler.0 get none.
	Channels []string

	// Expires is when the credentials end; the session is then closed with
	// 4502 unless they were renewed by AUTH. Zero: never.
	Expires time.Time

	// Issued is when the credentials were issued, by the clock of the issuer, such as the iat
	// of a JWT: [Cluster.Revoke] revokes what was issued before. Zero: it is not known, and
	// they cannot be revoked. It means nothing without [WithCluster].
	Issued time.Time

	values map[any]any // see SessionKey.SetIn
}

// Attribute is one property of an [Identity].
type Attribute struct{ Name, Value string }

// SignInFunc decides who the client behind a session is from the token of an
// AUTH message; see [WithDeferredAuth]. The context ends with the session. Those
// of several sessions run concurrently.
type SignInFunc func(ctx context.Context, s Session, token string) (*Identity, error)

// An identity is what a session keeps of an [Identity].
type identity struct {
	user    string
	first   *Attribute // of n, sorted by name: a slice would have its capacity, too
	n       int
	expires int64 // in µs since 1970, as ns end in 2262; 0: never
	issued  int64 // alike; 0: it is not known
}

// attributes returns the attributes, sorted by name.
func (id *identity) attributes() []Attribute { return unsafe.Slice(id.first, id.n) }

// compact returns what a session keeps of id, and the values for it apart. It shares no
// memory with id: a substring of a header would keep the whole request alive.
func (id *Identity) compact() (*identity, map[any]any) {
	if id == nil {
		return nil, nil
	}
	c := &identity{user: strings.Clone(id.User)}
	if !id.Expires.IsZero() {
		c.expires = id.Expires.UnixMicro()
	}
	if !id.Issued.IsZero() {
		c.issued = cmp.Or(id.Issued.UnixMicro(), 1) // of 1970, which is not 0
	}
	if len(id.Attributes) > 0 {
		attributes := make([]Attribute, len(id.Attributes))
		for i, a := range id.Attributes {
			attributes[i] = Attribute{strings.Clone(a.Name), strings.Clone(a.Value)}
		}
		slices.SortStableFunc(attributes, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
		c.first, c.n = &attributes[0], len(attributes)
	}
	return c, maps.Clone(id.values)
}

// topics returns the Channels, each once.
func (id *Identity) topics() (topics []broker.Topic) {
	if id == nil {
		return nil
	}
	for _, name := range id.Channels {
		if t := (broker.Topic{Name: strings.Clone(name)}); !slices.Contains(topics, t) {
			topics = append(topics, t)
		}
	}
	return topics
}

// sameRights reports whether both are the same user with the same attributes.
func (id *identity) sameRights(other *identity) bool {
	return id == other || id != nil && other != nil &&
		id.user == other.user && slices.Equal(id.attributes(), other.attributes())
}

// attribute returns the first attribute of that name.
func (id *identity) attribute(name string) (string, bool) {
	named := id.named(name)
	if len(named) == 0 {
		return "", false
	}
	return named[0].Value, true
}

// has reports whether one of the attributes with that name has that value.
func (id *identity) has(name, value string) bool {
	return slices.Contains(id.named(name), Attribute{name, value})
}

// named returns the attributes of that name.
func (id *identity) named(name string) []Attribute {
	if id == nil {
		return nil
	}
	attributes := id.attributes()
	i, ok := slices.BinarySearchFunc(attributes, name, func(a Attribute, name string) int {
		return strings.Compare(a.Name, name)
	})
	if !ok {
		return nil
	}
	n := i + 1
	for n < len(attributes) && attributes[n].Name == name {
		n++
	}
	return attributes[i:n]
}

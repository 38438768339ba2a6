package redis

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"math"

	"github.com/juggler-go/juggler/broker"
)

// The address of a call with a key says where its record is, in the lane of the URI, and
// tells the record from an earlier one of the same key. Its Node is keyedMark and the
// beginning of the key. No node has such an id, as ULIDs begin otherwise until the year
// 10889. Its Ref is the beginning of the owner, random bytes, and the number of the attempt,
// which attach.lua sets.
const (
	keyedMark   = "\xffkey"
	ownerLength = 8

	attemptByte = len(broker.Address{}.Ref) - 1
)

// keyedNode returns the Node of the addresses of calls with key.
func keyedNode(key broker.CallKey) (node broker.ID) {
	copy(node[copy(node[:], keyedMark):], key[:])
	return node
}

// newKeyedAddress returns the address of a new record.
func newKeyedAddress(key, owner broker.CallKey) broker.Address {
	a := broker.Address{Node: keyedNode(key)}
	copy(a.Ref[:ownerLength], owner[:])
	rand.Read(a.Ref[ownerLength:attemptByte]) //nolint:errcheck // never fails
	return a
}

// isKeyed reports whether a node is that of the address of a call with a key.
func isKeyed(node broker.ID) bool { return string(node[:len(keyedMark)]) == keyedMark }

// everything is the Window of a call with a key whose parts are kept: nobody paces its
// callee.
var everything = broker.Window{Parts: math.MaxUint32, Bytes: math.MaxUint64}

// keyHeader begins the header of a call with a key: in front of all others, so that a
// callee that does not know it finds no window, and answers without parts.
const keyHeader = `{"@key":"`

// withKey returns headers with key in front of them: as they are if it is zero, but for
// those that begin so by themselves.
func withKey(headers []byte, key broker.CallKey) []byte {
	switch {
	case !key.IsZero():
		return withHeader(keyHeader, []byte(key.String()), headers)
	case bytes.HasPrefix(headers, []byte(keyHeader)):
		return withHeader(keyHeader, nil, headers)
	}
	return headers
}

// cutKey is the inverse of withKey. Headers that are not its work are returned as they are.
func cutKey(headers []byte) ([]byte, broker.CallKey) {
	text, rest, ok := cutHeader(keyHeader, headers)
	if !ok {
		return headers, broker.CallKey{}
	}
	var key broker.CallKey
	if len(text) == 0 {
		return rest, key
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil || len(decoded) != len(key) {
		return headers, key
	}
	return rest, broker.CallKey(decoded)
}

// Package cluster lets one node, or a program without any, ask all nodes of a system to do
// something, and learn what became of it at each. A node is a [Member]; who asks is an
// [Asker]. It knows the broker only: what is done is the business of whoever makes a Member.
package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/juggler-go/juggler/broker"
)

// The tables of the broker's Registry.
const (
	nodesTable   = "nodes"
	revokedTable = "revoked"
)

// control is the channel on which all nodes are asked. It is of the server's own, and so are
// those of replies: no client can reach it.
var control = broker.OwnChannel("juggler/cluster")

// replies is the channel of the answers to an asker.
func replies(asker string) string { return broker.OwnChannel("juggler/cluster/" + asker) }

// version is that of commands, replies, and entries of the tables. What has another one is
// ignored, but for fields that are new.
const version = 1

// An Op is what nodes are asked to do.
type Op string

// The Ops.
const (
	DisconnectUser    Op = "disconnect_user"
	DisconnectSession Op = "disconnect_session"
	UnsubscribeUser   Op = "unsubscribe_user"
	ReauthorizeUser   Op = "reauthorize_user"
	revoke            Op = "revoke" // it is in the table, too
	bye               Op = "bye"    // Node is gone in good order, with all of its sessions
)

// A Command is what all nodes are asked for. Names are bytes, as users' need not be UTF-8.
type Command struct {
	Op         Op              `json:"op"`
	User       []byte          `json:"user,omitempty"`
	Session    string          `json:"session,omitempty"`
	Channel    []byte          `json:"channel,omitempty"`
	Pattern    bool            `json:"pattern,omitempty"`
	Code       int             `json:"code,omitempty"`   // of a close, or of an error
	Reason     string          `json:"reason,omitempty"` // or its message
	Data       json.RawMessage `json:"data,omitempty"`   // of an error
	RetryAfter time.Duration   `json:"retry_after,omitempty"`

	Before int64         `json:"before,omitempty"` // of revoke: in µs since 1970
	Life   time.Duration `json:"life,omitempty"`

	Node string   `json:"node,omitempty"` // of bye
	Ask  string   `json:"ask,omitempty"`  // says which asking it is, however often it is sent
	From string   `json:"from,omitempty"` // the asker
	To   []string `json:"to,omitempty"`   // nodes; none: all
	V    int      `json:"v"`
}

// A reply is what became of a command at a node.
type reply struct {
	Ask      string `json:"ask"`
	Node     string `json:"node"`
	Sessions int    `json:"sessions"`
	Error    string `json:"error,omitempty"`
	V        int    `json:"v"`
}

// Info is what a node says of itself.
type Info struct {
	Node     string
	Host     string
	PID      int
	Version  string
	Started  time.Time
	Sessions int
	Users    int
	Draining bool
	Age      time.Duration
	Left     time.Duration
}

// nodeEntry is an Info in the table of nodes.
type nodeEntry struct {
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	Version  string `json:"version,omitempty"`
	Started  int64  `json:"started"` // ms since 1970
	Sessions int    `json:"sessions"`
	Users    int    `json:"users"`
	Draining bool   `json:"draining,omitempty"`
	V        int    `json:"v"`
}

func (i *Info) entry() []byte {
	return encode(nodeEntry{i.Host, i.PID, i.Version, i.Started.UnixMilli(), i.Sessions, i.Users, i.Draining, version})
}

// parseNode reads an entry of the table of nodes. Of one of another version the name counts.
func parseNode(e *broker.Entry) Info {
	info := Info{Node: e.Name, Age: e.Age, Left: e.Left}
	var n nodeEntry
	if json.Unmarshal(e.Value, &n) == nil && n.V == version {
		info.Host, info.PID, info.Version, info.Started = n.Host, n.PID, n.Version, time.UnixMilli(n.Started)
		info.Sessions, info.Users, info.Draining = n.Sessions, n.Users, n.Draining
	}
	return info
}

// revokedName is the name of a revocation in its table: user and time are both in it, so that
// entries are only added, and none takes the place of one that says more.
func revokedName(user string, before int64) string {
	return user + "\x00" + strconv.FormatInt(before, 10)
}

// parseRevoked reads what revokedName has made.
func parseRevoked(name string) (user string, before int64, ok bool) {
	i := bytes.LastIndexByte([]byte(name), 0)
	if i < 0 {
		return "", 0, false
	}
	before, err := strconv.ParseInt(name[i+1:], 10, 64)
	return name[:i], before, err == nil
}

// encode returns v as JSON. Nothing that is encoded here can fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: %v", err))
	}
	return b
}

// event returns v as a publication.
func event(channel string, v any) *broker.Event {
	return &broker.Event{ID: broker.NewID(), Channel: channel, Args: encode(v)}
}

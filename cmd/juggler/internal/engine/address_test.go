package engine

import (
	"slices"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		texts []string
		want  address
	}{
		{[]string{"localhost"}, address{hosts: []string{"localhost:6379"}}},
		{[]string{"redis://a:7000/3"}, address{hosts: []string{"a:7000"}, db: 3}},
		{[]string{"redis://us%40er:pa%2Fss:word@a"}, address{hosts: []string{"a:6379"}, user: "us@er", password: "pa/ss:word"}},
		{[]string{"redis://:p@ss@a"}, address{hosts: []string{"a:6379"}, password: "p@ss"}},
		{[]string{"rediss://[::1]:7000"}, address{hosts: []string{"[::1]:7000"}, tls: true}},
		{[]string{"redis://[::1]"}, address{hosts: []string{"[::1]:6379"}}},
		{[]string{"a:1,b:2"}, address{kind: cluster, hosts: []string{"a:1", "b:2"}}},
		{[]string{"redis://a:1", "redis://b:2", "c"}, address{kind: cluster, hosts: []string{"a:1", "b:2", "c:6379"}}},
		{[]string{"rediss-cluster://a"}, address{kind: cluster, hosts: []string{"a:6379"}, tls: true}},
		{[]string{"redis-sentinel://a,b:1/main/2"}, address{kind: sentinel, hosts: []string{"a:26379", "b:1"}, master: "main", db: 2}},
		{[]string{"unix:///run/redis.sock?db=4"}, address{kind: socket, hosts: []string{"/run/redis.sock"}, db: 4}},
		{[]string{"unix://:secret@/run/redis.sock"}, address{kind: socket, hosts: []string{"/run/redis.sock"}, password: "secret"}},
	} {
		got, err := parseAddress(slices.Clone(tt.texts))
		same := slices.Equal(got.hosts, tt.want.hosts)
		got.hosts, tt.want.hosts = nil, nil
		if err != nil || !same || !equal(got, tt.want) {
			t.Errorf("%q: %+v, %v; want %+v", tt.texts, got, err, tt.want)
		}
	}
}

func equal(a, b address) bool {
	return a.kind == b.kind && a.tls == b.tls && a.user == b.user && a.password == b.password && a.db == b.db && a.master == b.master
}

// What is wrong is said without the password.
func TestParseAddressErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"http://a", "want redis://"},
		{"redisx://a", "want redis://"},
		{"", "the host is missing"},
		{"redis://", "the host is missing"},
		{"redis://a,,b", "the host is missing"},
		{"redis://:secret@a:0", "want HOST:PORT"},
		{"redis://:secret@a:99999", "want HOST:PORT"},
		{"redis://:secret@a/x", `database "x"`},
		{"redis://a/-1", `database "-1"`},
		{"redis://a/0?protocol=3", "there are flags for them"},
		{"redis://a,b/1", "a cluster has no database but 0"},
		{"redis-sentinel://a", "the name of the master is missing"},
		{"redis://:secret%zz@a", "a % stands as %25"},
		{"unix://run/redis.sock", "want unix:///PATH"},
	} {
		_, err := parseAddress([]string{tt.text})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

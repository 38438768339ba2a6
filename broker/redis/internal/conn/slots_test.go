package conn

import (
	"strings"
	"testing"
)

// A master's row of CLUSTER SLOTS.
func slotRow(first, last int64, host any, port int64, id string, more ...any) any {
	return []any{first, last, []any{host, port, id, more}, []any{"10.0.0.99", int64(1), "replica", []any{}}}
}

func TestReadSlots(t *testing.T) {
	for _, test := range []struct {
		name  string
		asked string
		rows  []any
		want  string // addresses; or the error
	}{
		{"addresses", "10.0.0.1:7000", []any{slotRow(0, 9, "10.0.0.1", 7000, "a"), slotRow(10, 19, "10.0.0.2", 7001, "b")}, "10.0.0.1:7000 10.0.0.2:7001"},
		{"IPv6", "[fd00::1]:7000", []any{slotRow(0, 9, "fd00::2", 7000, "a")}, "[fd00::2]:7000"},
		{"host names", "10.0.0.1:7000", []any{slotRow(0, 9, "a.example", 7000, "a", "ip", "10.0.0.1")}, "a.example:7000"},
		{"nodes of before 4.0", "10.0.0.1:7000", []any{[]any{int64(0), int64(9), []any{"10.0.0.2", int64(7000)}}}, "10.0.0.2:7000"},
		{"a node that does not know itself", "10.0.0.1:7000", []any{slotRow(0, 9, "", 7000, "a")}, "10.0.0.1:7000"},
		{"unknown endpoints", "10.0.0.1:7000", []any{slotRow(0, 9, nil, 7000, "a"), slotRow(10, 19, nil, 7001, "b")}, "10.0.0.1:7000 10.0.0.1:7001"},
		{"no host name announced", "10.0.0.1:7000", []any{slotRow(0, 9, "?", 7000, "a", "ip", "10.0.0.2")}, "10.0.0.2:7000"},
		{"nor an address known", "10.0.0.1:7000", []any{slotRow(0, 9, "?", 7000, "a", "ip", "")}, "10.0.0.1:7000"},
		{"nor an address told", "10.0.0.1:7000", []any{slotRow(0, 9, "?", 7000, "a")}, "error: cluster-announce-hostname"},
		{"loopback from outside", "10.0.0.1:7000", []any{slotRow(0, 9, "127.0.0.1", 7001, "a"), slotRow(10, 19, "::1", 7002, "b")}, "10.0.0.1:7001 10.0.0.1:7002"},
		{"loopback from inside", "localhost:7000", []any{slotRow(0, 9, "127.0.0.1", 7001, "a")}, "127.0.0.1:7001"},
		{"TLS only", "10.0.0.1:7000", []any{slotRow(0, 9, "10.0.0.2", 0, "a"), slotRow(10, 19, "10.0.0.3", 0, "b"), slotRow(20, 29, "10.0.0.2", 0, "a")}, "10.0.0.2:7000 10.0.0.3:7000 10.0.0.2:7000"},
		{"TLS only, on one machine", "10.0.0.1:7000", []any{slotRow(0, 9, "", 0, "a"), slotRow(10, 19, "10.0.0.1", 0, "b")}, "error: cluster-announce-port"},
		{"nobody has a range", "10.0.0.1:7000", []any{[]any{int64(0), int64(9)}}, ""},
		{"no rows", "10.0.0.1:7000", nil, ""},
		{"nonsense", "10.0.0.1:7000", []any{"x"}, "error: unexpected"},
		{"nonsense for a node", "10.0.0.1:7000", []any{[]any{int64(0), int64(9), "x"}}, "error: unexpected"},
	} {
		ranges, err := readSlots(test.rows, test.asked)
		var got []string
		for _, r := range ranges {
			got = append(got, r.master.Addr)
		}
		want, wrong := strings.CutPrefix(test.want, "error: ")
		switch {
		case wrong && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want one with %s", test.name, err, want)
		case !wrong && (err != nil || strings.Join(got, " ") != want):
			t.Errorf("%s: %v, %v; want %s", test.name, got, err, want)
		}
	}
	if _, err := readSlots("x", "10.0.0.1:7000"); err == nil {
		t.Error("a reply that is no list is accepted")
	}
}

// Slot agrees with the examples of the Redis Cluster specification.
func TestSlot(t *testing.T) {
	for tag, want := range map[string]int{"123456789": 0x31c3, "user1000": 3443, "foo": 12182} {
		if got := Slot(tag); got != want {
			t.Errorf("slot of %s is %d, want %d", tag, got, want)
		}
	}
}

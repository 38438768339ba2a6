package conn

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"
)

// Slots is the number of hash slots of a Redis Cluster.
const Slots = 16384

// Slot returns the hash slot of a hash tag: its CRC-16 (XMODEM) modulo 16384, as the
// Redis Cluster specification has it.
func Slot(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % Slots
}

// readSlots reads the reply of the node at asked to CLUSTER SLOTS, ordered by slots.
// go-redis' own reading fails where a node has no address; besides, what nodes say
// of where they are is meant for those who look from where the node does:
//
//   - no host, as the node that was asked often has itself, and all have where
//     cluster-preferred-endpoint-type is unknown-endpoint: the host that was asked;
//   - "?", where host names are preferred and the node has none: its IP address;
//   - a loopback address, seen from outside: the host that was asked;
//   - port 0, of servers that take TLS only: the port that was asked.
func readSlots(reply any, asked string) ([]slotRange, error) {
	rows, ok := reply.([]any)
	if !ok {
		return nil, errSlots
	}
	ranges := make([]slotRange, 0, len(rows))
	guessed := map[string]string{} // address of a master that told no port -> its id
	for _, row := range rows {
		if fields, ok := row.([]any); ok && len(fields) == 2 {
			continue // nobody has these slots
		}
		r, noPort, err := readRange(row, asked)
		if err != nil {
			return nil, err
		}
		if noPort {
			if id, known := guessed[r.master.Addr]; known && id != r.master.id {
				return nil, fmt.Errorf("several masters are at %s with port 0, as servers are that take TLS only: set cluster-announce-port there, or tls-cluster to yes", r.master.Addr)
			}
			guessed[r.master.Addr] = r.master.id
		}
		ranges = append(ranges, r)
	}
	return inOrder(ranges), nil
}

var errSlots = errors.New("unexpected reply to CLUSTER SLOTS")

// readRange reads one range of slots, with its master. noPort says that the master
// did not tell its port.
func readRange(row any, asked string) (r slotRange, noPort bool, err error) {
	fields, _ := row.([]any)
	if len(fields) < 3 {
		return r, false, errSlots
	}
	first, ok1 := fields[0].(int64)
	last, ok2 := fields[1].(int64)
	node, _ := fields[2].([]any) // the master comes first
	if !ok1 || !ok2 || len(node) < 2 {
		return r, false, errSlots
	}
	host, _ := node[0].(string) // may be nil
	port, _ := node[1].(int64)
	r = slotRange{first: int(first), last: int(last)}
	if len(node) > 2 {
		r.master.id, _ = node[2].(string)
	}
	var more []any
	if len(node) > 3 {
		more, _ = node[3].([]any)
	}
	r.master.Addr, err = endpoint(host, port, more, asked)
	return r, port == 0, err
}

// rangesOf takes over the map that a function of the user's returned.
func rangesOf(slots []goredis.ClusterSlot) []slotRange {
	ranges := make([]slotRange, 0, len(slots))
	for _, s := range slots {
		if len(s.Nodes) > 0 {
			master := Server{Addr: s.Nodes[0].Addr, id: s.Nodes[0].ID} // it comes first
			ranges = append(ranges, slotRange{s.Start, s.End, master})
		}
	}
	return inOrder(ranges)
}

func inOrder(ranges []slotRange) []slotRange {
	slices.SortFunc(ranges, func(a, b slotRange) int { return a.first - b.first })
	return ranges
}

// endpoint returns the address of a node as we reach it, from what the node at
// asked says. more are names and values that the reply has besides.
func endpoint(host string, port int64, more []any, asked string) (string, error) {
	askedHost, askedPort, err := net.SplitHostPort(asked)
	if err != nil {
		return "", err
	}
	if host == "?" {
		var known bool
		if host, known = valueOf(more, "ip"); !known {
			return "", errors.New("a node has no host name: set cluster-announce-hostname there, or cluster-preferred-endpoint-type to ip")
		}
	}
	if host == "" || isLoopback(host) && !isLoopback(askedHost) {
		host = askedHost
	}
	if port == 0 {
		return net.JoinHostPort(host, askedPort), nil
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10)), nil
}

// valueOf returns the value of a name in a list of names and values.
func valueOf(list []any, name string) (value string, known bool) {
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == name {
			value, known = list[i+1].(string)
			return value, known
		}
	}
	return "", false
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost"
}

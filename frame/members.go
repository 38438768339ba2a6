package frame

import (
	"iter"
	"strconv"
)

// The functions of this file handle [Frame.Members], Joined and Left: JSON arrays, or nothing.

// A Member is a user who is in a channel.
type Member struct {
	User     string
	Sessions int    // how many the user has there, 1 or more
	Info     []byte // a JSON value, or nil
}

// AppendMember appends m to an array of members, or begins one if dst is empty. Behind the last
// one a closing bracket has to follow.
func AppendMember(dst []byte, m Member) []byte {
	dst = append(dst, separator(dst))
	dst = AppendString(append(dst, `{"user":`...), m.User)
	dst = strconv.AppendInt(append(dst, `,"n":`...), int64(m.Sessions), 10)
	return append(rawMember1(dst, `,"info":`, m.Info), '}')
}

// AppendUser appends a user to an array of users, as [AppendMember] does.
func AppendUser(dst []byte, user string) []byte {
	return AppendString(append(dst, separator(dst)), user)
}

func separator(dst []byte) byte {
	if len(dst) == 0 {
		return '['
	}
	return ','
}

// MemberSeq returns the members of raw, a decoded [Frame.Members] or Joined, in their order.
// It does not change raw, and Info is a part of it.
func MemberSeq(raw []byte) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for value := range elements(raw) {
			m, user, ok := readMember(value)
			if !ok {
				return
			}
			m.User = copyText(user)
			if !yield(m) {
				return
			}
		}
	}
}

// TextSeq returns the texts of raw, a decoded [Frame.Left], in their order.
func TextSeq(raw []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for value := range elements(raw) {
			if value[0] != '"' || !yield(copyText(value[1:len(value)-1])) {
				return
			}
		}
	}
}

// elements returns the values of raw, a JSON value, if it is an array.
func elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(raw) == 0 || raw[0] != '[' {
			return
		}
		i := skipSpace(raw, 1)
		for raw[i] != ']' {
			end := skipValue(raw, i, 0)
			if !yield(raw[i:end:end]) {
				return
			}
			if i = skipSpace(raw, end); raw[i] == ',' {
				i = skipSpace(raw, i+1)
			}
		}
	}
}

// readMember reads a JSON value as a member, whose user it returns apart, as the inside of a
// string.
func readMember(raw []byte) (member Member, user []byte, ok bool) {
	if raw[0] != '{' {
		return member, nil, false
	}
	m := members{b: raw, i: 1}
	for m.next() {
		name := m.key
		if m.escaped {
			name = unescape(nil, name)
		}
		value := m.value()
		switch string(name) {
		case "user":
			if value[0] != '"' {
				return member, nil, false
			}
			user = value[1 : len(value)-1]
		case "n":
			n, isInteger := integer(value)
			if member.Sessions = int(n); !isInteger || int64(member.Sessions) != n {
				return member, nil, false
			}
		case "info":
			if !absent(value) {
				member.Info = value
			}
		}
	}
	return member, user, len(user) > 0 && member.Sessions > 0
}

// validMembers reports whether raw, a JSON value or nil, is an array of members or nil.
func validMembers(raw []byte) bool {
	return validElements(raw, func(value []byte) bool {
		_, _, ok := readMember(value)
		return ok
	})
}

// validTexts reports whether raw, a JSON value or nil, is an array of strings or nil.
func validTexts(raw []byte) bool {
	return validElements(raw, func(value []byte) bool { return value[0] == '"' })
}

func validElements(raw []byte, valid func([]byte) bool) bool {
	for value := range elements(raw) {
		if !valid(value) {
			return false
		}
	}
	return raw == nil || raw[0] == '['
}

package redis

import "bytes"

// What a call says in addition lies in headers of the broker's own, each in front of those
// before it, as callees that do not know it see nothing in one header more. Behind the
// name, which is given as the text up to the value, stand the value, a quote, and
//
//	}    if there are no headers behind it
//	,    and what they have behind their first byte, {, if others follow there
//	' '  and the same, if the object is empty
//	:    and what is given as headers and is no JSON object

// withHeader returns headers with one of that name and value in front of them.
func withHeader(name string, value, headers []byte) []byte {
	b := make([]byte, 0, len(name)+len(value)+2+len(headers))
	b = append(append(append(b, name...), value...), '"')
	switch {
	case len(headers) == 0:
		return append(b, '}')
	case headers[0] != '{':
		return append(append(b, ':'), headers...)
	case bytes.HasPrefix(bytes.TrimLeft(headers[1:], " \t\r\n"), []byte("}")):
		b = append(b, ' ')
	default:
		b = append(b, ',')
	}
	return append(b, headers[1:]...)
}

// cutHeader is the inverse of withHeader. It returns false for headers that are not its
// work.
func cutHeader(name string, headers []byte) (value, rest []byte, ok bool) {
	behind, ok := bytes.CutPrefix(headers, []byte(name))
	if !ok {
		return nil, nil, false
	}
	value, behind, ok = bytes.Cut(behind, []byte{'"'})
	if !ok || len(behind) == 0 {
		return nil, nil, false
	}
	switch separator := behind[0]; {
	case separator == '}' && len(behind) == 1:
		return value, nil, true
	case separator == ':' && len(behind) > 1:
		return value, behind[1:], true
	case separator == ',' || separator == ' ':
		// Not in place: who gives the call back gives back the value.
		return value, append([]byte{'{'}, behind[1:]...), true
	}
	return nil, nil, false
}

package memory

import "strings"

// matchGlob reports whether text matches pattern in the glob syntax of Redis
// (PSUBSCRIBE, https://redis.io/docs/latest/commands/psubscribe/), byte by byte:
//
//   - any bytes, or none
//     ?        one byte
//     [abc]    one of these bytes; [^abc] none of them; [a-c] or [c-a] a range
//     \x       x itself, also within brackets
//
// A bracket that is not closed ends with the pattern, a lone backslash at the
// end stands for itself, and ! is not special. The time it takes grows at most
// with the product of both lengths: to go back to the last * is enough, since
// whatever an earlier one could take instead, the last one can take as well.
func matchGlob(pattern, text string) bool {
	var retryPattern, retryText string // from where the last * goes on
	starred := false
	for text != "" {
		if pattern != "" && pattern[0] == '*' {
			pattern = pattern[1:]
			if pattern == "" {
				return true
			}
			starred, retryPattern, retryText = true, pattern, text
			continue
		}
		if pattern != "" {
			if rest, ok := matchByte(pattern, text[0]); ok {
				pattern, text = rest, text[1:]
				continue
			}
		}
		if !starred {
			return false
		}
		retryText = retryText[1:]
		pattern, text = retryPattern, retryText
	}
	return strings.TrimLeft(pattern, "*") == ""
}

// matchByte matches b against the first element of pattern, which is not a
// star, and returns the pattern after that element.
func matchByte(pattern string, b byte) (rest string, ok bool) {
	switch {
	case pattern[0] == '?':
		return pattern[1:], true
	case pattern[0] == '[':
		return matchClass(pattern[1:], b)
	case pattern[0] == '\\' && len(pattern) > 1:
		pattern = pattern[1:]
	}
	return pattern[1:], pattern[0] == b
}

// matchClass matches b against a bracket expression, of which class is what
// follows the opening bracket.
func matchClass(class string, b byte) (rest string, ok bool) {
	negated := class != "" && class[0] == '^'
	if negated {
		class = class[1:]
	}
	found := false
	for class != "" && class[0] != ']' {
		switch {
		case class[0] == '\\' && len(class) > 1:
			found = found || class[1] == b
			class = class[2:]
		case len(class) > 2 && class[1] == '-':
			// Whatever the third byte is, a bracket or a backslash too.
			low, high := min(class[0], class[2]), max(class[0], class[2])
			found = found || low <= b && b <= high
			class = class[3:]
		default:
			found = found || class[0] == b
			class = class[1:]
		}
	}
	if class != "" {
		class = class[1:] // the closing bracket
	}
	return class, found != negated
}

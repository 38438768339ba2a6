package juggler

import "strconv"

// acceptPattern refuses a pattern of that length if no session may have it.
func (c *config) acceptPattern(bytes int) error {
	switch {
	case c.maxPatterns == 0:
		return &Error{Code: CodeForbidden, Message: "clients may not subscribe to patterns here"}
	case bytes > c.maxPatternBytes:
		return &Error{Code: CodeBadRequest, Message: "a pattern is longer than " + strconv.Itoa(c.maxPatternBytes) + " bytes"}
	}
	return nil
}

// manyPatterns refuses a pattern that no session of the node is subscribed to yet.
func manyPatterns() error {
	return &Error{Code: CodeUnavailable, Message: "the sessions of this server have too many patterns", RetryAfter: retryAfter(nil)}
}

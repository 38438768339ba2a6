package access

import (
	"encoding/json"
	"strings"
)

// scopeClaim is OAuth's: words with spaces between (RFC 6749, section 3.3).
const scopeClaim = "scope"

// claimText returns a claim as an attribute of a session keeps it: in JSON, which tells
// a list from a text that looks like one.
func claimText(claim any) string {
	text, err := json.Marshal(claim)
	if err != nil {
		return "null" // never: it came from JSON
	}
	return string(text)
}

// hasWord reports whether a claim, as claimText returns it, is a word or, if it is a
// list, has it as an entry. Only OAuth's scope is more than one word without being a list.
func hasWord(claim, name, word string) bool {
	switch {
	case strings.HasPrefix(claim, `"`):
		var text string
		if json.Unmarshal([]byte(claim), &text) != nil {
			return false
		}
		if name == scopeClaim {
			for scope := range strings.FieldsSeq(text) {
				if scope == word {
					return true
				}
			}
		}
		return text == word
	case strings.HasPrefix(claim, "["):
		var entries []json.RawMessage
		if json.Unmarshal([]byte(claim), &entries) != nil {
			return false
		}
		for _, entry := range entries {
			if e := string(entry); !strings.HasPrefix(e, "[") && hasWord(e, "", word) {
				return true
			}
		}
		return false
	}
	return claim == word // a number, true or false
}

package access

import (
	"encoding/json"
	"strings"

	"github.com/juggler-go/juggler"
)

// scopeClaim is OAuth's: words with spaces between (RFC 6749, section 3.3).
const scopeClaim = "scope"

// attributes returns a claim as attributes of a session: one with each word that rules may
// ask for, and if headers are made of claims, one with all of it in JSON.
func attributes(name string, claim any, headers bool) (list []juggler.Attribute) {
	if headers {
		list = append(list, juggler.Attribute{Name: whole(name), Value: claimText(claim)})
	}
	for _, word := range claimWords(name, claim) {
		list = append(list, juggler.Attribute{Name: name, Value: word})
	}
	return list
}

// whole returns the name of the attribute with all of a claim, which no rule can ask for.
func whole(name string) string { return "=" + name }

// claimWords returns the words of a claim: it is one, or if it is a list, has one in each
// entry. Only OAuth's scope is more than one word without being a list.
func claimWords(name string, claim any) []string {
	switch claim := claim.(type) {
	case []any:
		var words []string
		for _, entry := range claim {
			if _, list := entry.([]any); !list {
				words = append(words, claimWords("", entry)...)
			}
		}
		return words
	case string:
		if name == scopeClaim {
			return append(strings.Fields(claim), claim)
		}
		return []string{claim}
	case map[string]any, nil:
		return nil
	}
	return []string{claimText(claim)} // a number, true or false
}

// claimText returns a claim in JSON, which tells a list from a text that looks like one.
func claimText(claim any) string {
	text, err := json.Marshal(claim)
	if err != nil {
		return "null" // never: it came from JSON
	}
	return string(text)
}

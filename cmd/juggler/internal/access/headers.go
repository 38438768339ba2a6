package access

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/juggler-go/juggler"
)

// identityHeaders tell callees who calls. No client can set them.
type identityHeaders struct {
	user       string // "": none
	attributes []attributeHeader
}

// An attributeHeader is a header with a claim of the token.
type attributeHeader struct{ claim, header string }

// parseHeaders reads what the flags say: the header of the user, and of attributes, each
// CLAIM or CLAIM=HEADER.
func parseHeaders(f *Flags) (*identityHeaders, error) {
	h := &identityHeaders{user: f.userHeader}
	for _, text := range f.attributeHeaders {
		claim, header, ok := strings.Cut(text, "=")
		if !ok {
			header = claim
		}
		switch {
		case claim == "" || header == "":
			return nil, fmt.Errorf("--attribute-headers %q: want CLAIM or CLAIM=HEADER", text)
		case !slices.Contains(f.attributes, claim):
			return nil, fmt.Errorf("--attribute-headers %q: want a claim that --token-attributes lists", text)
		case slices.ContainsFunc(h.names(), func(name string) bool { return strings.EqualFold(name, header) }):
			return nil, fmt.Errorf("--attribute-headers %q: the header is that of something else, too", text)
		}
		h.attributes = append(h.attributes, attributeHeader{claim, header})
	}
	return h, nil
}

// names returns the headers.
func (h *identityHeaders) names() []string {
	var names []string
	if h.user != "" {
		names = append(names, h.user)
	}
	for _, a := range h.attributes {
		names = append(names, a.header)
	}
	return names
}

// options returns what sets the headers.
func (h *identityHeaders) options() []juggler.Option {
	var options []juggler.Option
	if h.user != "" {
		options = append(options, juggler.WithUserHeader(h.user))
	}
	for _, a := range h.attributes {
		options = append(options, juggler.WithCallHeader(a.header, func(s juggler.Session) (string, bool) {
			claim, ok := s.Attribute(whole(a.claim))
			return headerText(claim), ok
		}))
	}
	return options
}

// headerText returns the header for a claim as claimText returns it: a text as it is, but
// in JSON where it could be taken for that; all else in JSON.
func headerText(claim string) string {
	var text string
	if json.Unmarshal([]byte(claim), &text) != nil || strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") || strings.HasPrefix(text, `"`) {
		return claim
	}
	return text
}

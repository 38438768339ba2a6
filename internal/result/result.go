// Package result decodes the results of calls, for all Go programs that make calls.
package result

import (
	"encoding/json"
	"fmt"
)

// Decode unmarshals the result of a call into out. A nil out ignores it, a
// *json.RawMessage gets a copy of it as it came. No result is null.
func Decode(body []byte, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		if out != nil {
			*out = append((*out)[:0], body...)
			return nil
		}
	}
	if len(body) == 0 {
		body = []byte("null")
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return nil
}

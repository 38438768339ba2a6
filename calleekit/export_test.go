package calleekit

import "encoding/json"

// StrictCall returns a call of a function with [WithStrictArgs].
func StrictCall(args string) *Call { return &Call{Args: json.RawMessage(args), strict: true} }

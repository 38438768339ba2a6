package frame

// State says how far a call with a key is when somebody joins it.
type State uint8

const (
	NoState State = iota // the call has no key, or the state is an unknown one
	New                  // this CALL has made it
	Running              // it was made before, and has no outcome yet
	Done                 // its outcome is there
)

var states = [...]string{New: "new", Running: "running", Done: "done"}

// String returns the state as it is on the wire, "" for NoState.
func (s State) String() string { return states[s] }

// readState returns the state of this name.
func readState(name []byte) State {
	for s, known := range states {
		if known != "" && known == string(name) {
			return State(s)
		}
	}
	return NoState
}

package exit

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// The code of an error is the outermost, however it was wrapped or joined; the
// error inside stays what it was.
func TestCode(t *testing.T) {
	refused := With(Refused, io.EOF)
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, OK},
		{"nil with a code", With(Usage, nil), OK},
		{"without a code", io.EOF, Failure},
		{"with a code", refused, Refused},
		{"wrapped", fmt.Errorf("call: %w", refused), Refused},
		{"joined, second", errors.Join(io.EOF, refused), Refused},
		{"two codes", With(Usage, refused), Usage},
	} {
		if got := Code(tt.err); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if !errors.Is(refused, io.EOF) || refused.Error() != io.EOF.Error() {
		t.Errorf("%v is not the error inside", refused)
	}
}

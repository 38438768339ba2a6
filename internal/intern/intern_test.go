package intern

import (
	"fmt"
	"testing"
)

func TestTable(t *testing.T) {
	var table Table
	for i := range 3 * maxStrings {
		want := fmt.Sprint("channel.", i)
		if got := table.String([]byte(want)); got != want {
			t.Fatalf("String returns %q, want %q", got, want)
		}
		if len(table) > maxStrings {
			t.Fatalf("the table remembers %d strings, want at most %d", len(table), maxStrings)
		}
	}
	b := []byte("channel.0")
	table.String(b)
	if n := testing.AllocsPerRun(100, func() { table.String(b) }); n > 0 {
		t.Errorf("%v allocations for a name in use, want 0", n)
	}
	clear(b)
	if got := table.String([]byte("channel.0")); got != "channel.0" {
		t.Errorf("a string has changed with the bytes it was made of: %q", got)
	}
}

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shop = "../../contract/testdata/shop."

// contract ts writes what the library writes.
func TestContractTS(t *testing.T) {
	want := readFile(t, shop+"ts")
	if got := run(t, "", "contract", "ts", shop+"json"); got.code != 0 || got.stdout != want || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
	file := filepath.Join(t.TempDir(), "shop.ts")
	got := run(t, readFile(t, shop+"json"), "contract", "ts", "-", "--output", file, "--name", "Shop")
	if got.code != 0 || got.stdout+got.stderr != "" {
		t.Errorf("got %+v", got)
	}
	if text := readFile(t, file); text != strings.ReplaceAll(strings.Replace(want, "interface App", "interface Shop", 1), "<App>", "<Shop>") {
		t.Errorf("got %s", text)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"ts"}, "juggler contract ts: the contract is missing"},
		{[]string{"ts", shop + "json", "--name", "my app"}, `"my app" is no name for a type of TypeScript`},
		{[]string{"ts", shop + "ts"}, shop + "ts: contract: invalid character"},
		{[]string{"check", shop + "json"}, "one of the two contracts is missing"},
		{[]string{"check", shop + "json", "nowhere.json"}, "nowhere.json"},
		{nil, "missing command"},
	} {
		if got := run(t, "", append([]string{"contract"}, tt.args...)...); got.code != 2 || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%v: %+v, want %q", tt.args, got, tt.want)
		}
	}
}

// contract check says what differs, what breaks clients first, and fails for that.
func TestContractCheck(t *testing.T) {
	if got := run(t, "", "contract", "check", shop+"json", shop+"json"); got.code != 0 || got.stdout != "nothing has changed\n" {
		t.Errorf("of one file: %+v", got)
	}
	changed := filepath.Join(t.TempDir(), "changed.json")
	text := strings.NewReplacer(
		`"time.now"`, `"time.is"`,
		`"sold out"`, `"out of stock"`,
		`"orders.all"`, `"orders.every"`,
	).Replace(readFile(t, shop+"json"))
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := run(t, "", "contract", "check", shop+"json", changed)
	want := `breaks clients:
  call time.now: is gone
  channel orders.all: is gone
breaks no client:
  call time.is: is new
  channel orders.every: is new
`
	if got.code != 1 || got.stdout != want || got.stderr != "juggler: 2 changes break clients\n" {
		t.Errorf("got %+v, want %s", got, want)
	}
}

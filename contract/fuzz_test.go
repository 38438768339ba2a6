package contract_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/juggler-go/juggler/contract"
)

// Whatever Parse takes is written and read as the same, differs in nothing from itself, and
// becomes TypeScript.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"shop", "hostile"} {
		text, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, s := range []string{
		`{"type":["string","null"],"format":"date"}`, `{"enum":["a",1,true]}`, `{"type":"array","minItems":-1,"maxItems":-1}`,
		`{"anyOf":[{"$ref":"#/$defs/A"},{"type":"object","additionalProperties":true}]}`, `{"type":"integer","minimum":1e300}`,
	} {
		f.Add([]byte(`{"juggler":1,"calls":{"u":{"args":` + s + `,"result":{}}},"channels":{"c.{x}":{"event":` + s + `}},"$defs":{"A":{"type":"array","items":{"$ref":"#/$defs/A"}}}}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := contract.Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "contract: ") {
				t.Errorf("the error is %q", err)
			}
			return
		}
		written := c.JSON()
		again, err := contract.Parse(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if !bytes.Equal(again.JSON(), written) {
			t.Errorf("it becomes\n%s\nand then\n%s", written, again.JSON())
		}
		if changes := contract.Compare(c, again); len(changes) > 0 {
			t.Errorf("it differs from itself: %v\n%s", changes, written)
		}
		if _, err := c.TypeScript(contract.AppName); err != nil {
			t.Error(err)
		}
	})
}

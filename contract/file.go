package contract

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile writes the contract to a file: as TypeScript, with the name [AppName], if its
// name ends in .ts, else as JSON.
func (c *Contract) WriteFile(name string) error {
	text, err := c.text(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o666)
}

// CheckFile returns an error if a file is not what [Contract.WriteFile] would write. For
// JSON it says what differs. It is for a test that keeps the file beside the code:
//
//	func TestContract(t *testing.T) {
//		c, err := contract.New(sources()...)
//		if err != nil {
//			t.Fatal(err)
//		}
//		for _, name := range []string{"contract.json", "web/src/contract.ts"} {
//			if *update {
//				err = c.WriteFile(name)
//			} else {
//				err = c.CheckFile(name)
//			}
//			if err != nil {
//				t.Error(err)
//			}
//		}
//	}
func (c *Contract) CheckFile(name string) error {
	want, err := c.text(name)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if bytes.Equal(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), want) {
		return nil
	}
	problem := fmt.Errorf("contract: %s is not what the code says", name)
	old, err := Parse(text)
	if err != nil {
		return problem
	}
	for _, change := range Compare(old, c) {
		problem = errors.Join(problem, errors.New(change.String()))
	}
	return problem
}

func (c *Contract) text(name string) ([]byte, error) {
	if strings.EqualFold(filepath.Ext(name), ".ts") {
		return c.TypeScript(AppName)
	}
	return c.JSON(), nil
}

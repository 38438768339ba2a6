package prober

import (
	"encoding/json"
	"fmt"
	"io"
)

// List writes the names of cases, and what is right in each, a case a line.
func List(out io.Writer, cases []Case) error {
	level := ""
	for _, c := range cases {
		if c.Level != level {
			level = c.Level
			fmt.Fprintln(out, level)
		}
		if _, err := fmt.Fprintf(out, "  %-25s %s\n", c.Name, c.What); err != nil {
			return err
		}
	}
	return nil
}

// Print writes cases as JSON.
func Print(out io.Writer, cases []Case) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	return e.Encode(cases)
}

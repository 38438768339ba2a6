package prober

import "fmt"

// maxLines bounds a transcript.
const maxLines = 400

// A transcript is what a person reads of a case that failed: the messages of both sides, and
// what the program was told and has told. Its session writes it.
type transcript []string

func (t *transcript) add(format string, args ...any) {
	if len(*t) < maxLines {
		*t = append(*t, cut(fmt.Sprintf(format, args...)))
	}
}

func (t *transcript) client(connection int, text string) { t.add("%d client  %s", connection, text) }
func (t *transcript) server(connection int, text string) { t.add("%d server  %s", connection, text) }
func (t *transcript) tell(text string)                   { t.add("  stdin   %s", text) }
func (t *transcript) told(text string)                   { t.add("  stdout  %s", text) }

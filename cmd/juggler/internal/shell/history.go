package shell

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxHistory is how many lines are kept.
const maxHistory = 1000

// A history is the lines that were typed, in this process and earlier ones. It
// implements term.History.
type history struct {
	lines []string // the newest last
	path  string   // of the file; "": none
}

// openHistory reads the history of a file. One that cannot be read is empty.
func openHistory(path string) *history {
	h := &history{path: path}
	if text, err := os.ReadFile(path); err == nil {
		for line := range strings.Lines(string(text)) {
			h.keep(strings.TrimSuffix(line, "\n"))
		}
	}
	return h
}

// historyPath returns where the history is, or "" if there is no place for it.
func historyPath() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "juggler", "history")
}

// Add implements term.History.
func (h *history) Add(line string) {
	if strings.TrimSpace(line) != "" {
		h.keep(line)
	}
}

// keep appends a line, unless it repeats the one before.
func (h *history) keep(line string) {
	if n := len(h.lines); n > 0 && h.lines[n-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if extra := len(h.lines) - maxHistory; extra > 0 {
		h.lines = slices.Delete(h.lines, 0, extra)
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History: 0 is the newest line.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

// A search goes back through a history, step by step.
type search struct {
	text  string // what lines must contain
	found string // what the last step returned
	at    int    // where the next step begins
}

// next returns the line of h that the search finds next, or line if there is
// none. A line that is not what the step before returned begins a new search.
func (s *search) next(h *history, line string) string {
	if line != s.found || line == "" {
		*s = search{text: line}
	}
	for ; s.at < h.Len(); s.at++ {
		if known := h.At(s.at); known != line && strings.Contains(known, s.text) {
			s.found = known
			return known
		}
	}
	s.found = line // the end; the next step stays here
	return line
}

// save writes the file, for its owner only: args may be secret.
func (h *history) save() error {
	if h.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(h.path), "history-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.WriteString(strings.Join(h.lines, "\n") + "\n")
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), h.path)
}

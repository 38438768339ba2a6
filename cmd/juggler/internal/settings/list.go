package settings

import "strings"

// List is a flag for texts with commas between them, each of which has a meaning. It is a
// list for files and variables.
type List struct {
	Kind string                     // what help calls the texts
	Take func(texts []string) error // gets all of them, or refuses them

	texts []string
}

// String and Type are for pflag.
func (l *List) String() string { return strings.Join(l.texts, ",") }

// Type implements pflag.Value.
func (l *List) Type() string { return l.Kind }

// Set adds texts.
func (l *List) Set(text string) error {
	return l.Replace(append(l.texts[:len(l.texts):len(l.texts)], strings.Split(text, ",")...))
}

// Append adds a text.
func (l *List) Append(text string) error { return l.Set(text) }

// GetSlice returns the texts.
func (l *List) GetSlice() []string { return l.texts }

// Replace sets the texts.
func (l *List) Replace(texts []string) error {
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	if err := l.Take(texts); err != nil {
		return err
	}
	l.texts = texts
	return nil
}

package contract

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// AppName is the name of the interface that [Contract.TypeScript] writes by default.
const AppName = "App"

// TypeScript returns the contract as a module for the TypeScript client: an interface of
// this name for new Client<App>(…), and the types that it needs. The same contract gives
// the same text. It returns an error if name is none that TypeScript takes.
func (c *Contract) TypeScript(name string) ([]byte, error) {
	if !identifier.MatchString(name) || slices.Contains(reserved, name) {
		return nil, fmt.Errorf("contract: %q is no name for a type of TypeScript", name)
	}
	w := &typescript{contract: c, names: map[string]string{}}
	w.nameTypes(name)
	w.line("// Written from a contract of juggler: change that and write it anew.")
	w.line("")
	w.line("/** What the server offers, for `new Client<%s>(…)`. */", name)
	w.line("export interface %s {", name)
	w.indented(func() {
		w.block("calls: {", func() {
			for _, uri := range sorted(c.Calls) {
				w.call(uri, c.Calls[uri])
			}
		}, "};")
		w.block("channels: {", func() {
			for _, name := range sorted(c.Channels) {
				w.channel(name)
			}
		}, "};")
	})
	w.line("}")
	for _, def := range sorted(c.Defs) {
		w.line("")
		w.define(def)
	}
	return []byte(w.text.String()), nil
}

var (
	identifier = regexp.MustCompile(`^[\pL_$][\pL\pN_$]*$`)

	// reserved cannot be the name of a type, or is that of one that is used.
	reserved = strings.Fields(`any as async await bigint boolean break case catch class const continue debugger default
		delete do else enum export extends false finally for function if implements import in instanceof interface let
		never new null number object package private protected public return static string super switch symbol this
		throw true try type typeof undefined unknown var void while with yield Array AsyncGenerator`)
)

// typescript writes a module.
type typescript struct {
	contract *Contract
	names    map[string]string // of the types by those of the definitions
	text     strings.Builder
	indent   string
}

// nameTypes gives all definitions names that TypeScript takes, and that differ.
func (w *typescript) nameTypes(app string) {
	taken := map[string]bool{app: true}
	for _, name := range reserved {
		taken[name] = true
	}
	take := func(def, name string) {
		for free, n := name, 2; taken[name]; n++ {
			name = free + strconv.Itoa(n)
		}
		taken[name] = true
		w.names[def] = name
	}
	var odd []string // named last, so that they take no other's name
	for _, def := range sorted(w.contract.Defs) {
		if identifier.MatchString(def) {
			take(def, def)
		} else {
			odd = append(odd, def)
		}
	}
	for _, def := range odd {
		take(def, "T"+strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return r
			}
			return '_'
		}, def))
	}
}

func (w *typescript) line(format string, a ...any) {
	if text := fmt.Sprintf(format, a...); text != "" {
		w.text.WriteString(w.indent + text)
	}
	w.text.WriteByte('\n')
}

func (w *typescript) indented(f func()) {
	outer := w.indent
	w.indent += "  "
	f()
	w.indent = outer
}

func (w *typescript) block(begin string, f func(), end string) {
	w.line("%s", begin)
	w.indented(f)
	w.line("%s", end)
}

// comment writes a doc comment, if there is something to say.
func (w *typescript) comment(text, deprecated string, more ...string) {
	lines := slices.Concat(split(text), more)
	if deprecated != "" {
		lines = append(lines, "@deprecated "+strings.Join(split(deprecated), " "))
	}
	switch len(lines) {
	case 0:
	case 1:
		w.line("/** %s */", lines[0])
	default:
		w.line("/**")
		for _, line := range lines {
			w.line("%s", strings.TrimRight(" * "+line, " "))
		}
		w.line(" */")
	}
}

// split makes lines of a text that may stand in a comment.
func split(text string) []string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "*/", "*\u200b/")
	if text == "" {
		return nil
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' })
	for i, line := range lines {
		lines[i] = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, line)
	}
	return lines
}

func (w *typescript) call(uri string, c *CallDoc) {
	var errors []string
	for _, code := range sorted(c.Errors) {
		errors = append(errors, fmt.Sprintf("@throws %d: %s", code, strings.Join(split(c.Errors[code]), " ")))
	}
	w.comment(c.Description, c.Deprecated, errors...)
	args := ""
	switch {
	case c.Args != nil && c.ArgsOptional:
		args = "args?: " + w.of(c.Args)
	case c.Args != nil:
		args = "args: " + w.of(c.Args)
	}
	result := w.of(c.Result)
	if c.Part != nil {
		result = fmt.Sprintf("AsyncGenerator<%s, %s>", w.of(c.Part), result)
	}
	w.line("%s: (%s) => %s;", quote(uri), args, result)
}

// channel writes the channels of a name. TypeScript wants what a pattern of names carries to
// allow what any other that the pattern matches carries.
func (w *typescript) channel(name string) {
	doc := w.contract.Channels[name]
	w.comment(doc.Description, doc.Deprecated)
	var types []string
	for _, other := range sorted(w.contract.Channels) {
		if other == name || covers(name, other) {
			types = append(types, w.of(w.contract.Channels[other].Event))
		}
	}
	key := quote(name)
	if placeholder.MatchString(name) {
		key = "[channel: " + template(name) + "]"
	}
	w.line("%s: %s;", key, union(types))
}

// covers reports whether the names of a pattern include all those of another channel.
func covers(pattern, name string) bool {
	if !placeholder.MatchString(pattern) {
		return false
	}
	const anything = "\x00" // which nothing but a placeholder matches
	pieces := placeholder.Split(pattern, -1)
	for i, piece := range pieces {
		pieces[i] = regexp.QuoteMeta(piece)
	}
	all := regexp.MustCompile(`^(?s:` + strings.Join(pieces, `.*`) + `)$`)
	return all.MatchString(placeholder.ReplaceAllLiteralString(name, anything))
}

func template(name string) string {
	pieces := placeholder.Split(name, -1)
	for i, piece := range pieces {
		escaped := quote(piece)
		escaped = strings.ReplaceAll(escaped[1:len(escaped)-1], `\'`, `'`)
		pieces[i] = strings.NewReplacer("`", "\\`", "$", `\$`).Replace(escaped)
	}
	return "`" + strings.Join(pieces, "${string}") + "`"
}

// define writes a definition as a type of its own.
func (w *typescript) define(def string) {
	s := w.contract.Defs[def]
	w.comment(s.Description, "")
	if slices.Equal(s.Type, Types{"object"}) && len(s.Properties) > 0 && s.AdditionalProperties == nil && s.Ref == "" && len(s.AnyOf) == 0 {
		w.line("export interface %s %s", w.names[def], w.object(s))
		return
	}
	w.line("export type %s = %s;", w.names[def], w.of(s))
}

// of returns the type of what s allows.
func (w *typescript) of(s *Schema) string {
	switch {
	case s.Ref != "":
		return w.names[strings.TrimPrefix(s.Ref, refPrefix)]
	case len(s.AnyOf) > 0:
		types := make([]string, len(s.AnyOf))
		for i, one := range s.AnyOf {
			types[i] = w.of(one)
		}
		return union(types)
	case len(s.Enum) > 0:
		types := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			types[i] = literal(v)
		}
		return union(types)
	case len(s.Type) == 0:
		return "unknown"
	}
	types := make([]string, len(s.Type))
	for i, t := range s.Type {
		types[i] = w.ofType(t, s)
	}
	return union(types)
}

func (w *typescript) ofType(t string, s *Schema) string {
	switch t {
	case "integer":
		return "number"
	case "array":
		return w.array(s)
	case "object":
		return w.object(s)
	}
	return t
}

const mostInTuple = 16 // elements of an array that are written one by one

func (w *typescript) array(s *Schema) string {
	element := "unknown"
	if s.Items != nil {
		element = w.of(s.Items)
	}
	if s.MinItems != nil && s.MaxItems != nil && *s.MinItems == *s.MaxItems && *s.MinItems >= 0 && *s.MinItems <= mostInTuple {
		return "[" + strings.Join(slices.Repeat([]string{element}, *s.MinItems), ", ") + "]"
	}
	if strings.Contains(element, " | ") || strings.Contains(element, " & ") {
		element = "(" + element + ")"
	}
	return element + "[]"
}

// object returns a type in braces, with a line for each member.
func (w *typescript) object(s *Schema) string {
	others := ""
	if s.AdditionalProperties != nil {
		others = "{ [key: string]: " + w.of(s.AdditionalProperties) + " }"
	}
	if len(s.Properties) == 0 {
		return cmp.Or(others, "{ [key: string]: unknown }")
	}
	inner := &typescript{contract: w.contract, names: w.names, indent: w.indent + "  "}
	for _, name := range sorted(s.Properties) {
		property := s.Properties[name]
		inner.comment(property.Description, "")
		optional := "?"
		if slices.Contains(s.Required, name) {
			optional = ""
		}
		inner.line("%s%s: %s;", quoteIfNeeded(name), optional, inner.of(property))
	}
	object := "{\n" + inner.text.String() + w.indent + "}"
	if others != "" {
		return "(" + object + " & " + others + ")"
	}
	return object
}

// union joins types, each of them once.
func union(types []string) string {
	var all []string
	for _, t := range types {
		if t == "unknown" {
			return t
		}
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return strings.Join(all, " | ")
}

func literal(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

func quoteIfNeeded(name string) string {
	if identifier.MatchString(name) {
		return name
	}
	return quote(name)
}

// quote writes a string of TypeScript.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range text {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A section of the document: a heading and what follows it.
type section struct{ title, body string }

const (
	heading      = "### "
	targetsTitle = "Targets"
)

func (s section) String() string { return heading + s.title + "\n\n" + s.body }

// The markers between which write puts the tables.
const (
	beginMarker = "<!-- bench: begin -->"
	endMarker   = "<!-- bench: end -->"
)

// write puts what was measured so far between the markers of a Markdown file,
// and the charts into the directory performance beside it. Sections of
// scenarios that were not run stay, unless all were run and this is the last.
func (rep *report) write(file string, last bool) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), beginMarker)
	body, after, closed := strings.Cut(rest, endMarker)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q to put the tables between", file, beginMarker, endMarker)
	}
	grown, err := rep.writeCharts(filepath.Dir(file))
	if err != nil {
		return err
	}
	preamble := rep.preamble()
	sections := append(slices.Clone(rep.tables), grown...)
	targets := rep.verdicts()
	if !rep.whole || !last {
		for i := range sections {
			sections[i].body += "\n*Measured apart, " + rep.circumstances() + ".*\n"
		}
		oldPreamble, oldSections := parseSections(body)
		if oldPreamble != "" {
			preamble = oldPreamble + "\n"
		}
		targets.body = mergeRows(sectionBody(oldSections, targetsTitle), targets.body)
		sections = mergeSections(oldSections, sections)
		sections = slices.DeleteFunc(sections, func(s section) bool { return s.title == targetsTitle })
	}
	parts := []string{beginMarker, preamble}
	for _, s := range append([]section{targets}, sections...) {
		parts = append(parts, s.String())
	}
	parts = append(parts, endMarker)
	return os.WriteFile(file, []byte(before+strings.Join(parts, "\n")+after), 0o644)
}

// parseSections takes apart what write wrote.
func parseSections(body string) (preamble string, sections []section) {
	for i, part := range strings.Split("\n"+body, "\n"+heading) {
		if i == 0 {
			preamble = strings.TrimSpace(part)
			continue
		}
		title, text, _ := strings.Cut(part, "\n")
		sections = append(sections, section{title, strings.TrimSpace(text) + "\n"})
	}
	return preamble, sections
}

func sectionBody(sections []section, title string) string {
	for _, s := range sections {
		if s.title == title {
			return s.body
		}
	}
	return ""
}

// mergeSections returns the sections of both, the newer one of those with the
// same title, in the order in which scenarios are run.
func mergeSections(old, new []section) []section {
	merged := slices.Clone(new)
	for _, s := range old {
		if sectionBody(new, s.title) == "" {
			merged = append(merged, s)
		}
	}
	rank := make(map[string]int)
	for i, s := range scenarios {
		title := s.title
		if s.series != nil {
			title = s.series.title
		}
		rank[title] = i - len(scenarios) // what is no scenario any more comes last
	}
	slices.SortStableFunc(merged, func(a, b section) int { return rank[a.title] - rank[b.title] })
	return merged
}

// mergeRows replaces those rows of a table whose first two columns are the
// same in the newer one, and appends the others of it.
func mergeRows(old, new string) string {
	key := func(row string) string {
		columns := strings.SplitN(row, " | ", 3)
		return strings.Join(columns[:min(2, len(columns))], " | ")
	}
	rows := strings.Split(strings.TrimSpace(old), "\n")
	for _, row := range strings.Split(strings.TrimSpace(new), "\n") {
		at := slices.IndexFunc(rows, func(r string) bool { return key(r) == key(row) })
		if at >= 0 {
			rows[at] = row
		} else {
			rows = append(rows, row)
		}
	}
	return strings.TrimSpace(strings.Join(rows, "\n")) + "\n"
}

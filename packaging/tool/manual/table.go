package main

import "strings"

// A man page has no room for tables with sentences in them: a row becomes an entry of
// a definition list, its first cell the term.
type table struct {
	rows int
	head []string
}

// line returns what stands for a line of Markdown. A line that begins with | is a row;
// the first two of a table are its head and the rule below it.
func (t *table) line(s string) string {
	if !strings.HasPrefix(s, "|") {
		t.rows = 0
		return s
	}
	t.rows++
	row := cells(strings.TrimSpace(s))
	switch t.rows {
	case 1:
		t.head = row
		return ""
	case 2:
		return ""
	}
	entry := "\n" + row[0] + "\n: "
	for i, cell := range row[1:] {
		if i > 0 {
			entry += "; "
		}
		if n := i + 1; n > 1 && n < len(t.head) && t.head[n] != "" {
			entry += t.head[n] + ": "
		}
		entry += cell
	}
	return entry + "\n"
}

// cells splits a row at each | without a backslash.
func cells(row string) []string {
	const bar = "\x00"
	row = strings.ReplaceAll(row, `\|`, bar)
	row = strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|")
	var list []string
	for c := range strings.SplitSeq(row, "|") {
		list = append(list, strings.TrimSpace(strings.ReplaceAll(c, bar, "|")))
	}
	return list
}

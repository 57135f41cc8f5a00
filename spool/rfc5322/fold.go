package rfc5322

import "strings"

// Lines of header fields: RFC 5322 §2.1.1.
const foldAt = 78

// FoldList writes a field of values with commas between, folded between
// values so that lines stay within 78 columns where a value allows it. It
// ends with a line end. The values must not hold line ends; such become
// spaces.
func FoldList(name string, values []string) string {
	return fold(name, values, ",")
}

// FoldText writes a field of running text, folded at its spaces.
func FoldText(name, text string) string {
	return fold(name, strings.FieldsFunc(text, func(r rune) bool {
		return r == ' ' || r == '\t' || r == '\r' || r == '\n'
	}), "")
}

func fold(name string, words []string, sep string) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	col := len(name) + 1
	for i, w := range words {
		w = scrubControls(w)
		width := len(w)
		if i < len(words)-1 {
			width += len(sep)
		}
		if i > 0 && col+1+width > foldAt {
			b.WriteString("\n\t")
			col = 8
		} else {
			b.WriteByte(' ')
			col++
		}
		b.WriteString(w)
		if i < len(words)-1 {
			b.WriteString(sep)
		}
		col += width
	}
	b.WriteByte('\n')
	return b.String()
}

// scrubControls replaces ASCII control characters by spaces; other octets
// stay, whatever their character set.
func scrubControls(s string) string {
	if noControl(s) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if class[c]&isControl != 0 {
			b[i] = ' '
		}
	}
	return string(b)
}

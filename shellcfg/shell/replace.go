package shell

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// apply performs an operator on one string.
func (p *paramPart) apply(in *interp, s string) string {
	if !in.charge(len(s)) {
		return ""
	}
	switch p.op {
	case opCutPrefix:
		pat := p.pat.pattern(in)
		if n := pat.prefix(s, p.double); n > 0 {
			return s[n:]
		}
		return s
	case opCutSuffix:
		pat := p.pat.pattern(in)
		if b := pat.suffix(s, p.double); b >= 0 {
			return s[:b]
		}
		return s
	case opReplace:
		return p.replace(in, s)
	case opUpper:
		return p.recase(in, s, unicode.ToUpper)
	case opLower:
		return p.recase(in, s, unicode.ToLower)
	case opQuote:
		return quoteAtQ(s)
	}
	return s
}

// replace is ${x/pat/rep}. The replacement is data: `&` in it is itself.
func (p *paramPart) replace(in *interp, s string) string {
	pat := p.pat.pattern(in)
	rep := ""
	if p.arg1 != nil {
		rep = p.arg1.text(in)
	}
	switch p.anchor {
	case '#':
		if n := pat.prefix(s, true); n >= 0 {
			return rep + s[n:]
		}
		return s
	case '%':
		if b := pat.suffix(s, true); b >= 0 {
			return s[:b] + rep
		}
		return s
	}
	if len(pat.segs) == 1 && pat.segs[0].isLit {
		return p.replaceText(in, s, pat.lit, rep)
	}
	return p.replaceMatches(in, s, pat, rep)
}

// replaceText replaces a fixed text.
func (p *paramPart) replaceText(in *interp, s, old, rep string) string {
	if old == "" {
		return s
	}
	n := 1
	if p.double {
		n = strings.Count(s, old)
	}
	if !in.checkSize(len(s) + n*(len(rep)-len(old))) {
		return ""
	}
	return strings.Replace(s, old, rep, n)
}

// replaceMatches replaces what a pattern matches, always the longest text.
func (p *paramPart) replaceMatches(in *interp, s string, pat *pattern, rep string) string {
	var out strings.Builder
	at := 0
	for {
		b, e := pat.find(in, s, at)
		if b < 0 || b == len(s) && s != "" {
			break
		}
		out.WriteString(s[at:b])
		out.WriteString(rep)
		at = e
		if b == e && e < len(s) { // an empty match: go on behind the next character
			_, n := utf8.DecodeRuneInString(s[e:])
			out.WriteString(s[e : e+n])
			at += n
		}
		if !p.double || at >= len(s) {
			break
		}
		if out.Len() > in.prog.opts.MaxOutput {
			break
		}
	}
	out.WriteString(s[at:])
	if !in.checkSize(out.Len()) {
		return ""
	}
	return out.String()
}

// recase is ${x^pat}, ${x,,pat}. Without a pattern every character counts.
func (p *paramPart) recase(in *interp, s string, to func(rune) rune) string {
	if p.double && p.pat == nil {
		if isASCII(s) {
			if p.op == opUpper {
				return strings.ToUpper(s)
			}
			return strings.ToLower(s)
		}
	}
	var pat *pattern
	if p.pat != nil {
		pat = p.pat.pattern(in)
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || pat != nil && !pat.match(s[i:i+n]) {
			out.WriteString(s[i : i+n])
		} else {
			out.WriteRune(to(r))
		}
		i += n
		if !p.double {
			out.WriteString(s[i:])
			break
		}
	}
	return out.String()
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// slice is ${x:offset:length}, counted in characters.
func (p *paramPart) slice(in *interp, s string) string {
	n := utf8.RuneCountInString(s)
	off := p.offset.eval(in)
	if off < 0 {
		off += int64(n)
	}
	if off < 0 || off > int64(n) {
		return ""
	}
	end := int64(n)
	if p.count != nil {
		c := p.count.eval(in)
		if c < 0 {
			end += c
			if end < off {
				in.pos = &p.pos
				in.fatalf("%s: %d: substring expression < 0", p.src, c)
				return ""
			}
		} else if c < end-off {
			end = off + c
		}
	}
	if n == len(s) {
		return s[off:end]
	}
	return s[runeOffset(s, int(off)):runeOffset(s, int(end))]
}

func runeOffset(s string, n int) int {
	at := 0
	for ; n > 0; n-- {
		_, w := utf8.DecodeRuneInString(s[at:])
		at += w
	}
	return at
}

// sliceList is ${@:offset:length} and ${a[@]:offset:length}. $@ counts from 1,
// and its element 0 is $0.
func (p *paramPart) sliceList(in *interp, vals []string) []string {
	off := p.offset.eval(in)
	if p.name != 0 {
		vals = append([]string{in.arg0}, vals...)
	} else if v := &in.vars[p.slot]; v.arr != nil && !v.arr.assoc && !p.keys {
		return p.sliceIndexed(in, v.arr, off)
	}
	n := int64(len(vals))
	if off < 0 {
		off += n
	}
	if off < 0 || off >= n {
		return nil
	}
	return p.takeCount(in, vals[off:])
}

func (p *paramPart) sliceIndexed(in *interp, a *array, off int64) []string {
	if off < 0 {
		off += int64(a.next())
	}
	if off < 0 || off >= int64(a.next()) {
		return nil
	}
	at, _ := a.find(int(off))
	return p.takeCount(in, a.vals[at:])
}

func (p *paramPart) takeCount(in *interp, vals []string) []string {
	if p.count == nil {
		return vals
	}
	c := p.count.eval(in)
	if c < 0 {
		in.pos = &p.pos
		in.fatalf("%s: %d: negative count for a list", p.src, c)
		return nil
	}
	return vals[:min(c, int64(len(vals)))]
}

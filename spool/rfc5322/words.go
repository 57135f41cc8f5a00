package rfc5322

import (
	"encoding/base64"
	"mime"
	"strings"
	"unicode/utf8"
)

const (
	wordStart = "=?utf-8?"
	maxWord   = 75 // RFC 2047 §2
	// maxPayload is what a word has for its text.
	maxPayload = maxWord - len(wordStart) - len("q?") - len("?=")
)

// EncodeWord writes text for an unstructured field such as Subject: printable
// ASCII as it is, anything else as encoded words (RFC 2047) of at most 75
// octets with single spaces between, so that [FoldText] can fold it.
// Control characters become spaces.
func EncodeWord(s string) string {
	s = spaceControls(s)
	if plainASCII(s) && !strings.Contains(s, "=?") {
		return s
	}
	return encodeWords(s)
}

// EncodePhrase writes a display name for an address header: atoms as they
// are, other printable ASCII as a quoted string, anything else as encoded
// words. Control characters become spaces.
func EncodePhrase(name string) string {
	name = spaceControls(name)
	switch {
	case name == "":
		return ""
	case !plainASCII(name) || strings.Contains(name, "=?"):
		return encodeWords(name)
	case plainAtoms(name):
		return name
	}
	return string(appendQuoted(make([]byte, 0, len(name)+8), name))
}

func plainASCII(s string) bool { return isASCII(s) && noControl(s) }

// plainAtoms tells atoms with single spaces between.
func plainAtoms(s string) bool {
	for word := range strings.SplitSeq(s, " ") {
		if word == "" || run(word, 0, isAtext) != len(word) {
			return false
		}
	}
	return true
}

// encodeWords chooses the shorter of the two encodings.
func encodeWords(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	q := 0
	for i := 0; i < len(s); i++ {
		q += qWidth(s[i])
	}
	if q <= base64.StdEncoding.EncodedLen(len(s)) {
		return splitWords(s, "q?", func(n, size int, piece string) int {
			for i := 0; i < len(piece); i++ {
				n += qWidth(piece[i])
			}
			return n
		}, appendQ)
	}
	return splitWords(s, "b?", func(_, size int, piece string) int {
		return base64.StdEncoding.EncodedLen(size + len(piece))
	}, func(b []byte, s string) []byte {
		return base64.StdEncoding.AppendEncode(b, []byte(s))
	})
}

// splitWords cuts s between runes into pieces that fit in a word. width tells
// how long the payload of width n, made of size octets, is with piece added.
func splitWords(s, enc string, width func(n, size int, piece string) int, app func([]byte, string) []byte) string {
	b := make([]byte, 0, 2*len(s)+16)
	for start := 0; start < len(s); {
		end, n := start, 0
		for end < len(s) {
			_, size := utf8.DecodeRuneInString(s[end:])
			if n = width(n, end-start, s[end:end+size]); n > maxPayload {
				break
			}
			end += size
		}
		if start > 0 {
			b = append(b, ' ')
		}
		b = append(b, wordStart...)
		b = append(b, enc...)
		b = app(b, s[start:end])
		b = append(b, "?="...)
		start = end
	}
	return string(b)
}

// qWidth is the width of c in the Q encoding of a phrase, RFC 2047 §5 (3).
func qWidth(c byte) int {
	if c == ' ' || qSafe(c) {
		return 1
	}
	return 3
}

func qSafe(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}

func appendQ(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			b = append(b, '_')
		case qSafe(c):
			b = append(b, c)
		default:
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// DecodeWords decodes the encoded words in a header body, and drops the white
// space between them. UTF-8, US-ASCII and ISO-8859-1 are known; words in other
// character sets and malformed ones stay as they are. Decoded text holds no
// control characters: such become spaces.
func DecodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	var dec mime.WordDecoder
	var b strings.Builder
	for glue := false; s != ""; {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		n := wordLen(s[i:])
		text, err := "", error(nil)
		if n > 0 {
			text, err = dec.Decode(s[i : i+n])
		}
		if n == 0 || err != nil {
			n = max(n, len("=?"))
			b.WriteString(s[:i+n])
			glue = false
		} else {
			if !glue || strings.Trim(s[:i], " \t\r\n") != "" {
				b.WriteString(s[:i])
			}
			b.WriteString(spaceControls(text))
			glue = true
		}
		s = s[i+n:]
	}
	b.WriteString(s)
	return b.String()
}

// wordLen is the length of the encoded word that s starts with, or 0. Words
// longer than the RFC allows exist, up to a line.
func wordLen(s string) int {
	i := len("=?")
	for range 2 { // charset, encoding
		n := strings.IndexByte(s[i:min(len(s), i+maxWord)], '?')
		if n <= 0 {
			return 0
		}
		i += n + 1
	}
	n := strings.IndexAny(s[i:min(len(s), i+998)], "? \t\r\n")
	if n < 0 || !strings.HasPrefix(s[i+n:], "?=") {
		return 0
	}
	return i + n + 2
}

// FormatMailbox writes a mailbox for an address header: "Joe <joe@x>", or the
// address alone if there is no name.
func FormatMailbox(name string, a Address) string {
	if name == "" {
		return a.String()
	}
	return EncodePhrase(name) + " " + a.Path()
}

package dsn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zmailer/spool/rfc5322"
)

// A FormSet is the forms of an instance in all its languages: those in its forms
// directory, and in folders of it that are named by language tags (de, pt-br).
type FormSet struct {
	Default   Forms
	languages map[string]Forms // by tag in lower case
}

// maxLanguages bounds the folders of a forms directory that are read.
const maxLanguages = 200

// LoadFormSet reads the forms of a directory; what it does not have is built in.
func LoadFormSet(dir string) (*FormSet, error) {
	s := &FormSet{languages: make(map[string]Forms)}
	var err error
	if s.Default, err = LoadForms(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !languageTag(e.Name()) {
			continue
		}
		if len(s.languages) == maxLanguages {
			return nil, fmt.Errorf("%s: more than %d languages", dir, maxLanguages)
		}
		forms, err := LoadForms(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		for k := range forms {
			if forms[k] == builtinForms()[k] {
				forms[k] = nil // this language lacks it: the default, whatever its language
			} else if forms[k].Language == "" {
				forms[k].Language = e.Name()
			}
		}
		s.languages[strings.ToLower(e.Name())] = forms
	}
	return s, nil
}

// maxTag is the length of a tag that is looked at: RFC 5646 §4.4.1.
const maxTag = 35

// languageTag says whether s looks like a tag of RFC 5646: letters, digits and
// hyphens, beginning with two or three letters.
func languageTag(s string) bool {
	primary, _, _ := strings.Cut(s, "-")
	if len(primary) < 2 || len(primary) > 3 || len(s) > maxTag {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i < len(primary) || (s[i] < '0' || s[i] > '9') && s[i] != '-') {
			return false
		}
	}
	return true
}

// Choose returns the form for a report about the message with this header: in the
// language that its sender reads (Accept-Language of RFC 3282), else in the one
// that he writes (Content-Language), else the default. Quality values are taken as
// the order in which they stand.
func (s *FormSet) Choose(kind Kind, header []byte) *Form {
	if len(s.languages) > 0 {
		// What is no field any more has no bearing on the language.
		h, _, _ := rfc5322.ParseHeader(header)
		for _, field := range []string{"Accept-Language", "Content-Language"} {
			if f := s.first(kind, h.Get(field)); f != nil {
				return f
			}
		}
	}
	return s.Default[kind]
}

// speaks says whether the form is in the language; what is built in is English.
func speaks(f *Form, kind Kind, tag string) bool {
	return strings.EqualFold(f.Language, tag) || tag == "en" && f == builtinForms()[kind]
}

// maxTags bounds how many languages of a message are looked at.
const maxTags = 20

func (s *FormSet) first(kind Kind, list string) *Form {
	for i, item := range strings.SplitN(list, ",", maxTags+1) {
		if i == maxTags {
			break
		}
		tag, _, _ := strings.Cut(item, ";")
		if tag = strings.ToLower(strings.TrimSpace(tag)); len(tag) > maxTag {
			continue // a tag of many parts would be looked up as often
		}
		// Lookup of RFC 4647 §3.4: shorter and shorter.
		for tag != "" {
			if f := s.languages[tag][kind]; f != nil {
				return f
			}
			if d := s.Default[kind]; d != nil && speaks(d, kind, tag) {
				return d
			}
			tag = tag[:max(strings.LastIndexByte(tag, '-'), 0)]
		}
	}
	return nil
}

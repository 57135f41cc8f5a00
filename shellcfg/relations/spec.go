package relations

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"zmailer/spool/proc"
)

// ParseSpec reads the words after "relation":
//
//	-t TYPE[,SUBTYPE] [-f FILE] [-d DRIVER] [-l | -u] [-s SIZE] [-e SECONDS] [-N]
//	[-b] [-n] [-%] [-m] [-o NAME=VALUE]... NAME
//
// An error here is one of usage. A declaration may still be wrong in itself,
// which Declare finds.
func ParseSpec(args []string) (Spec, error) {
	var s Spec
	g := proc.NewGetopt("t:f:d:lus:e:Nbn%mo:", args)
	for g.Next() {
		if err := s.option(g.Opt, g.Value); err != nil {
			return Spec{}, g.Bad("%v", err)
		}
	}
	if err := g.Err(); err != nil {
		return Spec{}, err
	}
	rest := g.Args()
	if len(rest) != 1 {
		return Spec{}, proc.Exit(proc.Usage, "need one name for the table, got %d", len(rest))
	}
	s.Name = rest[0]
	if !isName(s.Name) {
		return Spec{}, proc.Exit(proc.Usage, "%q cannot be the name of a command", s.Name)
	}
	return s, nil
}

func (s *Spec) option(opt byte, val string) (err error) {
	switch opt {
	case 't':
		s.Type, s.Sub, _ = strings.Cut(strings.Replace(val, "/", ",", 1), ",")
	case 'f':
		s.File = val
	case 'd':
		s.Driver = val
		_, err = findDriver(val)
	case 'l':
		s.Lower = true
	case 'u':
		s.Upper = true
	case 's':
		s.Cache, err = cacheSize(val)
	case 'e':
		s.TTL, err = seconds(val)
	case 'N':
		s.Negative = true
	case 'b':
		s.KeyOnHit = true
	case 'n':
		s.KeyElse = true
	case '%':
		s.Subst = true
	case 'm':
		s.Eager = true
	case 'o':
		err = s.typeOption(val)
	}
	return err
}

func (s *Spec) typeOption(word string) error {
	name, val, ok := strings.Cut(word, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not NAME=VALUE", word)
	}
	if _, dup := s.Options[name]; dup {
		return fmt.Errorf("%s is given twice", name)
	}
	if s.Options == nil {
		s.Options = map[string]string{}
	}
	s.Options[name] = val
	return nil
}

func cacheSize(val string) (int, error) {
	n, err := strconv.Atoi(val)
	if err != nil || n < 0 || n > maxCache {
		return 0, fmt.Errorf("%q is not a number between 0 and %d", val, maxCache)
	}
	return n, nil
}

// seconds reads 90 or 1m30s.
func seconds(val string) (time.Duration, error) {
	if n, err := strconv.ParseUint(val, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(val)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a time such as 90 or 1m30s", val)
	}
	return d, nil
}

// isName tells whether a shell takes s as the name of a command without
// quoting and not as an assignment.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' ||
			i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.')
		if !ok {
			return false
		}
	}
	return s != ""
}

// duration is the value of a -o option that is a time.
func (o *opening) duration(name string, def time.Duration) (time.Duration, error) {
	val, ok := o.Options[name]
	if !ok {
		return def, nil
	}
	d, err := seconds(val)
	if err != nil || d == 0 {
		return 0, fmt.Errorf("-o %s: %q is not a time such as 90 or 1m30s", name, val)
	}
	return d, nil
}

package migrate

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// An entry is one line of a lookup table.
type entry struct {
	key, value string
	where      string
}

var errTable = errors.New("this type of table has no file of lines")

// sourceFile is the file that a table "type:path" is made from. Only some types have
// one.
func sourceFile(spec, dir string) (string, error) {
	kind, path, ok := strings.Cut(strings.TrimPrefix(spec, "proxy:"), ":")
	if !ok {
		return "", errTable
	}
	switch kind {
	case "hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash":
	default:
		return "", errTable
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return path, nil
}

// readTable reads the source of a table.
func readTable(spec, dir string) ([]entry, error) {
	path, err := sourceFile(spec, dir)
	if err != nil {
		return nil, err
	}
	var list []entry
	err = logicalLines(path, func(n int, text string) error {
		key, value := text, ""
		if i := strings.IndexAny(text, " \t"); i >= 0 {
			key, value = text[:i], strings.TrimSpace(text[i:])
		}
		list = append(list, entry{key, value, fmt.Sprintf("%s:%d", filepath.Base(path), n)})
		return nil
	})
	return list, err
}

// nexthop turns "transport:nexthop" into CHANNEL!HOST of db/routes.
func nexthop(value string) (string, error) {
	transport, hop, _ := strings.Cut(value, ":")
	switch transport {
	case "smtp", "relay", "":
		if transport == "" && hop == "" {
			return "", errors.New("an empty result (routed as usual) cannot be said")
		}
		return "smtp!" + hop, nil
	case "lmtp":
		switch kind, place, _ := strings.Cut(hop, ":"); kind {
		case "unix":
			if !filepath.IsAbs(place) {
				place = filepath.Join("/var/spool/postfix", place)
			}
			return "lmtp!" + place, nil
		case "inet":
			return "lmtp!" + place, nil
		}
		return "lmtp!" + hop, nil
	case "error":
		if hop == "" {
			hop = "mail to this domain is not taken"
		}
		return "error!" + hop, nil
	}
	return "", fmt.Errorf("transport %s has no counterpart", transport)
}

// members turns the value of a virtual alias into ours.
func members(value string) string {
	list := words(value)
	for i, w := range list {
		if strings.HasPrefix(w, "@") {
			list[i] = "%1" + w
		}
	}
	return strings.Join(list, ", ")
}

package shellcfg

import "fmt"

func runAssignments(path string, src []byte) (map[string]string, error) {
	return nil, fmt.Errorf("%s: only plain assignments are read", path)
}

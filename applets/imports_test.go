package applets

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// layers from the top down: a package imports its own layer and those below.
var layers = []string{"zmailer/applets", "zmailer/agents", "zmailer/shellcfg", "zmailer/spool"}

func layer(pkg string) int {
	for i, l := range layers {
		if pkg == l || strings.HasPrefix(pkg, l+"/") {
			return i
		}
	}
	return -1
}

func TestImportsGoDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "zmailer/...").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		for _, imp := range p.Imports {
			if from, to := layer(p.ImportPath), layer(imp); to >= 0 && to < from {
				t.Errorf("%s imports %s, which is above it", p.ImportPath, imp)
			}
		}
	}
}

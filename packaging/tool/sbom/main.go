// Sbom prints what a Go binary is made of, as SPDX 2.3 in JSON. All of it comes from
// the binary itself and the arguments: the same input gives the same bytes.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []pkg          `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type pkg struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"name"`
	Version   string     `json:"versionInfo"`
	Download  string     `json:"downloadLocation"`
	Analyzed  bool       `json:"filesAnalyzed"`
	License   string     `json:"licenseConcluded"`
	Declared  string     `json:"licenseDeclared"`
	Copyright string     `json:"copyrightText"`
	Checksums []checksum `json:"checksums,omitempty"`
	External  []external `json:"externalRefs,omitempty"`
	Comment   string     `json:"comment,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type external struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

func main() {
	version := flag.String("version", "", "version of the binary")
	commit := flag.String("commit", "", "commit it was built from")
	created := flag.String("created", "", "time in the form of RFC 3339")
	flag.Parse()
	if flag.NArg() != 1 || *created == "" {
		fmt.Fprintln(os.Stderr, "usage: sbom --version V --commit C --created TIME BINARY")
		os.Exit(2)
	}
	doc, err := describe(flag.Arg(0), *version, *commit, *created)
	if err == nil {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(doc)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func describe(path, version, commit, created string) (*document, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(binary)
	digest := hex.EncodeToString(sum[:])
	const root = "SPDXRef-Package-zmailer"
	doc := &document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "zmailer-" + version,
		Namespace: "urn:sha256:" + digest,
		Creation:  creation{created, []string{"Tool: packaging/tool/sbom"}},
		Packages: []pkg{{
			ID: root, Name: "zmailer", Version: version, Download: "NOASSERTION",
			License: "BSD-3-Clause", Declared: "BSD-3-Clause", Copyright: "NOASSERTION",
			Checksums: []checksum{{"SHA256", digest}}, Comment: "commit " + commit + settings(info),
		}},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", root}},
	}
	add := func(name, version, sum string) {
		id := "SPDXRef-Package-" + strings.NewReplacer("/", "-", "_", "-", "~", "-").Replace(name)
		p := pkg{
			ID: id, Name: name, Version: version, Download: "NOASSERTION",
			License: "NOASSERTION", Declared: "NOASSERTION", Copyright: "NOASSERTION",
			External: []external{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + name + "@" + version}},
		}
		if b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && strings.HasPrefix(sum, "h1:") {
			p.Comment = "go.sum h1 (SHA256 of the files' sums): " + hex.EncodeToString(b)
		}
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relationship{root, "STATIC_LINK", id})
	}
	add("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "")
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(m.Path, m.Version, m.Sum)
	}
	return doc, nil
}

// settings are those of the build, which somebody needs to build it again.
func settings(info *debug.BuildInfo) string {
	var b strings.Builder
	for _, s := range info.Settings {
		fmt.Fprintf(&b, "; %s=%s", s.Key, s.Value)
	}
	return b.String()
}

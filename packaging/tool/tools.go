//go:build tools

// Package tool pins what builds the packages, apart from the program itself. nfpm is
// held at the last version whose packages for Windows are not part of it.
package tool

import _ "github.com/goreleaser/nfpm/v2/cmd/nfpm"

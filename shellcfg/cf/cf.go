// Package cf is the stock policy: the files that router.cf sources, as a running
// manual of what a UNIX host does with mail. A file of the same name in
// $MAILVAR/cf takes the place of one here; most changes are better made by
// redefining a single function in $MAILVAR/router.cf.
package cf

import "embed"

// Files are the files by name, such as user.cf.
//
//go:embed *.cf
var Files embed.FS

// Tests are the tests of the stock policy, run by "zmailer test --stock".
//
//go:embed tests
var Tests embed.FS

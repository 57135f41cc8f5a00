// Package rfc5322 is the one place where the syntax of mail is read and
// written: addresses, SMTP paths, address lists, header fields, dates,
// encoded words, xtext and message ids.
//
// Every other package calls it; it calls nothing but the standard library and
// the IDNA tables, and does no I/O except from a reader it is given.
//
// # Promises
//
//   - Input is hostile. No input panics, recurses or takes more than linear
//     time, and what is built from it is bounded by the limits below.
//   - What a parser returned, the writer of the same type writes, and the
//     parser reads again as the same value. An [Address] that came from here
//     holds no control character, so it can stand in a line of any protocol
//     or file once written by [Address.String] or [Address.Path].
//   - Bytes that need no change are not changed: [ParseHeader] keeps every
//     byte, [RewriteList] replaces the bytes of an address and nothing else.
//   - Case is kept. Local parts compare exactly, domains without regard to
//     case ([Address.Equal], [CanonicalDomain]).
//
// # Which parser
//
//	ParsePath     MAIL FROM and RCPT TO: RFC 5321 to the letter
//	ParseAddress  arguments, aliases, envelopes, tables: one bare address
//	ParseList     To, Cc, Bcc, From, ...: whatever the world writes there
//	RewriteList   the same, changing addresses in place
//	SplitList     only the commas: alias values, where not all is an address
//
// Standards: RFC 5321, 5322 (with its obsolete forms), 6531, 6532, 2047, 3461,
// 6533, 5890.
package rfc5322

// Limits. The address limits are those of RFC 5321 §4.5.3.1, except for
// local parts outside of SMTP: a pipe or a file name in an alias table is a
// local part too.
const (
	MaxLocal     = 255    // octets of a local part, unquoted
	MaxLocalSMTP = 64     // the same in a strict path, RFC 5321 §4.5.3.1.1
	MaxDomain    = 255    // octets of a domain, RFC 5321 §4.5.3.1.2
	MaxPath      = 256    // octets of a strict path, RFC 5321 §4.5.3.1.3
	MaxMailboxes = 100000 // mailboxes ParseList returns
	MaxFields    = 20000  // fields ParseHeader returns

	maxLabel        = 63   // octets of a DNS label, RFC 1035 §2.3.4
	maxAddressInput = 2048 // octets ParseAddress looks at
	maxCommentDepth = 64   // nested comments
	maxListErrors   = 100  // syntax errors ParseList remembers
)

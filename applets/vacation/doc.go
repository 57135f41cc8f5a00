// Package vacation is the program that answers mail for a user who is away. It is
// called for each message, from ~/.forward as Sendmail's documentation shows it:
//
//	\joe, "|/usr/bin/vacation joe"
//
// # Contract
//
// An answer goes out only if nothing speaks against it (judge): never to a list,
// to bulk mail, to another program, to the null sender, to oneself, and never for
// mail that does not name the user (RFC 3834). It goes to the envelope sender,
// has the null sender itself, says Auto-Submitted: auto-replied and names the
// message it answers, so that two such programs cannot talk to each other.
//
// One sender gets one answer an interval. The memory file that keeps them
// (memory) is locked from the look-up to the entry behind the submission: two
// messages at the same time give one answer, and a message that could not be
// answered leaves no entry.
//
// The status is 0 whether there was an answer or not, since another one would
// make the mailer return a message that the user has in his mailbox. It is 75
// when the spool or the memory cannot be used now.
package vacation

// Package smtpserver is the receiving side of the mailer: it speaks SMTP with
// clients, asks the router about addresses while they wait, and puts what it
// takes into the spool.
//
// # Promises
//
//   - 250 after the end of a message is said only when Submission.Commit has
//     returned nil: the message survives a power cut. Whatever goes wrong on
//     this side is answered with 4xx, never with 5xx.
//   - A line ends with CR LF and with nothing else. A bare CR, a bare LF or a
//     NUL in a command is an error, in a message it is a refusal; only
//     CR LF . CR LF ends DATA. Two messages are never made of one.
//   - Octets that wait behind STARTTLS end the session. The octets of a BDAT
//     chunk are data even when the command is refused; a chunk whose length is
//     unknown or absurd ends the session.
//   - Everything is bounded: lines, recipients, errors, sessions in all and for
//     each address, time, disk, and the questions that wait for the router.
//   - A client may relay only if its address is listed (relay_for), or as the
//     local user behind standard input. Which domains are ours is for the
//     router to say; no answer from it is 451.
//
// # Why go-smtp's server is not used
//
// Options, errors and codes are the types of emersion/go-smtp, and its client
// is what the tests speak with. Its Server cannot be made strict or fast from
// outside: command lines end at a bare LF, any verb that begins with STARTTLS
// matches and waiting plaintext is dropped in silence, unknown verbs and
// parameters have no hook, data is read octet by octet, every reply is a write
// of its own, and one error counter serves all. A filter below it would have to
// follow the protocol's state to know what is data: a second server. So the
// loop is here, over those types.
//
// # One session
//
// A session is one goroutine. Replies are collected and written when the client
// has nothing more to say for the moment, which is the only place that waits
// (session.beforeRead); pipelined recipients are put to the router together and
// answered in order (session.settle). Input is searched, not walked: a message
// costs one copy from the socket's buffer into the submission.
//
// # What is checked
//
// A message that is looked at (verify, smtp_message) is held, not stored, until
// its end has come: what is found out stands in header lines of the envelope,
// which the router puts on top, and the message is stored as received. All
// questions of the policy have three ends; "nobody could say" is status 75, which
// defers unless the policy says otherwise, and temperror in the header.
//
// CheckRelay proves with sessions that strangers cannot relay.
//
// # Configuration
//
// smtpserver.conf is shell; see the stock file in this folder, and commands.go
// for what it can say.
package smtpserver

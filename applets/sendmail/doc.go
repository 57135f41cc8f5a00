// Package sendmail is the command by which programs of this host send mail: the
// sendmail of every UNIX script, and rmail.
//
// # Contract
//
// The exit status is that of sysexits.h, and true: 0 says that the message is
// durable in the spool, and nothing but that. What cannot be done now is 75. A
// process that is killed leaves the whole message or none, and no status 0 was
// given for none.
//
// Nothing but the spool's directories is needed: no daemon runs or answers, no
// name is looked up, and the process has the rights of its caller. The identity
// of the submitter is the owner of the file, which the router judges; therefore
// a sender, a full name or a protocol are passed on as the caller says them.
//
// The message is stored as it came, with four exceptions: its lines end with LF
// (source), a mailbox file's "From " line is dropped, text that has no header is
// separated from the empty header (message), and Bcc fields are taken out, so
// that nobody ever reads them in a file. Missing fields are added by the router.
//
// An argument or a variable of the environment never reaches a line of the
// envelope with a control character in it: arguments are refused with status
// 64, variables are cleaned.
//
// Files named by options are neither read nor written, unless the caller is
// root or owns the instance: programs that pass on what a stranger typed into a
// web form have been made to write files by -X, -C, -D and -oQ.
package sendmail

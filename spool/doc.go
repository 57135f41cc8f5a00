// Package spool is what the mailer's processes share on disk: message ids, the
// directories a message moves through, the message file, the control file, and
// the operations that move a message from one state to the next.
//
// # States
//
// A message is in exactly one of these states. "Recovery" is what Recover does
// with the files at start of the router, when nobody else owns them.
//
//	state      files                                 moved on by     recovery
//	writing    public/<temp>                         submitter       swept after a day (Sweep)
//	submitted  router/<id>                           router          routed as usual
//	moving     queue/<h>/<id>, no control file       router          back to router/<id>
//	half       queue/<h>/<id>, control file without  router          control file removed,
//	           its closing line                                      back to router/<id>
//	routed     queue/<h>/<id> + transport/<h>/<id>   scheduler       scheduled as usual
//	orphan     transport/<h>/<id>, no message file   nobody          message was finished: control file removed
//	deferred   deferred/<id>                         router          retried with back-off
//	frozen     freezer/<id> (+ <id>.why)             administrator   left alone
//	postman    postman/<id> (+ <id>.why)             administrator   left alone
//	done       none                                  nobody
//
// # Orders that matter
//
// Submission (Submission.Commit): the file is complete in public/ and durable
// before it is renamed into router/, and the directory is durable before the
// caller may say 250.
//
// Routing (Route): the message is renamed into queue/<h>/ first, then the
// control file is created under its final name and written with one write; its
// last line is the closing line "z". Both steps may be lost in a power cut: what
// is left is state submitted, moving or half, all of which lead back to
// router/<id>. Neither step needs a sync, since router/<id> was durable.
//
// Finishing (Finish): every report the message owes is durable before its
// message file is unlinked, and the message file is unlinked before its control
// file. A crash between leaves an orphan control file, which says by its own
// fold that nothing was left to do. Were the control file unlinked first, the
// message would look like state "moving" and be delivered once more.
//
// An id names one message from public/ to the last delivery and is never used
// again. See FORMAT.md for the bytes in the files.
package spool

// Package router moves submitted messages into the queue: it asks the policy
// where each recipient goes and writes the control file.
//
// # Daemon
//
// Ids come from inotify on router/, from a scan at start and a slow one now and
// then, and from the schedule of deferred messages. Workers, a few for each core,
// take them in the order of arrival. An id is in work once at a time.
//
// # What becomes of a message
//
//	all recipients decided      queue/ and transport/, by spool.Route
//	nobody is left to deliver   removed, with a log line (discarded by policy)
//	any recipient is deferred   deferred/, and routed again as a whole later
//	any recipient is frozen     freezer/
//	envelope not understood     postman/, with the reason beside it
//	not a regular file          postman/
//	processing panics 3 times   postman/
//	cannot be read or written   stays where it is, and is tried again
//
// Deferral is for the whole message: there is no state on disk for "half routed",
// so a crash can never deliver to the first half twice. It is tried again after a
// minute, then ever more seldom up to an hour; 5 days (ROUTEREXPIRY in zmailer.conf,
// in hours) after its arrival, the time of the file, from which the scheduler counts
// too, a recipient that still cannot be routed is reported to the sender and the others
// are delivered.
//
// The policy may take ROUTERTIME (300 seconds) for a message, and a minute from one
// decision to the next; a message that takes longer is deferred. A function that hangs
// costs one worker of several that minute for each attempt at its message.
//
// # Trust
//
// A file of an owner who is not trusted (root, ourselves, TRUSTEDUSER and the
// users in TRUSTED of zmailer.conf) is replaced by a copy of our own before
// anything is decided, so that nobody can edit accepted mail. What only a trusted
// submitter may say (FORMAT.md) is left out of it.
//
// # Header
//
// Every message gets a Received field and loses Return-Path. One submitted on this
// host, or by a user who logged in, also loses Bcc and gets what it lacks: Date,
// Message-ID, From, To, and domains in addresses. Nothing else is changed, unless the policy rewrites.
package router

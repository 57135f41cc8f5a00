// Package policy decides where mail goes. It runs the functions of router.cf,
// with the commands that make decisions, ask tables and look at users, files,
// the DNS and the message, and collects what they decide.
//
// # Calls
//
// For each recipient a session calls the function
//
//	router ADDRESS LOCAL DOMAIN
//
// with the address as text, its local part without quoting and its domain in
// canonical form ("" if it has none). The function answers by commands: deliver,
// reject, defer, freeze, discard, and expand, which puts other addresses in the
// place of this one. Each of those is routed in turn by a call of its own, after
// the function has returned: an alias of a hundred thousand members needs neither
// a deep stack nor more fuel than one address, and memory for what was decided
// only. What an alias or a .forward file names besides addresses (programs, files,
// :include: lists, \user) goes to
//
//	member pipe|file|include|escaped TEXT
//
// which nothing that came from outside can reach: a local part that looks like
// a program is just a name.
//
// # Failure is not an answer
//
// A lookup that could not be made (status 75) is remembered. Whatever the
// function decides afterwards, the recipient is deferred, unless the policy says
// "lookup_failed -c". The same goes for a function that returns 75, decides
// nothing, runs out of fuel or time, or is broken: the recipient is deferred and
// the reason names file and line.
//
// # Ends
//
// Every address of a message is routed once; the same channel, host, user and
// privilege is delivered to once. An address may come back below itself (joe:
// joe, ann): "once KEY" lets the policy skip the step that led there. Depth and
// number of addresses are bounded.
//
// # Versions
//
// A Policy is one loaded version of the configuration and never changes. Holder
// loads a changed configuration beside the current one, which goes on if the new
// one does not load. A session uses one version from beginning to end, and sees
// one version of every table.
package policy

// Package scheduler moves routed messages to their end: it takes control files
// from transport/, groups their recipients to threads, gives the work to
// transport agents, retries, expires, reports and removes what is finished.
//
// # Model
//
// A message has vertices: its recipients of one channel and host. The vertices of
// all messages with the same channel and host form a thread. A clause of
// scheduler.conf governs a thread; threads of one clause and channel share a pool
// of agents.
//
//	vertex state  where it is                    leaves by
//	ready         heap of its thread             being given to an agent
//	waiting       heap of its thread, by time    time
//	running       in a job of an agent           the agent's results, or its death
//	settling      at the disk                    its events are in the control file
//	held          nowhere                        zmailer release
//
// # Order that matters
//
// The control file is the truth and the memory an index of it. Results of a job
// are appended to the control file before anything is done because of them, with
// one exception: when they finish the message and nobody is owed a report, the
// files are removed instead. A report is durable before the control file says
// that it was made, and the control file says so before the message is removed.
// A message stays known until its files are gone, so that no stale notice of its
// control file can bring it back.
//
// # Concurrency
//
// One goroutine, Queue.run, owns all state; others post functions to it. It
// never reads or writes a file or a pipe. The disk has workers of its own: the
// tasks of one message run one after the other, in the order they were posted.
// Each agent has a goroutine that reads what it says.
//
// Times are whole seconds: that is what the control file keeps.
//
// # Differs from ZMailer
//
// Of the attributes of its scheduler.conf these are gone: sysnice, syspriority and
// priority (nice remains), wakeuprestartonly (new mail never wakes a destination in
// back-off), reporttimes (delay-warning, and report-interval of the command queue),
// deliveryform and expiryform (files in forms/, by language), bychannel,
// gangschedule and maxhost.
package scheduler

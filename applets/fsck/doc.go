// Package fsck is "zmailer fsck" and "zmailer cleanup": it looks at every file of
// the spool, says in which state of the table in spool/doc.go it is, and brings
// what is in no state, or in one that nobody moves on, back to one.
//
//	found                                             repair
//	public/: a file older than a day                  removed: its submitter died
//	public/: anything else that is no file, so old    link, FIFO, socket removed; directory to postman/
//	moving: queue/ without a control file             back to router/
//	half: control file without a closing line that    control file removed, message back to router/
//	  fits, or of another message
//	orphan: control file alone, all finished by       removed
//	  itself or by the done log, or of another message
//	orphan: control file alone, otherwise             to postman/
//	control file that does not parse, or names        message and control file to postman/
//	  another size of its message
//	message whose envelope does not parse             to postman/
//	link, FIFO, directory, second name of a file      to postman/
//	unknown name                                      to postman/
//	file in the wrong hash directory                  to the right one
//	message both routed and not                       the one that is not, to postman/
//	wrong owner, mode; missing directory              chown, chmod, mkdir
//	journal segment that is none                      to postman/
//
// Nothing but finished control files and old rubbish in public/ is ever deleted. A
// file in postman/ has its reason beside it, NAME.why.
//
// What is printed without --repair is a shell script that does the same.
//
// # Other processes
//
// The check itself may run at any time: what changes under it is looked at again
// before it is called a fault. A repair that touches files of a daemon is done only
// while the daemon does not run; its pid file is held locked meanwhile, so that it
// does not start either.
//
// Memory is bounded by one hash directory of transport/: some 3 MB at a million
// queued messages.
package fsck

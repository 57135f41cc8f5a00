// Package migrate is zmailer import: it reads the configuration of another mailer
// and writes ours, into a directory of its own, with the source of each line, and a
// list of what was not carried over.
//
// It never guesses: what has no counterpart here, or one that would decide
// otherwise for some mail, is in the list. The result loads, or nothing is written.
package migrate

// Package policytest is zmailer test: it runs test files, which are shell, against
// the policy of an instance or the stock one.
//
//	isolate                     tables are empty and there are no users, but for
//	                            what the test declares
//	entry TABLE KEY VALUE       an entry; TABLE has no others than those declared
//	failing TABLE               TABLE cannot be asked
//	user NAME [FORWARD]         a user, perhaps with the text of a ~/.forward
//	dns RECORD                  a line of a zone file, or NAME SERVFAIL|TIMEOUT...
//	conf NAME VALUE             a variable of zmailer.conf
//	reset                       forgets all of the above
//	name TEXT                   what the expectations that follow are about; failures name it
//	expect [-f SENDER] [-c CLIENT] ADDRESS DECISION [-- DECISION]...
//
// A DECISION is deliver CHANNEL HOST USER [from SENDER] [after SECONDS] [held],
// reject STATUS [TEXT], defer [STATUS [TEXT]], freeze, discard or nobody (routed before, or
// to nobody); SENDER, which replaces the message's own, and TEXT are patterns. The
// decisions must be all there are, in their order.
//
// Tests ask the code that routes mail, under the same limits.
package policytest

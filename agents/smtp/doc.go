// Package smtp is the transport agent that hands mail to other hosts by SMTP
// (RFC 5321), or to a delivery server by LMTP (RFC 2033).
//
// One process works on many jobs at once, each over a connection of its own;
// how many go to one host at a time is the scheduler's decision. Connections are
// kept for the next job to the same place.
//
// # Where a job goes
//
// The host of a job, or that of option -F, is a list "a, b" of places to try in
// order:
//
//	example.net          its mail exchangers (MX), or its address if it has none
//	example.net:587      the same at another port
//	[mx.example.net]     the address of the name, no MX; also with :port
//	[192.0.2.1]          an address; also [IPv6:2001:db8::1], and with :port
//	/run/lmtp.sock       a UNIX socket
//
// Candidates are tried until one takes the transaction: a host that cannot be
// reached, does not greet, does not like our name, breaks the connection or
// answers MAIL with 4xx hands over to the next one. The addresses of one host are
// raced, each a quarter of a second after the one before (RFC 8305), the two
// families in turn; hosts are not: their order is the domain's wish.
//
// # What is promised about each recipient
//
//   - A result is a reply of the peer wherever there was one.
//   - 5xx to MAIL, to its RCPT, to DATA or to the content fails a recipient, 4xx
//     defers it. 5xx as the greeting (RFC 7504) or to HELO is the host's no to all
//     mail, and fails the recipients if no other host of the destination takes them
//     or may take them later. What the peer did not say is never permanent, with these
//     exceptions: the domain does not exist, takes no mail (null MX), leads back
//     to us; or the message needs what the peer cannot do (its size, SMTPUTF8,
//     REQUIRETLS, DELIVERBY with mode R, 8-bit content that cannot be converted).
//   - When the connection breaks after the content went out and before its
//     reply, nobody knows whether the peer has the message. It is deferred: a
//     second copy is better than none.
//   - A recipient with NOTIFY=SUCCESS that was given to a host without DSN has
//     status 2.1.9 (RFC 3886): that host will not report, so the scheduler does. The
//     same holds for BY with mode N and a host without DELIVERBY (RFC 2852). What a
//     delivery server without DSN has taken is delivered, as by ourselves.
//
// # Encryption
//
// db/tlspolicy, or option -S, says for each destination what it needs: see
// tlsTable and the text of the option. What a destination publishes can only add:
// TLSA records count when DNSSEC vouches for every name on the way, an MTA-STS
// policy when it was had by HTTPS; DANE goes first (RFC 8461 §2). A TLSA query
// without an answer keeps the host from being used, a policy that cannot be had
// does not. In the clear goes only what may. A mistake in the table stops mail.
// MTA-STS policies are kept in run/mta-sts of the spool for their time. Version,
// cipher and proof (verified, dane, fingerprint) stand in the log and in the text of
// a success.
//
// Instead of the file, TLSPOLICY of zmailer.conf may name a table of any type. What
// the sender says goes on top: REQUIRETLS, and "TLS-Required: No" (RFC 8689).
//
// # Signatures
//
// Mail of our own is signed (package dkim) when all conversions are done, once for
// each group of recipients; what strangers send through us is sealed at most
// (package arc). Mail that cannot be signed as it was to be is deferred.
//
// # Speed
//
// With PIPELINING the envelope is one write; with CHUNKING too, the content of a
// small message goes along with it, and a message costs one round trip. Bodies up
// to smallMessage are read with one call into a pooled buffer and sent with one.
package smtp

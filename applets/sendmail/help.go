package sendmail

const help = `sendmail reads a message from standard input, up to its end or to a line of a
single dot, and puts it into the spool for its recipients. Status 0 says that the
message is safe on disk.

Recipients and sender:
  -t             also send to those that To, Cc and Bcc name (or Resent-*)
  -f ADDR        sender of the envelope; empty or <> is the null sender (-r is the same)
  -F NAME        full name of the sender, when there is no From field
Reading:
  -i, -oi        a line of a single dot does not end the message
  -B TYPE        7BIT, 8BITMIME or BINARYMIME
Reports (RFC 3461):
  -N LIST        never, or a list of success, failure and delay
  -R full|hdrs   what a report returns
  -V ID          envelope id, in xtext
Delivery:
  -odi           wait for the first attempt; -odb, -odq and -odd do not
  -oep           tell errors on standard error
  -oem, -oee     tell errors in addresses by mail
  -oeq, -oew     tell them by the status alone, on the terminal
  -P PRIORITY    high, normal, bulk or junk
  -p PROTO:HOST  how and from where the message came, for its Received field; believed
                 when root or the mailer say it
  -v             show the delivery as it happens
  -G             the message comes from elsewhere: give it no local rights
Other modes:
  -bm            send a message (this is the default)
  -bs, -bS       speak SMTP on standard input and output; read batched SMTP
  -bp            show the queue (mailq)
  -bi            build the alias table (newaliases)
  -bv            say where the addresses would be delivered
  -bt            the same for addresses read from standard input
  -bd, -bD       start the mailer in the background, in the foreground
  -q[TIME]       try queued messages now; -qI, -qR, -qS and -qG with a text choose by
                 id, recipient, sender, host or channel (-q! is all others)
  -bh, -bH, -bP  host status, clear it, number of queued messages
For root and the owner of the instance alone:
  -C FILE        another zmailer.conf
  -oQ DIR        another spool
  -oA FILE       with -bi: another alias file
Accepted, without a need for an effect here:
  -A -d -D -h -J -L -M -m -n -U -X -x, and the other options of Sendmail for -o and -O`

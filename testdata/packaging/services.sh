# shellcheck shell=sh
# What systemd.sh runs in its machine, once after each of two boots.
# shellcheck source=testdata/packaging/lib.sh
. /test/lib.sh
daemons='router scheduler smtpserver'

trap 'systemctl --no-block "$next"' EXIT
next=poweroff

fail() {
	echo "FAIL: $*"
	: >/test/failed
	systemctl status --no-pager --full 'zmailer*' || :
	journalctl --no-pager -b -n 60 || :
	exit 1
}

all_active() {
	# shellcheck disable=SC2086 # a word each
	for unit in zmailer $(printf 'zmailer-%s ' $daemons); do
		systemctl is-active --quiet "$unit" || return 1
	done
}

property() { systemctl show -P "$1" "zmailer-$2"; }

# drop_in DAEMON NAME: what is on standard input, in force at the next start.
drop_in() {
	mkdir -p "/etc/systemd/system/zmailer-$1.service.d"
	cat >"/etc/systemd/system/zmailer-$1.service.d/$2.conf"
	systemctl daemon-reload
}

# by_smtp SUBJECT: to joe, at port 25.
by_smtp() {
	perl -MIO::Socket::INET -e '
		$s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:25", Timeout => 20) or die "connect: $!\n";
		sub want { my ($code, $to) = @_; my $r; do { $r = <$s> // "" } while $r =~ /^...-/; $r =~ /^$code/ or die "$to: $r\n" }
		want(2, "greeting");
		for my $c ("EHLO here", "MAIL FROM:<ann\@example.net>", "RCPT TO:<joe\@example.org>") { print $s "$c\r\n"; want(2, $c) }
		print $s "DATA\r\n"; want(3, "DATA");
		print $s "Subject: $ARGV[0]\r\n\r\nx\r\n.\r\n"; want(2, "message");
		print $s "QUIT\r\n"' "$1"
}

flows() { # WHAT
	printf 'Subject: local, %s\n\nx\n' "$1" | sendmail joe || fail "sendmail, $1"
	by_smtp "smtp, $1" || fail "SMTP, $1"
	arrives "local, $1"
	arrives "smtp, $1"
}

installs() {
	host_names
	useradd -m -s /bin/sh ann
	dpkg -i /test/new.deb >/test/dpkg 2>&1 || fail "dpkg: $(cat /test/dpkg)"
	all_active || fail 'not all units are active when the package is installed'
	for daemon in $daemons; do
		[ "$(property NRestarts "$daemon")" = 0 ] || fail "$daemon had to be started more than once"
		property StatusText "$daemon" | grep -q . || fail "$daemon says nothing of itself"
	done
	served_by zmailer
	ok 'units: all active once the package is installed'
	flows installed
}

# Users' files and programs, under what the units forbid.
users() {
	cp /usr/bin/id /usr/local/bin/set-id
	chmod 4755 /usr/local/bin/set-id
	mkdir -m 1777 /srv/mail
	cat >/home/joe/program <<-'END'
		#!/bin/sh
		cat >/home/joe/received
		{ id -un; /usr/local/bin/set-id -u; echo "$HOME"; } >/home/joe/said.new
		mv /home/joe/said.new /home/joe/said
	END
	chmod 755 /home/joe/program
	echo '\joe, "|/home/joe/program"' >/home/joe/.forward
	chown joe: /home/joe/program /home/joe/.forward
	cat >>/etc/aliases <<-'END'
		ticket: "|cat >/srv/mail/ticket.new && mv /srv/mail/ticket.new /srv/mail/ticket"
		archive: /srv/mail/archive
	END
	newaliases >/dev/null || fail newaliases
	sleep 3 # tables are looked at once a second, and may be young once
	printf 'Subject: users\n\nx\n' | sendmail joe ticket archive || fail sendmail
	arrives users
	await 20 test -s /home/joe/said || fail 'the program of .forward did not run'
	[ "$(tr '\n' ' ' </home/joe/said)" = 'joe 0 /home/joe ' ] || fail "the program of .forward: $(cat /home/joe/said)"
	await 20 grep -q '^Subject: users' /srv/mail/ticket || fail 'the program of aliases did not run'
	await 20 grep -q '^Subject: users' /srv/mail/archive || fail 'no message in the file of aliases'
	rm /home/joe/.forward
	ok 'users: mailbox, .forward, programs and files of aliases, a set-id program'
}

journal_fields() {
	echo 'LOG=journal' >>/etc/zmailer/zmailer.conf
	systemctl restart zmailer
	all_active || fail 'not all units are active after a restart'
	flows 'in the journal'
	id=$(journalctl -o cat --output-fields=ZMAILER_ID ZMAILER_EVENT=delivered -n 1)
	[ -n "$id" ] || fail 'no event "delivered" in the journal'
	for daemon in $daemons; do
		journalctl -o cat --output-fields=ZMAILER_EVENT "ZMAILER_ID=$id" "_SYSTEMD_UNIT=zmailer-$daemon.service" | grep -q . ||
			fail "journalctl ZMAILER_ID=$id: nothing of $daemon"
	done
	ok 'journal: ZMAILER_ID finds the message in all daemons'
}

main_pids() { for daemon in $daemons; do property MainPID "$daemon"; done; }

reloads() {
	before=$(main_pids)
	systemctl reload zmailer || fail 'reload'
	cp /etc/zmailer/router.cf /test/router.cf
	echo 'broken() {' >>/etc/zmailer/router.cf
	! systemctl reload zmailer 2>/dev/null || fail 'a broken configuration was loaded'
	flows 'configuration broken'
	cp /test/router.cf /etc/zmailer/router.cf
	systemctl reload zmailer || fail 'reload, mended'
	for daemon in $daemons; do
		systemctl reload "zmailer-$daemon" || fail "reload of $daemon"
	done
	flows reloaded
	[ "$(main_pids)" = "$before" ] || fail 'reload has started daemons anew'
	ok 'reload: taken, and refused if it is wrong'
}

# restarted DAEMON WHAT: systemd has started it once more.
restarted() {
	await 60 sh -c "[ \$(systemctl show -P NRestarts zmailer-$1) = 1 ] && systemctl is-active --quiet zmailer-$1" ||
		fail "$2: $1 was not started again"
	ok "$2: $1 is started again"
}

watchdog() {
	for daemon in $daemons; do
		printf '[Service]\nWatchdogSec=3\n' | drop_in "$daemon" watchdog
	done
	for signal in STOP KILL; do
		systemctl restart zmailer
		for daemon in $daemons; do
			kill -$signal "$(property MainPID "$daemon")"
			restarted "$daemon" "SIG$signal"
		done
		flows "after SIG$signal"
	done
	rm -r /etc/systemd/system/zmailer-*.service.d
	systemctl daemon-reload
}

secrets_and_sockets() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=host.example.org \
		-addext subjectAltName=DNS:host.example.org -keyout /etc/ssl/mx.key -out /etc/ssl/mx.pem 2>/dev/null
	chmod 600 /etc/ssl/mx.key /etc/ssl/mx.pem
	printf '[Service]\nLoadCredential=cert:/etc/ssl/mx.pem\nLoadCredential=key:/etc/ssl/mx.key\n' | drop_in smtpserver tls
	cat >>/etc/zmailer/smtpserver.conf <<-'END'
		tls "$CREDENTIALS_DIRECTORY/cert" "$CREDENTIALS_DIRECTORY/key"
		passwords db/passwords
	END
	echo secret | zmailer passwd joe >/dev/null || fail 'zmailer passwd'
	systemctl stop zmailer-smtpserver
	systemctl enable --quiet --now zmailer.socket zmailer-submission.socket zmailer-submissions.socket || fail 'sockets'
	[ "$(property ActiveState smtpserver)" = inactive ] || fail 'the server runs before anybody has connected'
	by_smtp 'first connection' || fail 'the first connection'
	arrives 'first connection'
	for how in '587 -starttls smtp' '465'; do
		# shellcheck disable=SC2086
		if ! { echo QUIT; sleep 1; } | openssl s_client -CAfile /etc/ssl/mx.pem -verify_return_error -crlf -ign_eof -connect 127.0.0.1:$how >/test/tls 2>&1 ||
			! grep -q 'Verify return code: 0' /test/tls || ! grep -q '^2[25]' /test/tls; then
			fail "TLS at port $how: $(cat /test/tls)"
		fi
	done
	ok 'sockets: ports 25, 465, 587; certificate and key as credentials'
	for n in 1 2 3; do
		systemctl restart --no-block zmailer-smtpserver
		by_smtp "while it starts, $n" || fail 'a client was refused while the server was started anew'
		arrives "while it starts, $n"
	done
}

# The password for a smarthost, which here is our own submission port.
smarthost() {
	cp /etc/zmailer/scheduler.conf /test/scheduler.conf
	echo '127.0.0.1 joe secret' >/etc/zmailer/smarthost.auth
	chmod 600 /etc/zmailer/smarthost.auth
	printf '[Service]\nLoadCredential=smarthost:/etc/zmailer/smarthost.auth\n' | drop_in scheduler smarthost
	sed -i "s|command='smtp'|command=\"smtp -F [127.0.0.1]:587 -S must -A \$CREDENTIALS_DIRECTORY/smarthost\"|" /etc/zmailer/scheduler.conf
	systemctl restart zmailer-scheduler || fail 'scheduler with a credential'
	printf 'Subject: smarthost\n\nx\n' | sendmail -f joe bob@far.example.net
	await 20 sh -c 'journalctl -q -o cat ZMAILER_APPLET=smtpserver ZMAILER_USER=joe | grep -q .' || fail 'no login at the smarthost'
	cp /test/scheduler.conf /etc/zmailer/scheduler.conf
	rm -r /etc/systemd/system/zmailer-scheduler.service.d
	systemctl daemon-reload
	systemctl restart zmailer-scheduler

	ok 'credentials: the password of the smarthost'
}

# Mail is sent while each daemon is started anew, again and again.
in_flight() {
	echo 'MAILBOX=maildir:%h/Maildir' >>/etc/zmailer/zmailer.conf
	echo mx.test >>/etc/zmailer/db/localnames # where the load sends to
	systemctl restart zmailer
	/test/load send -addr 127.0.0.1:25 -ledger /test/ledger -n 5000 -sendmail /usr/sbin/sendmail -limit 4m >/test/sent 2>&1 &
	load=$! rounds=0
	while kill -0 $load 2>/dev/null; do
		for daemon in $daemons; do
			systemctl restart "zmailer-$daemon" || fail "restart of $daemon"
			sleep 0.3
		done
		rounds=$((rounds + 1))
	done
	wait $load || fail "load: $(cat /test/sent)"
	/test/load check -spool /var/spool/postoffice -ledger /test/ledger -maildirs joe=/home/joe/Maildir,ann=/home/ann/Maildir -wait 2m >/test/checked 2>&1 ||
		fail "lost in flight: $(cat /test/sent /test/checked)"
	[ $rounds -ge 2 ] || fail "$rounds restarts of each daemon are no proof"
	ok "restarts: $rounds of each daemon; $(tail -n 1 /test/checked)"
}

stops() {
	start=$(date +%s)
	# It returns when zmailer.service has stopped, which the others follow.
	systemctl stop zmailer || fail stop
	for daemon in $daemons; do
		await 20 sh -c "[ \$(systemctl show -P ActiveState zmailer-$daemon) = inactive ]" || fail "$daemon does not stop"
	done
	took=$(($(date +%s) - start))
	[ $took -lt 10 ] || fail "stop took $took seconds"
	for daemon in $daemons; do
		[ "$(property Result "$daemon")" = success ] || fail "$daemon ended with $(property Result "$daemon")"
		! grep -qs 'populated 1' "/sys/fs/cgroup/system.slice/zmailer-$daemon.service/cgroup.events" || fail "something of $daemon was left running"
	done
	zmailer fsck || fail fsck
	systemctl start zmailer || fail start
	all_active || fail 'not all units are active after start'
	ok "stop: clean, within $took seconds"
}

# exposure DAEMON MOST
exposure() {
	got=$(systemd-analyze security --no-pager "zmailer-$1" | sed -n 's/.*exposure level for [^:]*: \([0-9.]*\) .*/\1/p')
	[ "$(printf '%s\n%s\n' "$got" "$2" | sort -n | tail -n 1)" = "$2" ] || fail "systemd-analyze security: $1 has $got, not $2"
	ok "exposure: $1 $got"
}

analysed() {
	said=$(systemd-analyze verify --man=no /usr/lib/systemd/system/zmailer* 2>&1 | grep zmailer) || :
	[ -z "$said" ] || fail "systemd-analyze verify: $said"
	exposure smtpserver 2.5
	exposure router 2.5
	exposure scheduler 4.1
}

if [ ! -e /test/booted ]; then
	: >/test/booted
	installs
	users
	journal_fields
	reloads
	watchdog
	secrets_and_sockets
	smarthost
	in_flight
	sed -i '/^MAILBOX=maildir/d' /etc/zmailer/zmailer.conf
	stops
	analysed
	queue_one 'before the boot'
	next=reboot
else
	await 60 all_active || fail 'not all units are active after a boot'
	waits 'after a boot'
	flows 'after a boot'
	: >/test/passed
fi

# shellcheck shell=sh
# What the scenarios share. They run as process 1 of a Debian without a network.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

fail() {
	echo "FAIL: $*"
	tail -n 30 /var/log/zmailer/* 2>/dev/null || :
	exit 1
}

ok() { echo "ok   $*"; }

# await SECONDS COMMAND...: until it succeeds.
await() {
	n=$(($1 * 10))
	shift
	while ! "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		[ $n -gt 0 ] || return 1
		sleep 0.1
	done
}

apt() { apt-get -q -y --no-install-recommends -o Dir::Log::Terminal= "$@"; }

host_names() {
	printf '127.0.0.1 localhost\n127.0.1.1 host.example.org host\n' >/etc/hosts
	echo example.org >/etc/mailname
	useradd -m -s /bin/sh joe
	printf 'postmaster: root\nroot: joe\n' >/etc/aliases
	cp /etc/aliases /aliases.before
}

aliases_kept() { cmp /etc/aliases /aliases.before || fail "/etc/aliases was changed"; }

# arrives SUBJECT: into joe's mailbox.
arrives() {
	await 20 grep -q "^Subject: $1\$" /var/mail/joe || fail "$1 did not arrive"
	ok "arrives: $1"
}

mail_works() { # WHAT
	echo hello | mail -s "mail to root, $1" root || fail 'mail(1)'
	arrives "mail to root, $1"
	# As cron does it.
	printf 'From: root (Cron Daemon)\nTo: joe\nSubject: cron, %s\n\ndone\n' "$1" | sendmail -i -FCronDaemon -B8BITMIME -oem joe || fail sendmail
	arrives "cron, $1"
	printf 'To: joe\nSubject: lib, %s\n\nx\n' "$1" | su joe -c '/usr/lib/sendmail -t -i' || fail /usr/lib/sendmail
	arrives "lib, $1"
}

ours() { [ "$(readlink -f "$(command -v "$1")")" = /usr/bin/zmailer ]; }

is_ours() {
	for program in sendmail /usr/lib/sendmail mailq newaliases rmail vacation; do
		ours $program || fail "$program is not ours"
	done
	getent passwd zmailer >/dev/null || fail 'no user zmailer'
	grep -q '^HOSTNAME=host.example.org$' /etc/zmailer/zmailer.conf || fail "HOSTNAME: $(cat /etc/zmailer/zmailer.conf)"
	grep -q '^MYDOMAIN=example.org$' /etc/zmailer/zmailer.conf || fail 'MYDOMAIN is not /etc/mailname'
	[ "$(readlink /etc/zmailer/db/aliases)" = /etc/aliases ] || fail 'db/aliases is not /etc/aliases'
	zmailer check || fail 'zmailer check'
	ok 'installed: programs, user, names, aliases'
}

served_by() { # USER
	# It answers before it has become its user: connections wait.
	pid=$(cat /var/spool/postoffice/run/smtpserver.pid)
	await 20 ps -p "$pid" -u "$1" || fail "smtpserver runs as $(ps -o user= -p "$pid")"
	perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("127.0.0.1:25") or exit 1; exit(<$s> !~ /^220 host.example.org /)' || fail 'no greeting on port 25'
	ok "smtpserver runs as $1"
}

# The SMTP server starts as its user, with nothing but the right to bind port 25, as
# its unit has it.
as_unit() {
	zmailer kill smtpserver >/dev/null || fail 'kill smtpserver'
	(cd / && exec setpriv --reuid zmailer --regid zmailer --clear-groups --inh-caps=-all,+net_bind_service \
		--ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service \
		sh -c 'exec zmailer smtpserver --' >/tmp/unit.log 2>&1) &
	await 20 zmailer status || fail "smtpserver as a unit: $(cat /tmp/unit.log)"
	served_by zmailer
	kill "$(cat /var/spool/postoffice/run/smtpserver.pid)"
	zmailer start smtpserver >/dev/null || fail 'start smtpserver again'
	ok 'smtpserver as a unit runs it'
}

# A message that has to wait: nobody listens there.
queue_one() {
	printf 'Subject: %s\n\nx\n' "$1" | sendmail -f joe ann@waits.example.net
	await 10 sh -c 'mailq | grep -q ann@waits.example.net' || fail 'the message is not in the queue'
}

waits() {
	await 10 sh -c 'mailq | grep -q ann@waits.example.net' || fail "the message does not wait any more: $(mailq)"
	ok "still waits: $1"
}

# shellcheck shell=sh
# Over Postfix, upgrade, crash, back to Postfix, again, purge.
# shellcheck source=lib.sh
. /test/lib.sh
host_names

echo 'postfix postfix/main_mailer_type select Local only' | debconf-set-selections
apt install postfix bsd-mailx >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
cp /etc/aliases /aliases.before
# shellcheck disable=SC2016
postconf -e 'mydestination = $myhostname, example.org, localhost'
newaliases
postfix start >/dev/null 2>&1 || fail 'postfix start'
echo hello | mail -s 'by postfix' root
arrives 'by postfix'
postfix stop >/dev/null 2>&1

# Our package takes its place. Nothing is asked.
apt install /test/old.deb </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
dpkg-query -W -f '${Status}' postfix | grep -q 'deinstall ok config-files' || fail 'postfix is still installed'
aliases_kept
is_ours
zmailer start || fail 'zmailer start'
served_by zmailer
mail_works 'zmailer over postfix'

# Upgrade, with mail in the queue and an edited file.
echo 'waits.example.net smtp![127.0.0.1]:9' >>/etc/zmailer/db/routes
echo '# mine' >>/etc/zmailer/zmailer.conf
queue_one 'upgrade'
apt install /test/new.deb </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
cmp /usr/bin/zmailer /proc/"$(cat /var/spool/postoffice/run/router.pid)"/exe || fail 'the old program still runs'
zmailer status || fail 'not running after the upgrade'
grep -q '^# mine$' /etc/zmailer/zmailer.conf || fail 'an edited file was replaced'
[ ! -e /etc/zmailer/db/routes.new ] || fail 'routes did not change, and there is a routes.new'
is_ours
waits upgrade
mail_works 'after the upgrade'

# A removal that is given up half-way, as dpkg does it: the mailer runs again.
/var/lib/dpkg/info/zmailer.prerm remove || fail 'prerm remove'
zmailer status && fail 'prerm left the mailer running'
/var/lib/dpkg/info/zmailer.postinst abort-remove in-favour postfix 1 || fail 'postinst abort-remove'
zmailer status || fail 'not running after a removal that was given up'
for script in prerm postinst postrm; do
	/var/lib/dpkg/info/zmailer.$script nonsense 2>/dev/null && fail "$script does not know that it does not know"
done
ok 'a removal that is given up'

# As if the power had gone.
for daemon in zmailer router scheduler smtpserver; do
	kill -9 "$(cat /var/spool/postoffice/run/$daemon.pid)"
done
sleep 0.5
zmailer start || fail 'start after a crash'
waits crash
mail_works 'after a crash'

# Back to Postfix: the queue stays, the aliases too.
apt install postfix </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
pgrep -x zmailer && fail 'zmailer still runs'
aliases_kept
[ -e /etc/zmailer/zmailer.conf ] || fail 'configuration was removed'
find /var/spool/postoffice/queue -type f | grep -q . || fail 'the queue was removed'
postfix start >/dev/null 2>&1 || fail 'postfix does not start any more'
echo hello | mail -s 'by postfix again' root
arrives 'by postfix again'
postfix stop >/dev/null 2>&1

# And again: the mail that waited is still there.
apt install /test/new.deb </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
zmailer start || fail start
waits 'remove and install'
mail_works 'second installation'

# Purging leaves a spool with mail in it, and says so; an empty one goes.
apt purge zmailer </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
grep -q 'there is mail in /var/spool/postoffice' /tmp/apt.log || fail 'purge said nothing about the mail'
find /var/spool/postoffice/queue -type f | grep -q . || fail 'purge removed mail'
for dir in /etc/zmailer /var/log/zmailer; do
	[ ! -e $dir ] || fail "purge left $dir"
done
aliases_kept
ok 'purge keeps mail, removes the rest'
apt install /test/new.deb </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
zmailer start || fail start
zmailer delete --all -y || fail delete
await 10 sh -c 'mailq | grep -q empty' || fail 'queue is not empty'
apt purge zmailer </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
[ ! -e /var/spool/postoffice ] || fail "purge left $(find /var/spool/postoffice -type f)"
pgrep -x zmailer && fail 'zmailer still runs'
left=$(find / -xdev \( -path /proc -o -path /dev -o -path /test -o -path /tmp \) -prune -o -name '*zmailer*' -print)
[ -z "$left" ] || fail "purge left $left"
aliases_kept
[ "$(cat /etc/mailname)" = example.org ] || fail '/etc/mailname was changed'
ok 'purge of an empty spool'
echo "all done"

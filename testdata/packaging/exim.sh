# shellcheck shell=sh
# Over Exim, and a fresh installation without a mailer or names before.
# shellcheck source=lib.sh
. /test/lib.sh
host_names

apt install exim4-daemon-light bsd-mailx >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
cp /etc/aliases /aliases.before
apt install /test/new.deb </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
aliases_kept
is_ours
zmailer start || fail 'zmailer start'
served_by zmailer
mail_works 'zmailer over exim'
as_unit

apt install exim4-daemon-light </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
aliases_kept
pgrep -x zmailer && fail 'zmailer still runs'
ours sendmail && fail 'sendmail is still ours'
ok 'back to exim'

# A host that never had a mailer.
apt purge exim4-daemon-light exim4-base exim4-config zmailer </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
rm -f /etc/aliases /etc/mailname
apt install /test/new.deb </dev/null >/tmp/apt.log 2>&1 || fail "$(cat /tmp/apt.log)"
grep -q '^postmaster: root$' /etc/aliases || fail 'no /etc/aliases was made'
zmailer start || fail start
printf 'Subject: first mailer\n\nx\n' | sendmail joe
arrives 'first mailer'
ok 'fresh installation'
echo "all done"

#!/usr/bin/env bash
# Unpacks the mail software of others that the tests of the agents speak with, in
# a folder of its own for each: the packages of mail servers exclude each other,
# and installing one would start it. Every package comes with those of its
# dependencies that this machine lacks. What cannot be had is said and left out;
# its tests are then skipped.
#
#	fetch.sh [DIR]	(ZMAILER_PEERS, else ~/.cache/zmailer-peers)
set -euo pipefail

dir=${1:-${ZMAILER_PEERS:-${HOME:-/root}/.cache/zmailer-peers}}

# peer NAME PACKAGE... unpacks the packages to DIR/NAME.
peer() {
	local name=$1 work lacking
	shift
	if [ -e "$dir/$name/.complete" ]; then
		return 0
	fi
	# What is installed is listed too when asked for by name: its files stand
	# elsewhere on this machine, but a peer is found in its folder alone.
	lacking=$(apt-get -qq --simulate --no-install-recommends install "$@" | sed -n 's/^Inst \([^ ]*\) .*/\1/p') || return 1
	work=$(mktemp -d "$dir/.$name.XXXXXX")
	(
		cd "$work"
		mkdir packages root
		cd packages
		# shellcheck disable=SC2046,SC2086  # a list of names
		apt-get -qq download $(printf '%s\n' "$@" $lacking | sort -u)
		for deb in *.deb; do
			dpkg -x "$deb" ../root
		done
		# Nobody is to gain rights by a copy in somebody's cache.
		chmod -R ug-s ../root
	) >"$dir/$name.log" 2>&1 || {
		rm -rf "$work"
		return 1
	}
	rm -rf "$work/packages" "${dir:?}/$name"
	chmod 755 "$work"
	mv "$work/root" "$dir/$name"
	rmdir "$work"
	touch "$dir/$name/.complete"
}

if ! command -v apt-get >/dev/null; then
	echo "no apt-get: tests with other mail software are skipped"
	exit 0
fi
mkdir -p "$dir"
while read -r name packages; do
	# shellcheck disable=SC2086
	if peer "$name" $packages; then
		echo "$name: $dir/$name"
	else
		echo "$name: cannot be had, see $dir/$name.log"
	fi
done <<'END'
postfix postfix
exim exim4-daemon-light exim4-base
opensmtpd opensmtpd
sendmail sendmail-bin sendmail-base sendmail-cf
dovecot dovecot-core dovecot-lmtpd
procmail procmail
maildrop maildrop
opendkim opendkim-tools
dkimpy python3-dkim python3-dnspython python3-authres
sasl sasl2-bin libsasl2-modules
pebble pebble
gsasl gsasl
opendkimd opendkim
rspamd rspamd
clamav clamav-milter clamav-daemon
unbound unbound
spamassassin spamassassin
END

#!/bin/sh
# Compares what the packages of a directory unpack to, installs the rpm into a Debian of
# its own as far as a foreign package manager can, and has OpenRC start, reload and stop
# what is in the apk, with its scripts.
#
#   testdata/packaging/formats.sh DIST [BASE]
#
# DIST has a deb, an rpm and an apk of one build; BASE is a minimal Debian as run.sh
# makes them (CACHE/bookworm). Needs dpkg, rpm and tar; with BASE also root.
set -eu
dist=$1 base=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# MODE OWNER/GROUP PATH of all files and links, without what each format has of its own:
# documents, manual pages, the names that alternatives manage and their completions, the directory of zsh, service
# files.
names() {
	sed 's|^l[^ ]*|l|; s| -> .*||; s| \./| /|; s| \([a-z]*/\)| \1|' | awk '{print $1, $2, $NF}' | sed 's| /*\([^ ]*\)$| /\1|' |
		grep -E '^(-|l )' | grep -vE ' /usr/(share/(doc|man|lintian|licenses|zsh)|libexec/zmailer|lib/(systemd|sysusers.d|tmpfiles.d))/| /etc/init.d/|/mailq(\.fish)?$| /usr/(sbin/sendmail|lib/sendmail|bin/(mailq|newaliases|rmail))$| /\.' | sort -u
}
dpkg-deb --fsys-tarfile "$dist"/*.deb | tar -tv --numeric-owner | awk '{print $1, $2, $6}' | names >"$work/deb"
rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]' "$dist"/*.rpm | sed 's| root/root | 0/0 |' | names >"$work/rpm"
tar -tvzf "$dist"/*.apk --ignore-zeros --numeric-owner 2>/dev/null | awk '{print $1, $2, $6}' | names >"$work/apk"
[ -s "$work/deb" ] || fail 'the deb is empty'
for format in rpm apk; do
	diff -u "$work/deb" "$work/$format" || fail "deb and $format differ"
done
grep -q '^-rwxr-xr-x 0/0 /usr/bin/zmailer$' "$work/deb" || fail 'no /usr/bin/zmailer of root'
echo "ok   deb, rpm and apk unpack to the same $(wc -l <"$work/deb") files, modes and owners"
for script in preinstall postinstall preuninstall postuninstall; do
	rpm -qp --scripts "$dist"/*.rpm | grep -q "^$script scriptlet" || fail "rpm without $script"
done
for script in .pre-install .post-install .pre-deinstall .post-upgrade; do
	tar -tzf "$dist"/*.apk --ignore-zeros 2>/dev/null | grep -qx "$script" || fail "apk without $script"
done
echo 'ok   scripts are in them'
[ -n "$base" ] || exit 0

cp -a "$base" "$work/root"
cp "$dist"/*.rpm "$work/root/zmailer.rpm"
# Fedora's alternatives by the name that the package calls.
ln -s /usr/bin/update-alternatives "$work/root/usr/sbin/alternatives"
printf '127.0.1.1 host.example.org host\n' >"$work/root/etc/hosts"
# Scripts of the package run below the root, in a name space without a network.
# shellcheck disable=SC2016
unshare --mount --uts --net --pid --fork sh -c '
	mount --make-rprivate / && mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev"
	hostname host && ip link set lo up
	rpm --root "$1" --nodeps --nosignature -i "$1/zmailer.rpm" &&
	chroot "$1" sh -ec "
		zmailer check
		test \"\$(readlink -f /usr/sbin/sendmail)\" = /usr/bin/zmailer
		useradd -m joe
		zmailer start >/dev/null
		printf \"Subject: by rpm\n\nx\n\" | sendmail joe
		n=100
		until grep -q \"by rpm\" /var/mail/joe 2>/dev/null; do n=\$((n - 1)); [ \$n -gt 0 ]; sleep 0.1; done
		" &&
	rpm --root "$1" --nodeps -e zmailer && ! chroot "$1" test -e /usr/bin/zmailer && ! chroot "$1" test -e /usr/sbin/sendmail' \
	sh "$work/root" >"$work/log" 2>&1 </dev/null || fail "rpm: $(cat "$work/log")"
echo 'ok   the rpm installs, delivers a message, and is removed'

# Debian has no apk: unpacked, as apk does it, and its scripts in their order.
rm -rf "$work/root"
cp -a "$base" "$work/root"
tar -xzf "$dist"/*.apk --ignore-zeros -C "$work/root" 2>/dev/null
printf '127.0.1.1 host.example.org host\n' >"$work/root/etc/hosts"
cat >"$work/root/openrc.sh" <<'END'
set -eux
DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install openrc
# As if it had booted: what the script needs has been started.
mkdir -p /run/openrc
: >/run/openrc/softlevel
for service in localmount net dns logger; do
	printf '#!/sbin/openrc-run\nstart() { :; }\n' >/etc/init.d/$service
	chmod 755 /etc/init.d/$service
	rc-service --nodeps $service start
done
useradd -m joe
# Its adduser is that of busybox, which Debian lacks; zmailer install makes the user.
sh /.pre-install
sh /.post-install
id zmailer
rc() { rc-service zmailer "$@"; }
rc start
rc status
zmailer status
printf "Subject: by openrc\n\nx\n" | sendmail joe
n=100
until grep -q "by openrc" /var/mail/joe 2>/dev/null; do n=$((n - 1)); [ $n -gt 0 ]; sleep 0.1; done
rc reload
router=$(cat /var/spool/postoffice/run/router.pid)
sh /.post-upgrade
zmailer status
[ "$(cat /var/spool/postoffice/run/router.pid)" != "$router" ]
sh /.pre-deinstall
if zmailer status; then exit 1; fi
if rc status; then exit 1; fi
sh /.post-upgrade # stopped: it stays so
if zmailer status; then exit 1; fi
END
# shellcheck disable=SC2016
unshare --mount --uts --net --pid --fork sh -c '
	mount --make-rprivate / && mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev"
	hostname host && ip link set lo up
	exec chroot "$1" sh /openrc.sh' sh "$work/root" >"$work/log" 2>&1 </dev/null || fail "apk: $(cat "$work/log")"
echo 'ok   the scripts of the apk and OpenRC: start, status, reload, upgrade, stop'

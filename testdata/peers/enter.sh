#!/bin/sh
# Runs a command on a machine where the packages of a peer are installed, as far
# as the command can see: its files lie over this machine's /usr, /etc and /var,
# what it writes there is gone when it ends, and so is every process it left.
# Needs root, and a kernel that lets it mount (overlay, tmpfs) in a namespace.
#
#	enter.sh PEERDIR COMMAND [ARG...]
set -eu

if [ "${ZMAILER_PEER_INSIDE:-}" != 1 ]; then
	exec env ZMAILER_PEER_INSIDE=1 unshare --mount --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi
peer=$1
shift
mount -t tmpfs -o mode=755 peer /mnt
# The peer's folder may lie below a directory that is covered here.
mkdir /mnt/peer
mount --bind "$peer" /mnt/peer
for dir in usr etc var; do
	mkdir -p "/mnt/$dir" "/mnt/$dir.work"
	lower=/$dir
	[ ! -d "/mnt/peer/$dir" ] || lower=/mnt/peer/$dir:/$dir
	mount -t overlay peer -o "lowerdir=$lower,upperdir=/mnt/$dir,workdir=/mnt/$dir.work" "/$dir"
done
# Libraries and programs of packages from before /usr was one.
[ ! -d /mnt/peer/lib ] || cp -a /mnt/peer/lib/. /usr/lib/
[ ! -d /mnt/peer/bin ] || cp -a /mnt/peer/bin/. /usr/bin/
[ ! -d /mnt/peer/sbin ] || cp -a /mnt/peer/sbin/. /usr/sbin/
mount -t tmpfs -o mode=755 run /run
uid=60101
for user in postfix Debian-exim opensmtpd opensmtpq dovecot dovenull postdrop smmta smmsp peer; do
	grep -q "^$user:" /etc/group || echo "$user:x:$uid:" >>/etc/group
	grep -q "^$user:" /etc/passwd || echo "$user:x:$uid:$uid::/run:/bin/sh" >>/etc/passwd
	uid=$((uid + 1))
done
unset ZMAILER_PEER_INSIDE
exec "$@"

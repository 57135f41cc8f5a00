#!/usr/bin/env bash
# Breaks things around a mailer under load, and checks that nothing that it took
# responsibility for is lost, that trouble of the machine never becomes a permanent
# refusal, and that it recovers without help.
#
#   testdata/faults/run.sh [CASE...]
#
#   kill2000 kill10000  SIGKILL to a random daemon or agent, again and again
#   full                the disk is full for a while: spool, logs and mailboxes on it
#   inodes              no inode is free for a while
#   readonly            the file system turns read-only in the middle; the mailer is
#                       stopped, the disk mounted again, the mailer started
#   descriptors         every process has 64 descriptors
#
# Jumps of the clock are part of testdata/powercut, whose machine has a clock of its own.
#
# Without arguments all of them run. full, inodes and readonly mount an ext4 image and
# need root; what cannot run is skipped and shown as such. KEEP=1 keeps the
# instances; ZMAILER is a binary to test in place of one built from this tree. All traffic is on loopback, every case is bounded in time.
set -uo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/faults.XXXXXX")
PATH=$PATH:/usr/sbin:/sbin
mailer= # process of the supervisor
mounted=()
table=()
failed=0

die() {
	printf 'faults: %s\n' "$*" >&2
	exit 2
}

finish() {
	status=$?
	stop_mailer
	local dir
	for dir in "${mounted[@]}"; do
		umount "$dir" 2>/dev/null || umount -l "$dir"
	done
	if [ -n "${KEEP:-}" ] || [ "$status" -ne 0 ]; then
		echo "instances and logs: $work" >&2
	else
		rm -rf "$work"
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# free_port PORT: the first port from there on that nobody listens on.
free_port() {
	local port=$1
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
	echo "$port"
}

# instance DIR: an instance below DIR with the users joe and ann.
instance() {
	root=$1/z
	home=$1/home
	spool=$root/var/spool/postoffice
	logs=$root/var/log/zmailer
	port=$(free_port $((20000 + RANDOM % 10000)))
	export ZCONFIG=$root/etc/zmailer/zmailer.conf
	"$work/zmailer" install --prefix "$root" --port "$port" --hostname mx.test >"$work/install.log" 2>&1 ||
		die "install: $(cat "$work/install.log")"
	local user uid gid
	uid=$(id -u) gid=$(id -g)
	for user in joe ann; do
		if [ "$(id -u)" -eq 0 ]; then
			uid=$((${#user} + 7100 + $(printf %d "'${user:0:1}"))) gid=$uid
		fi
		mkdir -p "$home/$user"
		chown "$uid:$gid" "$home/$user"
		echo "$user $uid $gid $home/$user maildir:$home/$user/Maildir" >>"$root/etc/zmailer/db/users"
	done
	# Faults take seconds here; the stock intervals are made for hours.
	sed 's/interval=[0-9a-z]*/interval=1s/; s/retries=[^ ]*'"'"'[^'"'"']*'"'"'/retries=1/' -i "$root/etc/zmailer/scheduler.conf"
	chmod 755 "$work" "$1" "$home"
}

# start_mailer [LIMIT]: LIMIT is for ulimit -n.
start_mailer() {
	(
		[ -z "${1:-}" ] || ulimit -n "$1"
		exec "$root/bin/zmailer" run
	) >>"$work/mailer.out" 2>&1 &
	mailer=$!
	local i
	for ((i = 0; i < 300; i++)); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
		kill -0 "$mailer" 2>/dev/null || break
		sleep 0.1
	done
	echo "the mailer does not answer: $(tail -n 5 "$work/mailer.out")"
	return 1
}

stop_mailer() {
	[ -n "$mailer" ] || return 0
	kill "$mailer" 2>/dev/null
	wait "$mailer" 2>/dev/null
	mailer=
}

# start_load N [OPTION...]
start_load() {
	local n=$1
	shift
	timeout 300 "$work/load" send -addr "127.0.0.1:$port" -ledger "$work/ledger" -n "$n" -limit 280s \
		-sendmail "$root/sbin/sendmail" "$@" >"$work/sent" 2>&1 &
	loader=$!
}

# verdict CASE: waits for the load, checks, and enters the case into the table.
verdict() {
	local name=$1 sent=0 checked=0 wait=${2:-120s} fsck
	wait "$loader" || sent=$?
	cat "$work/sent"
	timeout 300 "$work/load" check -spool "$spool" -ledger "$work/ledger" -wait "$wait" \
		-maildirs "joe=$home/joe/Maildir,ann=$home/ann/Maildir" >"$work/checked" 2>&1 || checked=$?
	cat "$work/checked"
	stop_mailer
	fsck=clean
	"$root/bin/zmailer" fsck >"$work/fsck" 2>&1 || {
		fsck=found
		cat "$work/fsck"
	}
	local result=PASS
	if [ "$sent" -ne 0 ] || [ "$checked" -ne 0 ] || [ "$fsck" != clean ] || [ -n "${broken:-}" ]; then
		result=FAIL
		failed=1
		mkdir -p "$work/failed/$name"
		cp -r "$logs" "$work/sent" "$work/checked" "$work/fsck" "$work/mailer.out" "$work/failed/$name/"
	fi
	row "$name" "$result" "$(sed -n 's/^sent: \([0-9]* taken.*\)/\1/p' "$work/sent")" \
		"$(sed -n 's/^check: [0-9]* taken for [0-9]*: //p' "$work/checked")" "${faults:-}"
}

row() {
	local line
	printf -v line '%-12s %-5s %s\n%-18s %s%s' "$1" "$2" "${3:-}" "" "${4:-}" "${5:+; $5}"
	table+=("$line")
}

skip() { row "$1" skip "$2"; }

# disk CASE MB [MKFS OPTION...]: an ext4 file system of its own at $fs.
disk() {
	fs=$work/$1.mnt
	local image=$work/$1.img mb=$2
	shift 2
	if [ "$(id -u)" -ne 0 ]; then
		why="needs root to mount a file system"
		return 1
	fi
	mkdir "$fs"
	truncate -s "${mb}M" "$image"
	if ! { mkfs.ext4 -q -F -m 0 "$@" "$image" && mount -o loop "$image" "$fs"; }; then
		why="cannot mount an ext4 image here"
		return 1
	fi
	mounted+=("$fs")
}

# pids: every daemon and agent of the instance.
pids() {
	local children queue=("$mailer")
	while [ ${#queue[@]} -gt 0 ]; do
		read -r -d '' -a children < <(cat "/proc/${queue[0]}/task/"*/children 2>/dev/null)
		queue=("${queue[@]:1}" "${children[@]}")
		[ ${#children[@]} -eq 0 ] || printf '%s\n' "${children[@]}"
	done
}

kill_random() {
	local name=$1 n=$2 kills=0 victims pid
	declare -A names=()
	broken=
	mkdir "$work/$name"
	instance "$work/$name"
	start_mailer || return 1
	start_load "$n"
	while kill -0 "$loader" 2>/dev/null; do
		sleep "0.$((RANDOM % 9 + 1))"
		mapfile -t victims < <(pids)
		[ ${#victims[@]} -gt 0 ] || continue
		pid=${victims[RANDOM % ${#victims[@]}]}
		local what
		what=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || continue
		what=${what%% *}
		what=${what##*/}
		[ -n "$what" ] || continue
		kill -9 "$pid" 2>/dev/null || continue
		kills=$((kills + 1))
		names[$what]=$((${names[$what]:-0} + 1))
	done
	faults="$kills kills:"
	local k
	for k in "${!names[@]}"; do faults+=" $k ${names[$k]}"; done
	verdict "$name"
}

case_kill2000() { kill_random kill2000 2000; }
case_kill10000() { kill_random kill10000 10000; }

case_full() {
	broken=
	disk full 256 || {
		skip full "$why"
		return
	}
	instance "$fs"
	start_mailer || return 1
	start_load 4000
	sleep 2
	# The rest of the disk, in steps so that the last block is taken too.
	fallocate -l "$(($(stat -f -c '%a * %S' "$fs")))" "$fs/filler" 2>/dev/null
	cat /dev/zero >>"$fs/filler" 2>/dev/null
	sleep "${FULL:-20}"
	faults="full for ${FULL:-20} s"
	rm "$fs/filler"
	verdict full
}

case_inodes() {
	broken=
	disk inodes 256 -N 4096 || {
		skip inodes "$why"
		return
	}
	instance "$fs"
	start_mailer || return 1
	start_load 1000
	sleep 2
	mkdir "$fs/many"
	local i=0
	while : 2>/dev/null >"$fs/many/$i"; do i=$((i + 1)); done
	sleep 15
	faults="no inode for 15 s"
	rm -rf "$fs/many"
	verdict inodes
}

case_readonly() {
	broken=
	disk readonly 256 || {
		skip readonly "$why"
		return
	}
	instance "$fs"
	start_mailer || return 1
	start_load 3000
	sleep 3
	mount -o remount,abort "$fs" 2>/dev/null
	if : 2>/dev/null >"$fs/writable"; then
		broken="still writable"
	fi
	sleep 5
	kill -0 "$loader" 2>/dev/null || broken="the load was over before"
	stop_mailer
	umount "$fs" || broken="cannot unmount"
	e2fsck -fy "$work/readonly.img" >"$work/e2fsck" 2>&1
	mount -o loop "$work/readonly.img" "$fs" || return 1
	faults="${broken:-read-only for 5 s, then mounted again}"
	start_mailer || return 1
	verdict readonly
}

case_descriptors() {
	broken=
	mkdir "$work/descriptors"
	instance "$work/descriptors"
	start_mailer 64 || return 1
	faults="64 descriptors, 100 connections"
	start_load 2000 -sessions 100
	verdict descriptors
}

cd "$top" || exit 2
if [ -n "${ZMAILER:-}" ]; then
	cp "$ZMAILER" "$work/zmailer" || exit 2
else
	CGO_ENABLED=0 go build -trimpath -o "$work/zmailer" . || die "build"
fi
go build -trimpath -o "$work/load" ./testdata/faults/load || die "build of the load"
cases=("$@")
[ ${#cases[@]} -gt 0 ] || cases=(kill2000 kill10000 full inodes readonly descriptors)
for name in "${cases[@]}"; do
	declare -F "case_$name" >/dev/null || die "no case $name"
done
for name in "${cases[@]}"; do
	echo "== $name"
	faults=
	"case_$name" || {
		row "$name" FAIL "could not be run"
		failed=1
		stop_mailer
	}
done
echo
printf '%s\n' "${table[@]}"
[ "$failed" -eq 0 ]

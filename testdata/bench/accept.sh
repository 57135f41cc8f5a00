#!/usr/bin/env bash
# Acceptance without relay: Postfix's smtp-source sends messages of 4 KB, in 1, 20,
# 100 and 1,000 sessions, a message for each connection, to this program's SMTP
# server and to a Postfix of its own, on the same disk. Queues are only filled:
# nothing is delivered. It prints, for each server and number of sessions, messages
# a second, CPU time a message (of all of the server's processes) and PSS.
#
#	testdata/bench/accept.sh [-n MESSAGES] [-d DIR] [SESSIONS...]
#
# Needs root, Go, and Postfix installed; the system's Postfix is left alone.
set -euo pipefail
n=3000 dir=/var/tmp/zmailer-accept
while getopts n:d: opt; do
	case $opt in
	n) n=$OPTARG ;;
	d) dir=$OPTARG ;;
	*) exit 64 ;;
	esac
done
shift $((OPTIND - 1))
sessions=("$@")
[ ${#sessions[@]} -gt 0 ] || sessions=(1 20 100 1000)
src=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PATH=$PATH:/usr/local/go/bin:/usr/sbin
ulimit -n 8192
mkdir -p "$dir"

# tree PID... prints the processes and all of their descendants.
tree() {
	local p
	for p; do
		echo "$p"
		# shellcheck disable=SC2046 # a list of numbers
		[ ! -e "/proc/$p/task" ] || tree $(cat "/proc/$p/task/"*/children 2>/dev/null)
	done
}

# ticks PID... sums user and system time, of children that have ended too.
ticks() {
	local p
	for p in $(tree "$@"); do
		sed 's/.*) //' "/proc/$p/stat" 2>/dev/null || true
	done | awk '{ t += $12 + $13 + $14 + $15 } END { print t + 0 }'
}

pss() {
	local p
	for p in $(tree "$@"); do
		cat "/proc/$p/smaps_rollup" 2>/dev/null || true
	done | awk '/^Pss:/ { k += $2 } END { printf "%.1f", k / 1024 }'
}

zm_start() {
	local z=$dir/zmailer
	rm -rf "$z"
	[ -x "$dir/zmailer.bin" ] || (cd "$src" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$dir/zmailer.bin" .)
	"$dir/zmailer.bin" install --prefix "$z" --port 2519 --hostname accept.test >/dev/null
	export ZCONFIG=$z/etc/zmailer/zmailer.conf
	echo 'limit sessions=2000' >>"$z/etc/zmailer/smtpserver.conf"
	# The router answers about recipients and takes nothing from the queue.
	echo accept.test >>"$z/etc/zmailer/db/localnames"
	echo "joe 0 0 $dir maildir:$dir/Maildir" >>"$z/etc/zmailer/db/users"
	(exec -a smtpserver "$dir/zmailer.bin") &
	trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
	pids=($!)
	port=2519
}
zm_stop() {
	kill "${pids[@]}"
	wait "${pids[@]}" || true
}
zm_count() { find "$dir/zmailer/var/spool/postoffice/router" -type f | wc -l; }

pf_start() {
	local p=$dir/postfix
	rm -rf "$p"
	mkdir -p "$p/etc" "$p/queue" "$p/data"
	chown postfix "$p/data"
	cp /etc/postfix/master.cf "$p/etc/" 2>/dev/null || cp /usr/share/postfix/master.cf.dist "$p/etc/master.cf"
	sed -i 's/^smtp *inet.*/127.0.0.1:2520 inet n - n - 2000 smtpd/; /^smtps\|^submission\|^465\|^587/d' "$p/etc/master.cf"
	cat >"$p/etc/main.cf" <<-X
		compatibility_level = 3.6
		queue_directory = $p/queue
		data_directory = $p/data
		myhostname = accept.test
		mydestination = accept.test
		inet_interfaces = 127.0.0.1
		inet_protocols = ipv4
		local_recipient_maps =
		alias_maps =
		default_process_limit = 2000
		smtpd_client_connection_count_limit = 0
		defer_transports = local smtp
		smtpd_peername_lookup = no
		maillog_file = /var/log/accept-test.log
		maillog_file_prefixes = /var
	X
	postfix -c "$p/etc" start >/dev/null 2>&1
	pids=("$(tr -d ' ' <"$p/queue/pid/master.pid")")
	port=2520
}
pf_stop() { postfix -c "$dir/postfix/etc" stop >/dev/null 2>&1; }
pf_count() { find "$dir/postfix/queue/"{incoming,active,deferred,maildrop} -type f | wc -l; }

await_port() {
	for _ in $(seq 200); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
		sleep 0.05
	done
	echo "nothing listens on port $port" >&2
	return 1
}

measure() { # SERVER SESSIONS
	local server=$1 s=$2 begun ended before after got memory
	"${server}_start"
	await_port
	# What is loaded at the first message is not measured.
	smtp-source -s 1 -m 20 -l 4096 -f a@source.test -t joe@accept.test "127.0.0.1:$port"
	before=$(ticks "${pids[@]}")
	begun=$(date +%s%N)
	smtp-source -s "$s" -m "$n" -l 4096 -f a@source.test -t joe@accept.test "127.0.0.1:$port"
	ended=$(date +%s%N)
	after=$(ticks "${pids[@]}")
	memory=$(pss "${pids[@]}")
	got=$("${server}_count")
	"${server}_stop"
	[ "$got" -ge "$n" ] || echo "$server: $got of $n messages are in the queue" >&2
	awk -v server="$server" -v s="$s" -v n="$n" -v ns=$((ended - begun)) -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v m="$memory" \
		'BEGIN { printf "%-4s %5d %9.0f %11.3f %8s\n", server, s, n / ns * 1e9, t / hz * 1000 / n, m }'
}

echo "server sessions  msg/s  CPU ms/msg  PSS MB   ($n messages)"
for s in "${sessions[@]}"; do
	for server in zm pf; do
		measure "$server" "$s"
	done
done
rm -f /var/log/accept-test.log

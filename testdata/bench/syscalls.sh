#!/usr/bin/env bash
# Counts the system calls of a relayed message, daemon by daemon, with strace -c.
#
#   BENCH=/path/to/bench testdata/bench/syscalls.sh [DRIVER]
#
# BENCH is the harness (see run.sh). DRIVER is the path of a driver without its .sh;
# the one beside this file by default. N (1000) messages by C (20) sessions.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BENCH:?set it to the directory of the harness}"
export BENCH_ROOT=${BENCH_ROOT:-/var/tmp/mailbench}
driver=${1:-$here/zmailer}
if [ -z "${SYSCALLS_NS:-}" ]; then # no name server but ours, as in the harness
	mkdir -p "$BENCH_ROOT/conf"
	printf 'lookup file bind\nnameserver 127.0.0.1\n' >"$BENCH_ROOT/conf/resolv.conf"
	# shellcheck disable=SC2016
	SYSCALLS_NS=1 exec unshare -m bash -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' \
		"$BENCH_ROOT/conf/resolv.conf" "$here/syscalls.sh" "$driver"
fi
set +u # the harness is written without
# shellcheck disable=SC1091
. "$BENCH/lib.sh"
# shellcheck disable=SC1090
. "$driver.sh"
n=${N:-1000} c=${C:-20}
tmp=$(mktemp -d)
cg_make "$(basename "$driver")"
"$LG" dns 2>/dev/null &
dns=$!
cleanup() {
	d_stop >/dev/null 2>&1 || true
	cg_kill || true
	kill "$dns" "${sink:-}" 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT
d_stop >/dev/null 2>&1 || true
d_wipe
d_config relay
d_start >/dev/null 2>&1
"$LG" waitport -addr "127.0.0.1:$D_PORT" -limit 60s
"$LG" sink -addr "127.0.0.1:$SINK_PORT" -ctl "127.0.0.1:$CTL_PORT" -record "$tmp/got" >/dev/null 2>&1 &
sink=$!
ctl() { "$LG" ctl -ctl "127.0.0.1:$CTL_PORT" "$@"; }
until ctl stats >/dev/null 2>&1; do sleep 0.05; done
send() { "$LG" source -addr "127.0.0.1:$D_PORT" -n "$1" -c "$c" -run "$2" -size 4096 -domains sink.test >/dev/null; }
send 100 warm # starts what is started on demand
ctl wait 100 30 >/dev/null
ctl reset >/dev/null
tracers=()
for pid in $(cg_pids); do
	name=$(tr '\0' ' ' <"/proc/$pid/cmdline")
	name=$(basename "${name%% *}")
	strace -f -q -c -U calls,name -o "$tmp/$name.$pid" -p "$pid" 2>/dev/null &
	tracers+=($!)
done
sleep 1
send "$n" traced
ctl wait "$n" 300 >/dev/null
sleep 1
kill -INT "${tracers[@]}"
wait "${tracers[@]}" || true
# Those of the run time of Go depend on the load, not on the message.
awk -v n="$n" '
	FNR == 1 { f = FILENAME; sub(/.*\//, "", f); sub(/\.[0-9]+$/, "", f) }
	$1 ~ /^[0-9]+$/ && $2 != "total" {
		if ($2 ~ /^(futex|nanosleep|epoll_pwait|epoll_wait|sched_yield|madvise|rt_sig|tgkill|getpid|restart_syscall|mmap|clone)/) { idle[f] += $1; next }
		sum[f] += $1; all += $1; call[f, $2] += $1; names[$2] = 1
	}
	END {
		for (f in sum) {
			line = ""
			while (1) {
				top = 0
				for (c in names) if (call[f, c] > top) { top = call[f, c]; best = c }
				if (top < n / 4) break
				line = line sprintf(" %s %.1f", best, top / n); call[f, best] = 0
			}
			printf "%-12s %6.1f a message, and %.1f of the run time: %s\n", f, sum[f] / n, idle[f] / n, line
		}
		printf "%-12s %6.1f a message\n", "all", all / n
	}' "$tmp"/*.* | sort

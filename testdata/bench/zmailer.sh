# shellcheck shell=bash disable=SC2034,SC2154,SC2046,SC2086
# Driver of the mail benchmark harness for this program. ZM_BIN is a directory with
# the links of an installation (zmailer, sendmail, mailq); by default the binary is
# built and installed below BENCH_ROOT.
D_PORT=2510
ZM=$BENCH_ROOT/zmailer
ZM_SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
ZM_SPOOL=$ZM/var/spool/postoffice
export ZCONFIG=$ZM/etc/zmailer/zmailer.conf
D_LOCAL_DOMAIN=local.test
D_SUBMIT=("$ZM/sbin/sendmail" -t -f sender@source.test)
D_NULLSTART=("$ZM/sbin/sendmail" --version)
(cd "$ZM_SRC" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$BENCH_ROOT/zmailer.bin" . &&
	"$BENCH_ROOT/zmailer.bin" install --prefix "$ZM" --port $D_PORT --hostname zmailer.bench.test >/dev/null) || exit 1

d_version() { git -C "$ZM_SRC" rev-parse --short HEAD; }
d_config() { # relay|dead|local
	"$BENCH_ROOT/zmailer.bin" install --prefix "$ZM" --port $D_PORT --hostname zmailer.bench.test >/dev/null
	cat >"$ZCONFIG" <<-X
		POSTOFFICE=$ZM_SPOOL
		LOGDIR=$ZM/var/log/zmailer
		MAILSHARE=$ZM/share/zmailer
		MAILBOX=maildir:%h/Maildir
		HOSTNAME=zmailer.bench.test
		SMARTHOST='[127.0.0.1]:$SINK_PORT'
		SMTPLISTEN=127.0.0.1:$D_PORT
		SPOOLSYNC=${SPOOLSYNC:-journal}
	X
	echo local.test >"$ZM/etc/zmailer/db/localnames"
	if [ -n "${ZM_EXTRA:-}" ]; then printf '%s\n' "$ZM_EXTRA" >>"$ZCONFIG"; fi
}
# A program that was written a moment ago lies in the page cache in pieces of up to
# 2 MB, which are mapped whole, used or not: memory is counted as after a boot.
d_start() {
	sync "$ZM/bin/zmailer"
	dd if="$ZM/bin/zmailer" iflag=nocache count=0 status=none
	in_cg "$ZM/bin/zmailer" start
}
d_stop() { "$ZM/bin/zmailer" kill; }
d_wipe() {
	[ -d "$ZM_SPOOL" ] && find "$ZM_SPOOL"/{public,router,queue,transport,deferred,freezer,postman,journal} -type f -delete
	rm -f "$ZM"/var/log/zmailer/*
}
d_crashclean() { :; }
d_qlen() { find "$ZM_SPOOL"/{router,queue,deferred} -type f 2>/dev/null | wc -l; }
d_drained() { [ "$(d_qlen)" = 0 ]; }
d_settled() { [ "$(find "$ZM_SPOOL/router" -type f | wc -l)" = 0 ]; }
d_mailq() { "$ZM/bin/mailq"; }
d_flush() { "$ZM/sbin/sendmail" -q; }
d_qmgr_pids() { cat "$ZM_SPOOL/run/scheduler.pid"; }
d_local_paths() {
	local i
	for ((i = 0; i < BENCH_USERS; i++)); do echo -n "$BENCH_HOME/bench$i/Maildir "; done | sed 's/ $//'
}
d_local_clean() { users_clean; }

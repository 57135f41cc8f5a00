#!/bin/sh
# Boots a Debian whose process 1 is systemd, installs the package, and shows that the
# units do what they promise: services.sh has what is tried.
#
#   testdata/packaging/systemd.sh [--suite SUITE] [--cache DIR] [--deb FILE] [--keep]
#
# Without --suite, in bookworm and in trixie; without --deb, the package of the last commit. Needs root, debootstrap, a cgroup2 file system and, the first time, the network. The
# machine is a set of namespaces without a network and a control group of its own; it
# is gone when the script ends. --keep leaves its files for a look at its journal.
set -eu

suites='bookworm trixie' deb='' keep=''
# shellcheck disable=SC2016
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)}
cache=${TMPDIR:-/tmp}/zmailer-debian
while [ $# -gt 0 ]; do
	case $1 in
	--suite | --cache | --deb) [ $# -ge 2 ] || exit 2 ;;
	esac
	case $1 in
	--suite) suites=$2 && shift ;;
	--cache) cache=$2 && shift ;;
	--deb) deb=$(realpath "$2") && shift ;;
	--keep) keep=1 ;;
	*)
		sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
	esac
	shift
done
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
cgroups=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
if [ "$(id -u)" != 0 ] || [ -z "$cgroups" ]; then
	echo 'systemd.sh: needs root and a cgroup2 file system' >&2
	exit 77
fi
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

prepare() { # SUITE
	base=$cache/$1-systemd
	[ ! -e "$base.ready" ] || return 0
	rm -rf "$base"
	debootstrap --variant=minbase --include=systemd-sysv,dbus,procps,iproute2,openssl "$1" "$base" "$mirror" >"$cache/log" 2>&1 || {
		tail "$cache/log" >&2
		exit 1
	}
	echo host >"$base/etc/hostname"
	echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/unsafe"
	: >"$base.ready"
}

# boot ROOT: until the machine is off or starts anew.
boot() {
	cgroup=$cgroups/zmailer-test.$$
	mkdir "$cgroup"
	# shellcheck disable=SC2016
	timeout --kill-after=10 900 sh -c 'echo $$ >"$1/cgroup.procs" && exec unshare --mount --uts --net --pid --ipc --cgroup --fork --kill-child sh "$2" "$3"' \
		sh "$cgroup" "$here/machine.sh" "$1" </dev/null >>"$work/console" 2>&1 || : # a signal: it was a restart
	# What systemd made for its units.
	find "$cgroup" -depth -type d -exec rmdir {} +
}

work=$(mktemp -d "$cache/work.XXXXXX")
finish() {
	status=$?
	[ -n "$keep" ] || rm -rf "$work"
	[ -z "$keep" ] || echo "files of the machines: $work" >&2
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM
for suite in $suites; do
	prepare "$suite"
done
if [ -z "$deb" ]; then
	packaging/build.sh deb --arch "$(go env GOARCH)" --out "$work/deb" >/dev/null
	deb=$(echo "$work"/deb/*.deb)
fi
CGO_ENABLED=0 go build -trimpath -o "$work/load" ./testdata/faults/load

failed=''
for suite in $suites; do
	root=$work/$suite
	cp -a "$cache/$suite-systemd" "$root"
	mkdir "$root/test"
	cp "$here/lib.sh" "$here/services.sh" "$work/load" "$root/test/"
	cp "$deb" "$root/test/new.deb"
	cat >"$root/etc/systemd/system/zmailer-test.service" <<-'END'
		[Unit]
		Description=Test of the mailer
		[Service]
		Type=idle
		ExecStart=/bin/sh /test/services.sh
		StandardOutput=append:/test/log
		StandardError=inherit
	END
	ln -s ../zmailer-test.service "$root/etc/systemd/system/multi-user.target.wants/"
	echo "=== $suite"
	boot "$root"
	[ -e "$root/test/failed" ] || boot "$root"
	grep '^ok ' "$root/test/log" || :
	if [ ! -e "$root/test/passed" ]; then
		failed="$failed $suite"
		tail -n 60 "$root/test/log" "$work/console"
	fi
	[ -n "$keep" ] || rm -rf "$root"
done
[ -z "$failed" ] || {
	echo "FAILED:$failed" >&2
	exit 1
}
echo 'all services work'

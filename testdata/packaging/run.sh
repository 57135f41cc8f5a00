#!/bin/sh
# Installs the Debian package over Postfix and over Exim in a Debian of its own,
# sends mail in every phase, upgrades, removes, purges, and goes back.
#
#   testdata/packaging/run.sh [--suite SUITE] [--old REV] [--commit REV] [--cache DIR]
#
# Without --suite, in bookworm and in trixie. --old is what is upgraded from, without it
# the last commit but one that changed packaging; --commit is the new one, without it
# the last. Needs root, debootstrap and, the first time, the network. The tests themselves run
# in namespaces of their own, without a network, and touch nothing outside of them.
set -eu

suites='bookworm trixie'
# The mirror that this host itself uses. $(SITE) is for apt-get.
# shellcheck disable=SC2016
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)}
cache=${TMPDIR:-/tmp}/zmailer-debian old='' commit=HEAD
while [ $# -gt 0 ]; do
	case $1 in
	--suite) suites=$2 ;;
	--old) old=$2 ;;
	--commit) commit=$2 ;;
	--cache) cache=$2 ;;
	*)
		sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
	esac
	shift 2
done
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ "$(id -u)" = 0 ] || {
	echo 'run.sh: needs root' >&2
	exit 77
}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# A minimal Debian with everything that will be installed in its package cache.
packages='bsd-mailx postfix exim4-daemon-light openrc'
prepare() { # SUITE
	base=$cache/$1
	[ "$(cat "$base.ready" 2>/dev/null)" != "$packages" ] || return 0
	rm -rf "$base"
	debootstrap --variant=minbase --include=procps,util-linux "$1" "$base" "$mirror" >"$cache/log" 2>&1 || {
		tail "$cache/log" >&2
		exit 1
	}
	cp /etc/resolv.conf "$base/etc/"
	# One by one: the mailers exclude each other.
	for package in $packages; do
		chroot "$base" apt-get -q -y --download-only --no-install-recommends install "$package" >>"$cache/log" 2>&1
	done
	# Services of packages are not started: the tests do that.
	printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
	chmod 755 "$base/usr/sbin/policy-rc.d"
	echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/unsafe"
	echo "$packages" >"$base.ready"
}
for suite in $suites; do
	prepare "$suite"
done

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
[ -n "$old" ] || old=$(git log --skip=1 -1 --format=%H "$commit" -- packaging)
# By its own script.
git clone -q --shared --no-checkout . "$work/source"
git -C "$work/source" checkout -q "$old"
"$work/source/packaging/build.sh" deb --arch amd64 --out "$work/old" >/dev/null
packaging/build.sh deb rpm apk --arch amd64 --out "$work/new" --commit "$commit" >/dev/null

failed=''
for run in $(for suite in $suites; do echo "$suite/postfix" "$suite/exim"; done); do
	suite=${run%/*} scenario=${run#*/}
	root=$work/$scenario
	cp -a "$cache/$suite" "$root"
	mkdir "$root/test"
	cp "$here/lib.sh" "$here/$scenario.sh" "$root/test/"
	cp "$work"/old/*.deb "$root/test/old.deb"
	cp "$work"/new/*.deb "$root/test/new.deb"
	echo "=== $scenario, $suite"
	# The script is process 1: what it leaves behind ends with it.
	# shellcheck disable=SC2016
	if ! unshare --mount --uts --net --pid --ipc --fork sh -c '
		mount --make-rprivate / && mount -t proc proc "$1/proc" && mount -t devtmpfs dev "$1/dev" 2>/dev/null || mount --bind /dev "$1/dev"
		hostname host && ip link set lo up
		exec chroot "$1" /bin/sh "/test/$2.sh"' sh "$root" "$scenario" </dev/null >"$work/$scenario.log" 2>&1; then
		failed="$failed $run"
		cat "$work/$scenario.log"
	fi
	grep '^ok ' "$work/$scenario.log" || :
	rm -rf "$root"
done
if command -v rpm >/dev/null; then
	echo '=== rpm and apk'
	"$here/formats.sh" "$work/new" "$cache/${suites%% *}" || failed="$failed formats"
fi
[ -z "$failed" ] || {
	echo "FAILED:$failed" >&2
	exit 1
}
echo 'all scenarios passed'

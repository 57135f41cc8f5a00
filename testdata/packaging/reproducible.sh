#!/bin/sh
# Builds all packages of a commit twice and compares every byte of what comes out,
# checksums and SBOMs included.
#
#   testdata/packaging/reproducible.sh [--commit REV] [--arch amd64|arm64] [--keep DIR]
#
# The second build has another clone in a path of another length, another time, umask,
# time zone, locale, home directory and settings of git, and compiles everything anew;
# as root also another user, name of the host and place of Go's modules. --keep has both
# results stay in DIR/1 and DIR/2. Takes some minutes.
set -eu

commit=HEAD arch=all keep=''
while [ $# -gt 0 ]; do
	case $1 in
	--commit) commit=$2 ;;
	--arch) arch=$2 ;;
	--keep) keep=$2 ;;
	*)
		sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
	esac
	shift 2
done
cd "$(dirname "$0")/../.."
commit=$(git rev-parse --verify "$commit^{commit}")
modules=$(go env GOMODCACHE)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$work"

# A clone with nothing but the commit, as on another machine.
clone() { # DIR
	git clone -q --no-checkout "file://$PWD" "$1"
	git -C "$1" checkout -q "$commit"
}

first=$work/a
clone "$first"
echo "first build, $(date -u +%T)"
(umask 022 && "$first/packaging/build.sh" --arch "$arch" --out "$work/1" --commit "$commit" >"$work/log" 2>&1) || {
	cat "$work/log" >&2
	exit 1
}

second="$work/another place, of another length/b"
mkdir -p "${second%/*}" "$work/home" "$work/2" "$work/tmp"
clone "$second"
printf '[tar]\n\tumask = 0077\n[log]\n\tdate = iso\n\tshowSignature = false\n[core]\n\tabbrev = 17\n[safe]\n\tdirectory = *\n' >"$work/home/.gitconfig"
cat >"$work/second.sh" <<-'END'
	set -eu
	umask 077
	exec env -i PATH="$PATH" HOME="$1/home" TMPDIR="$1/tmp" GOMODCACHE="$2" GOPROXY=off LANG=tr_TR.UTF-8 LC_ALL=C.UTF-8 \
		TZ=Pacific/Chatham GOFLAGS=-buildvcs=false GOAMD64=v3 SOURCE_DATE_EPOCH=1 MAINTAINER=x VERSION=9 \
		"$3/packaging/build.sh" --arch "$4" --out "$1/2" --commit "$5"
END
echo "second build, $(date -u +%T)"
if [ "$(id -u)" = 0 ]; then
	mkdir "$work/modules"
	chown -R 65534:65534 "$work/home" "$work/2" "$work/tmp" "$second"
	# shellcheck disable=SC2016
	unshare --mount --uts sh -c '
		mount --make-rprivate / && mount --bind "$1" "$2/modules" && hostname another-host
		shift 2
		exec setpriv --reuid 65534 --regid 65534 --clear-groups sh "$@"' \
		sh "$modules" "$work" "$work/second.sh" "$work" "$work/modules" "$second" "$arch" "$commit" >"$work/log" 2>&1
else
	sh "$work/second.sh" "$work" "$modules" "$second" "$arch" "$commit" >"$work/log" 2>&1
fi || {
	cat "$work/log" >&2
	exit 1
}

if [ -n "$keep" ]; then
	mkdir -p "$keep"
	cp -R "$work/1" "$work/2" "$keep/"
fi
(cd "$work/1" && sha256sum --quiet -c SHA256SUMS)
# Every file has its line, and there is no other.
(cd "$work/1" && printf '%s\n' *) | grep -vx SHA256SUMS >"$work/files"
sed 's/^[0-9a-f]*  //' "$work/1/SHA256SUMS" | sort | diff -u - "$work/files"
diff -r "$work/1" "$work/2" || {
	echo 'the second build differs' >&2
	exit 1
}
echo "ok   the same bytes: $(wc -l <"$work/files") files of commit $commit"

#!/usr/bin/env bash
# Cuts the power of a virtual machine while it takes mail, and checks after each
# boot that every message it answered for is delivered or still queued.
#
#   testdata/powercut/run.sh [--install] [ROUNDS [OPTION...]]
#
# ROUNDS is how often the power is cut, 3 if not given. OPTIONs go to the program in
# host/; -seed N repeats the random choices, -acks 5000 -max 10m cuts later.
#
# The machine is QEMU's software emulation with a kernel of Debian, an initramfs of
# our static binary and the program in guest/, and an ext4 disk. The disk is served
# by host/, which keeps what the machine wrote since its last flush in a write cache.
# At a random moment QEMU is killed: the memory of the machine is gone with all that
# was only in its page cache, and of the disk's cache some writes survive, some do
# not, and some do in part. The clock of the machine jumps hours ahead and back
# meanwhile. What the client in the machine saw accepted until then is
# known from a serial line.
#
# Needed: go, qemu-system-x86_64, mkfs.ext4, and a kernel with its modules. KERNEL and
# MODULES name the two; without them an unpacked linux-image-cloud-amd64 in CACHE is
# taken. --install, on Debian as root, installs QEMU and e2fsprogs and unpacks the
# kernel to CACHE; the system's own kernel is not touched. ACCEL=kvm uses the
# processor instead of software; ZMAILER is a static binary to test in place of one
# built from this tree.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zmailer-powercut}

die() {
	printf 'powercut: %s\n' "$*" >&2
	exit 2
}

find_kernel() {
	if [ -z "${KERNEL:-}" ]; then
		local found=("$cache"/kernel/boot/vmlinuz-*)
		KERNEL=${found[-1]}
		MODULES=$cache/kernel/lib/modules/${KERNEL##*/vmlinuz-}
		[ -d "$MODULES" ] || MODULES=$cache/kernel/usr/lib/modules/${KERNEL##*/vmlinuz-}
	fi
	: "${MODULES:=/lib/modules/${KERNEL##*/vmlinuz-}}"
	[ -r "$KERNEL" ] && [ -d "$MODULES" ]
}

install_packages() {
	apt-get install -y --no-install-recommends qemu-system-x86 e2fsprogs
	local package
	package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	[ -n "$package" ] || die "apt knows no linux-image-cloud-amd64; run apt-get update"
	rm -rf "$cache/kernel"
	mkdir -p "$cache/kernel"
	(cd "$cache" && rm -f ./*.deb && apt-get download "$package" && dpkg-deb -x ./*.deb kernel && rm -f ./*.deb)
}

if [ "${1:-}" = --install ]; then
	shift
	install_packages
fi
rounds=${1:-3}
[ $# -eq 0 ] || shift
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "rounds: '$rounds' is not a number"

missing=()
command -v go >/dev/null || missing+=(golang)
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
PATH=$PATH:/usr/sbin:/sbin
command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
find_kernel || missing+=('linux-image-cloud-amd64 (unpacked, see KERNEL and MODULES in this script)')
if [ ${#missing[@]} -gt 0 ]; then
	printf 'powercut: missing: %s\n' "${missing[@]}" >&2
	die "on Debian as root: $0 --install"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/powercut.XXXXXX")
host=
finish() {
	status=$?
	[ -z "$host" ] || kill "$host" 2>/dev/null || true
	if [ "$status" -eq 0 ]; then
		rm -rf "$work"
	else
		rm -f "$work"/*.img "$work/initrd" "$work/guest" "$work/zmailer"
		echo "logs of the machine: $work" >&2
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

cd "$top"
if [ -n "${ZMAILER:-}" ]; then
	cp "$ZMAILER" "$work/zmailer"
else
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/zmailer" .
fi
CGO_ENABLED=0 go build -trimpath -o "$work/guest" ./testdata/powercut/guest
go build -trimpath -o "$work/host" ./testdata/powercut/host
accel=tcg,thread=multi
[ -z "${ACCEL:-}" ] || accel=$ACCEL
"$work/host" -kernel "$KERNEL" -modules "$MODULES" -guest "$work/guest" -zmailer "$work/zmailer" \
	-work "$work" -rounds "$rounds" -accel "$accel" "$@" &
host=$!
wait "$host"
host=

#!/bin/sh
# Builds the mailer and installs it.
#
#   ./install.sh                       on this system (as root)
#   ./install.sh --prefix DIR          below DIR, with an instance of its own there
#   ./install.sh --try                 below ./try, start it, deliver two messages
#
# Needs Go and nothing else.
set -eu

usage() {
	cat <<-'END'
		Usage: ./install.sh [--prefix DIR] [--port N]
		       ./install.sh --try [--dir DIR] [--port N]

		  --prefix DIR  install everything below DIR and create an instance there;
		                works as an ordinary user. Without it: a system installation
		  --port N      SMTP port; 25 on a system, 2525 (loopback only) below a prefix
		  --try         install into ./try, start it, deliver a message by sendmail and one
		                by SMTP, and show both; can be run again
		  --dir DIR     where --try installs
	END
}

die() {
	echo "install.sh: $*" >&2
	exit 1
}

prefix='' port='' try='' dir=''
while [ $# -gt 0 ]; do
	case $1 in
	--prefix | --port | --dir)
		[ $# -ge 2 ] || die "$1 needs a value"
		case $1 in
		--prefix) prefix=$2 ;;
		--port) port=$2 ;;
		--dir) dir=$2 ;;
		esac
		shift
		;;
	--prefix=*) prefix=${1#*=} ;;
	--port=*) port=${1#*=} ;;
	--dir=*) dir=${1#*=} ;;
	--try) try=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		die "unknown option $1"
		;;
	esac
	shift
done
case $port in
*[!0-9]*) die "--port $port: want a number" ;;
esac
[ -z "$dir" ] || [ -n "$try" ] || die '--dir goes with --try'
[ -z "$prefix" ] || [ -z "$try" ] || die '--prefix and --try exclude each other (use --dir)'

source_dir=$(cd "$(dirname "$0")" && pwd)
[ -z "$try" ] || prefix=${dir:-$source_dir/try}
case $prefix in
'' | /*) ;;
*) prefix=$PWD/$prefix ;;
esac

# Go, and new enough: go.mod says which version it takes.
command -v go >/dev/null 2>&1 || {
	[ -x /usr/local/go/bin/go ] || die 'Go is not installed. Install the package golang of your distribution, or get it from go.dev, and run this again.'
	PATH=$PATH:/usr/local/go/bin
}
want=$(sed -n 's/^go //p' "$source_dir/go.mod")
have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
have=${have#go}
oldest=$(printf '%s\n%s\n' "$want" "${have%%[!0-9.]*}" | sort -V | head -n 1)
[ "$oldest" = "$want" ] || die "Go $have is too old: Go $want or newer is needed."

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
trap 'exit 1' HUP INT TERM
version=$(git -C "$source_dir" describe --always --dirty 2>/dev/null || :)
echo "Building with Go $have ..."
(cd "$source_dir" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X zmailer/applets.version=$version" -o "$build/zmailer" .)

set -- install --source "$source_dir"
[ -z "$prefix" ] || set -- "$@" --prefix "$prefix"
[ -z "$port" ] || set -- "$@" --port "$port"
if [ -z "$try" ]; then
	exec_dir=${prefix:-/usr}
	"$build/zmailer" "$@"
	echo "Start it with: ${exec_dir}/bin/zmailer"
	exit 0
fi
# An instance that runs from an earlier try is stopped, so that its port is free
# and its binary can be replaced.
if [ -x "$prefix/bin/zmailer" ]; then
	"$prefix/bin/zmailer" kill >/dev/null || die "the instance in $prefix does not stop"
fi
"$build/zmailer" "$@"
"$prefix/bin/zmailer" try

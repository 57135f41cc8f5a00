#!/bin/sh
# Has lintian look at the deb, and rpmlint at the rpm, as far as they are installed.
# What they find and we leave stands with its reason in packaging/etc.
#
#   testdata/packaging/lint.sh [DIR]
#
# DIR has the packages; without it they are built, for amd64, of the last commit.
set -eu
cd "$(dirname "$0")/../.."

formats='' failed=''
if command -v lintian >/dev/null; then formats=deb; fi
if command -v rpmlint >/dev/null; then formats="$formats rpm"; fi
[ -n "$formats" ] || {
	echo 'neither lintian nor rpmlint is installed'
	exit 0
}
dir=${1:-}
if [ -z "$dir" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	trap 'exit 130' INT TERM
	# shellcheck disable=SC2086 # one or two
	packaging/build.sh $formats --arch amd64 --out "$dir" >/dev/null
fi
for format in $formats; do
	case $format in
	deb)
		# Everything but its own experiments counts. Root is what CI runs as.
		lintian --allow-root --display-info --pedantic --fail-on error,warning,info,pedantic "$dir"/*.deb || failed="$failed lintian"
		;;
	rpm)
		said=$(rpmlint --strict -c packaging/etc/rpmlint.toml "$dir"/*.rpm 2>&1) || {
			echo "$said"
			failed="$failed rpmlint"
		}
		;;
	esac
done
[ -z "$failed" ] || {
	echo "FAILED:$failed" >&2
	exit 1
}
echo "ok  $formats: nothing to say"

#!/bin/sh
# Builds packages of a commit: the same commit gives the same bytes.
#
#   packaging/build.sh                      deb, rpm, apk and tar for this machine
#   packaging/build.sh deb --arch arm64     one of them for another one
#
# Needs Go, git, tar and gzip. The packages, an SBOM (SPDX) for each architecture and
# SHA256SUMS are put into dist/.
set -eu

usage() {
	cat <<-'END'
		Usage: packaging/build.sh [deb|rpm|apk|tar ...] [--arch amd64|arm64|all] [--out DIR] [--commit REV]

		  deb rpm apk tar  what to build; without any, all of them
		  --arch ARCH      for which machines; without it, for this one
		  --out DIR        where to put the packages (dist)
		  --commit REV     what to build (HEAD); changes that are not committed are left out
	END
}

die() {
	echo "build.sh: $*" >&2
	exit 1
}

formats='' arches='' out='' commit=HEAD
while [ $# -gt 0 ]; do
	case $1 in
	deb | rpm | apk | tar) formats="$formats $1" ;;
	--arch | --out | --commit)
		[ $# -ge 2 ] || die "$1 needs a value"
		case $1 in
		--arch) arches="$arches $2" ;;
		--out) out=$2 ;;
		--commit) commit=$2 ;;
		esac
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		die "unknown argument $1"
		;;
	esac
	shift
done
cd "$(dirname "$0")/.."
[ -n "$formats" ] || formats='deb rpm apk tar'
[ -n "$arches" ] || arches=$(go env GOARCH)
[ "$arches" != ' all' ] || arches='amd64 arm64'
for arch in $arches; do
	case $arch in
	amd64 | arm64) ;;
	*) die "--arch $arch: want amd64, arm64 or all" ;;
	esac
done
mkdir -p "${out:=dist}"
out=$(cd "$out" && pwd)

# Whatever the clock, the umask, the locale, the directory and the settings of git and
# Go are. Another Go makes other bytes; the SBOM says which one it was.
umask 022
export LC_ALL=C TZ=UTC GOFLAGS=-trimpath CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0
commit=$(git rev-parse --verify "$commit^{commit}") || die "no such commit"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
MAINTAINER=$(git log -1 --format='%an <%ae>' "$commit")
date=$(git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd "$commit")
# A tag vX.Y.Z gives the version; between tags it is the time of the commit, which
# all package managers sort alike.
VERSION=$(git describe --exact-match --match 'v[0-9]*' "$commit" 2>/dev/null) || VERSION=v0.$(git log -1 --date=format-local:%Y%m%d.1%H%M%S --format=%cd "$commit")
VERSION=${VERSION#v}
export SOURCE_DATE_EPOCH MAINTAINER VERSION

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
git -c tar.umask=0022 archive "$commit" | tar -x -C "$work"

echo "zmailer $VERSION, commit $commit"
(cd "$work/packaging/tool" && go build -trimpath -o "$work/tool/" ./sbom github.com/goreleaser/nfpm/v2/cmd/nfpm)

# The manual pages, compressed without the time; rpm has those that other mailers
# also have in a directory of their own.
manuals() {
	for page in "$work"/packaging/man/*.[1-9]; do
		name=$(basename "$page")
		section=man${name##*.}
		other=$section
		case $name in
		sendmail.8 | mailq.1 | newaliases.1 | aliases.5 | rmail.8) other=zmailer ;;
		esac
		mkdir -p "$work/build/man/$section" "$work/build/man-alternatives/$other"
		gzip -9 -n <"$page" >"$work/build/man/$section/$name.gz"
		cp "$work/build/man/$section/$name.gz" "$work/build/man-alternatives/$other/"
	done
}

documents() {
	mkdir -p "$work/build/docs"
	cp "$work"/docs/*.md "$work/build/docs/"
	gzip -9 -n >"$work/build/changelog.gz" <<-END
		zmailer ($VERSION-1) unstable; urgency=medium

		  * Commit $commit.

		 -- $MAINTAINER  $(git log -1 --date=rfc-local --format=%cd "$commit" | sed 's/ [+-][0-9]*$/ +0000/')
	END
	cp "$work/agents/PROTOCOL.md" "$work/shellcfg/LANGUAGE.md" "$work/spool/FORMAT.md" "$work/build/docs/"
}

# What has shells complete arguments, said by the program itself, as built for this
# machine. mailq of rpm is one of several that alternatives choose from.
completions() {
	(cd "$work" && go build -trimpath -buildvcs=false -o "$work/tool/zmailer" .)
	for shell in bash zsh fish; do
		for program in zmailer mailq; do
			case $shell in
			bash) file=bash-completion/completions/$program ;;
			zsh) file=zsh/vendor-completions/_$program ;;
			fish) file=fish/vendor_completions.d/$program.fish ;;
			esac
			mkdir -p "$work/build/completions/$(dirname "$file")"
			"$work/tool/zmailer" completion "$shell" "$program" >"$work/build/completions/$file"
		done
	done
}

# What unpacks anywhere: ./zmailer install --source . puts it into place.
tarball() {
	name=zmailer-$VERSION-linux-$ARCH
	mkdir -p "$work/tar/$name/packaging"
	cp -R "$work/build/zmailer" "$work/README.md" "$work/LICENSE" "$work/build/docs" "$work/tar/$name/"
	for part in man systemd openrc etc; do
		cp -R "$work/packaging/$part" "$work/tar/$name/packaging/"
	done
	tar -C "$work/tar" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9 -n >"$out/$name.tar.gz"
	rm -rf "$work/tar"
}

manuals
documents
completions
for ARCH in $arches; do
	export ARCH
	(cd "$work" && GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X zmailer/applets.version=$VERSION" -o build/zmailer .)
	"$work/tool/sbom" --version "$VERSION" --commit "$commit" --created "$date" "$work/build/zmailer" >"$out/zmailer-$VERSION-$ARCH.spdx.json"
	find "$work/build" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	for format in $formats; do
		if [ "$format" = tar ]; then
			tarball
		else
			(cd "$work" && "$work/tool/nfpm" package --config packaging/nfpm.yaml --packager "$format" --target "$out/" >/dev/null)
		fi
	done
done
cd "$out"
sha256sum -- *"$VERSION"* >SHA256SUMS
cat SHA256SUMS

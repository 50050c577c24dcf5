#!/usr/bin/env bash
# FerretDB with SQLite, for the tests of targets/mongodb: a server of somebody else that
# speaks MongoDB's protocol, since MongoDB's own can't be had as a package here.
#
#   tools/ferretdb.sh build    builds it, when the cache lacks it: both cores of a small
#                              machine for a minute and a half
#   tools/ferretdb.sh cached   says whether it is in the cache
#
# Each prints the program's path. It has a module of its own, tools/ferretdb.
set -euo pipefail
cd "$(dirname "$0")/ferretdb"

version=$(sed -n 's|^require github.com/FerretDB/FerretDB ||p' go.mod)
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/ferretdb/$version/ferretdb"

case "${1:-}" in
cached)
	[ -x "$built" ] || exit 1
	;;
build)
	if [ ! -x "$built" ]; then
		printf 'ferretdb: building FerretDB %s, which is not in %s\n' "$version" "${built%/*}" >&2
		mkdir -p "${built%/*}"
		# It does not start without files that its releases are made with, and that its
		# module lacks: they are put into a copy.
		copy=$(mktemp -d)
		trap 'chmod -R u+w "$copy" && rm -rf "$copy"' EXIT
		cp go.mod go.sum main.go "$copy"
		(
			cd "$copy"
			go mod vendor
			says=vendor/github.com/FerretDB/FerretDB/build/version
			printf '%s\n' "$version" >"$says/version.txt"
			for file in commit branch package; do
				printf 'unknown\n' >"$says/$file.txt"
			done
			CGO_ENABLED=0 go build -mod=vendor -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built.building" github.com/FerretDB/FerretDB/cmd/ferretdb
		)
		mv "$built.building" "$built"
	fi
	;;
*)
	printf 'usage: tools/ferretdb.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"

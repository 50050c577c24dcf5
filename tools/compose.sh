#!/usr/bin/env bash
# Compose itself, for the tests of sources/compose: Debian's is the Python program of
# before 2021, which no project of today is run with.
#
#   tools/compose.sh build    builds it, when the cache lacks it: both cores of a
#                             small machine for two minutes
#   tools/compose.sh cached   says whether it is in the cache
#
# Each prints the program's path. It has a module of its own, tools/compose.
set -euo pipefail
cd "$(dirname "$0")/compose"

version=$(sed -n 's|^require github.com/docker/compose/v2 ||p' go.mod)
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/compose/$version/docker-compose"

case "${1:-}" in
cached)
	[ -x "$built" ] || exit 1
	;;
build)
	if [ ! -x "$built" ]; then
		printf 'compose: building Compose %s, which is not in %s\n' "$version" "${built%/*}" >&2
		mkdir -p "${built%/*}"
		# It says its version to nobody but by this.
		go build -p "${JOBS:-2}" -buildvcs=false \
			-ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$version" \
			-o "$built.building" github.com/docker/compose/v2/cmd
		mv "$built.building" "$built"
	fi
	;;
*)
	printf 'usage: tools/compose.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"

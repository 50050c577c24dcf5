#!/usr/bin/env bash
# MinIO, for the tests of targets/s3 with it. It is AGPL, and a program of its own there.
#
#   tools/minio.sh build    builds it, when the cache lacks it: both cores of a small
#                           machine for ten minutes, and 1.5 GB of modules
#   tools/minio.sh cached   says whether it is in the cache
#
# Each prints the program's path. It has a module of its own, tools/minio.
set -euo pipefail
cd "$(dirname "$0")/minio"

version=$(sed -n 's|^require github.com/minio/minio ||p' go.mod)
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/minio/$version/minio"

case "${1:-}" in
cached)
	[ -x "$built" ] || exit 1
	;;
build)
	if [ ! -x "$built" ]; then
		printf 'minio: building MinIO %s, which is not in %s\n' "$version" "${built%/*}" >&2
		mkdir -p "${built%/*}"
		CGO_ENABLED=0 go build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built.building" github.com/minio/minio
		mv "$built.building" "$built"
	fi
	;;
*)
	printf 'usage: tools/minio.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"

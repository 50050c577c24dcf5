#!/usr/bin/env bash
# The Versity S3 Gateway, for the tests of targets/s3: no distribution has it.
#
#   tools/s3.sh build    builds it, when the cache lacks it: both cores of a small
#                        machine for three minutes
#   tools/s3.sh cached   says whether it is in the cache
#
# Each prints the program's path. It has a module of its own, tools/s3.
set -euo pipefail
cd "$(dirname "$0")/s3"

version=$(sed -n 's|^require github.com/versity/versitygw ||p' go.mod)
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/s3/$version/versitygw"

case "${1:-}" in
cached)
	[ -x "$built" ] || exit 1
	;;
build)
	if [ ! -x "$built" ]; then
		printf 's3: building versitygw %s, which is not in %s\n' "$version" "${built%/*}" >&2
		mkdir -p "${built%/*}"
		CGO_ENABLED=0 go build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built.building" github.com/versity/versitygw/cmd/versitygw
		mv "$built.building" "$built"
	fi
	;;
*)
	printf 'usage: tools/s3.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"

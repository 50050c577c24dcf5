#!/usr/bin/env bash
# The newest etcd, for the tests of targets/etcd: Debian's is the oldest that is
# supported.
#
#   tools/etcd.sh build    builds it, when the cache lacks it: both cores of a small
#                          machine for two minutes
#   tools/etcd.sh cached   says whether it is in the cache
#
# Each prints the program's path. It has a module of its own, tools/etcd.
set -euo pipefail
cd "$(dirname "$0")/etcd"

version=$(sed -n 's|^require go.etcd.io/etcd/server/v3 ||p' go.mod)
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/etcd/$version/etcd"

case "${1:-}" in
cached)
	[ -x "$built" ] || exit 1
	;;
build)
	if [ ! -x "$built" ]; then
		printf 'etcd: building etcd %s, which is not in %s\n' "$version" "${built%/*}" >&2
		mkdir -p "${built%/*}"
		CGO_ENABLED=0 go build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built.building" .
		mv "$built.building" "$built"
	fi
	;;
*)
	printf 'usage: tools/etcd.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"

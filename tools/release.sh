#!/usr/bin/env bash
# Builds the release archives into dist/: tools/release.sh VERSION COMMIT [PLATFORM…],
# of all four platforms or of those. The same commit gives the same bytes on any machine
# with the same Go.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: tools/release.sh VERSION COMMIT [PLATFORM…]}
commit=${2:-}
pkg=patchbay.dev/patchbay
platforms=("${@:3}")
[ ${#platforms[@]} -gt 0 ] || platforms=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64)

rm -rf dist
mkdir -p dist
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# The licences of what is compiled in, for every platform at once.
licences() {
	local path modversion dir file
	for platform in "${platforms[@]}"; do
		GOOS=${platform%/*} GOARCH=${platform#*/} CGO_ENABLED=0 go list -deps \
			-f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/patchbay
	done | LC_ALL=C sort -u | while read -r path modversion dir; do
		local found=
		# However it is spelled: libcap's is called License.
		while IFS= read -r file; do
			printf '=== %s %s: %s ===\n\n' "$path" "$modversion" "${file##*/}"
			cat "$file"
			printf '\n'
			found=yes
		done < <(find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' \
			-o -iname 'notice*' -o -iname 'unlicense*' \) | LC_ALL=C sort)
		if [ -z "$found" ]; then
			printf 'release: %s has no licence file\n' "$path" >&2
			exit 1
		fi
	done
}
licences >"$stage/THIRD_PARTY_LICENSES"

pack() { # pack ARCHIVE DIRECTORY: owner, order and times are always the same
	if tar --version 2>/dev/null | grep -q GNU; then
		tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" \
			-C "$(dirname "$2")" -cf - "$(basename "$2")" | gzip -9n >"$1"
	else
		tar -C "$(dirname "$2")" -cf - "$(basename "$2")" | gzip -9n >"$1"
	fi
}

for platform in "${platforms[@]}"; do
	os=${platform%/*} arch=${platform#*/}
	name=patchbay_${version}_${os}_${arch}
	mkdir -p "$stage/$name"
	printf 'release: %s\n' "$name"
	GOOS=$os GOARCH=$arch CGO_ENABLED=0 go build -p "${JOBS:-2}" -trimpath -buildvcs=false \
		-ldflags "-s -w -X $pkg/internal/version.version=$version -X $pkg/internal/version.commit=$commit" \
		-o "$stage/$name/patchbay" ./cmd/patchbay
	cp LICENSE NOTICE README.md "$stage/THIRD_PARTY_LICENSES" "$stage/$name/"
	[ "$os" != linux ] || cp -r packaging "$stage/$name/"
	chmod -R u=rwX,go=rX "$stage/$name"
	pack "dist/$name.tar.gz" "$stage/$name"
	# The machine that builds can run its own; a stamp that did not take is a
	# release that nobody can name.
	if [ "$platform" = "$(go env GOHOSTOS)/$(go env GOHOSTARCH)" ]; then
		"$stage/$name/patchbay" version | grep -qF -- "$version" || {
			printf 'release: the binary does not say that it is %s\n' "$version" >&2
			exit 1
		}
	fi
	rm -rf "${stage:?}/$name"
done

cd dist
if command -v sha256sum >/dev/null; then
	sha256sum -- *.tar.gz
else
	shasum -a 256 -- *.tar.gz
fi >SHA256SUMS
cat SHA256SUMS

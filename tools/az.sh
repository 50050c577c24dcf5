#!/usr/bin/env bash
# az as it is today, for the tests of what Debian 12's has no commands for (make
# test-az): slots, container apps, clusters. Debian 13 has it.
#
#   tools/az.sh build    fetches it with all that it needs, when the cache lacks it:
#                        80 MB, which become a gigabyte; no root
#   tools/az.sh cached   says whether it is in the cache
#
# Each prints the program's path. Nothing of it is installed: its interpreter and its
# libraries are in the same directory, and are not mixed with this machine's.
set -euo pipefail

release=trixie
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/az/$release"

# Packages come from where this machine has its own.
fetch() {
	local dir=$1 mirror status="$1/var/lib/dpkg/status"
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' 2>/dev/null |
		grep -v security | sed -n 1p)
	if [ -z "$mirror" ] || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
		printf 'az: this machine has no packages of Debian'"'"'s, and so no az of today; apt-get update, if it is one\n' >&2
		exit 1
	fi
	mkdir -p "$dir"/etc/apt/{sources.list.d,preferences.d,apt.conf.d} "$dir"/var/lib/{apt/lists/partial,dpkg} "$dir/var/cache/apt/archives/partial"
	: >"$status"
	printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$release" >"$dir/etc/apt/sources.list"
	local apt=(apt-get -qq -o Dir="$dir" -o Dir::State::status="$status" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)"
		-o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3)
	"${apt[@]}" update
	"${apt[@]}" install --yes --download-only azure-cli
}

case "${1:-}" in
cached)
	[ -x "$built/az" ] || exit 1
	;;
build)
	if [ ! -x "$built/az" ]; then
		printf 'az: fetching the one of Debian %s, which is not in %s\n' "$release" "$built" >&2
		packages=$(mktemp -d)
		trap 'rm -rf "$packages"' EXIT
		fetch "$packages" >&2
		rm -rf "$built"
		mkdir -p "$built"
		for package in "$packages"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$built"; done
		python=$(cd "$built/usr/bin" && readlink python3)
		cat >"$built/az.new" <<END
#!/bin/sh
export PYTHONHOME='$built/usr' AZ_INSTALLER=DEB
exec '$built/usr/lib64/ld-linux-x86-64.so.2' --library-path '$built/usr/lib/x86_64-linux-gnu' '$built/usr/bin/$python' -W ignore -m azure.cli "\$@"
END
		chmod +x "$built/az.new"
		# The first call compiles what every call needs.
		AZURE_CONFIG_DIR="$packages/azure" AZURE_CORE_COLLECT_TELEMETRY=no "$built/az.new" aks connection create redis --help >/dev/null 2>&1
		mv "$built/az.new" "$built/az"
	fi
	;;
*)
	printf 'usage: tools/az.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built/az"

#!/usr/bin/env bash
# Terraform and its provider for Azure, for the tests (make test-terraform):
#
#   tools/terraform.sh build    builds what the cache lacks: the provider takes both
#                               cores of a small machine for a quarter of an hour
#   tools/terraform.sh cached   says whether the provider is in the cache
#
# Each prints the directory that terraform-provider-azurerm is in. The provider has
# a module of its own, tools/terraform, and no registry of providers is asked.
set -euo pipefail
cd "$(dirname "$0")/terraform"

# What is built is named by what it is built of.
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/terraform/$(cat go.mod go.sum | sha256sum | cut -c1-16)"

case "${1:-}" in
cached)
	[ -x "$built/terraform-provider-azurerm" ] || exit 1
	command -v terraform >/dev/null || command -v tofu >/dev/null || exit 1
	;;
build)
	if ! command -v terraform >/dev/null && ! command -v tofu >/dev/null; then
		printf 'terraform: neither terraform nor tofu is on the PATH\n' >&2
		exit 1
	fi
	if [ ! -x "$built/terraform-provider-azurerm" ]; then
		printf 'terraform: building the provider for Azure, which is not in %s\n' "$built" >&2
		mkdir -p "$built"
		go build -p "${JOBS:-2}" -trimpath -buildvcs=false -o "$built/building" github.com/hashicorp/terraform-provider-azurerm
		mv "$built/building" "$built/terraform-provider-azurerm"
	fi
	;;
*)
	printf 'usage: tools/terraform.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"

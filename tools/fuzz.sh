#!/usr/bin/env bash
# Runs every fuzz target of the product: tools/fuzz.sh SECONDS [TOTAL]. Each runs
# for SECONDS; with TOTAL, for its share of what is left of that many seconds when
# there are too many targets for it, building included. Inputs that fail are kept
# by go test in testdata/fuzz, to be committed with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
each=${1:?usage: tools/fuzz.sh SECONDS [TOTAL]}
each=${each%s}
total=${2:-}
total=${total%s}

targets=()
while IFS=: read -r file target; do
	targets+=("$(dirname "$file") $target")
done < <(find . -name '*_test.go' -not -path '*/node_modules/*' -not -path '*/testdata/*' -print0 |
	sort -z | xargs -0 grep -oHE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
if [ "${#targets[@]}" = 0 ]; then
	echo 'fuzz: there are no targets: they are not looked for rightly' >&2
	exit 1
fi

left=${#targets[@]}
for entry in "${targets[@]}"; do
	read -r package target <<<"$entry"
	time=$each
	if [ -n "$total" ]; then
		if [ "$SECONDS" -ge "$total" ]; then
			printf 'fuzz: NOT CHECKED: %d of %d targets, from %s on: %d s were over\n' "$left" "${#targets[@]}" "$target" "$total"
			break
		fi
		share=$(((total - SECONDS) / left))
		time=$((share < 1 ? 1 : share < each ? share : each))
	fi
	printf 'fuzz: %s %s, %d s\n' "$package" "$target" "$time"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${time}s" -parallel "${JOBS:-2}" "$package"
	left=$((left - 1))
done
printf 'fuzz: %d of %d targets in %d s\n' "$((${#targets[@]} - left))" "${#targets[@]}" "$SECONDS"

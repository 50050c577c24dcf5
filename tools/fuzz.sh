#!/usr/bin/env bash
# Runs every fuzz target of the product: tools/fuzz.sh SECONDS [TOTAL]. Each runs
# for SECONDS; with TOTAL, for its share of what is left of that many seconds when
# there are too many targets for it, building included. Inputs that fail are kept
# in testdata/fuzz beside their test, to be committed with the fix.
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

# found ends the run, unless all that happened is that the time was over: before
# Go 1.27 the end of a target's time may be taken for its failure (go.dev/issue/75804).
# What really fails leaves its input, a panic, or words of its own.
found() { # found TARGET
	local said
	said=$(grep -vE '^fuzz: (elapsed|minimizing)|^FAIL$|^exit status' "$bin/log")
	if [[ "$said" =~ ^---\ FAIL:\ $1\ \([0-9.]+s\)$'\n'\ +context\ deadline\ exceeded$ ]]; then
		printf 'fuzz: %s found nothing until its time was over\n' "$1"
		return
	fi
	exit 1
}

# A package with several targets is built once.
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
cache=$(go env GOCACHE)/fuzz/patchbay.dev/patchbay
built=
left=${#targets[@]}
for entry in "${targets[@]}"; do
	read -r package target <<<"$entry"
	if [ -n "$total" ] && [ "$SECONDS" -ge "$total" ]; then
		printf 'fuzz: NOT CHECKED: %d of %d targets, from %s on: %d s were over\n' "$left" "${#targets[@]}" "$target" "$total"
		break
	fi
	if [ "$package" != "$built" ]; then
		go test -c -fuzz=. -o "$bin/fuzz.test" "$package"
		built=$package
	fi
	time=$each
	if [ -n "$total" ]; then
		share=$(((total - SECONDS) / left))
		time=$((share < 1 ? 1 : share < each ? share : each))
	fi
	printf 'fuzz: %s %s, %d s\n' "$package" "$target" "$time"
	# A target that talks to servers would make its inputs smaller all the time.
	(cd "$package" && "$bin/fuzz.test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "${time}s" -test.fuzzminimizetime 1s \
		-test.parallel "${JOBS:-2}" -test.fuzzcachedir "$cache/${package#./}") | tee "$bin/log" || found "$target"
	left=$((left - 1))
done
printf 'fuzz: %d of %d targets in %d s\n' "$((${#targets[@]} - left))" "${#targets[@]}" "$SECONDS"

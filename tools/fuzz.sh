#!/usr/bin/env bash
# Runs every fuzz target of the product for the time given: tools/fuzz.sh 30s.
# Inputs that fail are kept by go test in testdata/fuzz, to be committed with
# the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: tools/fuzz.sh TIME, for each target}

count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	printf 'fuzz: %s %s\n' "$(dirname "$file")" "$target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel "${JOBS:-2}" "./$(dirname "$file")"
done < <(find . -name '*_test.go' -not -path '*/node_modules/*' -not -path '*/testdata/*' -print0 |
	sort -z | xargs -0 grep -oHE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
printf 'fuzz: %d targets, %s each\n' "$count" "$time"
[ "$count" -gt 0 ]

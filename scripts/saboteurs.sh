#!/bin/sh
# Every patch in testdata/saboteurs, or in the directory $1, takes one protection out, in copies of the files that go builds in their place. The tests of the in-memory
# world must notice each of them, or those that the patch's first line names: a protection that nothing misses when it is gone is a belief. That
# they pass without the patch is for go test to show.
set -eu
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed=0
for patch in "${1:-testdata/saboteurs}"/*.patch; do
	name=$(basename "$patch" .patch)
	by=$(sed -n '1s/^Noticed by: //p' "$patch")
	rm -rf "$root/tree"
	replace=
	for file in $(sed -n 's,^+++ b/,,p' "$patch"); do
		mkdir -p "$root/tree/${file%/*}"
		cp "$file" "$root/tree/$file"
		replace="$replace${replace:+, }\"$PWD/$file\": \"$root/tree/$file\""
	done
	echo "{\"Replace\": {$replace}}" >"$root/overlay"
	if ! patch -s -d "$root/tree" -p1 <"$patch"; then
		echo "saboteur $name: does not apply any more: make it again"
		failed=1
		continue
	fi
	if go test -overlay "$root/overlay" -count=1 -failfast -v ${by:-./zimbra/zimbratest} >"$root/log" 2>&1; then
		if [ -n "$by" ] && grep -q '^--- SKIP' "$root/log"; then
			echo "saboteur $name: LEFT OUT: the test that notices it was skipped"
			continue
		fi
		echo "saboteur $name: NOT NOTICED"
		failed=1
	elif grep -q '^FAIL.*\[[a-z]* failed\]$' "$root/log"; then
		echo "saboteur $name: does not build:"
		cat "$root/log"
		failed=1
	else
		echo "saboteur $name: noticed"
	fi
done
exit $failed

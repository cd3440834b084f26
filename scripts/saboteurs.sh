#!/bin/sh
# Every patch in testdata/saboteurs takes one protection out of a copy of the tree. The tests of the in-memory world must notice each of them: a
# protection that nothing misses when it is gone is a belief.
set -eu
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed=0
for patch in testdata/saboteurs/*.patch; do
	name=$(basename "$patch" .patch)
	rm -rf "$root/tree"
	mkdir "$root/tree"
	cp -R go.mod go.sum zimbra ldapattr mboxdb sqlrewrite filesync internal "$root/tree"
	if ! patch -s -d "$root/tree" -p1 <"$patch"; then
		echo "saboteur $name: does not apply any more: make it again"
		failed=1
		continue
	fi
	if ! (cd "$root/tree" && go build ./zimbra) >"$root/log" 2>&1; then
		echo "saboteur $name: does not build:"
		cat "$root/log"
		failed=1
	elif (cd "$root/tree" && go test -count=1 -failfast ./zimbra/zimbratest) >"$root/log" 2>&1; then
		echo "saboteur $name: NOT NOTICED"
		failed=1
	else
		echo "saboteur $name: noticed"
	fi
done
exit $failed

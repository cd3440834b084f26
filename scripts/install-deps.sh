#!/bin/sh
# Gets what the lab's servers need where it is missing: MariaDB, OpenLDAP, sshd and rsync from the system's packages.
# No daemon of the packages is left running. Where nothing may be installed it says so and succeeds: the lab then uses
# Docker if an engine answers, and the integration tests say that they did not run otherwise.
set -eu

missing=
need() { # need PROGRAM PACKAGE
	for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
		[ -x "$dir/$1" ] && return
	done
	missing="$missing $2"
}
need mariadbd mariadb-server
need mariadb-install-db mariadb-server
need mariadb-dump mariadb-client
need slapd slapd
need sshd openssh-server
need rsync rsync
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing:$missing (install them, or run this as root on Debian); going on without" >&2
	exit 0
fi

# policy-rc.d answers 101: dpkg then starts no service. Whatever was there before is put back.
policy=/usr/sbin/policy-rc.d
saved=
if [ -e "$policy" ]; then
	saved=$(mktemp)
	cp -p "$policy" "$saved"
fi
restore() {
	rm -f "$policy"
	[ -z "$saved" ] || mv "$saved" "$policy"
}
trap restore EXIT
trap 'exit 1' INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing >/dev/null
echo "installed:$missing" >&2

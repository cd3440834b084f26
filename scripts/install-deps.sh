#!/bin/sh
# Gets what the lab's servers need where it is missing: MariaDB, OpenLDAP, sshd and rsync from the system's packages, and what else is
# named as PROGRAM:PACKAGE. No daemon of theirs is started, now or at the next boot. Where nothing can be installed it says so and
# succeeds: the lab then uses Docker if an engine answers, and integration tests say that they did not run otherwise.
set -u

# MariaDB's core packages have the programs and no service.
missing() {
	for need in mariadbd:mariadb-server-core mariadb-install-db:mariadb-server-core mariadb:mariadb-client-core \
		mariadb-dump:mariadb-client slapd:slapd slapadd:slapd sshd:openssh-server ssh:openssh-client rsync:rsync "$@"; do
		program=${need%%:*} package=${need#*:}
		for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
			[ -x "$dir/$program" ] && continue 2
		done
		echo "$package"
	done | sort -u | tr '\n' ' '
}

without() {
	echo "install-deps: missing: $packages- $1; going on without" >&2
	exit 0
}

packages=$(missing "$@")
[ -n "$packages" ] || exit 0
[ "$(id -u)" = 0 ] || without "only root may install (sudo sh scripts/install-deps.sh)"
command -v apt-get >/dev/null || without "no apt-get here: install what provides them"

# One at a time: two would save each other's policy-rc.d as the one to put back.
exec 9>/run/zmlift-install-deps.lock
flock 9
packages=$(missing "$@")
[ -n "$packages" ] || exit 0
echo "install-deps: installing $packages" >&2

# policy-rc.d answers 101: dpkg then starts no service. Whatever was there before is put back.
policy=/usr/sbin/policy-rc.d
work=$(mktemp -d) || exit 1
[ ! -e "$policy" ] || cp -p "$policy" "$work/policy" || exit 1
restore() {
	rm -f "$policy"
	[ ! -e "$work/policy" ] || cp -p "$work/policy" "$policy"
	rm -rf "$work"
}
trap restore EXIT
trap 'exit 130' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit 1

# A list that cannot be refreshed may still do. A dpkg of somebody else is waited for.
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=300 update >"$work/log" 2>&1 9>&- </dev/null
# shellcheck disable=SC2086 # a list of words
if ! apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages >>"$work/log" 2>&1 9>&- </dev/null; then
	tail -n 5 "$work/log" >&2
	without "apt-get could not install them"
fi
for service in slapd:slapd openssh-server:ssh; do
	case " $packages" in *" ${service%%:*} "*) update-rc.d "${service#*:}" disable >/dev/null 2>&1 ;; esac
done
packages=$(missing "$@")
[ -z "$packages" ] || without "the packages that were installed do not have it all"

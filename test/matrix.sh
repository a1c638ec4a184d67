#!/bin/bash
# test/matrix.sh: make test on the PostgreSQL of each Debian suite.
#
#	test/matrix.sh [SUITE...]	default: bookworm, trixie, and forky or else sid
#	test/matrix.sh --clean		removes the chroots
#
# Each suite is a chroot in $XDG_CACHE_HOME (default: /var/tmp), made once with
# mmdebstrap from the mirror that apt of this machine is configured with, which
# takes root, or sudo. Tests run in a mount and a process namespace of their own
# where that is allowed, so nothing stays mounted or running. The status is 0 if
# no test failed anywhere.
#
# test/package.sh sources this file for its chroots.

. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

SUITES="bookworm trixie forky|sid"
CHROOTS=${XDG_CACHE_HOME:-/var/tmp}/pasqal_jobs-chroots

# Where packages come from: the site that serves this machine's own release,
# or any other that serves a Debian suite by that path
find_mirror() {
	local codename site

	[ -n "${MIRROR:-}" ] && return
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt-get itself replaces the words
	site=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
		sed -n "s/^$codename main //p" | head -1)
	if [ -z "$site" ]; then
		say "apt has no mirror for $codename; is this Debian, and was apt-get update run?"
		return 1
	fi
	MIRROR=${site%/}
}

suite_exists() {
	local release status=0

	find_mirror
	release=$(mktemp)
	/usr/lib/apt/apt-helper download-file "$MIRROR/dists/$1/InRelease" "$release" >/dev/null 2>&1 || status=$?
	rm -f "$release"
	return $status
}

# Root runs what is in there, so nobody else may have made it
check_chroots() {
	as_root mkdir -p -m 755 "$CHROOTS"
	if [ -L "$CHROOTS" ] || [ "$(stat -c %u:%a "$CHROOTS")" != 0:755 ]; then
		say "$CHROOTS is not root's own directory"
		return 1
	fi
}

# make_chroot SUITE NAME PACKAGE...
#
# Sets CHROOT to the chroot NAME, made of the suite and the packages if it is
# not there yet.
make_chroot() {
	local suite=$1 name=$2 new log option options=()
	shift 2

	CHROOT=$CHROOTS/$name
	[ ! -d "$CHROOT" ] || return 0

	install_packages mmdebstrap
	find_mirror
	check_chroots
	say "making a chroot of $suite"
	new=$CHROOT.new
	log=$CHROOTS/$name.log
	as_root rm -rf --one-file-system "$new"

	# a cluster that nobody uses need not be made
	# shellcheck disable=SC2016 # for mmdebstrap
	case " $* " in *" postgresql "*)
		options+=(--setup-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d"'
			--setup-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/none.conf"')
	esac
	# what apt is told here of proxies and the like
	while read -r option; do
		options+=("--aptopt=$option")
	done < <(apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|ForceIPv)' || true)

	if ! as_root mmdebstrap --mode=root --variant=minbase --format=directory --quiet \
		"${options[@]}" --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$*" "$suite" "$new" "deb $MIRROR $suite main" 2>&1 | as_root tee "$log" >/dev/null
	then
		tail -20 "$log" >&2
		as_root rm -rf --one-file-system "$new"
		return 1
	fi
	as_root mv "$new" "$CHROOT"
}

# in_chroot CHROOT COMMAND...: as root, with a /proc, /dev/shm and /tmp of its
# own where that is allowed, else with what is in the chroot. The command's
# processes end with it.
in_chroot() {
	local root=$1
	shift

	# shellcheck disable=SC2016 # for the inner shell
	if [ -z "${NO_NAMESPACES:-}" ] && as_root unshare --mount --pid --fork true 2>/dev/null; then
		as_root unshare --mount --pid --fork --kill-child sh -euc '
			root=$1
			shift
			mount -t proc proc "$root/proc"
			mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
			mkdir -p "$root/dev/shm"
			mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
			exec chroot "$root" "$@"' sh "$root" "${CHROOT_ENV[@]}" "$@"
	else
		as_root mkdir -p -m 1777 "$root/dev/shm"
		as_root chroot "$root" "${CHROOT_ENV[@]}" "$@"
	fi
}

CHROOT_ENV=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
	${CI:+CI=$CI} ${TRUST_CASES:+TRUST_CASES=$TRUST_CASES})

# copy_sources CHROOT: the project as it is, in /project of the chroot
copy_sources() {
	as_root rm -rf "$1/project"
	as_root mkdir -m 755 "$1/project"
	tar -C "$PROJECT" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=./tmp_check --exclude=./tmp_check_iso --exclude=./results --exclude=./output_iso --exclude=./dist -c . |
		as_root tar -C "$1/project" --no-same-owner -x
	as_root chmod -R go+rX "$1/project"
}

chroot_postgresql() {
	in_chroot "$1" sh -c '/usr/lib/postgresql/*/bin/postgres --version' | sed 's/^[^0-9]*\([^ ]*\).*/\1/'
}

# What make test and make deb need
PACKAGES="postgresql postgresql-contrib postgresql-server-dev-all postgresql-common gcc make libc6-dev perl
	libipc-run-perl ?name(^postgresql-[0-9]+-plproxy$) build-essential debhelper lintian"

clean() {
	[ ! -e "$CHROOTS" ] || as_root rm -rf --one-file-system "$CHROOTS"
}

matrix() {
	local suite version result seconds status=0 log table=()

	if [ "${1:-}" = --clean ]; then
		clean
		return
	fi
	for suite in ${*:-$SUITES}; do
		suite_exists "${suite%|*}" && suite=${suite%|*} || suite=${suite#*|}
		if ! suite_exists "$suite"; then
			say "the mirror has no suite $suite"
			[ $# = 0 ] || status=1
			continue
		fi
		# shellcheck disable=SC2086 # words
		if ! make_chroot "$suite" "$suite" $PACKAGES; then
			table+=("$(printf '%-10s %-12s %s' "$suite" - 'no chroot')")
			status=1
			continue
		fi
		version=$(chroot_postgresql "$CHROOT")
		log=$CHROOTS/$suite-test.log
		say "make test on $suite, PostgreSQL $version (log: $log)"
		copy_sources "$CHROOT"
		# for packages that a test installs: they stay in the chroot
		as_root cp -L /etc/resolv.conf "$CHROOT/etc/resolv.conf"
		seconds=$SECONDS
		if ! in_chroot "$CHROOT" make -s -C /project test 2>&1 </dev/null | as_root tee "$log" >/dev/null; then
			status=1
			grep -nE '^(not ok|test .*FAILED|#   Failed|[-+] |.*(error|ERROR):)' "$log" | tail -50 >&2 || true
		fi
		result=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1 || true)
		[ -n "$result" ] || status=1
		as_root rm -rf "$CHROOT/project"
		table+=("$(printf '%-10s %-12s %-24s %4d s' "$suite" "$version" "${result:-did not finish}" $((SECONDS - seconds)))")
	done

	if [ ${#table[@]} = 0 ]; then
		say "nothing was tested"
		return 1
	fi
	printf '%-10s %-12s %s\n' suite PostgreSQL 'make test'
	printf '%s\n' "${table[@]}"
	return $status
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	matrix "$@"
fi

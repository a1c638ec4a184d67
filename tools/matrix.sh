#!/bin/bash
# tools/matrix.sh: make test on the PostgreSQL of each Debian suite; by qemu, of
# its tests those that are about the order of bytes.
#
#	tools/matrix.sh [SUITE[:ARCHITECTURE]...]	default: see SUITES
#	tools/matrix.sh --clean		removes the chroots
#
# Each suite is a chroot in $XDG_CACHE_HOME (default: /var/tmp), made once with
# mmdebstrap from the mirror that apt of this machine is configured with, which
# takes root, or sudo. Tests run in a mount and a process namespace of their own
# where that is allowed, else beside all other processes, with a /proc that is
# mounted meanwhile. The status is 0 if no test failed anywhere.
#
# tools/package.sh and test/setup/machines.sh source this file for its chroots.

# Processes in a chroot are root's, and so must be who ends them
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "== chroots take root, or sudo" >&2; exit 1; }
	exec sudo --preserve-env=XDG_CACHE_HOME,NO_NAMESPACES,MIRROR,CI,TRUST_CASES,TMPDIR "$0" "$@"
fi

. "$(dirname "${BASH_SOURCE[0]}")/sandbox.sh"

# forky, or sid if the mirror has none; 32 bits. By name there are also
# bookworm:s390x (the other order of bytes, by qemu-user, slow) and
# experimental (the next PostgreSQL).
SUITES="bookworm trixie forky|sid bookworm:i386"
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
	# shellcheck disable=SC2174 # the directories above are not ours
	mkdir -p -m 755 "$CHROOTS"
	if [ -L "$CHROOTS" ] || [ "$(stat -c %u:%a "$CHROOTS")" != 0:755 ]; then
		say "$CHROOTS is not root's own directory"
		return 1
	fi
}

# can_run ARCHITECTURE: lets qemu-user run its programs if the machine does not.
# The kernel's entry for that stays until the next boot.
can_run() {
	local binfmt=/proc/sys/fs/binfmt_misc

	install_packages arch-test
	! arch-test "$1" >/dev/null 2>&1 || return 0
	install_packages qemu-user-static
	[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt || return 1
	[ -e "$binfmt/qemu-$1" ] || cat "/usr/lib/binfmt.d/qemu-$1.conf" >$binfmt/register || return 1
	arch-test "$1" >/dev/null 2>&1
}

# make_chroot SUITE[:ARCHITECTURE] NAME PACKAGE...
#
# Sets CHROOT to the chroot NAME, made of the suite and the packages if it is
# not there yet.
make_chroot() {
	local suite=${1%:*} name=$2 new log option options=() sources=()
	case $1 in *:*)
		if ! can_run "${1#*:}"; then
			say "this machine cannot run programs of ${1#*:}"
			return 1
		fi
		options+=(--architectures="${1#*:}")
	esac
	shift 2

	CHROOT=$CHROOTS/$name
	check_mounts
	[ ! -d "$CHROOT" ] || return 0

	install_packages mmdebstrap
	find_mirror
	check_chroots
	say "making a chroot of $name"
	sources=("deb $MIRROR $suite main")
	new=$CHROOT.new
	log=$CHROOTS/$name.log
	rm -rf --one-file-system "$new"

	# a cluster that nobody uses need not be made
	# shellcheck disable=SC2016 # for mmdebstrap
	case " $* " in *" postgresql "* | *" postgresql-common "*)
		options+=(--setup-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d"'
			--setup-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/none.conf"')
	esac
	# experimental holds little, and sid the rest
	# shellcheck disable=SC2016 # for mmdebstrap
	if [ "$suite" = experimental ]; then
		sources=("deb $MIRROR sid main" "${sources[@]}")
		suite=sid
		options+=(--setup-hook='mkdir -p "$1/etc/apt/preferences.d"'
			--setup-hook='printf "Package: src:postgresql-19\nPin: release a=experimental\nPin-Priority: 990\n" >"$1/etc/apt/preferences.d/experimental"')
	fi
	# what apt is told here of proxies and the like
	while read -r option; do
		options+=("--aptopt=$option")
	done < <(apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|ForceIPv)' || true)

	if ! mmdebstrap --mode=root --variant=minbase --format=directory --quiet \
		"${options[@]}" --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$*" "$suite" "$new" "${sources[@]}" >"$log" 2>&1
	then
		tail -20 "$log" >&2
		rm -rf --one-file-system "$new"
		return 1
	fi
	mv "$new" "$CHROOT"
}

# in_chroot CHROOT COMMAND...: with a /proc, /dev/shm and /tmp of its own where
# that is allowed, else with a /proc and what is in the chroot. The command's
# processes end with it, or with the guard, since they have its mark.
in_chroot() {
	local root=$1 status=0
	shift

	# shellcheck disable=SC2016 # for the inner shell
	if have_namespaces; then
		unshare --mount --pid --fork --kill-child sh -euc '
			root=$1
			shift
			mount -t proc proc "$root/proc"
			mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
			mkdir -p "$root/dev/pts" "$root/dev/shm"
			mount -t devpts -o ptmxmode=666 devpts "$root/dev/pts"
			mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
			exec chroot "$root" "$@"' sh "$root" "${CHROOT_ENV[@]}" "$@"
		return
	fi
	printf '%s\n' "$root/proc" "$root/dev/pts" >>"$SANDBOX/mounts"
	mkdir -p "$root/dev/pts" "$root/dev/shm"
	chmod 1777 "$root/dev/shm"
	mount -t proc proc "$root/proc"
	mount -t devpts -o ptmxmode=666 devpts "$root/dev/pts"
	chroot "$root" "${CHROOT_ENV[@]}" "$@" || status=$?
	# shellcheck disable=SC2046 # words
	while [ -n "$(chroot_processes "$root")" ]; do
		kill -KILL $(chroot_processes "$root") 2>/dev/null || true
		sleep 0.1
	done
	umount "$root/proc" "$root/dev/pts"
	return $status
}

chroot_processes() {
	find /proc/[0-9]*/root -maxdepth 0 -lname "$1" -printf '%h\n' 2>/dev/null | cut -d/ -f3
}

have_namespaces() {
	[ -z "${NO_NAMESPACES:-}" ] && unshare --mount --pid --fork true 2>/dev/null
}

# PostgreSQL's own tools look for a server in /proc
check_mounts() {
	have_namespaces && return
	mkdir -p "$SANDBOX/proc"
	echo "$SANDBOX/proc" >>"$SANDBOX/mounts"
	if ! mount -t proc proc "$SANDBOX/proc" 2>/dev/null; then
		say "chroots need a /proc, and root may not mount one here; is this a container?"
		say "Allow it (docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined), or do without chroots:"
		say "make test, and for the package apt-get build-dep . and dpkg-buildpackage -b"
		return 1
	fi
	umount "$SANDBOX/proc"
}

CHROOT_ENV=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
	PASQAL_JOBS_SANDBOX="$SANDBOX" ${CI:+CI=$CI} ${TRUST_CASES:+TRUST_CASES=$TRUST_CASES})

# trial_chroot CHROOT: sets CHROOT to a copy of it, which the guard removes
trial_chroot() {
	CHROOT=$CHROOTS/trial.$$.$RANDOM
	echo "$CHROOT" >>"$SANDBOX/trash"
	cp -a "$1" "$CHROOT"
	cp -L /etc/resolv.conf "$CHROOT/etc/resolv.conf"
	# no service is started by an installation: there is no init
	printf '#!/bin/sh\nexit 101\n' >"$CHROOT/usr/sbin/policy-rc.d"
	chmod 755 "$CHROOT/usr/sbin/policy-rc.d"
}

# copy_sources CHROOT: the project as it is, in /project of the chroot
copy_sources() {
	rm -rf "$1/project"
	mkdir -m 755 "$1/project"
	tar -C "$PROJECT" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=./tmp_check --exclude=./tmp_check_iso --exclude=./results --exclude=./output_iso --exclude=./dist -c . |
		tar -C "$1/project" --no-same-owner -x
	chmod -R go+rX "$1/project"
}

chroot_postgresql() {
	in_chroot "$1" sh -c '/usr/lib/postgresql/*/bin/postgres --version' | sed 's/^[^0-9]*\([^ ]*\).*/\1/'
}

# What make test and make deb need
PACKAGES="postgresql postgresql-contrib postgresql-server-dev-all postgresql-common gcc make libc6-dev perl
	libipc-run-perl ?name(^postgresql-[0-9]+-plproxy$) build-essential debhelper lintian"

# packages_of SUITE: the next PostgreSQL is not the one that Debian's package
# postgresql stands for, and the one of PL/Proxy would bring that with it
packages_of() {
	local packages

	if [ "$1" = experimental ]; then
		packages=${PACKAGES/#postgresql postgresql-contrib postgresql-server-dev-all/postgresql-19 postgresql-server-dev-19}
		echo "${packages/ \?name*plproxy\$)/}"
	else
		echo "$PACKAGES"
	fi
}

# parts_of SUITE: parts of test/suite.sh, none for all. By qemu, which is slow,
# those that read the bytes which are written here.
parts_of() {
	case $1 in *:s390x) echo installcheck test/t/010_oracle.pl ;; esac
}

clean() {
	[ ! -e "$CHROOTS" ] || rm -rf --one-file-system "$CHROOTS"
}

matrix() {
	local suite name version result seconds status=0 log table=()

	if [ "${1:-}" = --clean ]; then
		clean
		return
	fi
	# shellcheck disable=SC2048 # words
	for suite in ${*:-$SUITES}; do
		suite_exists "${suite%[|:]*}" && suite=${suite%|*} || suite=${suite#*|}
		name=${suite/:/-}
		if ! suite_exists "${suite%:*}"; then
			say "the mirror has no suite $suite"
			[ $# = 0 ] || status=1
			continue
		fi
		# shellcheck disable=SC2046 # words
		if ! make_chroot "$suite" "$name" $(packages_of "$suite"); then
			table+=("$(printf '%-14s %-12s %s' "$name" - 'no chroot')")
			status=1
			continue
		fi
		version=$(chroot_postgresql "$CHROOT")
		log=$CHROOTS/$name-test.log
		say "make test on $name, PostgreSQL $version (log: $log)"
		copy_sources "$CHROOT"
		# for packages that a test installs: they stay in the chroot
		cp -L /etc/resolv.conf "$CHROOT/etc/resolv.conf"
		seconds=$SECONDS
		# shellcheck disable=SC2046 # words
		if ! in_chroot "$CHROOT" /project/test/suite.sh $(parts_of "$suite") >"$log" 2>&1 </dev/null; then
			status=1
			grep -nE '^(not ok|test .*FAILED|#   Failed|[-+] |.*(error|ERROR):)' "$log" |
				grep -vE '(:|\] )ok [0-9]+ ' | tail -50 >&2 || true
		fi
		result=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1 || true)
		[ -n "$result" ] || status=1
		rm -rf "$CHROOT/project"
		table+=("$(printf '%-14s %-12s %-24s %4d s' "$name" "$version" "${result:-did not finish}" $((SECONDS - seconds)))")
	done

	if [ ${#table[@]} = 0 ]; then
		say "nothing was tested"
		return 1
	fi
	printf '%-14s %-12s %s\n' suite PostgreSQL 'make test'
	printf '%s\n' "${table[@]}"
	return $status
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	matrix "$@"
fi

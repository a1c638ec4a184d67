# shellcheck shell=bash
# tools/sandbox.sh: a private, throw-away PostgreSQL with the extension in it.
#
# Sourced by the scripts that need one. It installs the packages that are
# missing, copies the installed PostgreSQL into a directory of its own (a
# server finds its files relative to its binary), builds and installs the
# extension there, and runs a server that listens on a Unix socket only.
# No cluster and no directory that was there before is touched.
#
#	sandbox_needs MEGABYTES		says so and ends if there is less room
#	sandbox_create PACKAGE...	installs, copies, builds
#	sandbox_start [SETTING=VALUE...]	initdb and start
#	as_server COMMAND...		runs it as the user that owns the server
#	tap_command DIRECTORY		sets TAP to the words that run files of test/t;
#				their data and logs are in DIRECTORY/tmp_check
#
# Afterwards PGHOST and the like name the server, PATH begins with its
# programs, and the copy of the sources is in $SANDBOX/build.
#
# The script runs as a child of a guard: the same script, which goes no further
# than the end of this file. However the script ends, and when the guard gets
# INT, TERM or HUP, the guard ends the processes that came of it and removes
# $SANDBOX. Its status is the script's, or 130, 143 or 129.
#
# SANDBOX_COPT holds more flags for the compiler, SANDBOX_PG_PACKAGES names
# packages of extensions (plproxy for postgresql-NN-plproxy) that are installed
# if there are such packages.
#
# Environment: PG_CONFIG chooses the PostgreSQL (default: the newest installed
# one that has its headers, else the newest, else the one that Debian's package
# postgresql stands for); KEEP_SANDBOX=1 keeps the directory.

set -eu -o pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OLDEST_MAJOR=15

say() {
	printf '== %s\n' "$*" >&2
}

# ---------------------------------------------------------------------------
# The environment: the same for every user, server and test
# ---------------------------------------------------------------------------

for name in $(compgen -e); do
	case $name in
		PG_CONFIG) ;;
		LC_* | LANGUAGE | PG* | PSQL* | MAKEFLAGS | MAKELEVEL | MFLAGS) unset "$name" ;;
	esac
done
export LANG=C.UTF-8 TZ=UTC PSQLRC=/dev/null PSQL_PAGER=
umask 022

# ---------------------------------------------------------------------------
# The guard
# ---------------------------------------------------------------------------

# The processes of the sandbox: programs of its PostgreSQL, and what has the
# guard's mark in its environment (a server writes its title over its own).
sandbox_processes() {
	local pid

	if [ -e /proc/self/exe ]; then
		{
			find /proc/[0-9]*/exe -maxdepth 0 -lname "$SANDBOX/*" -printf '%h\n'
			grep -lsazxF "PASQAL_JOBS_SANDBOX=$SANDBOX" /proc/[0-9]*/environ
		} 2>/dev/null | cut -d/ -f3 | sort -u
	else
		# the servers leave their numbers; the rest is in one group of processes
		for pid in $(sandbox_postmasters) ${WORKER:+"-$WORKER"}; do
			! kill -0 -- "$pid" || echo "$pid"
		done
	fi
}

sandbox_postmasters() {
	find "$SANDBOX" -name postmaster.pid -exec head -qn 1 {} + 2>/dev/null | sort -u
}

# sandbox_end STATUS: ends all that came of the script, and the guard
sandbox_end() {
	local begun=$SECONDS installer pids

	trap '' INT TERM HUP PIPE
	set +e +o pipefail
	exec 3>&2 2>/dev/null

	# what apt has begun comes to its end
	installer=$(cat "$SANDBOX/installing")
	if [ -n "$installer" ] && [ -d "/proc/$installer" ]; then
		say "apt-get comes to its end first" 2>&3
		kill "$installer"
		while [ -d "/proc/$installer" ]; do
			sleep 0.2
		done
	fi

	# QUIT is a server's immediate shutdown; it needs up to five seconds
	while pids=$(sandbox_processes) && [ -n "$pids" ]; do
		if [ $((SECONDS - begun)) -lt 8 ]; then
			# shellcheck disable=SC2046,SC2086 # words
			kill -QUIT $(comm -12 <(sandbox_postmasters) <(sort <<<"$pids"))
			# shellcheck disable=SC2086
			kill -TERM -- $pids
		else
			# shellcheck disable=SC2086
			kill -KILL -- $pids
		fi
		sleep 0.05
	done
	wait
	# what tools/matrix.sh mounts, and where it puts what is too large for /tmp
	[ ! -e "$SANDBOX/mounts" ] || xargs -r -d '\n' -a "$SANDBOX/mounts" umount
	[ ! -e "$SANDBOX/trash" ] || xargs -r -d '\n' -a "$SANDBOX/trash" rm -rf --one-file-system
	if [ -n "${KEEP_SANDBOX:-}" ]; then
		say "kept $SANDBOX" 2>&3
	else
		rm -rf "$SANDBOX"
	fi
	exit "$1"
}

guard() {
	local status=0 name=pasqal_jobs

	WORKER=
	# a socket's path has at most 107 bytes, also in a sandbox within two others
	case ${TMPDIR:-} in
		*/pasqal_jobs.??????/tmp*) name=p ;;
	esac
	SANDBOX=$(mktemp -u "${TMPDIR:-/tmp}/$name.XXXXXX")
	mkdir -m 755 "$SANDBOX"
	trap 'sandbox_end 130' INT
	trap 'sandbox_end 143' TERM
	trap 'sandbox_end 129' HUP
	[ -e /proc/self/exe ] || set -m
	# without job control, bash would have it ignore INT and QUIT
	env --default-signal=INT,QUIT SANDBOX_GUARD=$$ PASQAL_JOBS_SANDBOX="$SANDBOX" "$BASH" "$0" "$@" <&0 &
	WORKER=$!
	wait "$WORKER" || status=$?
	sandbox_end "$status"
}

if [ "${SANDBOX_GUARD:-}" != $PPID ]; then
	guard "$@"
fi
SANDBOX=$PASQAL_JOBS_SANDBOX

# ---------------------------------------------------------------------------
# Packages
# ---------------------------------------------------------------------------

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "this takes root, or sudo: $*"
		return 1
	fi
}

# Runs as root, one at a time: INSTALL SANDBOX LOG PACKAGE...
#
# Whoever else holds one of apt's locks is waited for. Downloads may be
# interrupted, the installation not. A new PostgreSQL must not make and start a
# cluster of its own, so that is turned off meanwhile.
# shellcheck disable=SC2016 # for the inner shell
INSTALL='
	set -eu
	sandbox=$1 log=$2
	shift 2
	echo $$ >"$sandbox/installing"
	export DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 TMPDIR="$sandbox/apt"
	trap "exit 130" INT
	trap "exit 143" TERM HUP
	trap "rm -rf \"$TMPDIR\"" EXIT
	mkdir -m 1777 "$TMPDIR"
	session=
	conf=/etc/postgresql-common/createcluster.d/pasqal_jobs_sandbox.conf

	# apt says what it does in a line for each package; here they are counted.
	# That no line is there yet is no error, and must not end the installation.
	progress() {
		local total line stage
		set +e
		while sleep 10 && [ -d "/proc/$$" ]; do
			total=$(sed -n "s/.* \([0-9]*\) newly installed,.*/\1/p" "$log.part")
			# some are set up before others are unpacked
			stage=$(grep -oE "^(Get:|Unpacking|Setting up)" "$log.part" | tail -n 1)
			line=$(grep -c "^${stage:=Get:}" "$log.part")
			case $stage in
				Get:) stage=fetched ;;
				Unpacking) stage=unpacked ;;
				*) stage="set up" ;;
			esac
			echo "== apt-get: $line${total:+ of $total} $stage" >&2
		done
	}

	apt() {
		local n status progress
		for n in $(seq 300); do
			status=0
			progress &
			progress=$!
			$session apt-get -q -o DPkg::Lock::Timeout=600 "$@" >"$log.part" 2>&1 || status=$?
			kill $progress 2>/dev/null || true
			cat "$log.part" >>"$log"
			[ $status != 0 ] && grep -q "Could not get lock" "$log.part" || return $status
			sleep 2
		done
		return $status
	}

	exec 9</var/lib/dpkg
	if ! flock -n 9; then
		echo "== waiting for another installation to end" >&2
		flock 9
	fi
	apt update
	[ $# -gt 0 ] || exit 0
	apt install --assume-no --no-install-recommends "$@" || true
	sed -n "s/^Need to get \(.*\) of archives.*/== apt-get fetches \1;/p
		s/^After this operation, \(.*\) of additional.*/== the packages need \1 of disk and stay installed/p" "$log.part" >&2
	apt install -y --download-only --no-install-recommends "$@"
	status=0 interrupted=
	trap "interrupted=130" INT TERM HUP
	session="setsid --wait" # Ctrl-C at a terminal would stop apt-get between two steps
	mkdir -p "${conf%/*}"
	echo "create_main_cluster = false" >"$conf"
	apt install -y --no-install-recommends "$@" || status=$?
	rm -f "$conf"
	exit ${interrupted:-$status}'

# Those of the packages that are not there yet
missing_packages() {
	local package

	for package in "$@"; do
		dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
	done
}

run_installer() {
	local status=0

	as_root sh -c "$INSTALL" sh "$SANDBOX" "$SANDBOX/apt.log" "$@" || status=$?
	case $status in
		0) rm -f "$SANDBOX/installing" ;;
		130 | 143) exit $status ;; # sudo may have a terminal of its own, so that only it sees Ctrl-C
		*)
			say "apt-get failed:"
			tail -n 40 "$SANDBOX/apt.log" >&2
			return 1
			;;
	esac
}

can_install() {
	[ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo true; }
}

install_packages() {
	local missing

	if ! command -v dpkg-query >/dev/null; then
		say "this is no Debian; taken for granted are $*"
		return
	fi
	missing=$(missing_packages "$@" | xargs)
	[ -n "$missing" ] || return 0

	say "packages that are missing: $missing"
	case " $missing " in *" postgresql"*)
		say "no database cluster is made; pg_createcluster makes one, for use beside the tests" ;;
	esac
	if ! can_install; then
		say "neither root nor sudo: an administrator installs them with"
		echo "apt-get update && apt-get install --no-install-recommends $missing" >&2
		return 1
	fi
	# shellcheck disable=SC2086 # words
	run_installer $missing
}

# ---------------------------------------------------------------------------
# PostgreSQL
# ---------------------------------------------------------------------------

has_headers() {
	[ -e "$("$1" --includedir-server)/postgres.h" ]
}

newest_pg_config() {
	local candidate newest=

	for candidate in $(compgen -G '/usr/lib/postgresql/*/bin/pg_config' | sort -t/ -k5 -rn); do
		[ -x "${candidate%/*}/postgres" ] && [ "$(cut -d/ -f5 <<<"$candidate")" -ge $OLDEST_MAJOR ] || continue
		: "${newest:=$candidate}"
		if has_headers "$candidate"; then
			newest=$candidate
			break
		fi
	done
	echo "$newest"
}

# Sets PG_CONFIG and PG_MAJOR, and installs PostgreSQL and the packages that the
# arguments name, in one go, so that one line of apt-get is all that an
# administrator needs
find_postgresql() {
	local bindir debian=yes packages=("$@") package

	if [ -n "${PG_CONFIG:-}" ] && ! "$PG_CONFIG" --version 2>/dev/null | grep -q '^PostgreSQL [0-9]'; then
		say "PG_CONFIG=$PG_CONFIG is not the pg_config of a PostgreSQL"
		return 1
	fi
	: "${PG_CONFIG:=$(newest_pg_config)}"
	if [ -z "$PG_CONFIG" ]; then
		if ! command -v apt-cache >/dev/null; then
			say "no PostgreSQL found: PG_CONFIG=/path/to/pg_config names one"
			return 1
		fi
		update_lists
		PG_MAJOR=$(default_major)
		if [ "${PG_MAJOR:-$OLDEST_MAJOR}" -lt $OLDEST_MAJOR ]; then
			say "Debian's PostgreSQL $PG_MAJOR is too old here: PG_CONFIG=/path/to/pg_config names one from $OLDEST_MAJOR on"
			return 1
		fi
		packages+=("postgresql${PG_MAJOR:+-$PG_MAJOR}")
	else
		PG_MAJOR=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
		if [ "$PG_MAJOR" -lt $OLDEST_MAJOR ]; then
			say "$("$PG_CONFIG" --version) is too old: PostgreSQL $OLDEST_MAJOR or newer is needed"
			return 1
		fi
		bindir=$("$PG_CONFIG" --bindir)
		[ "$bindir" = "/usr/lib/postgresql/$PG_MAJOR/bin" ] || debian=
		if [ -n "$debian" ]; then
			[ -x "$bindir/postgres" ] || packages+=("postgresql-$PG_MAJOR")
		elif [ ! -x "$bindir/postgres" ]; then
			say "PG_CONFIG=$PG_CONFIG: there is no server in $bindir"
			return 1
		elif ! has_headers "$PG_CONFIG"; then
			say "PG_CONFIG=$PG_CONFIG: there is no postgres.h in $("$PG_CONFIG" --includedir-server)"
			return 1
		fi
	fi
	for package in ${SANDBOX_PG_PACKAGES:-}; do
		if [ -n "$PG_CONFIG" ] && [ -e "$("$PG_CONFIG" --sharedir)/extension/$package.control" ]; then
			continue
		elif [ -n "$debian" ] && update_lists && can_install && has_candidate "postgresql-$PG_MAJOR-$package"; then
			packages+=("postgresql-$PG_MAJOR-$package")
		else
			say "$package is not there for this PostgreSQL; its tests are skipped"
		fi
	done

	install_packages "${packages[@]}"
	: "${PG_CONFIG:=$(newest_pg_config)}"
	export PG_CONFIG
	PG_MAJOR=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
}

# Debian's postgresql-server-dev-NN is a megabyte of headers and depends on clang
# and LLVM, some 700 MB, which only a server's jit would need.  So the package is
# unpacked in the sandbox, with libpq-dev, which has a header that it includes.
unpack_headers() {
	local package

	say "fetching the server's headers (postgresql-server-dev-$PG_MAJOR, unpacked in the sandbox)"
	mkdir "$SANDBOX/headers"
	# not into apt.log, which is root's if sudo has installed something
	if ! (cd "$SANDBOX/headers" && apt-get -q download "postgresql-server-dev-$PG_MAJOR" libpq-dev) >"$SANDBOX/headers.log" 2>&1; then
		say "apt-get download failed:"
		tail -n 40 "$SANDBOX/headers.log" >&2
		return 1
	fi
	for package in "$SANDBOX"/headers/*.deb; do
		dpkg-deb -x "$package" "$SANDBOX/root"
	done
	rm -r "$SANDBOX/headers"
}

# A new machine may have no lists of packages
update_lists() {
	compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || ! can_install || run_installer
}

has_candidate() {
	apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

# The version that Debian's package postgresql stands for
default_major() {
	apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -1
}

# The user that runs the server: PostgreSQL refuses to be root
as_server() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
	else
		"$@"
	fi
}

# TAP tests make servers of their own, copies of one that initdb has made; before
# 16 they know TESTDIR alone
tap_command() {
	local modules template=$SANDBOX/initdb-template
	modules=$(dirname "$("$PG_CONFIG" --pgxs)")/../test

	{
		flock 9
		[ -d "$template" ] || as_server initdb -D "$template" -A trust -N >/dev/null
	} 9<"$SANDBOX"
	# shellcheck disable=SC2034 # for those who source this
	TAP=(env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE TESTDIR="$1" TESTDATADIR="$1/tmp_check" TESTLOGDIR="$1/tmp_check/log"
		PG_REGRESS="$modules/regress/pg_regress" INITDB_TEMPLATE="$template" prove -I "$modules/perl" -I test/t)
}

# ---------------------------------------------------------------------------
# The private PostgreSQL
# ---------------------------------------------------------------------------

sandbox_create() {
	local bindir libdir sharedir entry

	find_postgresql gcc make libc6-dev "$@"
	if [ "$(id -u)" = 0 ] && ! id postgres >/dev/null 2>&1; then
		say "root may not run a server, and there is no user postgres who could: run this as an ordinary user"
		return 1
	fi
	if ! as_server test -x "$SANDBOX"; then
		say "user postgres cannot get into $SANDBOX: choose another TMPDIR"
		return 1
	fi
	mkdir "$SANDBOX/build" "$SANDBOX/socket"
	mkdir -m 1777 "$SANDBOX/tmp"
	# the compiler's temporary files, too, go with the sandbox
	export HOME=$SANDBOX TMPDIR=$SANDBOX/tmp

	# the installed PostgreSQL, at the same place below another root
	bindir=$("$PG_CONFIG" --bindir)
	libdir=$("$PG_CONFIG" --pkglibdir)
	sharedir=$("$PG_CONFIG" --sharedir)
	SANDBOX_BIN=$SANDBOX/root$bindir
	for entry in "$bindir" "$libdir" "$sharedir"; do
		mkdir -p "$SANDBOX/root$entry"
		cp -a "$entry/." "$SANDBOX/root$entry"
	done
	# half of it is for inlining by jit, which does without
	rm -rf "$SANDBOX/root$libdir/bitcode"
	SANDBOX_DESTDIR=$SANDBOX/root
	if ! has_headers "$PG_CONFIG"; then
		unpack_headers
		# the copy finds its files relative to itself, these headers too
		PG_CONFIG=$SANDBOX_BIN/pg_config
		SANDBOX_DESTDIR=
	fi

	say "building for $("$PG_CONFIG" --version)"
	for entry in Makefile pasqal_jobs.control pasqal_jobs--*.sql META.json README.md CHANGELOG.md CONTRIBUTING.md \
		SECURITY.md LICENSE doc src sql expected test tools examples debian .gitattributes; do
		if compgen -G "$PROJECT/$entry" >/dev/null; then
			(cd "$PROJECT" && cp -a $entry "$SANDBOX/build/")
		fi
	done
	rm -f "$SANDBOX"/build/src/*.o "$SANDBOX"/build/*.so
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres: "$SANDBOX"
	fi
	as_server make -s -j"$(nproc)" -C "$SANDBOX/build" PG_CONFIG="$PG_CONFIG" with_llvm=no \
		COPT="${SANDBOX_COPT:-}" >&2
	as_server make -s -C "$SANDBOX/build" PG_CONFIG="$PG_CONFIG" with_llvm=no \
		DESTDIR="$SANDBOX_DESTDIR" install >/dev/null

	export PATH=$SANDBOX_BIN:$PATH
	export PGHOST=$SANDBOX/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	cd "$SANDBOX/build"
}

# sandbox_needs MEGABYTES: ends the script if they are not there
sandbox_needs() {
	local free
	free=$(df -Pm "$SANDBOX" | awk 'NR == 2 { print $4 }')

	if [ "$free" -lt "$1" ]; then
		say "${SANDBOX%/*} has $free MB free, and this takes $1 MB: TMPDIR=/path/to/another make ..."
		exit 1
	fi
}

sandbox_start() {
	local setting

	as_server initdb -D "$SANDBOX/data" -U postgres -A trust --no-sync >/dev/null
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$PGHOST'"
		echo "unix_socket_permissions = 0700"
		echo "port = $PGPORT"
		echo "fsync = off"
		for setting in "$@"; do
			echo "$setting"
		done
	} | as_server tee -a "$SANDBOX/data/postgresql.conf" >/dev/null
	as_server pg_ctl -D "$SANDBOX/data" -l "$SANDBOX/log" -w start >/dev/null ||
		{ cat "$SANDBOX/log" >&2; return 1; }
}

# test/sandbox.sh: a private, throw-away PostgreSQL with the extension in it.
#
# Sourced by the scripts that need one. It installs the packages that are
# missing, copies the installed PostgreSQL into a directory of its own (a
# server finds its files relative to its binary), builds and installs the
# extension there, and runs a server that listens on a Unix socket only.
# No cluster and no directory that was there before is touched, and the
# directory is gone when the script ends, however it ends.
#
#	sandbox_create PACKAGE...	installs, copies, builds
#	sandbox_start [SETTING=VALUE...]	initdb and start
#	as_server COMMAND...		runs it as the user that owns the server
#
# Afterwards PGHOST and the like name the server, PATH begins with its
# programs, and the copy of the sources is in $SANDBOX/build.
#
# SANDBOX_COPT holds more flags for the compiler, SANDBOX_PG_PACKAGES names
# packages of extensions (plproxy for postgresql-NN-plproxy).
#
# Environment: PG_CONFIG chooses the PostgreSQL (default: the newest
# installed, else the one that Debian's package postgresql stands for);
# KEEP_SANDBOX=1 keeps the directory.

set -eu -o pipefail

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
	printf '== %s\n' "$*" >&2
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "cannot install packages: neither root nor sudo"
		return 1
	fi
}

# Installs those of the packages that are not there yet. A new PostgreSQL
# must not make and start a cluster of its own, so that is turned off meanwhile.
install_packages() {
	local missing=() package conf=/etc/postgresql-common/createcluster.d/pasqal_jobs_sandbox.conf

	for package in "$@"; do
		dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	say "installing ${missing[*]}"
	as_root mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
	CREATECLUSTER_CONF=$conf
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" >&2
	as_root rm -f "$conf"
	CREATECLUSTER_CONF=
}

newest_pg_config() {
	local candidate

	for candidate in $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -t/ -k5 -rn); do
		[ -x "${candidate%/*}/postgres" ] && [ -e "${candidate%/bin/*}/lib/pgxs/src/makefiles/pgxs.mk" ] || continue
		echo "$candidate"
		return
	done
}

find_postgresql() {
	local major

	[ -n "${PG_CONFIG:-}" ] || PG_CONFIG=$(newest_pg_config)
	if [ -z "$PG_CONFIG" ]; then
		install_packages postgresql-common
		as_root apt-get -q update >&2
		major=$(apt-cache depends postgresql | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -1)
		install_packages "postgresql-$major" "postgresql-server-dev-$major"
		PG_CONFIG=$(newest_pg_config)
	fi
	export PG_CONFIG
	PG_MAJOR=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
}

# The user that runs the server: PostgreSQL refuses to be root
as_server() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u postgres -- "$@"
	else
		"$@"
	fi
}

sandbox_cleanup() {
	local status=$?

	trap - EXIT
	if [ -n "${CREATECLUSTER_CONF:-}" ]; then
		as_root rm -f "$CREATECLUSTER_CONF"
	fi
	if [ -n "${SANDBOX:-}" ]; then
		if [ -e "$SANDBOX/data/postmaster.pid" ]; then
			as_server "$SANDBOX_BIN/pg_ctl" -D "$SANDBOX/data" -m immediate -w stop >/dev/null 2>&1 || true
		fi
		if [ -n "${KEEP_SANDBOX:-}" ]; then
			say "kept $SANDBOX"
		else
			rm -rf "$SANDBOX"
		fi
	fi
	exit "$status"
}

sandbox_create() {
	local bindir sharedir package

	trap sandbox_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP

	install_packages gcc make libc6-dev "$@"
	find_postgresql
	for package in ${SANDBOX_PG_PACKAGES:-}; do
		install_packages "postgresql-$PG_MAJOR-$package"
	done

	SANDBOX=$(mktemp -d "${TMPDIR:-/tmp}/pasqal_jobs.XXXXXX")
	chmod 755 "$SANDBOX"
	mkdir -p "$SANDBOX/build" "$SANDBOX/socket"

	# the installed PostgreSQL, at the same place below another root
	bindir=$("$PG_CONFIG" --bindir)
	sharedir=$("$PG_CONFIG" --sharedir)
	SANDBOX_BIN=$SANDBOX/root$bindir
	mkdir -p "$SANDBOX/root${bindir%/bin}" "$SANDBOX/root$sharedir"
	cp -a "$bindir" "$SANDBOX/root${bindir%/bin}/"
	cp -a "$("$PG_CONFIG" --pkglibdir)" "$SANDBOX/root${bindir%/bin}/"
	cp -a "$sharedir/." "$SANDBOX/root$sharedir/"

	say "building for $("$PG_CONFIG" --version)"
	for entry in Makefile pasqal_jobs.control pasqal_jobs--*.sql META.json README.md doc CONTRIBUTING.md SECURITY.md CHANGELOG.md src sql expected test examples; do
		if compgen -G "$PROJECT/$entry" >/dev/null; then
			(cd "$PROJECT" && cp -a $entry "$SANDBOX/build/")
		fi
	done
	rm -f "$SANDBOX"/build/src/*.o "$SANDBOX"/build/*.so
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres: "$SANDBOX"
	fi
	as_server make -s -C "$SANDBOX/build" PG_CONFIG="$PG_CONFIG" with_llvm=no \
		COPT="${SANDBOX_COPT:-}" >&2
	as_server make -s -C "$SANDBOX/build" PG_CONFIG="$PG_CONFIG" with_llvm=no \
		DESTDIR="$SANDBOX/root" install >/dev/null

	export PATH=$SANDBOX_BIN:$PATH
	export PGHOST=$SANDBOX/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	unset MAKEFLAGS MAKELEVEL MFLAGS PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGDATA
	export PSQLRC=/dev/null HOME=$SANDBOX
	cd "$SANDBOX/build"
}

sandbox_start() {
	local setting

	as_server initdb -D "$SANDBOX/data" -U postgres -A trust --no-sync \
		--encoding=UTF8 --locale=C.UTF-8 >/dev/null
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

#!/bin/bash
# test/long/assert.sh: all tests on a PostgreSQL that checks itself, with
# assertions, canaries behind each piece of memory, freed memory overwritten
# and caches thrown away at every chance of a smaller run.
#
#	test/long/assert.sh
#
# It is built from Debian's own source package, in a directory that is gone
# afterwards. ASSERT_PREFIX=DIR keeps the built one there, or takes it from
# there. ASSERT_CFLAGS holds more flags for its compiler; with ASSERT_ONLY=1 it
# is built, and nothing is tested.

. "$(dirname "$0")/../../tools/sandbox.sh"

install_packages gcc make libc6-dev dpkg-dev bison flex perl libipc-run-perl postgresql-common
find_postgresql
WORK=$(mktemp -d "${TMPDIR:-/tmp}/pasqal_jobs.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
chmod 755 "$WORK"

# A prefix that names postgresql gets no subdirectories of that name
prefix=${ASSERT_PREFIX:-$WORK/postgresql-$PG_MAJOR}

build() {
	local options=(
		-o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$WORK/apt/sources" -o "Dir::State::Lists=$WORK/apt/lists"
		-o "Dir::Cache=$WORK/apt/cache" -o "APT::Sandbox::User=root" -o "Acquire::Languages=none"
	)
	local file version

	# the sources that this machine has its packages from, as sources of sources
	mkdir -p "$WORK/apt/sources" "$WORK/apt/lists/partial" "$WORK/apt/cache/archives/partial" "$WORK/source"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -e "$file" ] || continue
		sed -n 's/^deb /deb-src /p' "$file" >"$WORK/apt/sources/$(basename "$file" .list).list"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[ -e "$file" ] || continue
		sed 's/^Types:.*/Types: deb-src/' "$file" >"$WORK/apt/sources/$(basename "$file")"
	done

	say "fetching the source of postgresql-$PG_MAJOR"
	# a source of other things may have none of its own
	apt-get -q "${options[@]}" update >"$WORK/update.log" 2>&1 || true
	# the newest that can be had: an index may be ahead of what its mirror keeps
	for version in $(apt-cache "${options[@]}" showsrc "postgresql-$PG_MAJOR" | sed -n 's/^Version: //p' | sort -ruV); do
		(cd "$WORK/source" && apt-get -q "${options[@]}" source "postgresql-$PG_MAJOR=$version" >>"$WORK/source.log" 2>&1) && break
	done
	if ! compgen -G "$WORK/source/postgresql-$PG_MAJOR-*/configure" >/dev/null; then
		cat "$WORK/update.log" "$WORK/source.log" >&2
		return 1
	fi

	say "building it with assertions"
	cd "$WORK"/source/postgresql-"$PG_MAJOR"-*/
	{
		./configure --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests \
			--without-readline --without-zlib --without-icu CFLAGS="-O1 -g ${ASSERT_CFLAGS:-}" &&
			make -s -j"$(nproc)" &&
			make -s install &&
			make -s -C contrib/postgres_fdw install &&
			make -s -C contrib/pg_stat_statements install &&
			make -s -C contrib/dblink install &&
			make -s -C contrib/auto_explain install &&
			cp src/tools/valgrind.supp "$prefix"
	} >"$WORK/build.log" 2>&1 || { tail -30 "$WORK/build.log" >&2; return 1; }
	cd - >/dev/null
}

[ -x "$prefix/bin/pg_config" ] || build
[ -z "${ASSERT_ONLY:-}" ] || exit 0

status=0
PG_CONFIG=$prefix/bin/pg_config "$PROJECT/test/suite.sh" 2>&1 | tee "$WORK/suite.log" || status=$?
traps=$(grep -c 'TRAP: ' "$WORK/suite.log" || true)
printf 'assertions: PostgreSQL %s, %s, %d failed assertions\n' "$("$prefix/bin/pg_config" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')" \
	"$(tail -1 "$WORK/suite.log")" "$traps"
[ "$status" = 0 ] && [ "$traps" = 0 ]

#!/bin/bash
# test/long/assert.sh: all tests on a PostgreSQL that checks itself, with
# assertions, canaries behind each piece of memory, freed memory overwritten
# and caches thrown away at every chance of a smaller run.
#
#	test/long/assert.sh
#
# It is built from Debian's own source package, in a directory that is gone
# afterwards. ASSERT_PREFIX=DIR keeps the built one there, or takes it from
# there.

. "$(dirname "$0")/../../tools/sandbox.sh"
. "$PROJECT/test/long/postgresql.sh"

install_packages "${BUILD_PACKAGES[@]}"
find_postgresql

# A prefix that names postgresql gets no subdirectories of that name
prefix=${ASSERT_PREFIX:-$WORK/postgresql-$PG_MAJOR}
[ -x "$prefix/bin/pg_config" ] || build_postgresql "$prefix" "$PG_MAJOR"

status=0
PG_CONFIG=$prefix/bin/pg_config "$PROJECT/test/suite.sh" 2>&1 | tee "$SANDBOX/suite.log" || status=$?
traps=$(grep -c 'TRAP: ' "$SANDBOX/suite.log" || true)
printf 'assertions: PostgreSQL %s, %s, %d failed assertions\n' "$("$prefix/bin/pg_config" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')" \
	"$(tail -1 "$SANDBOX/suite.log")" "$traps"
[ "$status" = 0 ] && [ "$traps" = 0 ]

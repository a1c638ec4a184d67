#!/bin/bash
# test/long/valgrind.sh: the regression suite under Valgrind's memcheck, on a
# PostgreSQL built for it, whose memory contexts tell memcheck what is
# allocated. What sanitize.sh cannot see, this does: reads of memory that
# palloc() returned and nobody wrote, or that pfree() or a reset took back.
#
#	test/long/valgrind.sh [FILE of sql/...]
#
# There must be no report with a function of ours on the stack; those without
# are PostgreSQL's own, and only counted. VALGRIND_PREFIX=DIR keeps the built
# PostgreSQL there, or takes it from there.

. "$(dirname "$0")/../../tools/sandbox.sh"
. "$PROJECT/test/long/postgresql.sh"

# all but "chunks", whose 120,000 jobs would take most of the time
files=("$@")
[ $# -gt 0 ] || files=(setup cancel filters problems relations http rows calls security ddl install)

install_packages valgrind "${BUILD_PACKAGES[@]}"
find_postgresql
prefix=${VALGRIND_PREFIX:-$WORK/postgresql-$PG_MAJOR}
BUILD_CFLAGS=-DUSE_VALGRIND
[ -x "$prefix/bin/pg_config" ] || build_postgresql "$prefix" "$PG_MAJOR"

PG_CONFIG=$prefix/bin/pg_config
SANDBOX_COPT=-g
sandbox_create
sandbox_start "max_stack_depth = 1MB" "autovacuum = off"
as_server pg_ctl -D "$SANDBOX/data" -w stop >/dev/null

# The server once more, now under memcheck
mkdir -m 777 "$SANDBOX/reports"
mv "$SANDBOX_BIN/postgres" "$SANDBOX_BIN/postgres.plain"
cat >"$SANDBOX_BIN/postgres" <<W
#!/bin/bash
exec valgrind --quiet --trace-children=yes --leak-check=no --num-callers=40 --fullpath-after= \\
	--error-markers=REPORT,END --suppressions=$prefix/valgrind.supp --log-file=$SANDBOX/reports/%p "\$0.plain" "\$@"
W
chmod 755 "$SANDBOX_BIN/postgres"
as_server pg_ctl -D "$SANDBOX/data" -l "$SANDBOX/log" -t 300 -w start >/dev/null

# Sets "reports" and "ours": how many there are, and how many with a function
# of a file in src/ on the stack
count_reports() {
	read -r reports ours < <(cat "$SANDBOX"/reports/* | awk -v ours="($PWD/src/" '
		/ REPORT$/ { all++; mine = 0 }
		index($0, ours) && !mine { mine = 1; found++ }
		END { print all + 0, found + 0 }')
}

# Would a report be noticed? A function that reads what it has freed.
cat >src/planted.c <<'C'
#include "postgres.h"
#include "fmgr.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(planted);
Datum planted(PG_FUNCTION_ARGS)
{
	char	   *freed = palloc0(16);

	pfree(freed);
	PG_RETURN_BOOL(freed[0] == 'x');
}
C
gcc -g -shared -fPIC -I"$("$PG_CONFIG" --includedir-server)" "$PWD/src/planted.c" -o "$SANDBOX/planted.so"
chmod 755 "$SANDBOX/planted.so"
psql -Xqc "CREATE FUNCTION planted() RETURNS bool LANGUAGE c AS '$SANDBOX/planted.so'" -c 'SELECT planted()' >/dev/null
count_reports
if [ "$ours" != 1 ]; then
	cat "$SANDBOX"/reports/*
	say "a planted fault was not reported once, but $ours times"
	exit 1
fi
grep -l "$PWD/src/planted.c" "$SANDBOX"/reports/* | xargs rm

failed=0
as_server make -s PG_CONFIG="$PG_CONFIG" installcheck ISOLATION= REGRESS="${files[*]}" 2>&1 | tee "$SANDBOX/output" || failed=1
[ ! -s regression.diffs ] || cat regression.diffs
as_server pg_ctl -D "$SANDBOX/data" -w stop >/dev/null

count_reports
[ "$ours" = 0 ] || cat "$SANDBOX"/reports/*
printf 'valgrind: %d regression tests passed, %d reports, %d of them with a function of ours\n' \
	"$(grep -Ec '^(test|ok) .* (ok|- ).*ms$' "$SANDBOX/output" || true)" "$reports" "$ours"
[ "$failed" = 0 ] && [ "$ours" = 0 ]

#!/bin/bash
# test/long/races.sh: races by name. On a PostgreSQL with injection points a
# cancel stops at each of its seams, another session does one thing, and all
# answers are compared with test/races/cells.txt.
#
#	test/long/races.sh [TIMES]
#	test/long/races.sh --faults	are planted faults noticed?
#	test/long/races.sh --check	is there a place for each of them in src/?
#
# That PostgreSQL is built as test/long/assert.sh builds its own, 17 or newer,
# in a directory that is gone afterwards. RACES_PREFIX=DIR keeps the built one
# there, or takes it from there.

. "$(dirname "$0")/../../tools/sandbox.sh"
. "$PROJECT/test/long/postgresql.sh"
. "$PROJECT/test/long/faults.sh"

# As plant_faults reads them
faults() {
	cat <<'X'
cancel.c|= \(\w+ \? BATCH_LOCK_TAKEN :\s+batch_lock\([^;]*;|= BATCH_LOCK_TAKEN;
cancel.c|\w+->look_at_all = [^;]*;|
cancel.c|\tlook_at_open\(&\w+, &narrowed\);|
cancel.c|define MAX_RETRIES\s+\K3|0
cancel.c|retry && retries < MAX_RETRIES|false
cancel.c|cancel_requested\(state, \K&again|state->request
cancel.c|else if \(\w+->named\)\s+why = WHY_NO_MATCH;|
cancel.c|\trequest->tids\.count = 0;|
cancel.c|if \(!request->skip_locked\)\s+(?=statement_execute)|if (true)
cancel.c|\? WHY_LOCKED|? WHY_KEPT
chunks.c|relation->relid != work->relid|false
chunks.c|!jobs_shape_equal\(&relation->shape, &work->shape\)|false
ledger.c|if \(entry\)\s+entry->outcome = ANSWERED;|if (entry && entry->outcome == NULL) entry->outcome = ANSWERED;
statement.c|\tverify\(request\);\s+\}|}
statement_text.c|append_sql\(statement, " AND "\);\s+append_cancelable\(statement\);(?=\s+append_conditions)|
statement_text.c|append_conditions\(statement, true\);(?=\s+if \(tids->count)|
statement_text.c|append_param\(statement, "j\.batch_id[^;]*;(?=\s+append_sql\(statement, " AND "\);\s+append_cancelable)|append_sql(statement, "true");
X
}

if [ "${1:-}" = --check ]; then
	cd "$PROJECT"
	faults_apply < <(faults)
	exit
fi
install_packages "${BUILD_PACKAGES[@]}" python3

prefix=${RACES_PREFIX:-$WORK/postgresql}
[ -x "$prefix/bin/pg_config" ] || build_postgresql "$prefix" 18 17
PG_CONFIG=$prefix/bin/pg_config
PG_REGRESS=$(dirname "$("$PG_CONFIG" --pgxs)")/../test/isolation/pg_isolation_regress
sandbox_create
sandbox_start

test/races/races.py check
mapfile -t specs < <(test/races/races.py schedule)
as_server test/races/races.py specs "$SANDBOX/races"
createdb races
psql -Xq -d races -v ON_ERROR_STOP=1 -f test/races/setup.sql -c 'ALTER DATABASE races SET client_min_messages = warning'

# A fault can make two sessions wait for each other; a step then ends after twice as many seconds
run_specs() {
	as_server env PG_TEST_TIMEOUT_DEFAULT=15 "$PG_REGRESS" --use-existing --dbname=races --bindir= --inputdir="$SANDBOX/races" --outputdir="$SANDBOX/races" "${specs[@]}"
}

withstands() {
	run_specs >"$SANDBOX/output" 2>&1 && return
	say "noticed by $(grep -c '^not ok' "$SANDBOX/output") specs"
	return 1
}

if [ "${1:-}" = --faults ]; then
	plant_faults withstands < <(faults)
	printf 'races: %d faults noticed, %d not\n' "$noticed" "$missed"
	[ "$missed" = 0 ]
	exit
fi

failed=0
times=${1:-1}
for ((time = 0; time < times; time++)); do
	run_specs || failed=$((failed + 1))
	[ ! -s "$SANDBOX/races/regression.diffs" ] || cat "$SANDBOX/races/regression.diffs"
done
traps=$(grep -c 'TRAP: ' "$SANDBOX/log" || true)
printf 'races: PostgreSQL %s, %d races at %d seams, run %d times, %d times with differences, %d failed assertions\n' \
	"$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')" \
	"$(cat "$SANDBOX"/races/specs/* | grep -c '^permutation')" "${#specs[@]}" "$times" "$failed" "$traps"
[ "$failed" = 0 ] && [ "$traps" = 0 ]

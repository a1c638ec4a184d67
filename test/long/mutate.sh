#!/bin/bash
# test/long/mutate.sh: does the oracle notice? Each mutation is built into a
# copy of the sources, and the comparison must then find a difference.
#
#	test/long/mutate.sh [CASES]
#	test/long/mutate.sh --check	is there a place for each in src/?

. "$(dirname "$0")/../../tools/sandbox.sh"
. "$PROJECT/test/long/faults.sh"

# As plant_faults reads them
mutations() {
	cat <<'X'
filters.c|j\.runs OPERATOR\(pg_catalog\.<=\) \$|j.runs OPERATOR(pg_catalog.<) \$
filters.c|j\.start_timestamp OPERATOR\(pg_catalog\.>=\)|j.start_timestamp OPERATOR(pg_catalog.>)
filters.c|j\.created_at OPERATOR\(pg_catalog\.<=\)|j.created_at OPERATOR(pg_catalog.<)
filters.c|OPERATOR\(pg_catalog\.>\) 0\)|OPERATOR(pg_catalog.>=) 0)
filters.c|def->list \? i : -1|i
filters.c|return PROBLEM_EMPTY_TEXT|return PROBLEM_TEXT
filters.c|i < given->unknown\.count|i < given->unknown.count - 1
http.c|if \(!found\)|if (found)
label_column.c|return OidIsValid\(oid\)|return true
parse_value.c|if \(west\)|if (!west)
parse_value.c|memset\(high, 0xFF|memset(high, 0xFE
parse_value.c|> MILLISECOND_WATERSHED|>= MILLISECOND_WATERSHED
parse_value.c|\(value == INT64_MIN\) \? INT64_MAX|(value == INT64_MIN) ? 0
parse_value.c|n < 6; n\+\+|n < 5; n++
parse_value.c|\*minutes >= 24 \* 60|*minutes > 24 * 60
parse_value.c|\{"on", true\}|{"on", false}
query_string.c|s\[0\] == 0xED|s[0] == 0xEE
query_string.c|c == '\+' && plus_is_blank|c == '+' && !plus_is_blank
problems.c|problems->count > problems->limit|problems->count >= problems->limit
problems.c|location->index \+ 1|location->index
cancel.c|psprintf\(WHY_STATUS,|psprintf("Job cannot be canceled: its status was %s",
cancel.c|else if \(DatumGetBool\(row->tts_values\[RESULT_MATCHES\]\)\)|else if (!state->named)
cancel.c|\.named \? WHY_NOT_FOUND|.named ? WHY_NO_MATCH
ledger.c|ledger->entries, ledger->count, sizeof|ledger->entries, ledger->count - 1, sizeof
cancel.c|\? WHY_LOCKED|? WHY_KEPT
cancel.c|if \(ledger_is_held\(\w+->ledger, id\)\)(?=\s+return WHY_KEPT)|if (false)
cancel.c|of\[FILTER_ID\] = ledger_ids\(\w+->ledger, true\)|of[FILTER_ID].count = 0
row_locks.c|result = ROW_LOCKS_NO_KEY_UPDATE|result = ROW_LOCKS_UPDATE
call.c|strcmp\(text, "CANCELED"\)|strcmp(text, "PAUSED")
statement_text.c|END, end_timestamp = CASE"|END, start_timestamp = CASE"
statement_text.c|" WHEN j\.start_timestamp OPERATOR\(pg_catalog\.>\)|" WHEN j.start_timestamp OPERATOR(pg_catalog.<)
statement_text.c|j\.updated_at OPERATOR\(pg_catalog\.>\) \$%d|j.updated_at OPERATOR(pg_catalog.<) \$%d
statement_text.c|THEN j\.end_timestamp"|THEN j.updated_at"
statement_text.c|append_conditions\(statement, true\);(?=\s+if \(tids->count)|
statement_text.c|LONG_ARRAY \? FORM_LONG_ARRAY : FORM_ARRAY|LONG_ARRAY ? FORM_ONE : FORM_ARRAY
arrays.c|a->creation_order < b->creation_order \? -1 : 1|a->creation_order < b->creation_order ? 1 : -1
arrays.c|no_creation_order \? 1 : -1|no_creation_order ? -1 : 1
response_jsonb.c|\(JEntry\) end(?= \x7c JENTRY_HAS_OFF)|(JEntry) (end + 1)
response_jsonb.c|digit == 0 && i == last|digit < 0 && i == last
response_json.c|if \(dim \+ 1 < array->ndim\)|if (dim + 2 < array->ndim)
format_value.c|if \(usecs != 0\)|if (usecs > 10)
format_value.c|year = 1 - year|year = -year
format_value.c|days != last->days|days > last->days
format_value.c|place <= weight|place < weight
output.c|ones \* 0x20|ones * 0x09
X
}

if [ "${1:-}" = --check ]; then
	cd "$PROJECT"
	faults_apply < <(mutations)
	exit
fi
cases=${1:-3000}
sandbox_create
sandbox_start "autovacuum = off"

compare() {
	local attempt

	# the server may still recover from a crash that the fault before has caused; that it
	# does not answer is no sign of this one
	for attempt in $(seq 60); do
		! psql -Xqc '' 2>/dev/null || break
		sleep 1
	done
	dropdb --if-exists mutant 2>/dev/null
	createdb mutant || { say "the server does not answer"; exit 1; }
	psql -Xq -d mutant -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION pasqal_jobs' \
		-f test/long/oracle.sql -f test/long/oracle_run.sql >/dev/null 2>&1
	PGOPTIONS='-c oracle.enough=1' psql -Xq -d mutant -v ON_ERROR_STOP=1 -c "CALL oracle.run(4711, $cases)" >"$SANDBOX/out" 2>&1 &&
		[ "$(psql -XAtq -d mutant -c "SELECT n FROM oracle.counts WHERE what = 'differences'")" = 0 ]
}

compare || { cat "$SANDBOX/out"; say "the unchanged sources already differ"; exit 1; }

plant_faults compare < <(mutations)
printf 'mutations: %d noticed, %d not\n' "$noticed" "$missed"
[ "$missed" = 0 ]

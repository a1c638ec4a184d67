#!/bin/bash
# test/suite.sh: all tests, on a private server that is gone afterwards.
#
#	test/suite.sh [PART...]
#
# Parts: installcheck, clusters, differential, service, setup, tap, or a file of test/t
# (default: all of them).
#
# Ends with a line "N passed, N failed" that counts the files of pg_regress,
# the specs of isolationtester, the assertions of the TAP tests, and the
# comparison with the API's model as one. What is skipped has not passed; a line
# before says how much that is.

. "$(dirname "$0")/../tools/sandbox.sh"

[ -z "${CI:-}" ] || SANDBOX_COPT='-Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror'
SANDBOX_PG_PACKAGES=plproxy
sandbox_create libipc-run-perl perl curl locales procps pgbouncer python3 python3-asyncpg python3-fastapi python3-greenlet \
	python3-httptools python3-jsonschema python3-jwt python3-psycopg python3-psycopg-pool python3-psycopg2 \
	python3-pydantic python3-sqlalchemy python3-starlette python3-uvicorn python3-uvloop
sandbox_start "wal_level = logical" "shared_preload_libraries = 'pg_stat_statements'"

passed=0
failed=0
skipped=0

# Counts the lines of a file that match either pattern
count() {
	local skip='^ok ([0-9]+ )?(- .*)?# skip'

	passed=$((passed + $(grep -E "$2" "$1" | grep -Eivc "$skip" || true)))
	skipped=$((skipped + $(grep -Eic "$skip" "$1" || true)))
	failed=$((failed + $(grep -Ec "$3" "$1" || true)))
}

# Runs a command, shows its output, and counts; a command that fails without
# a test that failed counts as one
run() {
	local ok=$1 not_ok=$2 before=$failed status=0
	shift 2

	say "$*"
	as_server "$@" 2>&1 | tee "$SANDBOX/output" || status=$?
	count "$SANDBOX/output" "$ok" "$not_ok"
	if [ "$status" != 0 ] && [ "$failed" = "$before" ]; then
		failed=$((failed + 1))
	fi
}

installcheck() {
	run '^(test|ok) .* (ok|- ).*ms$' '^(test .* FAILED|not ok )' \
		make -s PG_CONFIG="$PG_CONFIG" installcheck
	[ ! -s regression.diffs ] || cat regression.diffs
	[ ! -s output_iso/regression.diffs ] || cat output_iso/regression.diffs
}

clusters() {
	run '^(test .* ok .*ms$|ok )' '^(test .* FAILED|not ok )' test/clusters.sh
}

tap() {
	local name log

	tap_command "$PWD"
	run '^ok ' '^not ok ' "${TAP[@]}" -v "$@"

	# why a test ended early is in its logs only
	for name in $(sed -n 's,^test/t/\([^ ]*\)\.pl  *(Wstat: .*,\1,p' "$SANDBOX/output"); do
		for log in "tmp_check/log/regress_log_$name" "tmp_check/log/${name}"_*.log; do
			[ ! -s "$log" ] || { say "the end of $log"; tail -n 25 "$log"; }
		done
	done
}

differential() {
	# the model is of pydantic 1, which newer suites of Debian do not have
	if ! /usr/bin/python3 -c 'import pydantic; assert pydantic.VERSION.startswith("1.")' 2>/dev/null; then
		say "skipped: test/http/differential.py needs pydantic 1"
		return
	fi
	run '^0 unexplained differences' '^[1-9][0-9]* unexplained differences' \
		/usr/bin/python3 -B test/http/differential.py --count 1500 --seed 20230323
}

service() {
	run '^ok ' '^not ok ' env PYTHONDONTWRITEBYTECODE=1 \
		RESTART_COMMAND="$SANDBOX_BIN/pg_ctl -D $SANDBOX/data -m fast -w -l $SANDBOX/log restart" \
		prove -v -e '' test/http/service.py test/http/public_client.py test/http/openapi.py \
		test/http/doc.py test/http/node.py test/http/orm.py test/http/pgbouncer.py
}

setup() {
	run '^ok ' '^not ok ' env PYTHONDONTWRITEBYTECODE=1 prove -v -e "" test/setup/setup.py
}

[ $# -gt 0 ] || set -- installcheck clusters tap differential service setup
for part in "$@"; do
	case $part in
		tap) tap test/t/*.pl ;;
		test/t/*.pl) tap "$part" ;;
		installcheck | clusters | differential | service | setup) "$part" ;;
		*) say "no such part: $part"; exit 2 ;;
	esac
done

[ "$skipped" = 0 ] || say "$skipped skipped"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

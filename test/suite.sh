#!/bin/bash
# test/suite.sh: all tests, on a private server that is gone afterwards.
#
#	test/suite.sh [PART...]
#
# Parts: lint, installcheck, clusters, differential, service, setup, tap, or a
# file of test/t or test/http (default: all of them). Twice as many as there
# are processors run at a time, but for files that say "Runs alone".
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

# run OK NOT_OK COMMAND...: counts the lines of its output that match either
# pattern, and leaves the counts in a line of $SANDBOX/counts. A command that
# fails without a test that failed counts as one.
run() {
	local ok=$1 not_ok=$2 skip='^ok ([0-9]+ )?(- .*)?# skip' status=0 failed
	shift 2

	output=$(mktemp "$SANDBOX/output.XXXXXX")
	as_server "$@" 2>&1 | tee "$output" || status=$?
	failed=$(grep -Ec "$not_ok" "$output" || true)
	[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
	echo "$(grep -E "$ok" "$output" | grep -Eivc "$skip") $failed $(grep -Eic "$skip" "$output")" >>"$SANDBOX/counts"
}

installcheck() {
	say "make installcheck"
	run '^(test|ok) .* (ok|- ).*ms$' '^(test .* FAILED|not ok )' \
		make -s PG_CONFIG="$PG_CONFIG" installcheck
	[ ! -s regression.diffs ] || cat regression.diffs
	[ ! -s output_iso/regression.diffs ] || cat output_iso/regression.diffs
}

clusters() {
	say "test/clusters.sh"
	run '^(test .* ok .*ms$|ok )' '^(test .* FAILED|not ok )' test/clusters.sh
}

tap() {
	local name log

	say "prove $1"
	tap_command "$PWD"
	run '^ok ' '^not ok ' "${TAP[@]}" -v "$1"

	# why a test ended early is in its logs only
	for name in $(sed -n 's,^test/t/\([^ ]*\)\.pl  *(Wstat: .*,\1,p' "$output"); do
		for log in "tmp_check/log/regress_log_$name" "tmp_check/log/${name}"_*.log; do
			[ ! -s "$log" ] || { echo "== the end of $log"; tail -n 25 "$log"; }
		done
	done
}

differential() {
	# the model is of pydantic 1, which newer suites of Debian do not have
	if ! /usr/bin/python3 -c 'import pydantic; assert pydantic.VERSION.startswith("1.")' 2>/dev/null; then
		say "skipped: test/http/differential.py needs pydantic 1"
		echo "0 0 0" >>"$SANDBOX/counts"
		return
	fi
	say "test/http/differential.py"
	run '^0 unexplained differences' '^[1-9][0-9]* unexplained differences' \
		/usr/bin/python3 -B test/http/differential.py --count 1500 --seed 20230323
}

lint() {
	say "tools/lint.sh --quick"
	run '^ok ' '^not ok ' tools/lint.sh --quick
}

script() {
	say "prove $1"
	# shellcheck disable=SC2086 # words
	run '^ok ' '^not ok ' env PYTHONDONTWRITEBYTECODE=1 \
		RESTART_COMMAND="$SANDBOX_BIN/pg_ctl -D $SANDBOX/data -m fast -w -l $SANDBOX/log restart" \
		prove -v -e '' $1
}

part() {
	case $1 in
		test/t/*) tap "$1" ;;
		test/*) script "$1" ;;
		*) "$1" ;;
	esac
}

# Files that test how long something takes say so; the demo is told how much of a
# processor it may take; clusters runs two at once itself
alone() {
	case $1 in
		clusters | *':: demo') true ;;
		test/*) grep -q 'Runs alone' "${1%% *}" ;;
		*) false ;;
	esac
}

[ $# -gt 0 ] || set -- lint setup installcheck tap differential service clusters
parts=()
for name in "$@"; do
	case $name in
		# long files first
		tap) mapfile -t -O ${#parts[@]} parts < <(ls -S test/t/*.pl) ;;
		service) parts+=(test/http/{service,public_client,openapi,doc,node,orm,pgbouncer}.py) ;;
		setup) parts+=("test/setup/setup.py :: but demo" "test/setup/setup.py :: demo") ;;
		test/t/*.pl | test/http/*.py | installcheck | clusters | differential | lint) parts+=("$name") ;;
		*) say "no such part: $name"; exit 2 ;;
	esac
done

# Twice as many as there are processors, since each waits for much of its time; what
# one has printed is shown once it has ended
if [ ${#parts[@]} -gt 1 ]; then
	for name in "${parts[@]}"; do
		! alone "$name" || continue
		[ "$(jobs -rp | wc -l)" -lt $((2 * $(nproc))) ] || wait -n || true
		{
			part "$name" >"$SANDBOX/part.$BASHPID"
			flock "$SANDBOX" cat "$SANDBOX/part.$BASHPID"
		} &
	done
	wait
fi
for name in "${parts[@]}"; do
	if [ ${#parts[@]} = 1 ] || alone "$name"; then
		part "$name"
	fi
done

read -r passed failed skipped counted < <(awk '{ p += $1; f += $2; s += $3 } END { print p, f, s, NR }' "$SANDBOX/counts")
[ "$counted" = ${#parts[@]} ] || failed=$((failed + ${#parts[@]} - counted))
[ "$skipped" = 0 ] || say "$skipped skipped"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

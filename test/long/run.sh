#!/bin/bash
# test/long/run.sh: everything that is too long for "make test", and the
# figures in one table.
#
#	test/long/run.sh [PART...]
#
# Parts: lint model oracle ddl reentrant rights torture deadlocks crash limits
# sanitizers fuzz sqlsmith mutations mutants assertions races valgrind (default:
# all of them, two and a half hours on two cores).
# Needs about 8 GB of memory and 5 GB of disk. TRUST_SEED=N chooses the seed.
# TRUST_CASES=N are the cases of each of the two seeds of oracle, and those of
# reentrant and rights, TRUST_SECONDS=N the time of torture and of each of the
# two programs of fuzz, TRUST_CORPUS=DIR where fuzz goes on from, TRUST_ROUNDS=N
# the crashes, TRUST_MUTANTS=N the mutants and TRUST_STATE=FILE where their
# results are kept.

here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../tools/sandbox.sh"

parts=("$@")
[ $# -gt 0 ] || parts=(lint model oracle ddl reentrant rights torture deadlocks crash limits sanitizers fuzz sqlsmith mutations mutants assertions races valgrind)
seed=${TRUST_SEED:-20230323}

sandbox_create postgresql-common libipc-run-perl perl pgbouncer python3
results=$SANDBOX/results
mkdir "$results"

# tap NAME FILE SETTING=VALUE...: one of test/t, made longer
tap() {
	local name=$1 file=$2
	shift 2

	as_server mkdir "$PWD/tmp_$name"
	tap_command "$PWD/tmp_$name"
	as_server env "$@" "${TAP[@]}" -v "test/t/$file" 2>&1
}

# What a part says for itself, in a line or two
figures() {
	case $1 in
		oracle | ddl | reentrant | rights | torture | deadlocks) grep -hE '^# (seed|deadlocks|history)' "$2" | sed 's/^# //' ;;
		crash) grep -E '^# (a cancel|answered)' "$2" | sed 's/^# //' ;;
		limits) grep -E '^# .*(interrupted|out of memory)' "$2" | sed 's/^# //' ;;
		*) tail -3 "$2" | grep -E '^(model|sanitizers|fuzz|sqlsmith|lint|mutations|mutants|assertions|races|valgrind)' ;;
	esac
}

oracle() {
	# two seeds at a time
	tap oracle1 010_oracle.pl TRUST_CASES="${TRUST_CASES:-12500}" TRUST_SEED="$seed" >"$results/oracle1" &
	local first=$! status=0
	tap oracle2 010_oracle.pl TRUST_CASES="${TRUST_CASES:-12500}" TRUST_SEED=$((seed + 1)) || status=$?
	wait $first || status=$?
	cat "$results/oracle1"
	return $status
}

run_part() {
	case $1 in
		oracle) oracle ;;
		ddl) tap ddl 015_ddl.pl TRUST_CASES=10000 TRUST_SEED="$seed" ;;
		reentrant) tap reentrant 016_reentrant.pl TRUST_CASES="${TRUST_CASES:-1000}" TRUST_SEED="$seed" ;;
		rights) tap rights 017_rights.pl TRUST_CASES="${TRUST_CASES:-10000}" TRUST_SEED="$seed" ;;
		deadlocks) tap deadlocks 006_batch_lock.pl TRUST_SECONDS=60 ;;
		torture) tap torture 011_torture.pl TRUST_SECONDS="${TRUST_SECONDS:-600}" TRUST_SEED="$seed" ;;
		crash) tap crash 012_crash.pl TRUST_ROUNDS="${TRUST_ROUNDS:-60}" TRUST_SEED="$seed" ;;
		limits) tap limits 013_limits.pl TRUST_LONG=1 TRUST_SEED="$seed" ;;
		sanitizers) "$here/sanitize.sh" 3000 30 ;;
		fuzz) "$here/fuzz.sh" "${TRUST_SECONDS:-310}" ;;
		sqlsmith) "$here/sqlsmith.sh" 20000 "$seed" ;;
		lint) install_packages cppcheck clang-tidy pg-bsd-indent shellcheck pyflakes3 libperl-critic-perl && "$PROJECT/tools/lint.sh" ;;
		model) "$PROJECT/test/model/run.sh" ;;
		mutations) "$here/mutate.sh" ;;
		mutants) "$here/mutants.sh" "${TRUST_MUTANTS:-50}" "$seed" ;;
		assertions) "$here/assert.sh" ;;
		valgrind) "$here/valgrind.sh" ;;
		races) "$here/races.sh" 3 ;;
		*) say "no such part: $1"; return 2 ;;
	esac
}

failed=0
for part in "${parts[@]}"; do
	say "$part"
	start=$SECONDS
	if (set -o pipefail; run_part "$part" 2>&1 | tee "$results/$part" >&2); then
		result=passed
	else
		result=FAILED
		failed=$((failed + 1))
	fi
	printf '%s|%s|%d s\n' "$part" "$result" $((SECONDS - start)) >>"$results/table"
done

echo
while IFS='|' read -r part result seconds; do
	# a part that failed may have none
	lines=$(figures "$part" "$results/$part") || true
	printf '%-11s %-7s %7s  %s\n' "$part" "$result" "$seconds" "${lines//$'\n'/$'\n                             '}"
done <"$results/table"
printf '%d parts passed, %d failed; seed %s, %s\n' $((${#parts[@]} - failed)) "$failed" "$seed" "$("$PG_CONFIG" --version)"
[ "$failed" = 0 ]

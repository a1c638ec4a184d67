#!/bin/bash
# test/long/run.sh: everything that is too long for "make test", and the
# figures in one table.
#
#	test/long/run.sh [PART...]
#
# The parts are below, with the minutes that each takes (default: all of them).
# Needs about 8 GB of memory and 5 GB of disk.
#
# TRUST_STATE=FILE lets a run be stopped and started again: a part that has passed
# is written down there, and not run again before the code or a setting changes.
# TRUST_TIMES=N runs each part so often, with a seed of its own each time.
#
# TRUST_SEED=N chooses the first seed. TRUST_CASES=N are the cases of each of the
# two seeds of oracle, and those of reentrant and rights, TRUST_SECONDS=N the time
# of torture and of each of the two programs of fuzz, TRUST_CORPUS=DIR where fuzz
# goes on from, TRUST_ROUNDS=N the crashes, TRUST_MUTANTS=N the mutants.

# On two cores that do nothing else
declare -A MINUTES=([lint]=1 [model]=3 [oracle]=8 [ddl]=3 [reentrant]=4 [rights]=4 [torture]=11 [deadlocks]=26
	[crash]=6 [limits]=4 [sanitizers]=10 [fuzz]=6 [sqlsmith]=6 [mutations]=8 [mutants]=30 [assertions]=18 [races]=12 [valgrind]=20)

here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../tools/sandbox.sh"

parts=("$@")
[ $# -gt 0 ] || parts=(lint model oracle ddl reentrant rights torture deadlocks crash limits sanitizers fuzz sqlsmith mutations mutants assertions races valgrind)
for part in "${parts[@]}"; do
	[ -n "${MINUTES[$part]:-}" ] || { say "no such part: $part"; exit 2; }
done
first_seed=${TRUST_SEED:-20230323}
times=${TRUST_TIMES:-1}
state=$(realpath -m "${TRUST_STATE:-$SANDBOX/state}")

find_postgresql
code=$(cd "$PROJECT" && cat src/*.[ch] pasqal_jobs--*.sql pasqal_jobs.control Makefile | sha1sum | cut -c1-10)
commit=$(git -c safe.directory='*' -C "$PROJECT" describe --always --dirty 2>/dev/null || echo '?')

# What a part was run with: another one of these, and it is run again
settings() {
	echo "$1 $code $("$PG_CONFIG" --version | cut -d' ' -f2) seed $seed${TRUST_CASES:+ cases $TRUST_CASES}${TRUST_SECONDS:+ seconds $TRUST_SECONDS}${TRUST_ROUNDS:+ rounds $TRUST_ROUNDS}${TRUST_MUTANTS:+ mutants $TRUST_MUTANTS}"
}

# Calls a command for each run that was asked for, with its part and its settings
each_run() {
	local part seed

	for ((seed = first_seed; seed < first_seed + times; seed++)); do
		for part in "${parts[@]}"; do
			"$1" "$part" "$(settings "$part")"
		done
	done
}

has_passed() {
	grep -qF "|$1|passed|" "$state"
}

# tap NAME FILE SETTING=VALUE...: one of test/t, made longer
tap() {
	local name=$1 file=$2
	shift 2

	as_server mkdir -p "$PWD/tmp_$name.$seed"
	tap_command "$PWD/tmp_$name.$seed"
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
	tap oracle1 010_oracle.pl TRUST_CASES="${TRUST_CASES:-12500}" TRUST_SEED="$seed" >"$SANDBOX/oracle1" &
	local first=$! status=0
	tap oracle2 010_oracle.pl TRUST_CASES="${TRUST_CASES:-12500}" TRUST_SEED=$((seed + 1000)) || status=$?
	wait $first || status=$?
	cat "$SANDBOX/oracle1"
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
		fuzz) TRUST_CORPUS=${TRUST_CORPUS:-${TRUST_STATE:+$state.corpus}} "$here/fuzz.sh" "${TRUST_SECONDS:-310}" ;;
		sqlsmith) "$here/sqlsmith.sh" 20000 "$seed" ;;
		lint) install_packages cppcheck clang-tidy pg-bsd-indent shellcheck pyflakes3 libperl-critic-perl && "$PROJECT/tools/lint.sh" ;;
		model) "$PROJECT/test/model/run.sh" ;;
		mutations) "$here/mutate.sh" ;;
		# which can themselves be stopped
		mutants) TRUST_STATE=${TRUST_STATE:+$state.mutants-$code-$seed} "$here/mutants.sh" "${TRUST_MUTANTS:-50}" "$seed" ;;
		assertions) "$here/assert.sh" ;;
		valgrind) "$here/valgrind.sh" ;;
		races) "$here/races.sh" 3 ;;
	esac
}

# Writes down a part that has ended: what it was run with, its result and figures
run_unless_passed() {
	local part=$1 settings=$2 start=$SECONDS result=passed

	if has_passed "$settings"; then
		say "$part has passed with this code, and is not run again"
		return
	fi
	say "$part, about ${MINUTES[$part]} minutes"
	(set -o pipefail; run_part "$part" 2>&1 | tee "$SANDBOX/output_of_part" >&2) || result=FAILED
	# a part that failed may have no figures
	printf '|%s|%s|%s|%s|%s|%s\n' "$settings" "$result" $((SECONDS - start)) "$commit" "$(date +%Y-%m-%d)" \
		"$(figures "$part" "$SANDBOX/output_of_part" | paste -sd '\t')" >>"$state"
}

# A row of the table: the last line that is there of it
show() {
	local result seconds commit date figures

	IFS='|' read -r result seconds commit date figures < <(grep -F "|$2|" "$state" | tail -1 | cut -d'|' -f3-)
	printf '%-11s %-7s %5s s  %s  %-14s  %s\n' "$1" "$result" "$seconds" "$date" "$commit" "${figures//$'\t'/$'\n                                                         '}"
	[ "$result" = passed ] || failed=$((failed + 1))
}

minutes=0
add_minutes() {
	has_passed "$2" || minutes=$((minutes + MINUTES[$1]))
}

touch "$state"
each_run add_minutes
say "this takes about $minutes minutes on two cores that do nothing else"
[ -n "${TRUST_STATE:-}" ] || say "it cannot be stopped and go on later: that takes TRUST_STATE=FILE"

[ $minutes = 0 ] || sandbox_create postgresql-common libipc-run-perl perl pgbouncer python3
each_run run_unless_passed

failed=0
echo
each_run show
printf '%d parts passed, %d failed; %s\n' $((${#parts[@]} * times - failed)) "$failed" "$("$PG_CONFIG" --version)"
[ "$failed" = 0 ]

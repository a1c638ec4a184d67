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
# is written down there, and not run again before the code, a test or a setting
# changes; what a part that failed has printed is kept beside it, in FILE.PART.log.
# TRUST_TIMES=N runs each part so often, with a seed of its own each time.
#
# TRUST_SEED=N chooses the first seed. TRUST_CASES=N are the cases of each of the
# two seeds of oracle, and those of ddl, reentrant, rights and sanitizers,
# TRUST_SECONDS=N the time of torture, of that in sanitizers, and of each of the two
# programs of fuzz, TRUST_CORPUS=DIR where fuzz goes on from, TRUST_ROUNDS=N the
# crashes, TRUST_MUTANTS=N the mutants.

# On two cores that do nothing else
declare -A MINUTES=([lint]=1 [model]=8 [oracle]=8 [ddl]=3 [reentrant]=4 [rights]=4 [torture]=11 [deadlocks]=26
	[crash]=6 [limits]=4 [sanitizers]=10 [fuzz]=6 [sqlsmith]=6 [mutations]=8 [mutants]=30 [assertions]=18 [races]=12 [valgrind]=20)

here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../tools/sandbox.sh"

parts=("$@")
[ $# -gt 0 ] || parts=(lint model oracle ddl reentrant rights torture deadlocks crash limits sanitizers fuzz sqlsmith mutations mutants assertions races valgrind)
for part in "${parts[@]}"; do
	[ -n "${MINUTES[$part]:-}" ] || { say "no such part: $part; there are $(xargs -n 1 <<<"${!MINUTES[*]}" | sort | xargs)"; exit 2; }
done
for name in TRUST_SEED TRUST_TIMES TRUST_CASES TRUST_SECONDS TRUST_ROUNDS TRUST_MUTANTS; do
	[[ ${!name:-1} =~ ^[1-9][0-9]{0,8}$ ]] || { say "$name=${!name} is not a number from 1 to 999999999"; exit 2; }
done
first_seed=${TRUST_SEED:-20230323}
times=${TRUST_TIMES:-1}

# takes PART NUMBER USUAL: as many times its minutes
takes() {
	MINUTES[$1]=$(((MINUTES[$1] * $2 + $3 - 1) / $3))
}
takes oracle "${TRUST_CASES:-12500}" 12500
takes ddl "${TRUST_CASES:-10000}" 10000
takes reentrant "${TRUST_CASES:-1000}" 1000
takes rights "${TRUST_CASES:-10000}" 10000
takes torture "${TRUST_SECONDS:-600}" 600
takes fuzz "${TRUST_SECONDS:-310}" 310
takes crash "${TRUST_ROUNDS:-60}" 60
takes mutants "${TRUST_MUTANTS:-50}" 50

state=$(realpath -m "${TRUST_STATE:-$SANDBOX/state}")

find_postgresql
# the code and the tests, but for the reasons why some mutants survive, which come last
code=$(cd "$PROJECT" && find Makefile pasqal_jobs* src sql expected test tools -type f \( -name Makefile -o -name '*.control' \
	-o -name '*.[ch]' -o -name '*.sql' -o -name '*.out' -o -name '*.spec' -o -name '*.sh' -o -name '*.p[lmy]' \
	-o -name '*.txt' ! -name mutants.txt ! -name coverage.txt \) | LC_ALL=C sort | xargs cat | sha1sum | cut -c1-10)
postgresql="$("$PG_CONFIG" --version | cut -d' ' -f2) in $("$PG_CONFIG" --bindir)"
commit=$(git -c safe.directory='*' -C "$PROJECT" describe --always --dirty 2>/dev/null || echo '?')

# What a part was run with: another one of these, and it is run again
settings() {
	echo "$1 $code $postgresql seed $seed${SANDBOX_COPT:+ flags $SANDBOX_COPT}${TRUST_CASES:+ cases $TRUST_CASES}${TRUST_SECONDS:+ seconds $TRUST_SECONDS}${TRUST_ROUNDS:+ rounds $TRUST_ROUNDS}${TRUST_MUTANTS:+ mutants $TRUST_MUTANTS}"
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
		limits) grep -E '^# .*(interrupts in|out of memory)' "$2" | sed 's/^# //' ;;
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
		ddl) tap ddl 015_ddl.pl TRUST_CASES="${TRUST_CASES:-10000}" TRUST_SEED="$seed" ;;
		reentrant) tap reentrant 016_reentrant.pl TRUST_CASES="${TRUST_CASES:-1000}" TRUST_SEED="$seed" ;;
		rights) tap rights 017_rights.pl TRUST_CASES="${TRUST_CASES:-10000}" TRUST_SEED="$seed" ;;
		deadlocks) tap deadlocks 006_batch_lock.pl TRUST_SECONDS=60 ;;
		torture) tap torture 011_torture.pl TRUST_SECONDS="${TRUST_SECONDS:-600}" TRUST_SEED="$seed" ;;
		crash) tap crash 012_crash.pl TRUST_ROUNDS="${TRUST_ROUNDS:-60}" TRUST_SEED="$seed" ;;
		limits) tap limits 013_limits.pl TRUST_LONG=1 TRUST_SEED="$seed" ;;
		sanitizers) TRUST_SEED=$seed "$here/sanitize.sh" "${TRUST_CASES:-3000}" "${TRUST_SECONDS:-30}" ;;
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
		say "$part has passed with this code and these tests, and is not run again"
		return
	fi
	say "$part, about ${MINUTES[$part]} minutes"
	(set -o pipefail; run_part "$part" 2>&1 | tee "$SANDBOX/output_of_part" >&2) || result=FAILED
	if [ $result = FAILED ]; then
		[ -z "${TRUST_STATE:-}" ] || cp "$SANDBOX/output_of_part" "$state.$part.log"
		say "$part FAILED${TRUST_STATE:+; what it has printed is in $state.$part.log}; again: TRUST_SEED=$seed test/long/run.sh $part"
	fi
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

# there may be half a line, if the disk was full or the machine stopped
if ! { [ -f "$state" ] || [ ! -e "$state" ]; } || ! : >>"$state"; then
	say "TRUST_STATE=$state cannot be written: it takes a file, in a directory that is there"
	exit 2
fi
[ -z "$(tail -c 1 "$state")" ] || echo >>"$state"
each_run add_minutes
say "this takes about $minutes minutes on two cores that do nothing else"
[ -n "${TRUST_STATE:-}" ] || say "it cannot be stopped and go on later: that takes TRUST_STATE=FILE"

# a part takes some hundred megabytes at least; a full disk would end all of them
[ $minutes = 0 ] || sandbox_needs 1000
[ $minutes = 0 ] || sandbox_create postgresql-common libipc-run-perl perl pgbouncer python3
each_run run_unless_passed

failed=0
echo
each_run show
printf '%d parts passed, %d failed; %s\n' $((${#parts[@]} * times - failed)) "$failed" "$("$PG_CONFIG" --version)"
[ "$failed" = 0 ]

#!/bin/bash
# test/model/run.sh: checks the model of a cancel exhaustively, and that each
# fault planted in it is found. Needs no PostgreSQL.
#
#	test/model/run.sh

. "$(dirname "$0")/../../tools/sandbox.sh"

install_packages gcc libc6-dev spin
model=$PROJECT/test/model/cancel.pml
cd "$SANDBOX" || exit

# NAME | settings of the model
scenarios() {
	cat <<'X'
filtered, a worker|-DCHANGES=2
filtered, two workers|-DWORKERS=2 -DCHANGES=1
filtered, a job that comes and goes|-DJOBS=1 -DCHANGES=4 -DMAX_REPEATS=1
filtered, a trigger keeps a job|-DCHANGES=2 -DKEPT=1
filtered, repeatable read|-DCHANGES=2 -DREPEATABLE_READ
named, a worker|-DFIRST=NAMED -DCHANGES=2
named, a job that comes and goes|-DFIRST=NAMED -DJOBS=1 -DCHANGES=4 -DMAX_REPEATS=1
named, a trigger keeps a job|-DFIRST=NAMED -DCHANGES=2 -DKEPT=1
named, repeatable read|-DFIRST=NAMED -DCHANGES=2 -DREPEATABLE_READ
a long list|-DFIRST=NAMED -DCHANGES=2 -DLONG_LIST=1
one named job|-DFIRST=SINGLE -DJOBS=1 -DCHANGES=4
a chunk|-DFIRST=CHUNK -DCHANGES=2
a chunk, a trigger keeps a job|-DFIRST=CHUNK -DCHANGES=2 -DKEPT=1
a chunk, repeatable read|-DFIRST=CHUNK -DCHANGES=2 -DREPEATABLE_READ
a chunk of named jobs|-DFIRST=NAMED_CHUNK -DCHANGES=2
two filtered|-DSECOND=FILTERED -DCHANGES=1
two filtered, a job and its changes|-DSECOND=FILTERED -DJOBS=1 -DCHANGES=2
two filtered, repeatable read|-DSECOND=FILTERED -DCHANGES=1 -DREPEATABLE_READ
two named|-DFIRST=NAMED -DSECOND=NAMED -DCHANGES=1
two chunks|-DFIRST=CHUNK -DSECOND=CHUNK -DCHANGES=1
filtered and named|-DSECOND=NAMED -DCHANGES=1
filtered and a long list|-DSECOND=NAMED -DCHANGES=1 -DLONG_LIST=1
filtered and one named job|-DSECOND=SINGLE -DCHANGES=1
named and one named job|-DFIRST=NAMED -DSECOND=SINGLE -DCHANGES=1
a chunk and filtered|-DFIRST=CHUNK -DSECOND=FILTERED -DCHANGES=1
a chunk and named|-DFIRST=CHUNK -DSECOND=NAMED -DCHANGES=1
a chunk and one named job|-DFIRST=CHUNK -DSECOND=SINGLE -DCHANGES=1
a chunk of named jobs and filtered|-DFIRST=NAMED_CHUNK -DSECOND=FILTERED -DCHANGES=1
skip, a worker|-DSKIPS=1 -DCHANGES=2
skip, two workers|-DSKIPS=1 -DWORKERS=2 -DCHANGES=1
skip, a job that comes and goes|-DSKIPS=1 -DJOBS=1 -DCHANGES=4 -DMAX_REPEATS=1
skip, a trigger keeps a job|-DSKIPS=1 -DCHANGES=2 -DKEPT=1
skip, repeatable read|-DSKIPS=1 -DCHANGES=2 -DREPEATABLE_READ
skip, named|-DSKIPS=1 -DFIRST=NAMED -DCHANGES=2
skip, one named job|-DSKIPS=1 -DFIRST=SINGLE -DJOBS=1 -DCHANGES=4
skip, two filtered|-DSKIPS=1 -DSECOND=FILTERED -DCHANGES=1
skip, filtered and one named job|-DSKIPS=1 -DSECOND=SINGLE -DCHANGES=1
X
}

# FAULT | settings of a scenario in which it must be found | what is wrong then
faults() {
	cat <<'X'
NO_LOOK|-DCHANGES=1|assert
LOOKS_BEFORE_UPDATE|-DCHANGES=1|assert
LOOKS_WITH_OLD_SNAPSHOT|-DCHANGES=1 -DKEPT=1|assert
NO_REPEAT|-DCHANGES=2|assert
NO_RECHECK|-DCHANGES=1|assert
RECHECKS_STATUS_ONLY|-DCHANGES=1|assert
BELIEVES_SNAPSHOT|-DCHANGES=1|assert
COUNTS_TWICE|-DJOBS=1 -DCHANGES=2|assert
NO_LOCK|-DSECOND=FILTERED -DCHANGES=0|deadlock
LISTS_TAKE_NO_LOCK|-DFIRST=NAMED -DSECOND=FILTERED -DCHANGES=0|deadlock
READS_AFTER_WAITING|-DSECOND=FILTERED -DCHANGES=1|assert
ANSWERS_BEFORE_WAITING|-DSECOND=FILTERED -DJOBS=1 -DCHANGES=2|assert
TRUSTS_FREE_LOCK|-DSECOND=FILTERED -DJOBS=1 -DCHANGES=2|assert
LISTS_READ_BEFORE_WAITING|-DSECOND=NAMED -DCHANGES=1 -DLONG_LIST=1|assert
CHUNK_TRIES_ENDED|-DFIRST=CHUNK -DCHANGES=1|assert
NAMED_UNANSWERED|-DFIRST=NAMED -DCHANGES=0|assert
NO_40001|-DREPEATABLE_READ -DCHANGES=1|assert
NO_HINT|-DCHANGES=2|assert
LOCKS_WITHOUT_CONDITIONS|-DSKIPS=1 -DCHANGES=0|assert
SKIP_WAITS|-DSKIPS=1 -DCHANGES=1|assert
SKIPPED_UNANSWERED|-DSKIPS=1 -DCHANGES=1|assert
KEPT_IS_LOCKED|-DSKIPS=1 -DKEPT=1 -DCHANGES=0|assert
LOCKED_IS_KEPT|-DSKIPS=1 -DCHANGES=1|assert
X
}

# check SETTING...: the verifier's output; its memory is limited to 3 GB
check() {
	rm -f pan*
	spin -a "$@" "$model" >spin.log || { cat spin.log >&2; return 1; }
	gcc -w -O1 -DSAFETY -DMEMLIM=3000 -o pan pan.c
	./pan -n -m1000000
}

figure() {
	awk -v what="$1" 'index($0, what) && $1 ~ /^[0-9]+$/ { print $1 }' output
}

holding=0 states=0 all=0
while IFS='|' read -r name settings; do
	all=$((all + 1))
	# shellcheck disable=SC2086 # words
	check $settings >output
	result=VIOLATED
	# a search that was cut short proves nothing
	if grep -q 'errors: 0$' output && ! grep -Eq 'out of memory|max search depth too small|not completed' output; then
		result=holds
		holding=$((holding + 1))
	fi
	states=$((states + $(figure 'states, stored')))
	printf '%-38s %-9s %9d states\n' "$name" "$result" "$(figure 'states, stored')"
	[ $result = holds ] || cat output
done < <(scenarios)

found=0 planted=0
while IFS='|' read -r fault settings wanted; do
	planted=$((planted + 1))
	# shellcheck disable=SC2086 # words
	check "-DFAULT_$fault" $settings >output
	result='NOT FOUND'
	case $wanted in
		assert) ! grep -q 'pan:1: assertion violated' output || result='found: an assertion fails' ;;
		deadlock) ! grep -q 'pan:1: invalid end state' output || result='found: deadlock' ;;
	esac
	[ "$result" = 'NOT FOUND' ] || found=$((found + 1))
	printf 'fault %-25s %s\n' "$fault" "$result"
done < <(faults)

printf 'model: %d of %d scenarios hold, %d of %d faults found; %d states, %d s\n' \
	"$holding" "$all" "$found" "$planted" "$states" $SECONDS
[ "$holding" = "$all" ] && [ "$found" = "$planted" ]

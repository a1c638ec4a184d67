#!/bin/bash
# tools/coverage.sh: which lines and branches of src/ the tests run.
#
#	tools/coverage.sh [PART...]
#
# Parts as of test/suite.sh; all of them count, since what one part does not
# run another one may. Fails if a test fails, if less than 98 % of the lines
# or 92 % of the branches were run, or if one was not run for which
# test/coverage.txt gives no reason.
#
# What counts is what gcc makes of the sources without optimization. Not
# counted are the branches of lines that are no more than a macro of
# PostgreSQL whose branches cannot be seen in our sources: ereport and elog
# (is the level below ERROR? is the message wanted?), CHECK_FOR_INTERRUPTS (is
# there an interrupt?), PG_TRY and its like. gcc counts a condition among the
# arguments of ereport, such as one of two hints, as a branch of that line, too;
# so these are not counted, either, and tests print the hints.

. "$(dirname "$0")/sandbox.sh"

MACROS='\s*(ereport\(|elog\(|CHECK_FOR_INTERRUPTS\(\);|PG_(TRY|CATCH|END_TRY)\(\);)'

install_packages gcc gcovr python3
# each server process adds its counters to files there as it exits
mkdir -m 1777 "$SANDBOX/coverage"

failed=0
env -u CI SANDBOX_COPT="-O0 --coverage -dumpdir $SANDBOX/coverage/" "$PROJECT/test/suite.sh" "$@" || failed=1

cd "$PROJECT"
gcovr --root . --filter src/ --exclude-branches-by-pattern "$MACROS" --json "$SANDBOX/coverage.json" "$SANDBOX/coverage"
python3 -B tools/coverage.py "$SANDBOX/coverage.json" test/coverage.txt || failed=1
[ "$failed" = 0 ]

#!/bin/bash
# tools/lint.sh: what reads sources without running them, over the whole project.
#
#	tools/lint.sh [--quick]
#
# --quick, a part of test/suite.sh, leaves out what takes longer than some
# seconds. A program that is not there is named, and left out. Fails if one finds
# something.

. "$(dirname "$0")/sandbox.sh"

find_postgresql
cd "$PROJECT"
include=$("$PG_CONFIG" --includedir-server)
quick=
[ "${1:-}" != --quick ] || quick=yes
passed=0 failed=0 missing=0

# lint PROGRAM WHAT COMMAND...: the command is clean if its status is 0
lint() {
	local program=$1 what=$2
	shift 2

	if ! command -v "$program" >/dev/null; then
		echo "ok - $what # skip $program is not installed"
		missing=$((missing + 1))
	elif "$@" >"$SANDBOX/lint.log" 2>&1; then
		echo "ok - $what"
		passed=$((passed + 1))
	else
		cat "$SANDBOX/lint.log"
		echo "not ok - $what"
		failed=$((failed + 1))
	fi
}

mapfile -t scripts < <(grep -rlE '^#!.*\b(ba)?sh\b|^# shellcheck shell' --include='*.sh' --include=run --include=installcheck .ci debian examples test tools 2>/dev/null)
mapfile -t python < <(find examples test tools -name '*.py')
mapfile -t perl < <(find debian test -name '*.p[lm]')

# the sandbox, which a script sources, sets -e and uses variables
lint shellcheck "${#scripts[@]} shell scripts by shellcheck" shellcheck --severity=warning --exclude=SC1091,SC2034,SC2164 "${scripts[@]}"
lint pyflakes3 "${#python[@]} Python scripts by pyflakes" pyflakes3 "${python[@]}"
lint perlcritic "${#perl[@]} Perl scripts by perlcritic" perlcritic --quiet --severity 5 "${perl[@]}"
lint pg_bsd_indent "the format of src/ by pgindent" tools/format.sh
lint python3 "test/races/README.md is what test/races/cells.txt says" python3 -B test/races/races.py check
lint perl "each fault of test/long/mutate.sh has a place in src/" test/long/mutate.sh --check
lint perl "each fault of test/long/races.sh has one" test/long/races.sh --check
[ -z "$quick" ] || { [ "$failed" = 0 ]; exit; }

compile_perl() {
	local file status=0

	for file in "${perl[@]}"; do
		perl -I "$(dirname "$("$PG_CONFIG" --pgxs)")/../test/perl" -I test/t -wc "$file" || status=1
	done
	return $status
}
lint perl "${#perl[@]} Perl scripts compile" compile_perl

# cppcheck, with PostgreSQL's headers but without what it says of them:
cppcheck_exceptions=(
	# declarations stand at the top of a function or block, as in PostgreSQL
	--suppress=variableScope
	# "days", "ascii" and such are names of PostgreSQL that no file here uses
	--suppress=shadowVariable
	--suppress=shadowFunction
	# lib/simplehash.h wants a member "status" and uses it itself
	--suppress=unusedStructMember:src/ledger.c
	# the answer is in memory of the caller's context, not in the local struct that led to it
	--suppress=returnDanglingLifetime:src/response.c
	# dlist_container and its like look at the type of a member of no struct
	--suppress=nullPointer
	# no system headers are needed for what it checks
	--suppress=missingIncludeSystem
	--suppress="*:$include/*"
)
lint cppcheck "src/ by cppcheck" cppcheck --quiet --std=c99 --enable=warning,performance,portability,style --inline-suppr \
	--error-exitcode=1 --max-configs=1 -D__GNUC__=12 -D__x86_64__ -D__SIZEOF_INT128__=16 -Isrc -I"$include" \
	"${cppcheck_exceptions[@]}" src/*.c

# clang-tidy: all of these checks but for
checks='clang-analyzer-*,bugprone-*,cert-*,misc-*,performance-*,portability-*'
# Datum is an integer that may hold a pointer: PostgreSQL's own macros cast it
checks+=',-performance-no-int-to-ptr'
# (text, length) and the like are the usual order throughout PostgreSQL
checks+=',-bugprone-easily-swappable-parameters'
# the callbacks of PostgreSQL (hooks, receivers, fmgr) have parameters that one need not use
checks+=',-misc-unused-parameters'
# lengths below MaxAllocSize (1 GB) go into int, as everywhere in PostgreSQL, where
# they have been compared with a limit before; and products of small constants into size_t
checks+=',-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result'
# text of a varlena or of a response has a length and no NUL at its end
checks+=',-bugprone-not-null-terminated-result'
# _PG_init is the name that PostgreSQL calls
checks+=',-bugprone-reserved-identifier,-cert-dcl37-c,-cert-dcl51-cpp'
# jsonb and arrays nest; the depth is bounded by check_stack_depth() and MAXDIM
checks+=',-misc-no-recursion'
# a switch over an enum has no default, so that the compiler tells of a new member
checks+=',-bugprone-switch-missing-default-case'

lint clang-tidy "src/ by clang-tidy" clang-tidy --quiet -checks="-*,$checks" -warnings-as-errors='*' src/*.c -- -std=gnu99 -Wall -Wextra \
	-Wno-unused-parameter -Wno-sign-compare -Isrc -I"$include" -I/usr/include/postgresql

printf 'lint: %d clean, %d not, %d left out; %d files of src/\n' $passed $failed $missing "$(find src -name '*.c' | wc -l)"
[ "$failed" = 0 ]

#!/bin/bash
# tools/lint.sh: cppcheck and clang-tidy (with clang's static analyzer)
# over src/, clean but for the exceptions below; and the format.

. "$(dirname "$0")/sandbox.sh"

install_packages gcc libc6-dev cppcheck clang clang-tidy
find_postgresql
cd "$PROJECT"
include=$("$PG_CONFIG" --includedir-server)
failed=0

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
	# no system headers are needed for what it checks
	--suppress=missingIncludeSystem
	--suppress="*:$include/*"
)
say "cppcheck $(cppcheck --version | sed 's/[^0-9]*//')"
cppcheck --quiet --std=c99 --enable=warning,performance,portability,style --inline-suppr --error-exitcode=1 \
	--max-configs=1 -D__GNUC__=12 -D__x86_64__ -D__SIZEOF_INT128__=16 -Isrc -I"$include" "${cppcheck_exceptions[@]}" src/*.c || failed=1

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

say "$(clang-tidy --version | grep -o 'LLVM version.*' || true)"
clang-tidy --quiet -checks="-*,$checks" -warnings-as-errors='*' src/*.c -- -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Isrc -I"$include" -I/usr/include/postgresql 2>/dev/null || failed=1

"$PROJECT/tools/format.sh" || failed=1

[ "$failed" = 0 ] && echo "lint: $(ls src/*.c | wc -l) files clean by cppcheck and clang-tidy"

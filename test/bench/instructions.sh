#!/bin/bash
# test/bench/instructions.sh [REVISION]: counts the instructions that the server
# takes for a call, beside a bare UPDATE that is planned already. Other work on
# the machine changes nothing about them, so a few minutes tell what a change
# costs.
#
# With a revision of git it counts those of that code first. Its status is 1 if
# a call takes 1 % more now.
#
# KEEP_SANDBOX=1 keeps the profiles in now/instructions and before/instructions;
# callgrind_annotate shows the functions in them, with SANDBOX_COPT=-g those of
# src/ by name.

. "$(dirname "$0")/../../tools/sandbox.sh"

[ $# -le 1 ] || { say "usage: $0 [REVISION]"; exit 2; }
sandbox_create git python3 python3-psycopg valgrind
sandbox_start

# count NAME [COUNTS]: counts, and compares with the counts of other code
count() {
	local name=$1
	shift
	as_server mkdir "$SANDBOX/$name"
	as_server env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -u test/bench/instructions.py "$@" "$SANDBOX/$name"
}

if [ $# = 0 ]; then
	count now
	exit
fi

# the sandbox has another HOME, and the repository may be another user's
say "building $1"
as_server mkdir "$SANDBOX/revision"
git -c safe.directory='*' -C "$PROJECT" archive "$1" | as_server tar -x -C "$SANDBOX/revision"
build=(make -s PG_CONFIG="$PG_CONFIG" with_llvm=no COPT="${SANDBOX_COPT:-}" DESTDIR="$SANDBOX/root" install)
as_server "${build[@]}" -C "$SANDBOX/revision" >/dev/null
count before
as_server "${build[@]}" -C "$SANDBOX/build" >/dev/null
count now "$SANDBOX/before/instructions.json"

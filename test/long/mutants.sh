#!/bin/bash
# test/long/mutants.sh: faults that a program plants in src/; do the tests
# notice each?
#
#	test/long/mutants.sh [COUNT [SEED]] [--match NAME]... [--since REV]
#
# COUNT mutants (default: 100; 0: all) are chosen by SEED. --match takes only
# those whose name begins with NAME: a file, FILE:FUNCTION, or all of it.
# --since takes only those in lines that changed since a revision.
#
# TRUST_STATE=FILE keeps what is known of each mutant there, and goes on from it.
# mutants.py, which does the work, says what a mutant is and when it counts.

. "$(dirname "$0")/../../tools/sandbox.sh"

state=$(realpath -m "${TRUST_STATE:-$SANDBOX/state}")
# Without -g, so that equal code makes equal objects; a swap of arguments that
# any compiler would tell of is no fault that tests are for
SANDBOX_COPT='-g0 -Werror=incompatible-pointer-types -Werror=int-conversion -Werror=implicit-function-declaration'
sandbox_create git libipc-run-perl perl python3
sandbox_start "wal_level = logical" "shared_preload_libraries = 'pg_stat_statements'"

arguments=()
while [ $# -gt 0 ]; do
	case $1 in
		--since)
			# the sandbox has another HOME, and the repository may be another user's
			revision=${2:?--since takes a revision}
			(
				cd "$PROJECT"
				git() { command git -c safe.directory='*' "$@"; }
				git diff -U0 --merge-base "$revision" -- src
				# a file that git does not know yet
				git ls-files -oz --exclude-standard src | while read -rd '' file; do
					git diff -U0 --no-index /dev/null "$file" || true
				done
			) >"$SANDBOX/changes"
			arguments+=(--changes "$SANDBOX/changes")
			shift
			;;
		*) arguments+=("$1") ;;
	esac
	shift
done

touch "$state"
# an earlier run may have ended within a line
[ -z "$(tail -c 1 "$state")" ] || echo >>"$state"
cp "$state" "$SANDBOX/earlier"
tap_command "$PWD"
as_server env RUN_TAP="${TAP[*]}" \
	RUN_MAKE="make -s PG_CONFIG=$PG_CONFIG with_llvm=no DESTDIR=$SANDBOX_DESTDIR COPT='$SANDBOX_COPT'" \
	python3 -B test/long/mutants.py "${arguments[@]}" <"$SANDBOX/earlier" | tee -a "$state"

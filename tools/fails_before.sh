#!/bin/bash
# tools/fails_before.sh: do the tests of a commit fail without its change?
#
#	tools/fails_before.sh COMMIT_RANGE	such as main~20..main
#
# Of each commit that changes both the code (src/ or the install script) and
# tests (pg_regress, specs, TAP) it runs the tests that it adds or changes
# twice: on the code of its parent, where at least one must fail, and on its
# own, where all must pass. Its status is 1 if a commit's tests all pass on the
# code of its parent, if one does not build, or if there is none to examine.
# Commits whose code comes with other tests or with none (a figure that is
# better, a message, a tool) are counted. Merges are left out.

. "$(dirname "$0")/sandbox.sh"

[ $# = 1 ] || { sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
# the sandbox has another HOME, and the repository may be another user's
repository() {
	git -c safe.directory='*' -C "$PROJECT" "$@"
}
commits=$(repository rev-list --reverse --no-merges "$1" --)

SANDBOX_PG_PACKAGES=plproxy
sandbox_create git libipc-run-perl perl
sandbox_start "wal_level = logical" "shared_preload_libraries = 'pg_stat_statements'"
code=(src 'pasqal_jobs--*.sql')

# changed_tests COMMIT: the files that hold tests, as "KIND NAME"
changed_tests() {
	repository diff-tree -r --no-commit-id --no-renames --name-only --diff-filter=AM "$1" |
		sed -nE 's,^(expected/.*)_[0-9]\.out$,\1.out,
			s,^(sql|expected)/([^/]+)\.(sql|out)$,regress \2,p
			s,^test/isolation/(specs|expected)/([^/]+)\.(spec|out)$,isolation \2,p
			s,^(test/t/[^/]+\.pl)$,tap \1,p' | sort -u
}

# build COMMIT CODE DIRECTORY: the tests of one with the code of the other
build() {
	as_server mkdir "$3"
	repository archive "$1" | as_server tar -x -C "$3"
	if [ "$1" != "$2" ]; then
		rm -rf "$3"/src "$3"/pasqal_jobs--*.sql
		# the Makefile names the objects, the control file the install script
		repository archive "$2" -- "${code[@]}" Makefile pasqal_jobs.control | as_server tar -x -C "$3"
	fi
	as_server make -s -j2 -C "$3" PG_CONFIG="$PG_CONFIG" with_llvm=no COPT=-w &&
		as_server make -s -C "$3" PG_CONFIG="$PG_CONFIG" with_llvm=no DESTDIR="$SANDBOX_DESTDIR" install
}

# run KIND NAME: one test in the current directory
run() {
	local list=$2

	case $1 in
		regress)
			# the files of sql/ build on these two
			case $2 in
				setup) ;;
				cancel) list='setup cancel' ;;
				*) list="setup cancel $2" ;;
			esac
			# what counts is this test
			as_server timeout 600 make PG_CONFIG="$PG_CONFIG" installcheck REGRESS="$list" ISOLATION= >run.log 2>&1 || true
			grep -Eq "^(test $2 +\.\.\. ok|ok [0-9]+ +(- )?$2 )" run.log
			;;
		isolation)
			as_server timeout 600 make PG_CONFIG="$PG_CONFIG" installcheck REGRESS= ISOLATION="$2" >run.log 2>&1
			;;
		tap)
			tap_command "$PWD"
			as_server timeout 600 "${TAP[@]}" "$2" >run.log 2>&1
			;;
	esac
}

# run_all DIRECTORY TESTS RESULTS: a line "passes" or "fails" for each
run_all() {
	local kind name

	cd "$1" || exit
	while read -r kind name; do
		if run "$kind" "$name" </dev/null; then echo passes; else echo fails; fi
	done <"$2" >"$3"
	cd "$SANDBOX" || exit
}

cd "$SANDBOX" || exit
examined=0 proven=0 unproven=0 unbuilt=0 untested=0
printf '%-9s %-34s %-8s %s\n' commit test before after
for commit in $commits; do
	[ -n "$(repository diff-tree -r --no-commit-id --name-only "$commit" -- "${code[@]}")" ] || continue
	changed_tests "$commit" >tests
	if ! [ -s tests ]; then
		untested=$((untested + 1))
		continue
	fi
	examined=$((examined + 1))
	short=$(repository rev-parse --short=7 "$commit")

	if ! build "$commit" "$commit^" "$SANDBOX/before$examined" >build.log 2>&1; then
		printf '%-9s %s\n' "$short" 'its parent does not build'
		unbuilt=$((unbuilt + 1))
		continue
	fi
	run_all "$SANDBOX/before$examined" "$SANDBOX/tests" "$SANDBOX/before"
	if ! build "$commit" "$commit" "$SANDBOX/after$examined" >build.log 2>&1; then
		printf '%-9s %s\n' "$short" 'does not build'
		unbuilt=$((unbuilt + 1))
		continue
	fi
	run_all "$SANDBOX/after$examined" "$SANDBOX/tests" "$SANDBOX/after"

	# a test that fails with the change, too, shows nothing
	paste -d' ' tests before after | while read -r _ name before after; do
		printf '%-9s %-34s %-8s %s\n' "$short" "$name" "$before" "$after"
	done
	if paste -d' ' before after | grep -qx 'fails passes'; then
		proven=$((proven + 1))
	else
		unproven=$((unproven + 1))
		printf '%-9s %s\n' "$short" "NO TEST FAILS BEFORE: $(repository log -1 --format=%s "$commit")"
	fi
	rm -rf "$SANDBOX/before$examined" "$SANDBOX/after$examined"
done

printf 'fails before: %d commits with code and tests: %d have a test that fails before, %d have none, %d do not build\n' \
	"$examined" "$proven" "$unproven" "$unbuilt"
printf 'fails before: %d commits with code have no test of these kinds\n' "$untested"
[ "$unproven" = 0 ] && [ "$unbuilt" = 0 ] && [ "$examined" -gt 0 ]

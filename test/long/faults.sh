# shellcheck shell=bash
# test/long/faults.sh: plants faults in the extension, one at a time. Sourced
# by mutate.sh and races.sh, which call it in the sandbox's copy of the sources.
#
#	faults_apply		is there a place for each?
#	plant_faults COMMAND	plants one after the other
#
# Both read lines FILE|FROM|TO: a file of src/, a Perl pattern, in which \x7c is
# a bar, and what takes its place, where a backslash quotes the next character.
# COMMAND fails if it notices the fault. Sets noticed and missed.

# In the current directory
faults_apply() {
	local file from status=0

	while IFS='|' read -r file from _; do
		if ! FROM=$from perl -0ne '$found = /$ENV{FROM}/; END { exit !$found }' "src/$file"; then
			say "no such place: $file $from"
			status=1
		fi
	done
	return $status
}

plant_faults() {
	local file from to source faults

	faults=$(cat)
	faults_apply <<<"$faults"
	noticed=0 missed=0
	cp -a src "$SANDBOX/src"
	while IFS='|' read -r file from to; do
		# the one planted before is restored
		for source in "$SANDBOX/src/"*.c; do
			cmp -s "$source" "src/${source##*/}" || as_server cp "$source" src/
		done
		as_server env FROM="$from" TO="$to" perl -0pi -e 'BEGIN { $to = $ENV{TO}; $to =~ s/\\(.)/$1/g } s/$ENV{FROM}/$to/' "src/$file"
		as_server make -s PG_CONFIG="$PG_CONFIG" with_llvm=no COPT=-w >&2
		as_server make -s PG_CONFIG="$PG_CONFIG" with_llvm=no DESTDIR="$SANDBOX_DESTDIR" install >/dev/null
		if "$1" </dev/null; then
			missed=$((missed + 1))
			printf 'not noticed: %s %s: %s\n' "$file" "$from" "$to"
		else
			noticed=$((noticed + 1))
		fi
	done <<<"$faults"
}

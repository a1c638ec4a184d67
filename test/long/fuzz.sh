#!/bin/bash
# test/long/fuzz.sh: libFuzzer on the parsers of text, under AddressSanitizer
# and UndefinedBehaviorSanitizer, from the seeds in fuzz/.
#
#	test/long/fuzz.sh [SECONDS for each of the two, default 310]
#
# An input that breaks one is shown; as a line of fuzz/*.txt it is tested
# for ever (test/t/014_fuzz.pl).
#
# TRUST_CORPUS=DIR keeps the inputs that ran new code, and the number of all that
# were tried, so that the next run goes on from there.

. "$(dirname "$0")/../../tools/sandbox.sh"

seconds=${1:-310}
version=$(dpkg-query -W -f '${Version}' clang 2>/dev/null | sed 's/.*:\([0-9]*\).*/\1/')
if [ -z "$version" ]; then
	install_packages clang
	version=$(dpkg-query -W -f '${Version}' clang | sed 's/.*:\([0-9]*\).*/\1/')
fi
install_packages gcc libc6-dev "clang-$version" "libclang-rt-$version-dev"

corpus=$(realpath -m "${TRUST_CORPUS:-$SANDBOX/corpus}")
mkdir -p "$corpus"
# These programs free little, so a short memory of what was freed is enough
export ASAN_OPTIONS=quarantine_size_mb=1:malloc_context_size=0:${ASAN_OPTIONS:-}
cd "$PROJECT/test/long/fuzz"

fuzz() {
	local name=$1 source=$2

	: >"$SANDBOX/$name.log"
	gcc -O1 -I../../../src "fuzz_$name.c" replay.c "../../../src/$source" -lm -o "$SANDBOX/replay_$name"
	"clang-$version" -g -O2 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-I../../../src "fuzz_$name.c" "../../../src/$source" -lm -o "$SANDBOX/fuzz_$name"
	mkdir -p "$corpus/$name"
	"$SANDBOX/replay_$name" "$name.txt" "$corpus/$name" >/dev/null
	"$SANDBOX/fuzz_$name" -max_total_time="$seconds" -max_len=700 -rss_limit_mb=4000 -print_final_stats=1 \
		-timeout=60 -artifact_prefix="$SANDBOX/crash_$name." "$corpus/$name" >>"$SANDBOX/$name.log" 2>&1
}

# both at once; what counts is CPU time
fuzz values parse_value.c & values=$!
fuzz query query_string.c & query=$!
failed=0
wait $values || failed=1
wait $query || failed=1
for name in values query; do
	# none, if it did not come to its end
	inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$SANDBOX/$name.log")
	[ -n "$inputs" ] || failed=1
	echo "${inputs:-0}" >>"$corpus/$name.inputs"
	printf 'fuzz %s: %s inputs in %s s, %s in all\n' "$name" "${inputs:-0}" "$seconds" \
		"$(awk '{ n += $1 } END { printf "%.0f", n }' "$corpus/$name.inputs")"
	[ "$failed" = 0 ] || tail -40 "$SANDBOX/$name.log"
done
for crash in "$SANDBOX"/crash_*; do
	[ -e "$crash" ] || continue
	printf '%s: ' "${crash##*/}"
	od -An -v -tx1 "$crash" | tr -d '\n' | sed 's/ /\\x/g'
	echo
done
[ "$failed" = 0 ]

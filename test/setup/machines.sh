#!/bin/bash
# test/setup/machines.sh: first runs on machines of several kinds.
#
#	test/setup/machines.sh [SUITE [CASE...]]	default: this machine's suite, all cases
#
# Each case of test/setup/machine.sh has a minimal system of its own, a copy of
# the suite's clean chroot (see tools/matrix.sh). Ends with "N passed, N failed".

. "$(dirname "${BASH_SOURCE[0]}")/../../tools/matrix.sh"

suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
cases=("${@:2}")
[ ${#cases[@]} -gt 0 ] || mapfile -t cases < <(sed -n 's/^case_\([a-z_]*\)() {$/\1/p' "$PROJECT/test/setup/machine.sh")

make_chroot "$suite" "$suite-clean" apt
clean=$CHROOT
log=$SANDBOX/machines.log

# What make dist makes of a clone; git is on no machine of these
archive=
if [ -e "$PROJECT/.git" ] && command -v git >/dev/null; then
	git clone -q "$PROJECT" "$SANDBOX/clone"
	make -s -C "$SANDBOX/clone" dist
	archive=$(ls "$SANDBOX"/clone/pasqal_jobs-*.zip)
fi

for case in "${cases[@]}"; do
	say "$suite: $case"
	trial_chroot "$clean"
	copy_sources "$CHROOT"
	[ -z "$archive" ] || cp "$archive" "$CHROOT/archive.zip"
	in_chroot "$CHROOT" bash /project/test/setup/machine.sh "$case" 2>&1 </dev/null | tee -a "$log" ||
		echo "not ok - $case came to its end" | tee -a "$log"
	rm -rf --one-file-system "$CHROOT"
done

skipped=$(grep -Eic '^ok .*# skip' "$log" || true)
passed=$(($(grep -c '^ok ' "$log" || true) - skipped))
failed=$(grep -c '^not ok ' "$log" || true)
[ "$skipped" = 0 ] || say "$skipped skipped"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ $((passed + skipped)) -ge ${#cases[@]} ]

#!/bin/bash
# test/bench/run.sh [--quick]: measures cancel_jobs against a bare UPDATE and
# against what else one could write, on a private server that is gone
# afterwards. --quick tries everything once on few jobs, within a minute or two
# on an idle machine; its figures say little.
#
# Shows tables, the goals last, and leaves them with the figures and a plot as
# results.txt, results.csv and results.svg in $BENCH_OUTPUT (default: this
# directory; with --quick they are only left if it is set). If the machine was
# too noisy, nothing is shown or left, and the status is 3.
#
# Instructions are counted if Valgrind is installed.
#
# Environment, for bench.py: BENCH_NOISE is the largest spread of the bare
# UPDATE that is taken for quiet (2), BENCH_PARTS names the parts to measure
# (then no results are left), BENCH_GROWTH adds a table of so many jobs,
# BENCH_FAST=1 leaves out the rivals that take long, BENCH_CLOCK=cpu measures CPU
# time in the server, for a machine with other work. No results are left with these.

. "$(dirname "$0")/../../tools/sandbox.sh"

case "${1:-}" in
	'') BENCH_OUTPUT=${BENCH_OUTPUT:-$PROJECT/test/bench} ;;
	--quick) ;;
	*) say "usage: $0 [--quick]"; exit 2 ;;
esac
if [ -n "${BENCH_OUTPUT:-}" ]; then
	BENCH_OUTPUT=$(cd "$BENCH_OUTPUT" && pwd)
fi

sandbox_create gnuplot-nox python3 python3-psycopg

# everything fits in the cache, and neither a checkpoint nor autovacuum comes
# in between
sandbox_start "shared_buffers = 2GB" "checkpoint_timeout = 1d" "min_wal_size = 6GB" "max_wal_size = 16GB" \
	"autovacuum = off"

jobs=150000
[ $# = 0 ] || jobs=2000
as_server psql -X -q -v ON_ERROR_STOP=1 -v jobs=$jobs -f test/bench/bench.sql -f test/bench/queues.sql >/dev/null
as_server mkdir "$SANDBOX/results"
as_server env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -u test/bench/bench.py "$@" "$SANDBOX/results" |
	tee "$SANDBOX/results.txt"
(cd "$SANDBOX/results" && as_server gnuplot "$SANDBOX/build/test/bench/plot.gp")

if [ -n "${BENCH_OUTPUT:-}" ]; then
	cat "$SANDBOX/results.txt" >"$BENCH_OUTPUT/results.txt"
	for result in results.csv results.svg; do
		cat "$SANDBOX/results/$result" >"$BENCH_OUTPUT/$result"
	done
	say "figures and plot are in ${BENCH_OUTPUT#"$PROJECT"/}"
fi

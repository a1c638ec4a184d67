#!/bin/bash
# test/bench/api.sh [--quick]: measures the example service over HTTP beside the
# same service with a hand-written UPDATE, and beside FastAPI with an ORM, on a
# private server that is gone afterwards. --quick tries everything on few jobs;
# its figures say little.
#
# Shows the figures, and leaves them as api_results.txt in $BENCH_OUTPUT
# (default: this directory; with --quick only if it is set). Exits with 1 if a
# goal is missed.

. "$(dirname "$0")/../../tools/sandbox.sh"

case "${1:-}" in
	'') BENCH_OUTPUT=${BENCH_OUTPUT:-$PROJECT/test/bench} ;;
	--quick) ;;
	*) say "usage: $0 [--quick]"; exit 2 ;;
esac
if [ -n "${BENCH_OUTPUT:-}" ]; then
	BENCH_OUTPUT=$(cd "$BENCH_OUTPUT" && pwd)
fi

sandbox_create python3 python3-starlette python3-uvicorn python3-uvloop python3-httptools python3-jwt python3-psycopg \
	python3-psycopg-pool python3-fastapi python3-pydantic python3-sqlalchemy python3-greenlet python3-asyncpg
sandbox_start "shared_buffers = 1GB" "checkpoint_timeout = 1d" "max_wal_size = 16GB" "autovacuum = off"

status=0
as_server env SANDBOX="$SANDBOX" PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -u test/bench/api.py "$@" |
	tee "$SANDBOX/results.txt" || status=$?
if [ -n "${BENCH_OUTPUT:-}" ] && [ -s "$SANDBOX/results.txt" ]; then
	cat "$SANDBOX/results.txt" >"$BENCH_OUTPUT/api_results.txt"
fi
[ "$status" = 0 ] || tail -5 "$SANDBOX/services.log" >&2
exit "$status"

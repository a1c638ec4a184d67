#!/bin/bash
# test/long/sqlsmith.sh: random queries against a database that has the
# extension, which must not take the server down.
#
#	test/long/sqlsmith.sh [QUERIES [SEED]]
#
# Queries fail by the thousand, as they should; what counts is that no
# backend dies, that no error is an internal one (XX000) of the extension,
# and that the extension works afterwards.

. "$(dirname "$0")/../../tools/sandbox.sh"

queries=${1:-20000}
seed=${2:-20230323}
sandbox_create sqlsmith
sandbox_start "statement_timeout = 2s" "log_min_messages = error" "restart_after_crash = off" \
	"log_line_prefix = '%e '" "log_error_verbosity = verbose" "max_locks_per_transaction = 256"

createdb smith
psql -Xq -d smith -v ON_ERROR_STOP=1 >/dev/null <<'SQL'
CREATE EXTENSION pasqal_jobs;
SELECT create_jobs_table();
SELECT create_jobs_table('parts', 3);
INSERT INTO jobs (batch_id, project_id, runs, status, user_id, variables, errors)
SELECT md5('batch ' || n % 5)::uuid, md5('project')::uuid, n, (enum_range(NULL::jobstatus))[1 + n % 5], 'user ' || n % 3,
	   jsonb_build_object('a', n), CASE n % 2 WHEN 0 THEN ARRAY['e'] END
FROM generate_series(1, 200) AS n;
INSERT INTO parts SELECT * FROM jobs;
-- sqlsmith finds functions by the types of what it has: columns of those
-- types, and functions that it would hardly call well by itself
CREATE TABLE calls (batch uuid, filters jsonb, path text, query text);
INSERT INTO calls SELECT md5('batch ' || n % 5)::uuid, f, md5('batch ' || n % 5)::uuid::text, q
FROM generate_series(1, 5) AS n, (VALUES ('{}'::jsonb, ''), ('{"status": "PENDING"}', 'status=PENDING'), ('{"id__starts_with": "a"}', 'id__starts_with=a'),
	('{"min_runs": "x"}', 'min_runs=x'), (NULL, NULL), ('[]', '%ff')) AS x (f, q);
CREATE VIEW answers AS SELECT c.*, cancel_jobs(batch, filters) AS answer FROM calls AS c WHERE jsonb_typeof(filters) = 'object' AND NOT filters ? 'min_runs';
CREATE VIEW responses AS SELECT c.*, h.status_code, h.body FROM calls AS c, cancel_jobs_http(path, query) AS h;
DO $$
BEGIN
	IF to_regprocedure('cancel_jobs_preview(uuid, jsonb)') IS NOT NULL THEN
		CREATE VIEW previews AS SELECT c.batch, p.* FROM calls AS c, cancel_jobs_preview(batch, filters) AS p WHERE filters = '{}';
		CREATE VIEW rows AS SELECT c.batch, p.* FROM calls AS c, cancel_jobs_rows(batch, filters) AS p WHERE filters = '{}';
	END IF;
END
$$;
SQL

# sqlsmith would wait for ever for a server that has crashed
status=0
# shellcheck disable=SC2016 # for the inner shell
as_server bash -c '
	sqlsmith "$@" &
	while sleep 1 && kill -0 $! 2>/dev/null; do
		pg_isready -q || kill $!
	done
	wait $!' bash --target="host=$PGHOST port=$PGPORT user=postgres dbname=smith" --exclude-catalog \
	--max-queries="$queries" --seed="$seed" >"$SANDBOX/smith.log" 2>&1 || status=$?
tail -5 "$SANDBOX/smith.log"

failed=0
# it ends with 0 if all of its queries were sent
[ "$status" = 0 ] || failed=1
grep -E 'terminated by signal|PANIC|TRAP' "$SANDBOX/log" && failed=1
psql -XAtq -d smith -c "SELECT jsonb_typeof(cancel_jobs(md5('batch 1')::uuid))" | grep -x object >/dev/null || failed=1
# with the file of src/ that raised it, however much stands between
files=$(cd src && printf '%s\n' *.c | paste -sd '|')
internal=$(grep -cE "^XX000 LOCATION:.*, (${files//./\\.}):[0-9]+" "$SANDBOX/log" || true)
calls=$(grep -cE 'cancel_jobs|answers|responses|previews|create_jobs_table|public\.rows' "$SANDBOX/log" || true)
printf 'sqlsmith: %d queries, seed %d, exit %d, %d lines of the log name the extension, %d internal errors in it\n' \
	"$queries" "$seed" "$status" "$calls" "$internal"
[ "$failed" = 0 ] && [ "$internal" = 0 ] && [ "$calls" -gt 0 ]

#!/bin/bash
# tools/demo_api.sh: the example service (examples/api_service.py) on a private
# server with sample data, asked with curl; each call and its answer is shown.

. "$(dirname "$0")/sandbox.sh"

sandbox_needs 150
sandbox_create curl python3 python3-starlette python3-uvicorn python3-psycopg python3-psycopg-pool python3-jwt
sandbox_start

BATCH=b0000000-0000-4000-8000-000000000001
OURS=c0000000-0000-4000-8000-000000000001
THEIRS=c0000000-0000-4000-8000-000000000002

# A port of the loopback interface that is free now
PORT=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
JOBS=http://127.0.0.1:$PORT/api/v2/batches/$BATCH/cancel/jobs
HEALTH=http://127.0.0.1:$PORT/health

# A secret that signs tokens: the caller's one names its project
TOKEN_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
TOKEN=$(/usr/bin/python3 -c 'import jwt, sys, time
print(jwt.encode({"project_id": sys.argv[1], "exp": int(time.time()) + 3600}, sys.argv[2], "HS256"))' "$OURS" "$TOKEN_KEY")

start_service() {
	export PORT TOKEN_KEY PYTHONDONTWRITEBYTECODE=1 PASQAL_JOBS_DSN="dbname=postgres user=api_service"
	as_server sh -c 'echo $$ >"$0/service.pid" && exec /usr/bin/python3 examples/api_service.py >"$0/service.log" 2>&1' "$SANDBOX" &
	SERVICE=$!
	for _ in $(seq 100); do
		! curl -sf -o /dev/null "$HEALTH" || return 0
		kill -0 "$SERVICE" 2>/dev/null || break
		sleep 0.1
	done
	say "the service did not start"
	cat "$SANDBOX/service.log" >&2
	return 1
}

# SIGTERM is how the service is meant to be stopped
stop_service() {
	kill "$(cat "$SANDBOX/service.pid")"
	wait "$SERVICE" || say "the service ended with status $?"
}

step() {
	printf '\n# %s\n' "$*"
}

sql() {
	as_server psql -X -q -v ON_ERROR_STOP=1 "$@"
}

# Shows a call of curl and its answer, the JSON indented
ask() {
	local answer argument line='$ curl'

	for argument in "$@"; do
		case $argument in
			*"$TOKEN") line="$line \"Authorization: Bearer \$TOKEN\"" ;;
			*[!A-Za-z0-9_:/.=-]*) line="$line '$argument'" ;;
			*) line="$line $argument" ;;
		esac
	done
	printf '%s\n' "$line"
	answer=$(curl -sS --max-time 30 -w '\n%{http_code}' "$@")
	printf 'HTTP %s\n' "${answer##*$'\n'}"
	printf '%s' "${answer%$'\n'*}" | /usr/bin/python3 -m json.tool
}

show_jobs() {
	sql -c "SELECT right(id::text, 3) AS job, right(project_id::text, 1) AS project, status, runs, end_timestamp IS NOT NULL AS ended
		FROM jobs ORDER BY creation_order"
}

# The database: a table, some jobs, and the role that the service logs in as
sql <<-SQL
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table() \g /dev/null
	CREATE ROLE api_service LOGIN;
	GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO api_service;
	ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own_project ON jobs TO api_service
		USING (project_id = nullif(current_setting('api.project_id', true), '')::uuid);
	INSERT INTO jobs (id, batch_id, project_id, status, runs, created_at, start_timestamp, end_timestamp)
	SELECT ('a0000000-0000-4000-8000-000000000' || job)::uuid, '$BATCH', project::uuid, status::jobstatus, runs, coalesce(started, '2023-03-23 10:40Z'), started, ended
	FROM (VALUES
		(101, '$OURS', 'DONE', 500, '2023-03-23 10:41Z'::timestamptz, '2023-03-23 10:42Z'::timestamptz),
		(102, '$OURS', 'RUNNING', 500, '2023-03-23 10:43Z', NULL),
		(103, '$OURS', 'PENDING', 100, NULL, NULL),
		(104, '$OURS', 'PENDING', 1000, NULL, NULL),
		(201, '$THEIRS', 'PENDING', 100, NULL, NULL)) AS j (job, project, status, runs, started, ended);
SQL
start_service

step "One batch, with jobs of two projects, 1 (ours) and 2:"
show_jobs

step "The service is up:"
ask "$HEALTH"

step "Cancel jobs by their ids. What cannot be canceled comes with the reason; a job of another project is not there:"
ask -X PATCH -H "Authorization: Bearer $TOKEN" "$JOBS?id=a0000000-0000-4000-8000-000000000101&id=a0000000-0000-4000-8000-000000000103&id=a0000000-0000-4000-8000-000000000201"

step "Cancel what was created since 10:43, a naive date-time is UTC:"
ask -X PATCH -H "Authorization: Bearer $TOKEN" "$JOBS?status=RUNNING&start_date=2023-03-23T10:43:00"

step "A bad request: 422, all problems at once, and nothing is canceled:"
ask -X PATCH -H "Authorization: Bearer $TOKEN" "$JOBS?statsu=PENDING&min_runs=many&status=pending"

step "Without a token nobody gets in:"
ask -X PATCH "$JOBS"

step "Without filters: all that is left of ours. The other project's job stays:"
ask -X PATCH -H "Authorization: Bearer $TOKEN" "$JOBS"
show_jobs

stop_service
step "What the service logged:"
cat "$SANDBOX/service.log"
say "that was a private server in $SANDBOX, which is removed now"

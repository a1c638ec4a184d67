#!/bin/bash
# test/bench/progress.sh: what it costs to keep progress within 0 to 100, in
# instructions of the CPU, which do not depend on what else the machine does.
#
# Four tables are the same but for that column: the domain of the default table,
# an integer with a CHECK of the table, with a constraint trigger, with neither.
# A backend in single-user mode runs a statement 20 and 120 times under
# callgrind, and the difference is that of 100.

. "$(dirname "$0")/../../tools/sandbox.sh"
sandbox_create valgrind

DATA=$SANDBOX/data
as_server initdb -D "$DATA" -U postgres -A trust --no-sync >/dev/null
printf '%s\n' 'fsync = off' 'autovacuum = off' | as_server tee -a "$DATA/postgresql.conf" >/dev/null

# Runs what it reads, statements that end with an empty line, on a copy of the data
backend() {
	as_server rm -rf "$SANDBOX/copy"
	as_server cp -a "$DATA" "$SANDBOX/copy"
	as_server "$@" "$SANDBOX_BIN/postgres" --single -D "$SANDBOX/copy" -j postgres >"$SANDBOX/log" 2>&1
	! grep -E '(ERROR|FATAL|PANIC):' "$SANDBOX/log"
}

backend env <<'SQL'
CREATE EXTENSION pasqal_jobs;

SELECT create_jobs_table(name) FROM unnest('{domain,check,trigger,integer}'::text[]) AS name;

ALTER TABLE "check" ALTER progress TYPE int, ADD CHECK (progress >= 0 AND progress <= 100);

ALTER TABLE "trigger" ALTER progress TYPE int;

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END';

CREATE CONSTRAINT TRIGGER progress AFTER INSERT OR UPDATE OF progress ON "trigger" FOR EACH ROW
WHEN (NEW.progress < 0 OR NEW.progress > 100) EXECUTE FUNCTION refuse();

ALTER TABLE "integer" ALTER progress TYPE int;

CREATE FUNCTION batch(n int, jobs int) RETURNS uuid LANGUAGE sql AS 'SELECT (lpad(n::text, 29, ''0'') || lpad(jobs::text, 3, ''0''))::uuid';

INSERT INTO domain (id, batch_id, project_id, runs)
SELECT CASE jobs WHEN 1 THEN batch(n, jobs) ELSE gen_random_uuid() END, batch(n, jobs), gen_random_uuid(), 1
FROM unnest('{1,100}'::int[]) AS jobs, generate_series(1, 120) AS n, generate_series(1, jobs);

INSERT INTO "check" TABLE domain;

INSERT INTO "trigger" TABLE domain;

INSERT INTO "integer" TABLE domain;

VACUUM (FREEZE, ANALYZE);
SQL
as_server rm -rf "$DATA"
as_server mv "$SANDBOX/copy" "$DATA"

# instructions TABLE PREPARE EXECUTE TIMES
instructions() {
	local n

	{
		printf '%s\n\n' "SET pasqal_jobs.jobs_table = '\"$1\"';" "${2//TABLE/\"$1\"};"
		for n in $(seq "$4"); do
			printf '%s\n\n' "${3//NUMBER/$(printf '%029d' "$n")};"
		done
	} | backend valgrind -q --tool=callgrind --callgrind-out-file="$SANDBOX/tmp/out"
	sed -n 's/^totals: //p' "$SANDBOX/tmp/out"
	as_server rm "$SANDBOX/tmp/out"
}

# compare WHAT PREPARE EXECUTE
compare() {
	local table counts=()

	for table in domain check trigger integer; do
		counts+=($((($(instructions "$table" "$2" "$3" 120) - $(instructions "$table" "$2" "$3" 20)) / 100)))
	done
	printf '%-36s %10s %10s %10s %10s\n' "$1" "${counts[@]}"
}

printf '%-36s %10s %10s %10s %10s\n' 'instructions of a statement' domain CHECK trigger neither
compare "UPDATE of status, by id" "PREPARE s(uuid) AS UPDATE TABLE SET status = 'CANCELED', updated_at = now(), end_timestamp = now() WHERE id = \$1" \
	"EXECUTE s('NUMBER001')"
compare "cancel_jobs of a batch of one job" "SELECT 1" "SELECT count(cancel_jobs('NUMBER001'))"
compare "cancel_jobs of a batch of 100 jobs" "SELECT 1" "SELECT count(cancel_jobs('NUMBER100'))"
compare "UPDATE of progress, by id" "PREPARE s(uuid) AS UPDATE TABLE SET progress = 50 WHERE id = \$1" "EXECUTE s('NUMBER001')"
compare "INSERT of a job without progress" "PREPARE s(uuid) AS INSERT INTO TABLE (batch_id, project_id, runs) VALUES (\$1, \$1, 1)" "EXECUTE s('NUMBER001')"

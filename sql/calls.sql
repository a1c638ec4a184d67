--
-- Calls from wherever SQL can call
--
-- in PL/pgSQL, its errors caught
DO $$
DECLARE
	answer jsonb := cancel_jobs(batch(1), '{"id__starts_with": "00000001"}');
	d text;
BEGIN
	RAISE NOTICE '%', told(answer);
	BEGIN
		PERFORM cancel_jobs(batch(1), '{"nonsense": 1}');
	EXCEPTION WHEN invalid_parameter_value THEN
		GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
		RAISE NOTICE '%', d::jsonb->'detail'->0->'loc';
	END;
	RAISE NOTICE '%', told(cancel_jobs(batch(1), '{"id__starts_with": "00000002"}'));
END
$$;
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;
-- in a transaction and a subtransaction that are rolled back
BEGIN;
SELECT told(cancel_jobs(batch(1), '{"id__starts_with": "00000003"}'));
SAVEPOINT s;
SELECT told(cancel_jobs(batch(1)));
ROLLBACK TO s;
SELECT told(cancel_jobs(batch(1)));
ROLLBACK;
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;
TRUNCATE jobs;
-- over several batches
SELECT submit(batch(n), 1 + 10 * n) FROM generate_series(1, 3) AS n;
BEGIN;
SELECT right(b::text, 2) AS batch, told(cancel_jobs(b, '{"user_id": "alice"}')) FROM (SELECT DISTINCT batch_id AS b FROM jobs) AS x ORDER BY b;
ROLLBACK;
-- twice in one statement: the second sees what the first did
BEGIN;
SELECT told(cancel_jobs(batch(1), '{"user_id": "alice"}')), told(cancel_jobs(batch(1)));
ROLLBACK;
-- after a change in the same statement's function, in a CTE, as a default of a prepared statement
BEGIN;
WITH c AS MATERIALIZED (SELECT cancel_jobs(batch(1)) AS answer) SELECT told(answer) FROM c;
ROLLBACK;
PREPARE c (uuid, jsonb) AS SELECT told(cancel_jobs($1, $2));
BEGIN; EXECUTE c (batch(1), '{"user_id": "bob"}'); EXECUTE c (batch(2), '{"user_id": "bob"}'); EXECUTE c (batch(1), '{}'); ROLLBACK;
-- from a trigger that a cancel fires: canceling a job cancels its children's batch
CREATE FUNCTION cancel_children() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	IF NEW.batch_id = batch(1) THEN
		answer := told(cancel_jobs(batch(2), jsonb_build_object('min_runs', NEW.runs, 'max_runs', NEW.runs)));
		RAISE NOTICE '% after %: %', tg_when, NEW.runs, answer;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER children AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION cancel_children();
BEGIN; SELECT told(cancel_jobs(batch(1))); SELECT told(cancel_jobs(batch(2))); ROLLBACK;
DROP TRIGGER children ON jobs;
CREATE TRIGGER children BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION cancel_children();
BEGIN; SELECT told(cancel_jobs(batch(1))); SELECT told(cancel_jobs(batch(2))); ROLLBACK;
-- even with the same statement for the same batch, from deep within
CREATE OR REPLACE FUNCTION cancel_children() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.runs > 0 AND pg_trigger_depth() < 4 THEN
		RAISE NOTICE 'depth %: %', pg_trigger_depth(), told(cancel_jobs(batch(pg_trigger_depth() + 1), '{"max_runs": 100}'));
	END IF;
	RETURN NEW;
END
$$;
BEGIN; SELECT told(cancel_jobs(batch(1), '{"max_runs": 100}')); ROLLBACK;
DROP TRIGGER children ON jobs;
-- a trigger that makes the plans of the cancel outdated while it runs
CREATE OR REPLACE FUNCTION cancel_children() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		CREATE TYPE passing AS ENUM ('x');
		ALTER TYPE passing RENAME VALUE 'x' TO 'y';
		DROP TYPE passing;
		CREATE SCHEMA passing;
		DROP SCHEMA passing;
		PERFORM cancel_jobs(batch(3), '{"max_runs": 100}');
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER children AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION cancel_children();
BEGIN; SELECT told(cancel_jobs(batch(1), '{"max_runs": 100}')); SELECT told(cancel_jobs(batch(3), '{"max_runs": 100}')); ROLLBACK;
DROP TRIGGER children ON jobs;
-- ... and whose call in it fails
CREATE OR REPLACE FUNCTION cancel_children() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() > 1 THEN
		RAISE EXCEPTION 'no further';
	END IF;
	CREATE SCHEMA passing;
	DROP SCHEMA passing;
	PERFORM cancel_jobs(batch(3), '{"max_runs": 100}');
	RETURN NEW;
EXCEPTION WHEN raise_exception THEN
	RAISE NOTICE 'depth %: %', pg_trigger_depth(), SQLERRM;
	IF pg_trigger_depth() > 1 THEN
		RAISE;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER children AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION cancel_children();
BEGIN; SELECT told(cancel_jobs(batch(1), '{"max_runs": 100}')); ROLLBACK;
DROP TRIGGER children ON jobs;
-- the planner's settings are the session's, before, in and after a call
CREATE FUNCTION settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% %: enable_indexscan = %, enable_seqscan = %, jit kept = %, synchronize_seqscans = %', tg_when, tg_level, current_setting('enable_indexscan'),
		current_setting('enable_seqscan'), (SELECT setting = reset_val FROM pg_settings WHERE name = 'jit'), current_setting('synchronize_seqscans');
	IF tg_level = 'STATEMENT' AND tg_when::text = current_setting('test.fail_when', true) THEN
		RAISE EXCEPTION 'settings() fails';
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER before_statement BEFORE UPDATE ON jobs EXECUTE FUNCTION settings();
CREATE TRIGGER before_row BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION settings();
CREATE TRIGGER after_statement AFTER UPDATE ON jobs EXECUTE FUNCTION settings();
BEGIN; SELECT told(cancel_jobs(batch(1), '{"max_runs": 100, "id__starts_with": "0"}')); ROLLBACK;
SET test.fail_when = 'BEFORE';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1), '{"max_runs": 100, "id__starts_with": "0"}')$$);
SET test.fail_when = 'AFTER';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1), '{"max_runs": 100, "id__starts_with": "0"}')$$);
SELECT cancel_jobs(batch(1), '{"max_runs": 100, "id__starts_with": "0"}');
SELECT name, setting, source FROM pg_settings WHERE name IN ('enable_indexscan', 'enable_seqscan', 'synchronize_seqscans') ORDER BY name;
SELECT setting = reset_val AS jit_kept FROM pg_settings WHERE name = 'jit';
-- for one job by id there is nothing to set
RESET test.fail_when;
BEGIN; SELECT told(cancel_jobs(batch(1), jsonb_build_object('id', job(11)))); ROLLBACK;
DROP TRIGGER before_statement ON jobs; DROP TRIGGER before_row ON jobs; DROP TRIGGER after_statement ON jobs; DROP FUNCTION settings();
-- triggers have the last word: they keep a job, change its status, fail
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.runs
		WHEN 100 THEN RETURN NULL;
		WHEN 200 THEN NEW.status := 'DONE';
		WHEN 300 THEN NEW.status := OLD.status;
		ELSE NULL;
	END CASE;
	RETURN NEW;
END
$$;
CREATE TRIGGER keep BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION keep();
SELECT tried(batch(1));
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(11), job(12), job(13), job(14), job(15))));
-- the job is kept, but does not match any more
SELECT tried(batch(1), '{"status": "PENDING"}');
DROP TRIGGER keep ON jobs;
ALTER TABLE jobs ADD CONSTRAINT not_this CHECK (NOT (status = 'CANCELED' AND runs = 400));
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE jobs DROP CONSTRAINT not_this;
-- the session's TimeZone and DateStyle are not seen
SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape'; SET extra_float_digits = -15;
BEGIN;
SELECT cancel_jobs(batch(1), jsonb_build_object('id', job(13), 'start_date', '2023-03-20T13:00'))
	#- '{data,jobs,0,updated_at}' #- '{data,jobs,0,end_timestamp}';
ROLLBACK;
SET TimeZone = 'UTC';
BEGIN;
SELECT (j->>'updated_at') = to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') AS isoformat, j->>'updated_at' = j->>'end_timestamp' AS both
FROM jsonb_array_elements(cancel_jobs(batch(1))->'data'->'jobs') AS j LIMIT 1;
ROLLBACK;
RESET TimeZone; RESET DateStyle; RESET IntervalStyle; RESET bytea_output; RESET extra_float_digits;
-- where it cannot be
BEGIN READ ONLY; SELECT cancel_jobs(batch(1)); ROLLBACK;
-- many different statements in one session, more than are kept
CREATE FUNCTION many_statements(batch uuid) RETURNS bigint LANGUAGE sql AS $$
SELECT count(DISTINCT tried(batch, (SELECT jsonb_object_agg(key, value) FROM
	(SELECT key, value, row_number() OVER () AS bit FROM jsonb_each(jsonb_build_object('id__starts_with', '0', 'batch_id', batch, 'project_id',
		jsonb_build_array(project(1), project(2), project(3)), 'user_id', '["alice", "bob"]'::jsonb, 'status', '["PENDING", "RUNNING"]'::jsonb,
		'min_runs', 1, 'max_runs', 1000, 'start_date', '1980-01-01T00:00Z', 'origin', '["CLIENT", "AZURE", "UNKNOWN"]'::jsonb))) AS k WHERE n & (1 << bit::int) > 0)))
FROM generate_series(2, 1022, 2) AS n
$$;
-- one among them whose preparation failed
CREATE VIEW twice AS SELECT * FROM jobs UNION ALL SELECT * FROM jobs;
SET pasqal_jobs.jobs_table = 'twice';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET pasqal_jobs.jobs_table;
DROP VIEW twice;
SELECT many_statements(batch(1));
-- also in the trigger of a cancel, whose own plans must stay meanwhile
CREATE OR REPLACE FUNCTION cancel_children() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 AND NEW.runs = 100 THEN
		RAISE NOTICE '%', many_statements(batch(2));
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER children BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION cancel_children();
BEGIN; SELECT told(cancel_jobs(batch(1))); SELECT told(cancel_jobs(batch(3))); ROLLBACK;
DROP TRIGGER children ON jobs;
-- in SQL functions that the planner inlines
CREATE FUNCTION cancel_pending(batch uuid) RETURNS jsonb LANGUAGE sql AS $$ SELECT cancel_jobs(batch, '{"status": "PENDING"}') $$;
CREATE FUNCTION pending_rows(batch uuid) RETURNS TABLE (id uuid, error text, job jsonb) STABLE LANGUAGE sql
	AS $$ SELECT * FROM cancel_jobs_rows(batch, '{"status": "PENDING"}') $$;
SET compute_query_id = off;
EXPLAIN (VERBOSE, COSTS OFF) SELECT cancel_pending(batch(1)), id FROM pending_rows(batch(2));
RESET compute_query_id;
BEGIN; SELECT told(cancel_pending(batch(1))), right(id::text, 2) AS id, error, job->>'status' AS status FROM pending_rows(batch(2)); ROLLBACK;
DROP FUNCTION cancel_pending, pending_rows;
-- in a query that could run in parallel it does not; a false claim that it may
-- is found by PostgreSQL, in the worker and in the leader
SELECT set_config(name, 'on', false) IS NOT NULL AS set FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
-- whatever an ANALYZE has seen of the table
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM jobs;
EXPLAIN (COSTS OFF) SELECT count(cancel_jobs(batch_id)) FROM jobs;
RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan;
BEGIN; SELECT told(cancel_jobs(batch(1))); ROLLBACK;
\set VERBOSITY terse
ALTER FUNCTION cancel_jobs PARALLEL SAFE;
SELECT count(cancel_jobs(batch_id)) FROM jobs;
ALTER FUNCTION cancel_jobs PARALLEL RESTRICTED;
SELECT count(cancel_jobs(batch_id)) FROM jobs;
ALTER FUNCTION cancel_jobs PARALLEL UNSAFE;
-- nor does one around a preview, as the code of a view or policy may be what no parallel query may do
CREATE TABLE listed AS SELECT batch(n % 5) AS batch FROM generate_series(1, 1000) AS n;
ANALYZE listed;
CREATE SEQUENCE looks;
CREATE VIEW looked_at AS SELECT * FROM jobs WHERE nextval('looks') > 0;
SET pasqal_jobs.jobs_table = 'looked_at';
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM (SELECT DISTINCT batch FROM listed) AS b, cancel_jobs_preview(b.batch);
ALTER FUNCTION cancel_jobs_preview PARALLEL RESTRICTED;
SELECT count(*) FROM (SELECT DISTINCT batch FROM listed) AS b, cancel_jobs_preview(b.batch);
ALTER FUNCTION cancel_jobs_preview PARALLEL UNSAFE;
RESET pasqal_jobs.jobs_table;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
DROP VIEW looked_at;
DROP SEQUENCE looks;
\set VERBOSITY default
SELECT set_config(name, 'off', false) IS NOT NULL AS set FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
-- a call costs more than an operator, so what is cheap is tested first
EXPLAIN (COSTS OFF) SELECT FROM listed WHERE cancel_jobs(batch) IS NOT NULL AND batch <> batch(1);
DROP TABLE listed;
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;
TRUNCATE jobs;
SELECT submit(batch(1));

--
-- cancel_jobs_in_chunks, and the notification of a call
--
TRUNCATE jobs;
SELECT submit(batch(n), 1 + 10 * n) FROM generate_series(1, 3) AS n;
-- PENDING before RUNNING, each by creation_order, each chunk committed
CREATE TABLE committed (n serial, xid xid8, runs int, ended timestamptz, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO committed (xid, runs, ended) VALUES (pg_current_xact_id(), NEW.runs, NEW.end_timestamp); RETURN NULL; END $$;
CREATE TRIGGER note AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION note();
UPDATE jobs SET status = CASE WHEN creation_order IN (11, 14) THEN 'RUNNING' ELSE 'PENDING' END::jobstatus WHERE creation_order BETWEEN 11 AND 15;
TRUNCATE committed;
SET pasqal_jobs.chunk_pause = '50ms';
CALL cancel_jobs_in_chunks(batch(1), '{}', 2);
SELECT dense_rank() OVER (ORDER BY xid) AS chunk, array_agg(runs ORDER BY runs) AS runs FROM committed GROUP BY xid ORDER BY xid;
-- no job ends before the pause does after which it is canceled
SELECT bool_and(ended >= before + interval '50 ms') AS after_pause
FROM (SELECT min(ended) AS ended, lag(max(at)) OVER (ORDER BY xid) AS before FROM committed GROUP BY xid) AS chunks;
SELECT status, count(*) FROM jobs WHERE batch_id = batch(1) GROUP BY 1 ORDER BY 1;
RESET pasqal_jobs.chunk_pause;
CALL cancel_jobs_in_chunks(batch => batch(1));
DROP TRIGGER note ON jobs;
-- the same numbers as one call would tell
SELECT tried(batch(2), '{"user_id": "alice"}');
CALL cancel_jobs_in_chunks(batch(2), '{"user_id": "alice"}', 1);
SELECT tried(batch(2), '{"id": ["00000002-0000-4000-8000-000000000022", "00000004-0000-4000-8000-000000000024", "00000005-0000-4000-8000-000000000025", "00000007-0000-4000-8000-000000000077"], "min_runs": 300}');
CALL cancel_jobs_in_chunks(batch(2), '{"id": ["00000002-0000-4000-8000-000000000022", "00000004-0000-4000-8000-000000000024", "00000005-0000-4000-8000-000000000025", "00000007-0000-4000-8000-000000000077"], "min_runs": 300}');
-- from PL/pgSQL the results need variables; they are of this call alone
DO $$
DECLARE
	canceled bigint := 100;
	failed bigint;
BEGIN
	CALL cancel_jobs_in_chunks(batch(3), '{"status": ["PENDING", "DONE"]}', 1000, canceled, failed);
	RAISE NOTICE '% canceled, % failed', canceled, failed;
END
$$;
-- each job is tried once, whatever a trigger does
CREATE FUNCTION requeue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO jobs (batch_id, project_id, runs) VALUES (NEW.batch_id, NEW.project_id, 1);
	RETURN CASE WHEN NEW.runs > 300 THEN NULL ELSE NEW END;
END
$$;
UPDATE jobs SET status = 'PENDING' WHERE batch_id = batch(3);
CREATE TRIGGER requeue BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION requeue();
CALL cancel_jobs_in_chunks(batch(3), '{}', 3);
SELECT status, count(*) FROM jobs WHERE batch_id = batch(3) GROUP BY 1 ORDER BY 1;
DROP TRIGGER requeue ON jobs;
-- nothing to do
CALL cancel_jobs_in_chunks(batch(404));
-- where it cannot be called, and how not
BEGIN;
CALL cancel_jobs_in_chunks(batch(1));
ROLLBACK;
-- two statements of one message are a transaction block, too
SET pasqal_jobs.chunk_pause = 0 \; CALL cancel_jobs_in_chunks(batch(1));
\x on
SELECT * FROM failure($$CALL cancel_jobs_in_chunks(batch(1))$$);
CREATE FUNCTION chunky() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c bigint;
	f bigint;
BEGIN
	CALL cancel_jobs_in_chunks(batch(1), '{}', 1000, c, f);
END
$$;
SELECT * FROM failure('SELECT chunky()');
DROP FUNCTION chunky;
\x off
-- SET LOCAL ends with the first commit, before anything is canceled
CREATE PROCEDURE locally(setting text, value text) LANGUAGE plpgsql AS $$
DECLARE
	c bigint;
	f bigint;
BEGIN
	PERFORM set_config(setting, value, true);
	CALL cancel_jobs_in_chunks(batch(1), '{}', 1, c, f);
END
$$;
CREATE TABLE other_jobs (LIKE jobs);
CREATE ROLE regress_chunks;
GRANT SELECT, UPDATE ON jobs TO regress_chunks;
UPDATE jobs SET status = 'PENDING' WHERE batch_id = batch(1);
CALL locally('role', 'regress_chunks');
\echo :SQLSTATE
CALL locally('pasqal_jobs.jobs_table', 'other_jobs');
CALL locally('pasqal_jobs.notify_channel', 'pasqal');
-- and so does a search_path, by which a name without a schema means another relation afterwards, or none
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.jobs (LIKE jobs);
CREATE TABLE elsewhere.lone_jobs (LIKE jobs);
CALL locally('search_path', 'elsewhere, public');
\echo :SQLSTATE
SET pasqal_jobs.jobs_table = lone_jobs;
CALL locally('search_path', 'elsewhere, public');
-- which matters to no other name
SET pasqal_jobs.jobs_table = 'elsewhere.lone_jobs';
CALL locally('search_path', 'elsewhere, public');
RESET pasqal_jobs.jobs_table;
SELECT count(*) FROM jobs WHERE batch_id = batch(1) AND status = 'CANCELED';
CREATE TEMP TABLE jobs (LIKE public.jobs);
CALL locally('search_path', 'public');
DROP TABLE pg_temp.jobs;
UPDATE jobs SET status = 'PENDING' WHERE batch_id = batch(1);
-- a trigger may set it for the session
CREATE FUNCTION go_elsewhere() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET search_path = elsewhere, public; RETURN NULL; END $$;
CREATE TRIGGER go_elsewhere AFTER UPDATE ON jobs EXECUTE FUNCTION go_elsewhere();
CALL cancel_jobs_in_chunks(batch(1), '{}', 1);
RESET search_path;
SELECT count(*) FROM jobs WHERE batch_id = batch(1) AND status = 'CANCELED';
DROP TRIGGER go_elsewhere ON jobs;
DROP FUNCTION go_elsewhere;
UPDATE jobs SET status = 'PENDING' WHERE batch_id = batch(1);
DROP TABLE elsewhere.jobs, elsewhere.lone_jobs;
DROP SCHEMA elsewhere;
SET ROLE regress_chunks;
CALL cancel_jobs_in_chunks(batch(1), '{}', 1);
RESET ROLE;
DROP PROCEDURE locally;
DROP TABLE other_jobs;
REVOKE ALL ON jobs FROM regress_chunks;
DROP ROLE regress_chunks;
CALL cancel_jobs_in_chunks(batch(1), '{"statsu": "DONE"}');
CALL cancel_jobs_in_chunks(NULL, '{}');
CALL cancel_jobs_in_chunks(batch(1), '{}', 0);
\echo :SQLSTATE
CALL cancel_jobs_in_chunks(batch(1), '{}', NULL);
DROP TABLE committed;
DROP FUNCTION note, requeue;

-- chunks so large that their ids are compared with the batch first
SELECT create_jobs_table('many');
SET pasqal_jobs.jobs_table = 'many';
INSERT INTO many (id, batch_id, project_id, runs) SELECT md5(n::text)::uuid, batch(0), project(1), 1 FROM generate_series(1, 120000) AS n;
-- and of which one is deleted before its turn
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM many WHERE id = (SELECT id FROM many WHERE status = 'PENDING' ORDER BY creation_order DESC LIMIT 1);
	RETURN NULL;
END
$$;
CREATE TRIGGER lose AFTER UPDATE ON many EXECUTE FUNCTION lose();
SET client_min_messages = warning;
CALL cancel_jobs_in_chunks(batch(0), '{}', 60000);
DROP TRIGGER lose ON many;
UPDATE many SET status = 'PENDING', batch_id = batch(1) WHERE creation_order % 2 = 0;
DO $$
DECLARE
	named jsonb := (SELECT jsonb_build_object('id', jsonb_agg(md5(n::text)::uuid)) FROM generate_series(1, 120000) AS n);
	c bigint;
	f bigint;
BEGIN
	CALL cancel_jobs_in_chunks(batch(1), named, 100000, c, f);
	RAISE WARNING '% canceled, % failed', c, f;
END
$$;
RESET client_min_messages;
SELECT status, count(*) FROM many GROUP BY 1;
RESET pasqal_jobs.jobs_table;
DROP TABLE many;
DROP FUNCTION lose;
-- a limit of jobs, known before the UPDATE where the first read tells it
SET pasqal_jobs.max_jobs = 3;
CREATE FUNCTION updates() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'UPDATE'; RETURN NULL; END $$;
CREATE TRIGGER updates BEFORE UPDATE ON jobs EXECUTE FUNCTION updates();
TRUNCATE jobs;
SELECT submit(batch(1));
\x on
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SELECT state, message FROM failure($$SELECT * FROM cancel_jobs_rows(batch(1))$$);
SELECT state, message FROM failure($$SELECT * FROM cancel_jobs_http(batch(1)::text)$$);
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1), '{"id": ["00000001-0000-4000-8000-000000000001", "00000002-0000-4000-8000-000000000002", "00000003-0000-4000-8000-000000000003", "00000004-0000-4000-8000-000000000004"]}')$$);
CALL cancel_jobs_in_chunks(batch(1), '{}', 1);
\x off
SELECT count(*) FROM jobs WHERE status = 'CANCELED';
-- what a policy or trigger keeps is not canceled, and does not count, however it was found
CREATE ROLE regress_chunks;
GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO regress_chunks;
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON jobs FOR SELECT USING (true);
CREATE POLICY updated ON jobs FOR UPDATE USING (runs < 400);
-- ... also once someone has called to whom no policy applies
SELECT count(*) FROM cancel_jobs_preview(batch(1));
SET ROLE regress_chunks;
SELECT tried(batch(1));
RESET ROLE;
ALTER POLICY updated ON jobs USING (true);
SET ROLE regress_chunks;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET ROLE;
DROP POLICY seen ON jobs;
DROP POLICY updated ON jobs;
ALTER TABLE jobs DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_chunks;
DROP ROLE regress_chunks;
CREATE FUNCTION keep_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep_one BEFORE UPDATE ON jobs FOR EACH ROW WHEN (OLD.runs = 400) EXECUTE FUNCTION keep_one();
SELECT tried(batch(1));
ALTER TABLE jobs ENABLE ALWAYS TRIGGER keep_one;
SELECT tried(batch(1));
DROP TRIGGER keep_one ON jobs;
DROP FUNCTION keep_one;
-- nor does what a rule keeps
CREATE TABLE ruled (LIKE jobs);
INSERT INTO ruled SELECT * FROM jobs;
CREATE RULE below_400 AS ON UPDATE TO ruled DO INSTEAD
	UPDATE jobs SET status = NEW.status, updated_at = NEW.updated_at, end_timestamp = NEW.end_timestamp WHERE id = OLD.id AND runs < 400 RETURNING *;
SET pasqal_jobs.jobs_table = 'ruled';
SELECT tried(batch(1), '{"status": ["PENDING", "RUNNING"]}');
RESET pasqal_jobs.jobs_table;
DROP TABLE ruled;
-- what may be canceled, and a preview, have no limit
SELECT count(*) FROM cancel_jobs_preview(batch(1));
SELECT tried(batch(1), '{"min_runs": 200}');
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(2), job(98), job(99))));
SET pasqal_jobs.max_jobs = 4;
SELECT tried(batch(1));
-- which also holds for chunks
CALL cancel_jobs_in_chunks(batch(1), '{}', 3);
TRUNCATE jobs;
SELECT submit(batch(1));
-- it is that of the call's beginning
CREATE FUNCTION unlimited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('pasqal_jobs.max_jobs', '0', true); RETURN NULL; END $$;
CREATE TRIGGER unlimited BEFORE UPDATE ON jobs EXECUTE FUNCTION unlimited();
SET pasqal_jobs.max_jobs = 1;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(2))))$$);
DROP TRIGGER unlimited ON jobs;
DROP FUNCTION unlimited;
SET pasqal_jobs.max_jobs = -1;
SET pasqal_jobs.max_jobs = '1 job';
SET pasqal_jobs.chunk_pause = '1 fortnight';
SET pasqal_jobs.chunk_pause = '250ms';
SHOW pasqal_jobs.chunk_pause;
RESET pasqal_jobs.max_jobs;
RESET pasqal_jobs.chunk_pause;
DROP TRIGGER updates ON jobs;
DROP FUNCTION updates;

-- jobs that are updated before their turn are elsewhere in the table then
TRUNCATE jobs;
SELECT submit(batch(1));
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE jobs SET runs = runs + 1 WHERE status IN ('PENDING', 'RUNNING');
	RETURN NULL;
END
$$;
CREATE TRIGGER move AFTER UPDATE ON jobs FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION move();
CALL cancel_jobs_in_chunks(batch(1), '{}', 2);
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;
DROP TRIGGER move ON jobs;
DROP FUNCTION move;
-- rights to columns are enough, and they include no ctid; who may also insert may
-- not read it, either
TRUNCATE jobs;
SELECT submit(batch(1));
CREATE ROLE regress_chunks;
SELECT format('GRANT SELECT (%s) ON jobs TO regress_chunks', string_agg(quote_ident(attname), ', '))
FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0 AND NOT attisdropped \gexec
GRANT INSERT, UPDATE (status, updated_at, end_timestamp) ON jobs TO regress_chunks;
SET ROLE regress_chunks;
CALL cancel_jobs_in_chunks(batch(1), '{}', 2);
RESET ROLE;
-- who may only read is refused, also where there is nothing to do
REVOKE ALL ON jobs FROM regress_chunks;
GRANT SELECT ON jobs TO regress_chunks;
SET ROLE regress_chunks;
CALL cancel_jobs_in_chunks(batch(404));
\echo :SQLSTATE
CALL cancel_jobs_in_chunks(batch(404), '{"status": "PENDING"}');
\echo :SQLSTATE
RESET ROLE;
REVOKE ALL ON jobs FROM regress_chunks;
DROP ROLE regress_chunks;
-- which dates filters are about is settled as the call begins
TRUNCATE jobs;
SELECT submit(batch(1));
CREATE PROCEDURE by_creation() LANGUAGE plpgsql AS $$
DECLARE
	c bigint;
	f bigint;
BEGIN
	PERFORM set_config('pasqal_jobs.date_filter', 'creation', true);
	CALL cancel_jobs_in_chunks(batch(1), '{"start_date": "2023-03-01T00:00Z", "end_date": "2023-03-04T00:00Z"}', 1, c, f);
	RAISE NOTICE '% canceled, % failed', c, f;
	RAISE NOTICE 'pg_stat_activity shows: %', (SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid());
END
$$;
CALL by_creation();
DROP PROCEDURE by_creation;
-- how far it is
TRUNCATE jobs;
SELECT submit(batch(1));
CREATE FUNCTION progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '%', (SELECT substring(query FROM '-- .*') FROM pg_stat_activity WHERE pid = pg_backend_pid());
	RETURN NULL;
END
$$;
CREATE TRIGGER progress BEFORE UPDATE ON jobs EXECUTE FUNCTION progress();
CALL cancel_jobs_in_chunks(batch(1), '{}', 2);
DROP TRIGGER progress ON jobs;
DROP FUNCTION progress;
-- the pause is that of the call's beginning, too
TRUNCATE jobs;
SELECT submit(batch(1));
DO $$
DECLARE
	began timestamptz := clock_timestamp();
	c bigint;
	f bigint;
BEGIN
	PERFORM set_config('pasqal_jobs.chunk_pause', '150ms', true);
	CALL cancel_jobs_in_chunks(batch(1), '{"status": "PENDING"}', 1, c, f);
	RAISE NOTICE 'rested: %', clock_timestamp() - began >= interval '150 ms';
END
$$;
-- no pause after the last chunk
TRUNCATE jobs;
SELECT submit(batch(1));
SET pasqal_jobs.chunk_pause = '1h';
SET statement_timeout = '1min';
CALL cancel_jobs_in_chunks(batch(1), '{"status": "PENDING"}', 1000);
RESET statement_timeout;
RESET pasqal_jobs.chunk_pause;
-- declared otherwise than the extension does
CREATE PROCEDURE without_results(uuid, jsonb, int) LANGUAGE c AS 'pasqal_jobs', 'cancel_jobs_in_chunks';
CALL without_results(batch(1), '{}', 1);
DROP PROCEDURE without_results;
CREATE FUNCTION no_procedure(uuid, jsonb, int, OUT bigint, OUT bigint) LANGUAGE c AS 'pasqal_jobs', 'cancel_jobs_in_chunks';
SELECT state, message FROM failure($$SELECT no_procedure(batch(1), '{}', 1)$$);
DROP FUNCTION no_procedure;
-- a reason has the status in it, which may be any text; the twenty most frequent are told
CREATE TABLE worded (LIKE jobs);
ALTER TABLE worded ALTER COLUMN status TYPE text;
INSERT INTO worded (id, batch_id, project_id, runs, status, creation_order, created_at, updated_at)
SELECT job(n), batch(b), project(1), 1, CASE b WHEN 1 THEN 'STATE' || n % 21 WHEN 2 THEN 'x' || repeat('e', 10000) || n % 2 END, n, now(), now()
FROM generate_series(1, 50) AS n, generate_series(1, 2) AS b;
INSERT INTO worded (id, batch_id, project_id, runs, status, creation_order, created_at, updated_at)
SELECT md5(n::text)::uuid, batch(3), project(1), 1, CASE WHEN n <= 10 THEN 'PAUSED' ELSE 'STATE' || n END, n, now(), now() FROM generate_series(1, 10050) AS n;
SET pasqal_jobs.jobs_table = 'worded';
CALL cancel_jobs_in_chunks(batch(1));
CALL cancel_jobs_in_chunks(batch(2));
CALL cancel_jobs_in_chunks(batch(3));
RESET pasqal_jobs.jobs_table;
DROP TABLE worded;
-- several jobs of one id, in a table whose id is not unique
CREATE TABLE twins (LIKE jobs);
INSERT INTO twins (id, batch_id, project_id, runs, status, creation_order, created_at, updated_at)
SELECT job(n % 4), batch(1), project(1), 1, 'PENDING', n, now(), now() FROM generate_series(1, 8) AS n;
SET pasqal_jobs.jobs_table = 'twins';
CALL cancel_jobs_in_chunks(batch(1), '{}', 3);
SELECT status, count(*) FROM twins GROUP BY 1;
UPDATE twins SET status = 'PENDING';
SELECT told(cancel_jobs(batch(1), jsonb_build_object('id', jsonb_agg(DISTINCT id)))) FROM twins;
UPDATE twins SET status = 'PENDING';
SELECT jsonb_build_object('id', jsonb_agg(DISTINCT id)) AS filters FROM twins \gset
CALL cancel_jobs_in_chunks(batch(1), :'filters', 3);
CALL cancel_jobs_in_chunks(batch(1), :'filters', 100);
UPDATE twins SET status = 'PENDING';
CALL cancel_jobs_in_chunks(batch(1), :'filters', 100);
RESET pasqal_jobs.jobs_table;
DROP TABLE twins;

-- a chunk finds its jobs by where they are, a call that skips locked jobs by the filters: two plans
TRUNCATE jobs;
SELECT submit(batch(1));
SET pasqal_jobs.locked_jobs = 'skip';
SET client_min_messages = warning;
CALL cancel_jobs_in_chunks(batch(1), '{"user_id": "alice"}', 1);
RESET client_min_messages;
UPDATE jobs SET status = 'PENDING' WHERE status = 'CANCELED';
SELECT tried(batch(1), '{"user_id": "alice"}');
RESET pasqal_jobs.locked_jobs;

-- one notification a call, or a chunk, that canceled anything
TRUNCATE jobs;
SELECT submit(batch(1));
LISTEN pasqal;
SET pasqal_jobs.notify_channel = 'pasqal';
SELECT count(*) FROM cancel_jobs_rows(batch(1), '{"status": "DONE"}');
SELECT count(*) FROM cancel_jobs_preview(batch(1));
SELECT set_config('pasqal_jobs.notify_channel', repeat('n', 64), false);
SELECT length(set_config('pasqal_jobs.notify_channel', repeat('n', 63), false));
SET pasqal_jobs.notify_channel = '';
UNLISTEN *;
TRUNCATE jobs;
SELECT submit(batch(1));

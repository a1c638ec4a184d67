--
-- The settings locked_jobs and running_status, and times that stay in order. What
-- becomes of jobs that other sessions hold is in test/isolation/.
--
LOAD 'pasqal_jobs';
TRUNCATE jobs;
SELECT submit(batch(1));
SHOW pasqal_jobs.locked_jobs;
SHOW pasqal_jobs.running_status;
SELECT * FROM failure($$SET pasqal_jobs.locked_jobs = 'maybe'$$);

-- the first call of a session reads catalogs, and keeps no lock of them
BEGIN;
SELECT told(cancel_jobs(batch(1)));
SELECT relation::regclass, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND relation < 16384 AND relation <> 'pg_locks'::regclass;
CREATE TABLE heir () INHERITS (jobs);
SET LOCAL pasqal_jobs.jobs_table = 'heir';
SELECT told(cancel_jobs(batch(1)));
SELECT relation::regclass, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND relation IN ('pg_inherits'::regclass, 'pg_index'::regclass) AND mode = 'AccessShareLock';
ROLLBACK;

-- where nobody has locked a job, skip answers as wait does
SELECT tried(batch(1)) AS waited \gset
SET pasqal_jobs.locked_jobs = 'skip';
SELECT tried(batch(1)) = :'waited' AS same;
SELECT tried(batch(1), '{"user_id": "bob"}'), tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(5), job(99)))),
	   tried(batch(1), jsonb_build_object('id', job(2), 'min_runs', 1000));
-- a limit counts what is canceled
SET pasqal_jobs.max_jobs = 3;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET pasqal_jobs.max_jobs;

-- rows that the transaction itself has locked or changed, before savepoints and in them
BEGIN;
SELECT right(id::text, 2) AS job FROM jobs WHERE status = 'PENDING' ORDER BY 1 FOR UPDATE;
SAVEPOINT a;
UPDATE jobs SET runs = runs + 1 WHERE status = 'RUNNING';
SAVEPOINT b;
SELECT told(cancel_jobs(batch(1)));
ROLLBACK TO a;
SELECT told(cancel_jobs(batch(1)));
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT right(id::text, 2) AS job FROM jobs WHERE status = 'PENDING' ORDER BY 1 FOR KEY SHARE;
SELECT tried(batch(1)) = :'waited' AS same;
ROLLBACK TO a;
SELECT told(cancel_jobs(batch(1))) = :'waited' AS same;
ROLLBACK;

-- what cannot be locked ahead is refused, not waited for
CREATE VIEW seen_jobs AS SELECT * FROM jobs;
SET pasqal_jobs.jobs_table = 'seen_jobs';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SELECT * FROM failure($$SELECT cancel_jobs_rows(batch(1))$$);
SELECT * FROM failure($$SELECT cancel_jobs_http(batch(1)::text)$$);
CALL cancel_jobs_in_chunks(batch(1));
SELECT count(*) FROM cancel_jobs_preview(batch(1));
SET pasqal_jobs.locked_jobs = 'wait';
SELECT tried(batch(1)) = :'waited' AS same;
SET pasqal_jobs.locked_jobs = 'skip';
DROP VIEW seen_jobs;
-- a foreign table two levels below, from when it comes until it goes
CREATE TABLE tree (LIKE jobs) PARTITION BY LIST (batch_id);
CREATE TABLE trunk PARTITION OF tree FOR VALUES IN ('bbbbbbbb-0000-4000-8000-000000000001');
CREATE TABLE branch PARTITION OF tree DEFAULT PARTITION BY LIST (runs);
INSERT INTO trunk SELECT * FROM jobs;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
SET pasqal_jobs.jobs_table = 'tree';
SELECT tried(batch(1)) = :'waited' AS same;
CREATE FOREIGN TABLE far PARTITION OF branch FOR VALUES IN (1) SERVER nowhere;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'trunk';
SELECT tried(batch(1)) = :'waited' AS same;
SET pasqal_jobs.jobs_table = 'tree';
DROP FOREIGN TABLE far;
SELECT tried(batch(1)) = :'waited' AS same;
-- the same below a table that is inherited from
CREATE TABLE elder (LIKE jobs);
CREATE TABLE heir () INHERITS (elder);
SET pasqal_jobs.jobs_table = 'elder';
SELECT tried(batch(1));
CREATE FOREIGN TABLE far () INHERITS (heir) SERVER nowhere;
SELECT state FROM failure($$SELECT cancel_jobs(batch(1))$$);
DROP FOREIGN TABLE far;
DROP TABLE heir, elder;
SET pasqal_jobs.jobs_table = 'tree';
-- and if it comes in the midst of a call
CREATE ROLE regress_pasqal_operator;
GRANT USAGE ON FOREIGN SERVER nowhere TO regress_pasqal_operator;
GRANT CREATE ON SCHEMA public TO regress_pasqal_operator;
GRANT SELECT ON jobs TO regress_pasqal_operator;
GRANT SELECT, UPDATE ON tree TO regress_pasqal_operator;
ALTER TABLE branch OWNER TO regress_pasqal_operator;
CREATE FUNCTION attach() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	CREATE FOREIGN TABLE IF NOT EXISTS far PARTITION OF branch FOR VALUES IN (1) SERVER nowhere;
	RETURN true;
END
$$;
ALTER TABLE tree ENABLE ROW LEVEL SECURITY;
CREATE POLICY attach ON tree USING (attach());
SET ROLE regress_pasqal_operator;
SET client_min_messages = warning;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET client_min_messages;
RESET ROLE;
DROP TABLE tree;
DROP FUNCTION attach();
DROP OWNED BY regress_pasqal_operator;
DROP ROLE regress_pasqal_operator;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;
RESET pasqal_jobs.jobs_table;

-- a job that a policy keeps is told from one that is locked by xmax, which needs SELECT on the table
CREATE ROLE "regress_pasqal odd";
SELECT format('GRANT SELECT (%s), UPDATE (status, updated_at, end_timestamp) ON jobs TO "regress_pasqal odd"', string_agg(quote_ident(attname), ', '))
FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0 \gexec
-- ... by each user, also after a call of one who may select from all of it
SELECT tried(batch(1)) = :'waited' AS same;
SET ROLE "regress_pasqal odd";
SELECT tried(batch(1)) = :'waited' AS same;
RESET ROLE;
BEGIN;
ALTER FUNCTION tried(uuid, jsonb) OWNER TO "regress_pasqal odd";
ALTER FUNCTION tried(uuid, jsonb) SECURITY DEFINER;
SELECT tried(batch(1)) = :'waited' AS same;
ROLLBACK;
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY read ON jobs FOR SELECT USING (true);
CREATE POLICY write ON jobs FOR UPDATE USING (user_id = 'alice');
SET ROLE "regress_pasqal odd";
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET ROLE;
GRANT SELECT ON jobs TO "regress_pasqal odd";
SET ROLE "regress_pasqal odd";
SELECT tried(batch(1));
RESET ROLE;
-- ... that the call's own transaction has locked, in a savepoint; both before and in
-- one is a MultiXact, as are the locks of others
BEGIN;
SELECT right(id::text, 2) AS job FROM jobs WHERE id = job(4) FOR KEY SHARE;
SAVEPOINT a;
SELECT right(id::text, 2) AS job FROM jobs WHERE id IN (job(2), job(4)) ORDER BY 1 FOR SHARE;
SET LOCAL ROLE "regress_pasqal odd";
SELECT tried(batch(1));
ROLLBACK;
-- ... for the owner of a function that calls
BEGIN;
ALTER FUNCTION tried(uuid, jsonb) OWNER TO "regress_pasqal odd";
ALTER FUNCTION tried(uuid, jsonb) SECURITY DEFINER;
SELECT tried(batch(1), '{"status": "PENDING"}');
ROLLBACK;
-- ... whose policies hold for the owner of the table, too
BEGIN;
ALTER TABLE jobs OWNER TO "regress_pasqal odd";
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
SET LOCAL ROLE "regress_pasqal odd";
SELECT tried(batch(1), '{"status": "PENDING"}');
ROLLBACK;
DROP POLICY read ON jobs;
DROP POLICY write ON jobs;
ALTER TABLE jobs DISABLE ROW LEVEL SECURITY;
DROP OWNED BY "regress_pasqal odd";
DROP ROLE "regress_pasqal odd";
RESET pasqal_jobs.locked_jobs;

-- times: a worker started the job, and touched it, after the transaction began
BEGIN;
ALTER TABLE jobs ADD CHECK (end_timestamp >= start_timestamp), ALTER updated_at DROP NOT NULL;
UPDATE jobs SET start_timestamp = now() + interval '1 s', updated_at = now() + interval '2 s' WHERE id = job(3);
UPDATE jobs SET start_timestamp = now() - interval '1 s', updated_at = now() - interval '2 s' WHERE id = job(4);
UPDATE jobs SET start_timestamp = 'infinity', updated_at = NULL WHERE id = job(2);
SELECT told(cancel_jobs(batch(1)));
SELECT right(id::text, 2) AS job, end_timestamp = start_timestamp AS at_start, end_timestamp = now() AS ended_now, updated_at - now() AS updated
FROM jobs WHERE id IN (job(1), job(2), job(3), job(4)) ORDER BY 1;
ROLLBACK;

--
-- running_status
--
-- what is no status of a job to be canceled is refused
SELECT s, f.* FROM unnest('{PENDING,RUNNING,DONE,CANCELING,"",canceled,STOPPED}'::text[]) AS s,
	 LATERAL (SELECT set_config('pasqal_jobs.running_status', s, false)) AS x,
	 LATERAL failure(format('SELECT cancel_jobs(batch(1)) /* %s */', set_config)) AS f;
SELECT * FROM failure($$SELECT cancel_jobs_http(batch(1)::text)$$);
CALL cancel_jobs_in_chunks(batch(1));
-- a preview writes nothing, so it does not ask
SELECT count(*) FROM cancel_jobs_preview(batch(1));

-- an enum of one's own that has the label; not before it is committed
CREATE TYPE status_with_canceling AS ENUM ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'CANCELED');
ALTER TABLE jobs ALTER status DROP DEFAULT, ALTER status TYPE status_with_canceling USING status::text::status_with_canceling;
SET pasqal_jobs.running_status = 'CANCELING';
BEGIN;
ALTER TYPE status_with_canceling ADD VALUE 'CANCELING' BEFORE 'CANCELED';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
ROLLBACK;
ALTER TYPE status_with_canceling ADD VALUE 'CANCELING' BEFORE 'CANCELED';

CREATE VIEW outcome AS
SELECT right(id::text, 2) AS job, status, updated_at = now() AS updated, end_timestamp = now() AS ended
FROM jobs WHERE runs <= 400 ORDER BY 1;
-- both labels in one answer, in turns, each with its job
BEGIN;
UPDATE jobs SET status = 'RUNNING' WHERE id = job(1);
SELECT right(job->>'id', 2) AS job, job->>'status' AS status, job->'end_timestamp' = 'null' AS goes_on
FROM jsonb_array_elements(cancel_jobs(batch(1))->'data'->'jobs') AS job;
ROLLBACK;
BEGIN;
UPDATE jobs SET status = 'RUNNING' WHERE id = job(1);
SELECT right(job->>'id', 2) AS job, job->>'status' AS status, job->'end_timestamp' = 'null' AS goes_on
FROM cancel_jobs_http(batch(1)::text), jsonb_array_elements(body::jsonb->'data'->'jobs') AS job;
ROLLBACK;
BEGIN;
UPDATE jobs SET start_timestamp = NULL, end_timestamp = '2023-03-20 00:00+00' WHERE id = job(4);
SELECT told(cancel_jobs(batch(1)));
TABLE outcome;
-- it is being canceled already, until the worker ends it
SELECT told(cancel_jobs(batch(1), '{"status": ["CANCELING", "RUNNING"]}'));
ROLLBACK;
SELECT right(id::text, 2) AS job, error, job->>'status' AS status, job->'end_timestamp' AS ended FROM cancel_jobs_rows(batch(1), '{"status": "RUNNING"}') ORDER BY 1;
TABLE outcome;
UPDATE jobs SET status = 'RUNNING' WHERE status = 'CANCELING';
SELECT status_code, body->'data'->'jobs'->0->'status' AS status FROM cancel_jobs_http(batch(1)::text, 'status=RUNNING');
UPDATE jobs SET status = 'RUNNING' WHERE status = 'CANCELING';
-- in all ways to the rows: skipped, by ids, in chunks, below a view
SET pasqal_jobs.locked_jobs = 'skip';
BEGIN; SELECT told(cancel_jobs(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(3))))); TABLE outcome; ROLLBACK;
RESET pasqal_jobs.locked_jobs;
CALL cancel_jobs_in_chunks(batch(1), '{"user_id": "alice"}');
TABLE outcome;
UPDATE jobs SET status = CASE runs WHEN 100 THEN 'PENDING'::status_with_canceling ELSE 'RUNNING' END, end_timestamp = NULL WHERE runs IN (100, 300);
CREATE VIEW seen_jobs AS SELECT * FROM jobs;
SET pasqal_jobs.jobs_table = 'seen_jobs';
SELECT tried(batch(1), '{"user_id": "alice"}');
RESET pasqal_jobs.jobs_table;
DROP VIEW seen_jobs;
-- a trigger renames the label, or undoes it
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE current_setting('test.meddle');
	IF OLD.user_id = 'bob' THEN NEW.status := 'ERROR'; END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER meddle BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION meddle();
BEGIN;
SET LOCAL test.meddle = 'SELECT';
SELECT told(cancel_jobs(batch(1)));
ROLLBACK;
BEGIN;
SET LOCAL test.meddle = 'ALTER TYPE status_with_canceling RENAME VALUE ''CANCELING'' TO ''STOPPING''';
SELECT right(id::text, 2) AS job, error, job->>'status' AS status FROM cancel_jobs_rows(batch(1), jsonb_build_object('id', job(3)));
ROLLBACK;
-- or makes of it what only running_status would make a cancel
BEGIN;
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.status := 'CANCELING'; RETURN NEW; END $$;
SELECT tried(batch(1), '{"user_id": "alice"}');
SET LOCAL pasqal_jobs.running_status = 'CANCELED';
SELECT tried(batch(1), '{"user_id": "alice"}');
ROLLBACK;
DROP TRIGGER meddle ON jobs;
DROP FUNCTION meddle();
-- a status of text takes any word but none
DROP VIEW outcome;
ALTER TABLE jobs ALTER status TYPE varchar(9) USING status::text;
SET pasqal_jobs.running_status = 'STOPPING';
SELECT right(id::text, 2) AS job, error, job->>'status' AS status FROM cancel_jobs_rows(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(3)))) ORDER BY 1;
SELECT told(cancel_jobs(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(3)))));
SET pasqal_jobs.running_status = '';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.running_status = 'to be canceled';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
BEGIN;
SET LOCAL pasqal_jobs.running_status = 'X';
UPDATE jobs SET status = 'RUNNING' WHERE id = job(3);
SELECT told(cancel_jobs(batch(1), jsonb_build_object('id', job(3)))), status FROM jobs WHERE id = job(3);
SELECT status FROM jobs WHERE id = job(3);
ROLLBACK;
RESET pasqal_jobs.running_status;

-- as it was, for the files that follow
TRUNCATE jobs;
ALTER TABLE jobs ALTER status TYPE jobstatus USING status::jobstatus, ALTER status SET DEFAULT 'PENDING';
DROP TYPE status_with_canceling;
SELECT submit(batch(1));

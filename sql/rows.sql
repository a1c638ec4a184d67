--
-- cancel_jobs_rows and cancel_jobs_preview: one row a job
--
BEGIN;
SELECT error, count(*), count(job) AS jobs FROM cancel_jobs_rows(batch(1)) GROUP BY error ORDER BY error NULLS FIRST;
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- the same as cancel_jobs, whatever the filters
BEGIN;
SAVEPOINT s;
SELECT cancel_jobs(batch(1), '{"errors": true}') AS as_jsonb \gset
ROLLBACK TO s;
SELECT jsonb_build_object('data', jsonb_build_object('jobs', jsonb_agg(job ORDER BY (job->>'creation_order')::bigint) FILTER (WHERE error IS NULL),
	'errors', jsonb_object_agg(id, error) FILTER (WHERE error IS NOT NULL))) = :'as_jsonb' AS same,
	   bool_and(id::text = job->>'id') AS ids, bool_and(pg_column_size(job) = pg_column_size(job::text::jsonb)) AS same_size
FROM cancel_jobs_rows(batch(1), '{"errors": true}');
ROLLBACK;
BEGIN;
\x on
SELECT id, error, job - '{updated_at,end_timestamp}'::text[] AS job
FROM cancel_jobs_rows(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(5), job(77)))) ORDER BY id;
\x off
ROLLBACK;
-- more than work_mem holds goes to disk
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, creation_order) SELECT job(1000 + n), batch(5), project(1), 1, n FROM generate_series(1, 1000) AS n;
SET LOCAL work_mem = '64kB';
SELECT count(*), count(job), count(DISTINCT id) FROM cancel_jobs_rows(batch(5));
ROLLBACK;
-- a preview tells what a cancel would do and does nothing
SELECT right(id::text, 2) AS job, status, error FROM cancel_jobs_preview(batch(1)) ORDER BY id;
SELECT right(id::text, 2) AS job, status, error
FROM cancel_jobs_preview(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(2), job(5), job(77)), 'user_id', 'alice')) ORDER BY id;
SELECT count(*) FROM cancel_jobs_preview(batch(404));
BEGIN READ ONLY;
SELECT count(*) FROM cancel_jobs_preview(batch(1), '{"status": "PENDING"}');
ROLLBACK;
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;
-- in many combinations of filters the preview foretells the cancel
SELECT count(*) AS filters, count(*) FILTER (WHERE foretold = came) AS foretold
FROM (VALUES ('{}'::jsonb), ('{"status": "RUNNING"}'), ('{"user_id": ["alice", "x"], "min_runs": 200}'), ('{"errors": false, "origin": "AZURE"}'),
			 ('{"start_date": "2023-03-20T14:00Z"}'), ('{"id__starts_with": "0000000"}'), (jsonb_build_object('id', jsonb_build_array(job(3), job(10), job(11)))),
			 (jsonb_build_object('id', jsonb_build_array(job(3), job(4)), 'max_runs', 300))) AS f (filters),
	 LATERAL (SELECT concat('canceled: ', string_agg(ltrim(right(id::text, 12), '0'), ', ' ORDER BY id) FILTER (WHERE error IS NULL),
		string_agg(E'\n' || ltrim(right(id::text, 12), '0') || ': ' || error, '' ORDER BY id) FILTER (WHERE error IS NOT NULL)) AS foretold
		FROM cancel_jobs_preview(batch(1), filters)) AS p, LATERAL (SELECT tried(batch(1), filters) AS came) AS c;
-- nothing but AccessShareLock is taken
BEGIN;
SELECT count(*) FROM cancel_jobs_preview(batch(1));
SELECT count(*) FROM cancel_jobs_preview(batch(1), '{"status": "PENDING"}');
SELECT DISTINCT mode FROM pg_locks WHERE relation = 'jobs'::regclass;
ROLLBACK;
-- so who may read the table may look, whatever the filters
BEGIN;
CREATE ROLE regress_reader;
GRANT SELECT ON jobs TO regress_reader;
SET LOCAL ROLE regress_reader;
SELECT count(*) FROM cancel_jobs_preview(batch(1), '{"status": "PENDING"}');
ROLLBACK;
-- a preview sees what the statement sees that calls it
BEGIN;
SELECT jsonb_array_length(cancel_jobs(batch(1))->'data'->'jobs') AS canceled, (SELECT count(*) FROM cancel_jobs_preview(batch(1)) WHERE error IS NULL) AS foreseen;
ROLLBACK;
-- a status that is none of ours is null, and told
BEGIN;
ALTER TABLE jobs ALTER COLUMN status TYPE text;
UPDATE jobs SET status = 'PAUSED' WHERE id = job(1);
SELECT status, error FROM cancel_jobs_preview(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(2))));
ROLLBACK;
-- our own type may have more labels than we know, or fewer
BEGIN;
ALTER TYPE jobstatus RENAME VALUE 'ERROR' TO 'FAILED';
ALTER TYPE jobstatus ADD VALUE 'CANCELING';
ALTER TABLE jobs ALTER COLUMN status TYPE text, ALTER COLUMN status DROP NOT NULL;
UPDATE jobs SET status = CASE runs WHEN 200 THEN 'CANCELING' WHEN 300 THEN 'ERROR' WHEN 400 THEN NULL WHEN 500 THEN repeat('x', 100) ELSE status END
WHERE batch_id = batch(1);
SELECT right(id::text, 2) AS job, status, left(error, 50) AS error FROM cancel_jobs_preview(batch(1)) ORDER BY id;
ROLLBACK;
-- a label of it that is another one by the end, or gone with the extension
BEGIN;
ALTER TABLE jobs ALTER COLUMN status TYPE text, ALTER COLUMN status SET DEFAULT 'PENDING',
	ALTER COLUMN origin DROP DEFAULT, ALTER COLUMN origin TYPE text, ALTER COLUMN progress TYPE int;
CREATE FUNCTION alter_labels() RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	deed text := current_setting('test.deed');
BEGIN
	PERFORM set_config('test.deed', '', true);
	IF deed = 'swap' THEN
		ALTER TYPE jobstatus RENAME VALUE 'DONE' TO 'x';
		ALTER TYPE jobstatus RENAME VALUE 'ERROR' TO 'DONE';
		ALTER TYPE jobstatus RENAME VALUE 'x' TO 'ERROR';
	ELSIF deed = 'add' THEN
		ALTER TYPE jobstatus ADD VALUE 'PAUSED';
	ELSIF deed = 'drop' THEN
		SET LOCAL client_min_messages = warning;
		DROP EXTENSION pasqal_jobs CASCADE;
	END IF;
	RETURN true;
END
$$;
CREATE VIEW altering AS SELECT * FROM jobs WHERE alter_labels();
SET LOCAL pasqal_jobs.jobs_table = 'altering';
SET LOCAL test.deed = 'swap';
SELECT state, message, hint FROM failure($$SELECT * FROM cancel_jobs_preview(batch(1))$$);
SET LOCAL test.deed = 'drop';
SELECT state, message FROM failure($$SELECT * FROM cancel_jobs_preview(batch(1))$$);
SET LOCAL test.deed = 'add';
SELECT count(*) FROM cancel_jobs_preview(batch(1));
ROLLBACK;
-- bad filters
\x on
SELECT * FROM failure($$SELECT * FROM cancel_jobs_rows(batch(1), '{"statsu": 1}')$$);
SELECT * FROM failure($$SELECT * FROM cancel_jobs_preview(NULL, NULL)$$);
SELECT * FROM failure($$SELECT * FROM cancel_jobs_rows(NULL)$$);
SELECT * FROM failure($$SELECT * FROM cancel_jobs_rows(batch(1), NULL)$$);
\x off

-- examples/demo.sql: cancels jobs in sample data, in a database without a table
-- jobs.  demo.sh shows it step by step: a step begins with a comment.
\set QUIET on
\pset format wrapped
\pset columns 80
\set QUIET off

-- Install the extension, and make a table for the jobs.
CREATE EXTENSION pasqal_jobs;
SELECT create_jobs_table();

-- Sample data: a batch as a user of a neutral-atom computer submits it, one
-- sequence for a register of atoms, one job for each set of its parameters. Two
-- projects and three users share the machine.
INSERT INTO jobs (id, batch_id, project_id, user_id, origin, runs, status,
                  variables, progress, errors,
                  created_at, start_timestamp, end_timestamp, creation_order)
SELECT md5('demo ' || n)::uuid, '5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
       CASE WHEN n % 4 = 0 THEN 'b1a5d0c2-7e64-4a0b-9f3e-7d1c2b3a4f50'::uuid
            ELSE '0f9e8d7c-6b5a-4c3d-8e2f-1a0b9c8d7e6f' END,
       (ARRAY['ada', 'niels', 'lise'])[1 + n % 3],
       (ARRAY['CLIENT', 'AZURE'])[1 + n % 2]::origin,
       100 * (1 + n % 3), s::jobstatus,
       jsonb_build_object('omega_max', round(1.5 * n, 2), 't_rise', 250),
       CASE s WHEN 'RUNNING' THEN 40 WHEN 'DONE' THEN 100 END,
       CASE s WHEN 'ERROR' THEN ARRAY['Rydberg laser out of lock'] END,
       timestamptz '2023-03-23 10:41:36.635820+00' + n * interval '1 second',
       CASE WHEN s <> 'PENDING'
            THEN timestamptz '2023-03-23 11:00+00' + n * interval '1 min' END,
       CASE WHEN s IN ('DONE', 'ERROR', 'CANCELED')
            THEN timestamptz '2023-03-23 11:05+00' + n * interval '1 min' END,
       n
FROM unnest(ARRAY['DONE', 'ERROR', 'CANCELED', 'RUNNING', 'RUNNING',
                  'PENDING', 'PENDING', 'PENDING', 'PENDING'])
     WITH ORDINALITY AS x (s, nth), LATERAL (SELECT nth::int) AS y (n);

-- The batch.
SELECT id, user_id, runs, status FROM jobs ORDER BY creation_order;

-- Look first: what would a cancel of Niels' jobs with 200 runs or more do?
-- Where error is null, the job would be canceled.
SELECT * FROM cancel_jobs_preview('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
                                  '{"user_id": "niels", "min_runs": 200}');

-- Cancel them. The answer has the two jobs as they are now, and says why the
-- third was not canceled.
SELECT cancel_jobs('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
                   '{"user_id": "niels", "min_runs": 200}');

-- Jobs named by id always get an answer, here as rows: one is running and is
-- canceled, one is done, one does not exist.
SELECT left(id::text, 8) AS id, error, job->>'status' AS status
FROM cancel_jobs_rows('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
         jsonb_build_object('id', jsonb_build_array(
             md5('demo 5'), md5('demo 1'), md5('demo 99'))));

-- A misspelt filter is refused. It never means a wider cancel.
SELECT cancel_jobs('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
                   '{"statsu": "PENDING"}');

-- The same as the API's endpoint: path and query string in, status code and
-- body out.
SELECT * FROM cancel_jobs_http('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
                               'min_runs=many&status=PENDING');

-- Sample data: a batch of 100,000 jobs, nine in ten of them waiting.
INSERT INTO jobs (batch_id, project_id, user_id, runs, status, variables,
                  start_timestamp, end_timestamp)
SELECT 'ba7c4000-0000-4000-8000-000000000000',
       '0f9e8d7c-6b5a-4c3d-8e2f-1a0b9c8d7e6f', 'ada', 100,
       CASE WHEN n % 10 = 0 THEN 'DONE' ELSE 'PENDING' END::jobstatus,
       jsonb_build_object('omega_max', n % 15),
       CASE WHEN n % 10 = 0 THEN now() END, CASE WHEN n % 10 = 0 THEN now() END
FROM generate_series(1, 100000) AS n;
VACUUM (FREEZE, ANALYZE) jobs;

-- What a bare UPDATE of them takes, which answers nothing.
BEGIN;
SELECT clock_timestamp() AS begun \gset
UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
WHERE batch_id = 'ba7c4000-0000-4000-8000-000000000000'
  AND status IN ('PENDING', 'RUNNING');
SELECT round(extract(epoch FROM clock_timestamp() - :'begun') * 1000) AS update_ms \gset
\echo :update_ms ms
ROLLBACK;
VACUUM jobs;

-- What the cancel takes, with a whole answer: each job, and each reason.
SELECT clock_timestamp() AS begun \gset
SELECT pg_size_pretty(pg_column_size(
    cancel_jobs('ba7c4000-0000-4000-8000-000000000000'))::bigint) AS answer;
SELECT round(extract(epoch FROM clock_timestamp() - :'begun') * 1000) AS cancel_ms \gset
\echo :cancel_ms ms
SELECT status, count(*) FROM jobs
WHERE batch_id = 'ba7c4000-0000-4000-8000-000000000000' GROUP BY status;

-- What you saw:
SELECT * FROM (VALUES
    ('a preview', '2 jobs would be canceled, 1 not'),
    ('a cancel by filters', '2 jobs canceled, and why 1 was not'),
    ('a cancel by ids', '1 job canceled, 1 was DONE, 1 not found'),
    ('a misspelt filter', 'an error, and nothing canceled'),
    ('a bad request', '422 with the API''s body'),
    ('90,000 jobs, bare UPDATE', :'update_ms' || ' ms, no answer'),
    ('90,000 jobs, cancel_jobs', :'cancel_ms' || ' ms, every job in the answer')
) AS seen ("what", "what came of it");

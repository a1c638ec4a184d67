-- Install the extension, and make a table for the jobs.
CREATE EXTENSION pasqal_jobs;
SELECT create_jobs_table();

-- A batch as a user of a neutral-atom computer submits it: one sequence for a
-- register of atoms, one job for each set of its parameters. Two projects and
-- three users share the machine.
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

SELECT id, user_id, runs, status FROM jobs ORDER BY creation_order;

-- Cancel what Niels has waiting, with 200 runs or more.
\pset format unaligned
\pset tuples_only on
SELECT jsonb_pretty(cancel_jobs('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
    '{"user_id": "niels", "status": "PENDING", "min_runs": 200}'));

-- Jobs named by id always get an answer: this one is running and is canceled,
-- this one is done, and this one does not exist.
SELECT jsonb_pretty(cancel_jobs('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
    jsonb_build_object('id', jsonb_build_array(
        md5('demo 4'), md5('demo 1'), md5('demo 99')))));
\pset tuples_only off
\pset format aligned

-- A misspelt filter is refused. It never means a wider cancel.
SELECT cancel_jobs('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
                   '{"statsu": "PENDING"}');

SELECT status, count(*) FROM jobs GROUP BY status ORDER BY status;

-- The same as the API's endpoint: path and query string in, status code and
-- body out.
\pset format wrapped
\pset columns 80
SELECT * FROM cancel_jobs_http('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3',
                               'min_runs=many&status=PENDING');
\pset format aligned

-- A batch of 100,000 jobs, nine in ten of them waiting. What a bare UPDATE of
-- them takes, and what the cancel with its whole answer takes.
INSERT INTO jobs (batch_id, project_id, user_id, runs, status, variables,
                  start_timestamp, end_timestamp)
SELECT 'ba7c4000-0000-4000-8000-000000000000',
       '0f9e8d7c-6b5a-4c3d-8e2f-1a0b9c8d7e6f', 'ada', 100,
       CASE WHEN n % 10 = 0 THEN 'DONE' ELSE 'PENDING' END::jobstatus,
       jsonb_build_object('omega_max', n % 15),
       CASE WHEN n % 10 = 0 THEN now() END, CASE WHEN n % 10 = 0 THEN now() END
FROM generate_series(1, 100000) AS n;
VACUUM (FREEZE, ANALYZE) jobs;

\timing on
BEGIN;
UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
WHERE batch_id = 'ba7c4000-0000-4000-8000-000000000000'
  AND status IN ('PENDING', 'RUNNING');
ROLLBACK;
\timing off
VACUUM jobs;
\timing on
SELECT pg_size_pretty(pg_column_size(
    cancel_jobs('ba7c4000-0000-4000-8000-000000000000'))::bigint) AS answer;
\timing off
SELECT status, count(*) FROM jobs
WHERE batch_id = 'ba7c4000-0000-4000-8000-000000000000' GROUP BY status;

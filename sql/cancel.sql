--
-- The main job: the whole answer, and what a cancel does to the table
--
BEGIN;
SELECT jsonb_pretty(cancel_jobs(batch(1), '{"id__starts_with": "0000000"}')
	   #- '{data,jobs,0,updated_at}' #- '{data,jobs,0,end_timestamp}'
	   #- '{data,jobs,1,updated_at}' #- '{data,jobs,1,end_timestamp}'
	   #- '{data,jobs,2,updated_at}' #- '{data,jobs,2,end_timestamp}'
	   #- '{data,jobs,3,updated_at}' #- '{data,jobs,3,end_timestamp}');
-- only three columns of the canceled jobs changed
SELECT right(id::text, 2) AS job, status, updated_at = now() AS updated, end_timestamp = now() AS ended,
	   start_timestamp AT TIME ZONE 'UTC' AS started, progress
FROM jobs WHERE batch_id = batch(1) ORDER BY id;
-- once more: nothing is left to cancel
SELECT told(cancel_jobs(batch(1)));
ROLLBACK;
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;

-- Cancels, keeps the answer in a table, and compares its bytes with those
-- that PostgreSQL makes of its text
CREATE FUNCTION inspected(batch uuid, OUT same_value bool, OUT same_bytes bool) LANGUAGE plpgsql AS $$
DECLARE
	ours jsonb := cancel_jobs(batch);
	theirs jsonb := ours::text;
BEGIN
	same_value := ours = theirs;
	same_bytes := record_image_eq(ROW(ours), ROW(theirs));
	CREATE TEMP TABLE answer ON COMMIT DROP AS SELECT ours;
END
$$;
-- an answer equals what PostgreSQL itself makes of the same text, to the byte
BEGIN;
SELECT * FROM inspected(batch(1));
SELECT ours->'data'->'jobs'->3->>'id' = job(4)::text AS same_job, jsonb_array_length(ours->'data'->'jobs') FROM answer;
-- and each job what to_jsonb makes of its row, but for the form of date-times
SELECT bool_and(row - '{created_at,updated_at,start_timestamp,end_timestamp}'::text[]
				= j - '{created_at,updated_at,start_timestamp,end_timestamp}'::text[]) AS same,
	   bool_and((j->>'updated_at')::timestamptz = now()) AS same_time
FROM answer, jsonb_array_elements(ours->'data'->'jobs') AS j,
	 LATERAL (SELECT to_jsonb(jobs) - '{user_id,origin}'::text[] FROM jobs WHERE id::text = j->>'id') AS x (row);
ROLLBACK;

-- an unknown batch answers empty; so does one that the filter excludes
SELECT cancel_jobs(batch(404));
SELECT cancel_jobs(batch(1), jsonb_build_object('batch_id', batch(2)));
SELECT cancel_jobs(filters => '{"user_id": "nobody"}', batch => batch(1));

-- values at the edges of their types
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, status, runs, creation_order, created_at, updated_at, start_timestamp,
				  variables, errors, progress, sequence, slurm_job_id, parent_id) VALUES
	(job(101), batch(7), project(1), 'PENDING', 0, -1, '-infinity', 'infinity', 'infinity', 'null', '{}', 0, '', '', job(1)),
	(job(102), batch(7), project(1), 'RUNNING', 2147483647, 9223372036854775807, '0044-03-15 12:00+00 BC', now(),
	 '12345-06-07 08:09:10.000001+00', '"text"', '{{a,NULL},{"b","c"}}', 100, E'tab\t"quote" \\', 'x', NULL),
	(job(103), batch(7), project(1), 'PENDING', -2147483648, -9223372036854775808, '1999-12-31 23:59:59.999999+00', now(),
	 '2000-01-01 00:00+00', '-12.50', '{NULL}', NULL, repeat('long ', 3), NULL, NULL),
	(job(104), batch(7), project(1), 'PENDING', 10000, 100000000, '2024-02-29 00:00:00.1+00', now(), NULL, 'true', NULL, 1, NULL, NULL, NULL),
	(job(105), batch(7), project(1), 'PENDING', 10001, 99990001, '2024-02-29 00:00:00.1+00', now(), NULL, '[]', NULL, 1, NULL, NULL, NULL),
	(job(106), batch(7), project(1), 'PENDING', -10000, 5, '0001-01-01 00:00+00', now(), NULL, '{"deep": [{"er": [1, 2.50, 1e3]}]}', NULL, 1, NULL, NULL, NULL);
SELECT * FROM inspected(batch(7));
SELECT jsonb_pretty(j - '{updated_at,end_timestamp,status,batch_id,project_id}'::text[])
FROM answer, jsonb_array_elements(ours->'data'->'jobs') AS j;
SELECT bool_and(j - '{created_at,updated_at,start_timestamp,end_timestamp}'::text[]
				= row - '{created_at,updated_at,start_timestamp,end_timestamp}'::text[]) AS same
FROM answer, jsonb_array_elements(ours->'data'->'jobs') AS j,
	 LATERAL (SELECT to_jsonb(jobs) - '{user_id,origin}'::text[] FROM jobs WHERE id::text = j->>'id') AS x (row);
ROLLBACK;

-- the first date of a session may be of the day from which PostgreSQL counts
\c -
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, created_at) VALUES (batch(7), project(1), 1, '2000-01-01 12:00+00');
SELECT cancel_jobs(batch(7)) #>> '{data,jobs,0,created_at}' AS created_at;
ROLLBACK;
-- dates of one day before our era; texts in rows of three
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, created_at, start_timestamp, errors)
SELECT batch(7), project(1), 1, '0044-03-15 13:00+00 BC', '0044-03-15 14:00+00 BC', '{{a,b,c},{d,e,NULL}}' FROM generate_series(1, 2);
SELECT j->>'created_at' AS created_at, j->>'start_timestamp' AS start_timestamp, j->'errors' AS errors
FROM jsonb_array_elements(cancel_jobs(batch(7)) #> '{data,jobs}') AS j;
ROLLBACK;

-- more than one stride of jsonb's offsets, in an order of neither id nor place
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, status, creation_order)
SELECT job(1000 + n), batch(8), project(1), n, CASE WHEN n % 3 = 0 THEN 'DONE' ELSE 'PENDING' END::jobstatus, n * 37 % 50
FROM generate_series(1, 200) AS n;
SELECT * FROM inspected(batch(8));
SELECT jsonb_array_length(ours->'data'->'jobs') AS jobs,
	   (SELECT count(*) FROM jsonb_object_keys(ours->'data'->'errors')) AS errors,
	   (SELECT bool_and(ours->'data'->'jobs'->(n - 1)::int = j) FROM jsonb_array_elements(ours->'data'->'jobs') WITH ORDINALITY AS e (j, n)) AS each_found,
	   (SELECT bool_and(ours->'data'->'errors'->>key = value) FROM jsonb_each_text(ours->'data'->'errors')) AS each_error_found,
	   (SELECT array_agg(j->>'id' ORDER BY n) = array_agg(j->>'id' ORDER BY (j->>'creation_order')::bigint, (j->>'id')::uuid)
		FROM jsonb_array_elements(ours->'data'->'jobs') WITH ORDINALITY AS e (j, n)) AS in_order
FROM answer;
ROLLBACK;

-- toasted values
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, creation_order, sequence, variables, errors)
SELECT job(200 + n), batch(9), project(1), n, n, repeat(md5(n::text), 4000),
	   jsonb_build_object('v', repeat(md5((-n)::text), 300)), ARRAY[repeat('e', 9000), md5(n::text)]
FROM generate_series(1, 5) AS n;
SELECT * FROM inspected(batch(9));
SELECT (SELECT bool_and(j->>'sequence' = sequence AND j->'variables' = variables AND j->'errors' = to_jsonb(errors))
		FROM jsonb_array_elements(ours->'data'->'jobs') AS j JOIN jobs ON id::text = j->>'id') AS same
FROM answer;
ROLLBACK;

-- a long list of ids: as a short one, also if none of them is in the batch
CREATE FUNCTION long_list(VARIADIC more uuid[]) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_build_object('id', jsonb_agg(id)) FROM (SELECT md5(n::text)::uuid AS id FROM generate_series(1, 60000) AS n UNION ALL SELECT unnest(more)) AS x
$$;
BEGIN;
SELECT told(jsonb_set(a, '{data,errors}', (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(a->'data'->'errors') WHERE value <> '"Job was not found in this batch"'))),
	(SELECT count(*) FROM jsonb_object_keys(a->'data'->'errors')) AS errors
FROM cancel_jobs(batch(1), long_list(job(1), job(4), job(5)) || '{"max_runs": 300}') AS a;
SELECT jsonb_array_length(a->'data'->'jobs'), (SELECT count(*) FROM jsonb_object_keys(a->'data'->'errors')) AS errors FROM cancel_jobs(batch(1), long_list(batch(1))) AS a;
SELECT status, error, count(*) FROM cancel_jobs_preview(batch(1), long_list(job(1), job(2), job(5))) GROUP BY 1, 2 ORDER BY 3, 1;
SELECT error, count(*) FROM cancel_jobs_preview(batch(1), long_list(batch(1))) GROUP BY 1;
ROLLBACK;
DROP FUNCTION long_list;
-- the planner does not look at each element of a list of more than 50,000
BEGIN;
CREATE FUNCTION show_condition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	GET DIAGNOSTICS context = PG_CONTEXT;
	RAISE NOTICE '%', substring(context FROM 'AND (\([^()]*j.user_id.*) RETURNING');
	RETURN NULL;
END
$$;
CREATE TRIGGER show_condition AFTER UPDATE ON jobs EXECUTE FUNCTION show_condition();
SELECT jsonb_array_length(cancel_jobs(batch(1), jsonb_build_object('user_id', (SELECT jsonb_agg(n::text) FROM generate_series(1, values) AS n))) #> '{data,jobs}') AS jobs FROM unnest('{50000,50001}'::int[]) AS values;
ROLLBACK;

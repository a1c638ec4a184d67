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
CREATE FUNCTION inspected(batch uuid, OUT same_value bool, OUT same_size bool) LANGUAGE plpgsql AS $$
DECLARE
	ours jsonb := cancel_jobs(batch);
	theirs jsonb := ours::text;
BEGIN
	same_value := ours = theirs;
	same_size := pg_column_size(ours) = pg_column_size(theirs);
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
	 '12345-06-07 08:09:10.000001+00', '"text"', '{{a,NULL},{"b","c"}}', 100, E'tab\t"quote" \\ é 😀', 'x', NULL),
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

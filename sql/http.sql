--
-- cancel_jobs_http: the whole endpoint
--
-- status code and body as the API gives them; the same document as cancel_jobs
SELECT status_code, body FROM cancel_jobs_http(batch(404)::text);
BEGIN;
SAVEPOINT s;
SELECT cancel_jobs(batch(1)) AS as_jsonb \gset
ROLLBACK TO s;
SELECT status_code, body::jsonb = :'as_jsonb' AS same, json_object_keys(body->'data'->'jobs'->0) AS fields
FROM cancel_jobs_http(batch(1)::text);
ROLLBACK;
-- out of order, with every kind of value
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, status, runs, creation_order, created_at, updated_at, start_timestamp,
				  variables, errors, progress, sequence, slurm_job_id, parent_id) VALUES
	(job(101), batch(7), project(1), 'PENDING', 0, -1, '-infinity', 'infinity', 'infinity', 'null', '{}', 0, '', '', job(1)),
	(job(102), batch(7), project(1), 'RUNNING', 2147483647, 9223372036854775807, '0044-03-15 12:00+00 BC', now(),
	 '12345-06-07 08:09:10.000001+00', '"text"', '{{a,NULL},{"b","c"}}', 100, E'tab\t"quote" \\ \x01\x08\x0c\r\n\x7f ' || repeat('x', 40) || '"', 'x', NULL),
	(job(103), batch(7), project(1), 'PENDING', -2147483648, -9223372036854775808, '1999-12-31 23:59:59.999999+00', now(),
	 '2000-01-01 00:00+00', '-12.50', '{NULL}', NULL, repeat('long ', 3), NULL, NULL),
	(job(104), batch(7), project(1), 'PENDING', 10000, 100000000, '2024-02-29 00:00:00.1+00', now(), NULL, 'true', NULL, 1, NULL, NULL, NULL),
	(job(105), batch(7), project(1), 'DONE', 10001, 99990001, '2024-02-29 00:00:00.1+00', now(), NULL, '[]', NULL, 1, NULL, NULL, NULL),
	(job(106), batch(7), project(1), 'PENDING', -10000, 5, '0001-01-01 00:00+00', now(), NULL,
	 '{"": {}, "deep": [{"er": [0, -0.0, 1, -1, 9999, -9999, 10000, 2.50, 1e3, 1e-3, 123456789012345678901234567890, false, null, "\u0065\"\\\n"]}, []], "k": 1}', NULL, 1, NULL, NULL, NULL);
SAVEPOINT s;
SELECT cancel_jobs(batch(7)) AS as_jsonb \gset
ROLLBACK TO s;
SELECT status_code, body::jsonb = :'as_jsonb' AS same_value, body #> '{data,errors}' AS errors,
	   (SELECT jsonb_agg(j->'creation_order') FROM json_array_elements(body #> '{data,jobs}') AS x (j)) AS in_order
FROM cancel_jobs_http(batch(7)::text);
ROLLBACK;
-- every character of ASCII, and as many as take the most room
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, sequence, slurm_job_id)
SELECT batch(7), project(1), 1, string_agg(chr(n), ''), repeat(E'\x01', 100000) FROM generate_series(1, 127) AS n;
SELECT (body::jsonb #>> '{data,jobs,0,sequence}') = sequence AS ascii, (body::jsonb #>> '{data,jobs,0,slurm_job_id}') = slurm_job_id AS escaped
FROM cancel_jobs_http(batch(7)::text), jobs WHERE batch_id = batch(7);
ROLLBACK;
-- a byte that is escaped, at any place of strings of any length
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, errors)
SELECT batch(7), project(1), 1, array_agg(repeat('a', before) || c || repeat('b', after) ORDER BY before, after, c)
FROM unnest(ARRAY[E'\x01', E'\x1F', ' ', '!', '"', '#', '[', E'\\', ']', E'\x7F', 'é', '€']) AS c, generate_series(0, 17) AS before, generate_series(0, 9) AS after;
SELECT cardinality(errors) AS strings, body::jsonb #> '{data,jobs,0,errors}' = to_jsonb(errors) AS same
FROM cancel_jobs_http(batch(7)::text), jobs WHERE batch_id = batch(7);
ROLLBACK;
-- numbers in variables as PostgreSQL writes them, in rows that are packed or not
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, variables)
SELECT batch(7), project(1), 1, jsonb_agg(s * n::numeric)
FROM (VALUES (1), (-1)) AS signs (s), (
	SELECT n FROM unnest('{0,0.0,0.00,9,10,9999,10000,10001,99990000,100000000,0.1,0.0001,0.00001,0.00010000,1.0,1.00000,1e-63,1e-64,1e-70,1e252,1e255,1e256,1e300,123456789.987654321,12345678901234567890123456789012345678901234567890.5}'::text[]) AS n
	UNION ALL SELECT round(sin(i)::numeric * 10::numeric ^ (i % 90 - 20), i * 7 % 70)::text FROM generate_series(1, 2000) AS i) AS numbers (n);
INSERT INTO jobs (batch_id, project_id, runs, variables)
SELECT batch(7), project(1), 1, jsonb_build_object(repeat('k', i), i / 1000.0, 'a', jsonb_build_array(i, true, NULL, '', '{}'::jsonb, i * 1e60))
FROM generate_series(1, 20) AS i;
SELECT count(*), bool_and(job->>'variables' = variables::text) AS same
FROM cancel_jobs_http(batch(7)::text), jsonb_array_elements(body::jsonb #> '{data,jobs}') AS job, jobs WHERE id = (job->>'id')::uuid;
ROLLBACK;
-- columns whose values repeat, or almost
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, creation_order, parent_id, created_at, updated_at, start_timestamp)
SELECT batch(7), project(1 + n / 3), n, n, CASE WHEN n % 3 > 0 THEN job(n / 4) END, t, t, CASE WHEN n % 5 > 0 THEN t END
FROM unnest('{infinity,infinity,-infinity,2000-01-01Z,2000-01-01Z,2000-01-01 00:00:00.000001Z,1999-12-31 23:59:59.999999Z,0001-01-01Z,0001-12-31 BC 23:59Z,0001-01-01 BC Z,12345-01-01Z,2000-01-01Z}'::timestamptz[])
	WITH ORDINALITY AS x (t, m), LATERAL (SELECT m::int) AS y (n);
SAVEPOINT s;
SELECT cancel_jobs(batch(7)) AS as_jsonb \gset
ROLLBACK TO s;
SELECT j->'runs' AS n, j->>'project_id' AS project_id, j->>'parent_id' AS parent_id, j->>'created_at' AS created_at, j->>'start_timestamp' AS start_timestamp,
	   j = :'as_jsonb'::jsonb #> ARRAY['data', 'jobs', (m - 1)::text] AS as_jsonb
FROM cancel_jobs_http(batch(7)::text), jsonb_array_elements(body::jsonb #> '{data,jobs}') WITH ORDINALITY AS x (j, m);
ROLLBACK;
-- the row of an answer, wherever the executor takes it
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs) SELECT batch(7), project(1), 1 FROM generate_series(1, 200);
SAVEPOINT s;
SELECT (a).status_code, length((a).body::text) > 60000 AS long FROM (SELECT cancel_jobs_http(batch(7)::text) AS a OFFSET 0) AS x;
ROLLBACK TO s;
SELECT status_code, length(body::text) > 60000 AS long, n FROM cancel_jobs_http(batch(7)::text) WITH ORDINALITY AS x (status_code, body, n);
ROLLBACK TO s;
SELECT n, status_code, json_array_length(body #> '{data,jobs}') AS jobs, json_array_length(x #> '{data,jobs}') AS twice
FROM (VALUES (1), (2)) AS calls (n), LATERAL (SELECT * FROM cancel_jobs_http(batch(n + 5)::text) OFFSET 0) AS y, LATERAL (SELECT body) AS z (x);
ROLLBACK TO s;
DECLARE c SCROLL CURSOR FOR SELECT status_code, length(body::text) > 60000 AS long FROM cancel_jobs_http(batch(7)::text);
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
CLOSE c;
ROLLBACK TO s;
CREATE TEMP TABLE answers AS WITH a AS MATERIALIZED (SELECT * FROM cancel_jobs_http(batch(7)::text)) SELECT a.*, b.body AS again FROM a, a AS b;
SELECT status_code, body::text = again::text AS same, json_array_length(body #> '{data,jobs}') AS jobs FROM answers;
ROLLBACK;

-- reading a query string as the web does
SELECT tried_http('BBBBBBBB-0000-4000-8000-000000000001', 'status=PENDING&status=RUNNING&status=PENDING');
SELECT tried_http('%7Bbbbbbbbb00004000%2d8000000000000001%7d', '&&user_id=alice&&min_runs=%33%30%30&');
SELECT tried_http(batch(1)::text, 'user%5Fid=alice&max_runs=1&max_runs=+300+');
SELECT tried_http(batch(1)::text, 'id__starts_with=0000000&id__starts_with=') = tried(batch(1)) AS default_prefix;
SELECT tried_http(batch(1)::text, 'id__starts_with=&id__starts_with=00000003');
SELECT tried_http(batch(1)::text, 'id=00000001-0000-4000-8000-000000000001&id=00000007-0000-4000-8000-000000000077');
SELECT tried_http(batch(1)::text, 'start_date=2023-03-20T13:00:00&errors=YES');
SELECT tried_http(batch(1)::text, 'start_date=2023-03-20+13:00%2B00:00&end_date=1679400000000');
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, creation_order, user_id)
SELECT job(300 + n), batch(6), project(1), 1, n, u FROM unnest(ARRAY['a b', 'a+b', 'a%b', '', 'a=b&c']) WITH ORDINALITY AS x (u, m), LATERAL (SELECT m::int) AS y (n);
SELECT query, tried_http(batch(6)::text, query)
FROM unnest('{user_id=a+b,user_id=a%20b,user_id=a%2Bb,user_id=a%b,user_id=a%25b,user_id=%G1,user_id=%/1,user_id=%1:,user_id=%`1,user_id=%a@,user_id=a%25,user_id=,user_id,user_id=a%3Db%26c,user_id=a=b%26c}'::text[]) AS query;
ROLLBACK;

-- all problems at once: the path first, then in the order of the filters, unknown keys last and once each
SELECT tried_http('nonsense', 'foo=1&end_date=2023-01-01&min_runs=1e3&id=x&id=00000001-0000-4000-8000-000000000001&id=&foo=2&a%22b=&status=pending&errors=');
SELECT tried_http(NULL, NULL);
SELECT tried_http('', '=&?status=DONE');
SELECT tried_http('bbbbbbbb-0000-4000-8000-000000000001+', 'min_runs=5&min_runs=x&max_runs=x&max_runs=5');
SELECT status_code, body FROM cancel_jobs_http(batch(1)::text, 'user_id=%00&id__starts_with=0%00&min_runs=1%00&a%00b=1&status=DONE%00');
-- no limit to how many are told
SELECT status_code, json_array_length(body->'detail') FROM cancel_jobs_http('x', repeat('id=x&', 300));
SELECT status_code, json_array_length(body->'detail') FROM cancel_jobs_http(batch(1)::text, (SELECT string_agg('k' || n % 150, '&') FROM generate_series(1, 3000) AS n));
SELECT tried_http(batch(1)::text, 'min_runs=' || repeat('0', 4299) || '1') = tried_http(batch(1)::text, 'min_runs=1') AS digits,
	   left(tried_http(batch(1)::text, 'min_runs=' || repeat('0', 4300) || '1'), 3) AS too_many;
-- what is not the client's fault is raised
SET pasqal_jobs.jobs_table = 'elsewhere';
SELECT state, message FROM failure($$SELECT * FROM cancel_jobs_http(batch(1)::text)$$);
SELECT status_code FROM cancel_jobs_http('x');
RESET pasqal_jobs.jobs_table;
-- however it is called, it cancels once: a function that returned a single row
-- would run once a column in (f()).*
BEGIN;
CREATE TEMP TABLE calls (n int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO calls VALUES (1); RETURN NULL; END $$;
CREATE TRIGGER note AFTER UPDATE ON jobs FOR EACH STATEMENT EXECUTE FUNCTION note();
SELECT (cancel_jobs_http(batch(404)::text)).*;
SELECT count(*) AS cancels FROM calls;
SELECT status_code, body FROM cancel_jobs_http(batch(404)::text);
SELECT count(*) AS cancels FROM calls;
DO $$
DECLARE
	r record;
	b json;
BEGIN
	r := cancel_jobs_http(batch(404)::text);
	SELECT body INTO b FROM cancel_jobs_http(batch(404)::text, 'status=RUNNING');
	RAISE NOTICE '% %', r, b;
END
$$;
SELECT count(*) AS cancels FROM calls;
ROLLBACK;
-- nothing changed
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;

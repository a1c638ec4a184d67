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

--
-- Characters beyond ASCII, in values, filters, query strings and names. All other
-- files are ASCII, so that they pass whatever the encoding of the database is
--
SELECT getdatabaseencoding() <> 'UTF8' AS skipped \gset
\if :skipped
\quit
\endif
SET client_encoding = 'UTF8';
-- in an answer
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, sequence, variables, errors)
VALUES (job(102), batch(7), project(1), 1, E'é \\ 😀"', '{"é": "\u00e9\"\n"}', ARRAY['€', repeat('😀', 100)]);
SAVEPOINT s;
SELECT cancel_jobs(batch(7)) AS as_jsonb \gset
ROLLBACK TO s;
SELECT body::jsonb = :'as_jsonb' AS same, body #> '{data,jobs,0,sequence}' AS sequence, body #> '{data,jobs,0,variables}' AS variables
FROM cancel_jobs_http(batch(7)::text);
ROLLBACK TO s;
SELECT * FROM inspected(batch(7));
SELECT ours #>> '{data,jobs,0,sequence}' = sequence AND ours #> '{data,jobs,0,errors}' = to_jsonb(errors) AS same FROM answer, jobs WHERE id = job(102);
ROLLBACK;
-- blanks are those of Unicode
SELECT bool_and(tried(batch(1), jsonb_build_object('min_runs', b || '301' || b)) = tried(batch(1), '{"min_runs": 301}')) AS blank
FROM unnest(ARRAY[E'\t', E'\r\n', E'\u0085', E'\u00A0', E'\u1680', E'\u2000', E'\u2005', E'\u200A', E'\u2028', E'\u2029', E'\u202F', E'\u205F', E'\u3000']) AS b;
SELECT count(*) AS no_blank FROM unnest(ARRAY[E'\u0084', E'\u00A1', E'\u1681', E'\u200B', E'\u202A', E'\u2060', E'\u3001', E'\x1F']) AS b,
	 LATERAL failure(format('SELECT cancel_jobs(batch(1), %L)', jsonb_build_object('min_runs', '301' || b))) WHERE state = '22023';
-- digits are those of ASCII
SELECT state FROM failure($$SELECT cancel_jobs(batch(1), '{"min_runs": "١"}')$$);
-- a query string, and what is no UTF-8 in it
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, creation_order, user_id)
SELECT job(300 + n), batch(6), project(1), 1, n, u FROM unnest(ARRAY['é', E'\uFFFD', E'\uFFFDA', E'\uFFFD\uFFFD\uFFFD', E'\u0080', E'\u07FF', E'\U0010FFFF']) WITH ORDINALITY AS x (u, m), LATERAL (SELECT m::int) AS y (n);
SELECT query, tried_http(batch(6)::text, query)
FROM unnest('{user_id=%c3%A9,user_id=é,user_id=%E9,user_id=%C3,user_id=%C3A,user_id=%E2%82A,user_id=%ED%A0%80,user_id=%F0%9F%98,user_id=%E0%80%80,user_id=%E0%A4%85,user_id=%F0%80%80,user_id=%F4%90%80,user_id=%F4%8F%BF%BF,user_id=%F5%90%80,user_id=%C1%BF%80,user_id=%C2%80,user_id=%DF%BF}'::text[]) AS query;
ROLLBACK;
-- a character of several bytes is shown whole or not at all
\x on
SELECT * FROM failure(format($$SELECT cancel_jobs(batch(1), '{%s: 1}')$$, to_json(repeat('é', 70))));
SELECT octet_length(message) AS message, octet_length(detail) AS detail FROM failure(format($$SELECT cancel_jobs(batch(1), '{%s: 1}')$$, to_json(repeat('€', 100))));
-- also in a status, of whose text only the beginning is told
BEGIN;
ALTER TABLE jobs ALTER COLUMN status TYPE text;
UPDATE jobs SET status = 'x' || repeat('é', CASE id WHEN job(3) THEN 99 ELSE 1000000 END) WHERE id IN (job(3), job(5));
SELECT right(id::text, 2) AS job, octet_length(error), left(error, 42), right(error, 5) FROM cancel_jobs_rows(batch(1)) WHERE id IN (job(3), job(5)) ORDER BY id;
ROLLBACK;
-- the length of a name is in bytes
SELECT state, hint FROM failure(format('SELECT create_jobs_table(%L, 2)', repeat('é', 31)));
\x off

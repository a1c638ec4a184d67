--
-- Each filter alone, in each spelling, and several together
--
-- id
SELECT tried(batch(1), jsonb_build_object('id', job(1)));
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(4), job(2), job(4), job(5))));
SELECT tried(batch(1), '{"id": "{00000002000040008000000000000002}"}');
SELECT tried(batch(1), '{"id": ["urn:uuid:00000002-0000-4000-8000-000000000002", "00000001-0000-4000-8000-00000000000A"]}');
-- named ids always get an answer
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(5), job(99), job(2)), 'user_id', 'alice'));
SELECT tried(batch(2), jsonb_build_object('id', job(1)));
-- id__starts_with
SELECT tried(batch(1), '{"id__starts_with": "00000001"}');
SELECT tried(batch(1), '{"id__starts_with": "00000001-"}');
SELECT tried(batch(1), '{"id__starts_with": "00000001-0000-4000-8000-000000000001"}');
SELECT tried(batch(1), '{"id__starts_with": "0"}');
SELECT tried(batch(1), '{"id__starts_with": "000000010000"}');
SELECT tried(batch(1), '{"id__starts_with": "%"}');
SELECT tried(batch(1), '{"id__starts_with": "00000001-0000-4000-8000-0000000000011"}');
BEGIN;
INSERT INTO jobs (id, batch_id, project_id, runs, creation_order) VALUES
	('abcdef00-0000-4000-8000-000000000011', batch(1), project(1), 1, 11),
	('abcdeeff-ffff-ffff-ffff-ffffffffff12', batch(1), project(1), 1, 12),
	('abcdf000-0000-4000-8000-000000000013', batch(1), project(1), 1, 13);
SELECT told(cancel_jobs(batch(1), '{"id__starts_with": "AbCdEf"}'));
SELECT told(cancel_jobs(batch(1), '{"id__starts_with": "abcde"}'));
ROLLBACK;
-- batch_id
SELECT tried(batch(1), jsonb_build_object('batch_id', batch(1)));
SELECT tried(batch(1), jsonb_build_object('batch_id', jsonb_build_array(batch(3), batch(1))));
SELECT tried(batch(1), jsonb_build_object('batch_id', jsonb_build_array(batch(3), batch(2))));
-- ... which the batch alone decides: of named jobs, too, in previews, by HTTP, by a
-- view, whatever plans are made; and where none can match, no lock is taken
CREATE VIEW seen_jobs AS SELECT * FROM jobs WHERE runs > 0;
CREATE FUNCTION by_batch_id(mode text, relation text, VARIADIC batches uuid[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	filters jsonb := jsonb_build_object('batch_id', batches);
	named jsonb := filters || jsonb_build_object('id', jsonb_build_array(job(1), job(3), job(9), job(77)), 'user_id', 'alice', 'max_runs', 250);
BEGIN
	PERFORM set_config('plan_cache_mode', mode, true), set_config('pasqal_jobs.jobs_table', relation, true);
	RETURN NEXT tried(batch(1), filters);
	RETURN NEXT tried(batch(1), named);
	RETURN NEXT (SELECT string_agg(concat_ws(' ', right(id::text, 2), status, error), E'\n' ORDER BY id) FROM cancel_jobs_preview(batch(1), filters));
	RETURN NEXT (SELECT string_agg(concat_ws(' ', right(id::text, 2), status, error), E'\n' ORDER BY id) FROM cancel_jobs_preview(batch(1), named));
	PERFORM cancel_jobs(batch(1), filters), cancel_jobs(batch(1), named);
	RETURN NEXT concat((SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), ' locks');
END
$$;
\pset format unaligned
BEGIN;
SELECT answer, count(*) FROM unnest('{auto,force_generic_plan,force_custom_plan}'::text[]) AS mode, unnest('{jobs,seen_jobs}'::text[]) AS relation,
	by_batch_id(mode, relation, batch(2), batch(3)) WITH ORDINALITY AS x (answer, n) GROUP BY n, answer ORDER BY n;
SELECT answer FROM by_batch_id('force_generic_plan', 'jobs', batch(2), batch(1)) AS answer;
ROLLBACK;
\pset format aligned
SELECT status_code, body FROM cancel_jobs_http(batch(1)::text, concat('batch_id=', batch(2), '&batch_id=', batch(3), '&id=', job(1)));
CALL cancel_jobs_in_chunks(batch(1), jsonb_build_object('batch_id', batch(2)));
CALL cancel_jobs_in_chunks(batch(1), jsonb_build_object('batch_id', batch(2), 'id', jsonb_build_array(job(1), job(9), job(77))), 1);
DROP FUNCTION by_batch_id;
DROP VIEW seen_jobs;
-- project_id
SELECT tried(batch(1), jsonb_build_object('project_id', project(2)));
SELECT tried(batch(1), jsonb_build_object('project_id', jsonb_build_array(project(2), project(3))));
-- user_id
SELECT tried(batch(1), '{"user_id": "alice"}');
SELECT tried(batch(1), '{"user_id": ["bob", "carol", "bob"]}');
SELECT tried(batch(1), '{"user_id": "Alice"}');
SELECT tried(batch(1), '{"user_id": ""}');
-- status
SELECT tried(batch(1), '{"status": "PENDING"}');
SELECT tried(batch(1), '{"status": ["RUNNING", "ERROR", "RUNNING"]}');
SELECT tried(batch(1), '{"status": ["PENDING", "RUNNING", "DONE", "ERROR", "CANCELED"]}');
SELECT tried(batch(1), '{"status": "DONE"}');
-- min_runs, max_runs
SELECT tried(batch(1), '{"min_runs": 200, "max_runs": "300"}');
SELECT tried(batch(1), '{"min_runs": " +0000000000000000000000000000301 "}');
SELECT tried(batch(1), '{"min_runs": 2147483648}');
SELECT tried(batch(1), '{"max_runs": 99999999999999999999999999}');
SELECT tried(batch(1), '{"max_runs": "-99999999999999999999999999"}');
SELECT tried(batch(1), '{"max_runs": 2e2}');
-- blanks around it
SELECT bool_and(tried(batch(1), jsonb_build_object('min_runs', b || '301' || b)) = tried(batch(1), '{"min_runs": 301}')) AS blank
FROM unnest(ARRAY[' ', E'\t', E'\r\n', E'\x0B\f']) AS b;
-- errors
SELECT tried(batch(1), '{"errors": true}');
SELECT tried(batch(1), '{"errors": false}');
SELECT tried(batch(1), '{"errors": "Yes"}') = tried(batch(1), '{"errors": 1}') AS same;
SELECT bool_and(tried(batch(1), jsonb_build_object('errors', w)) = tried(batch(1), '{"errors": true}')) AS truths
FROM unnest('{true,t,1,on,yes,y,TRUE,oN}'::text[]) AS w;
SELECT bool_and(tried(batch(1), jsonb_build_object('errors', w)) = tried(batch(1), '{"errors": false}')) AS falsehoods
FROM unnest('{false,f,0,off,no,n,FALSE,ofF}'::text[]) AS w;
-- origin
SELECT tried(batch(1), '{"origin": "AZURE"}');
SELECT tried(batch(1), '{"origin": ["UNKNOWN", "CLIENT"]}');
-- start_date, end_date: as documented, execution
SELECT tried(batch(1), '{"start_date": "2023-03-20T13:00:00Z"}');
SELECT tried(batch(1), '{"start_date": "2023-03-20T13:00:00.000001Z", "end_date": "2023-03-21T17:00"}');
-- and as the Python client documents them, creation
SET pasqal_jobs.date_filter = 'creation';
SELECT tried(batch(1), '{"start_date": "2023-03-03T12:00:00Z"}');
SELECT tried(batch(1), '{"end_date": "2023-03-03T12:00:00Z"}');
RESET pasqal_jobs.date_filter;
-- spellings of one moment, 2023-03-20 13:00 UTC: job 3 matches, job 4 too; a microsecond later only job 4
SELECT spelling, tried(batch(1), jsonb_build_object('start_date', spelling, 'status', 'RUNNING')) = 'canceled: 3, 4' AS as_meant
FROM unnest(ARRAY['2023-03-20T13:00:00Z', '2023-03-20 13:00', '2023-03-20T13:00:00', '2023-03-20T13:00:00.000000',
				  '2023-03-20T15:00:00+02:00', '2023-03-20T15:00:00+0200', '2023-03-20T15:00:00+02', '2023-3-20T13:00Z',
				  '2023-03-19T23:00-14:00', '2023-03-20T13:00:00.000000999999Z', '1679317200', '1679317200.0', ' 1679317200e0 ',
				  '1679317200000', '1679317200000000', '2023-03-20T13:00Z' || E'\n', '2023-03-20T16:00+02:60',
				  '2023-03-20T13:0', '2023-03-20T13:0:0.0Z', '+16793172.e+2', '1679317200e-00', '000001679317.2E3', '.00000016793172e16', '1679317200000000000E-9',
				  '1679317199.9999999']) AS spelling;
-- numbers with more digits, or larger, than a double holds
SELECT left(spelling, 12) AS spelling, tried(batch(1), jsonb_build_object('start_date', spelling, 'status', 'RUNNING')) = 'canceled: 3, 4' AS as_meant
FROM unnest(ARRAY['1679317200.' || repeat('0', 1000), '1679317200.' || repeat('0', 1000) || '1', '1679317199.' || repeat('9', 1000), '0', '-0', '0e7', '1e-100000', '1e-' || repeat('9', 20), '-1', '-4e20', '-1e-7']) AS spelling;
-- a fraction may have fewer digits than microseconds have
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, start_timestamp) SELECT batch(3), project(1), 1, '2023-03-20 13:00+00'::timestamptz + n * interval '1 us' FROM unnest('{500000,500001,560000}'::int[]) AS n;
SELECT fraction, (SELECT count(*) FROM cancel_jobs_preview(batch(3), jsonb_build_object('start_date', format('2023-03-20T13:00:00.%sZ', fraction)))) AS jobs
FROM unnest('{5,50,500001,50001,56,561}'::text[]) AS fraction;
ROLLBACK;
-- halves of a microsecond are rounded to even
BEGIN;
INSERT INTO jobs (batch_id, project_id, runs, start_timestamp) SELECT batch(3), project(1), n, '1970-01-01 00:00+00'::timestamptz + n * interval '1 us' FROM generate_series(0, 4) AS n;
SELECT n, (SELECT count(*) FROM cancel_jobs_preview(batch(3), jsonb_build_object('start_date', n))) AS jobs
FROM unnest('{0.0000005,0.0000015,0.0000025,0.0000035}'::numeric[]) AS n ORDER BY n;
ROLLBACK;
-- the largest number of seconds; one more counts milliseconds
BEGIN;
UPDATE jobs SET start_timestamp = '2603-10-11 11:33:20+00' WHERE id = job(3);
SELECT n, (SELECT array_agg(right(id::text, 2) ORDER BY id) FROM cancel_jobs_preview(batch(1), jsonb_build_object('start_date', n))) AS jobs
FROM unnest('{20000000000,20000000001}'::numeric[]) AS n;
ROLLBACK;
-- after the last moment that a date can name there is none
BEGIN;
UPDATE jobs SET start_timestamp = '9999-12-31 23:59:59.5+00' WHERE id = job(3);
SELECT count(*) FROM cancel_jobs_preview(batch(1), '{"start_date": 4e20}');
ROLLBACK;
-- months end with their last day
SELECT count(*) FILTER (WHERE last.message = 'no error') AS last_days, count(*) FILTER (WHERE after.state = '22023') AS days_after
FROM unnest('{01-31,02-28,03-31,04-30,05-31,06-30,07-31,08-31,09-30,10-31,11-30,12-31}'::text[]) AS day,
	 LATERAL (SELECT $$SELECT * FROM cancel_jobs_preview(batch(1), '{"start_date": "2023-%sT00:00Z"}')$$) AS s (sql),
	 LATERAL failure(format(sql, day)) AS last, LATERAL failure(format(sql, left(day, 3) || right(day, 2)::int + 1)) AS after;
-- leap years
SELECT tried(batch(1), '{"start_date": "2000-02-29T00:00Z", "end_date": "2024-02-29T00:00Z"}');
SELECT day, (failure(format($$SELECT * FROM cancel_jobs_preview(batch(1), '{"start_date": "%sT00:00Z"}')$$, day))).state
FROM unnest('{1900-02-29,2000-02-30,2023-02-29,2024-02-30}'::text[]) AS day;
SELECT spelling, tried(batch(1), jsonb_build_object('start_date', spelling, 'status', 'RUNNING')) = 'canceled: 4' AS as_meant
FROM unnest(ARRAY['2023-03-20T13:00:00.000001Z', '2023-03-20T13:00:00.0000019Z', '1679317200.000001', '1679317200000.001']) AS spelling;
-- a number in the middle between two doubles, and one a little beyond
SELECT length(spelling), tried(batch(1), jsonb_build_object('start_date', spelling, 'status', 'RUNNING')) AS tried
FROM (VALUES ('1679317200.00000059604644775390625'), ('1679317200.00000059604644775390625' || repeat('0', 760) || '1'), ('1679317200.' || repeat('0', 4289)), (' -' || repeat('0', 4298) || '1 ')) AS v (spelling);
SELECT tried(batch(1), '{"start_date": 1679317200, "status": "RUNNING"}'), tried(batch(1), '{"start_date": 1679317200000.001, "status": "RUNNING"}');
SELECT tried(batch(1), '{"start_date": 4e20}'), tried(batch(1), '{"start_date": "0001-01-01T00:00+23:59", "user_id": "alice"}');
-- all at once
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(3), job(4)), 'id__starts_with', '00000003', 'batch_id', batch(1),
	'project_id', project(1), 'user_id', 'alice', 'status', 'RUNNING', 'min_runs', 300, 'max_runs', 300, 'errors', true,
	'origin', NULL, 'start_date', '2023-03-20T13:00Z') - 'origin');
SELECT tried(batch(1), jsonb_build_object('project_id', project(1), 'user_id', 'alice', 'errors', true, 'min_runs', 1));
-- a long list is planned for its values; answers are the same
SELECT tried(batch(1), jsonb_build_object('id', (SELECT jsonb_agg(job(n)) FROM generate_series(1, 4) AS n)))
	 = tried(batch(1), jsonb_build_object('id', (SELECT jsonb_agg(job(1 + n % 4)) FROM generate_series(1, 5000) AS n))) AS same;
SELECT left(tried(batch(1), jsonb_build_object('id', (SELECT jsonb_agg(job(n)) FROM generate_series(3, 3000) AS n))), 70);
SELECT tried(batch(1), jsonb_build_object('user_id', (SELECT jsonb_agg('user ' || n) || '["bob"]' FROM generate_series(1, 1000) AS n)));

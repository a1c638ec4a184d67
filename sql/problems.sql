--
-- Bad filters: one error that tells all, nothing changed
--
\x on
-- each kind of problem
SELECT * FROM failure($$SELECT cancel_jobs(NULL)$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), NULL)$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), 'null')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '[]')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '"status"')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '5')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id": "abc"}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id": []}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id": null}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id": {"a": 1}}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id": [["00000001-0000-4000-8000-000000000001"]]}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id__starts_with": ""}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id__starts_with": ["0"]}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"batch_id": 7}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"project_id": [null]}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"user_id": 5}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"status": "pending"}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"min_runs": 1.5}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"min_runs": true}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"max_runs": [1]}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"errors": "maybe"}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"errors": null}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"errors": [true]}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"status": 5}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"origin": ["CLIENT", "MARS"]}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"start_date": "yesterday"}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"end_date": {}}')$$);
-- misspelt keys
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"statsu": "PENDING"}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"ID": 1}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"idd": 1}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"id_starts_with": "0"}')$$);
-- part of a name is near it, and so is one letter of two
SELECT key, hint FROM unnest('{user,date,runs,ix,d,xy,us}'::text[]) AS key, failure(format('SELECT cancel_jobs(batch(1), %L)', jsonb_build_object(key, 1)));
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"": 1}')$$);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"something else entirely": 1}')$$);
SELECT message, length(detail) FROM failure(format($$SELECT cancel_jobs(batch(1), '{%s: 1}')$$, to_json(repeat('k', 100000))));
-- all at once, in the order of the filters, unknown keys last
SELECT * FROM failure($$SELECT cancel_jobs(NULL, '{"zzz": 1, "end_date": "2023-01-01", "id": ["x", "00000001-0000-4000-8000-000000000001", 5, null],
	"min_runs": "1e3", "errors": 2, "user_id": [], "A \"b\" \\ c": null}')$$);
-- no more than a hundred in the DETAIL of an error
SELECT state, message, json_array_length(detail::json->'detail') AS entries
FROM failure($$SELECT cancel_jobs(batch(1), jsonb_build_object('id', (SELECT jsonb_agg(n) FROM generate_series(1, 2500) AS n)))$$);
\x off
-- values that are not what they may look like
SELECT filter, value, (SELECT count(*) FROM failure(format('SELECT cancel_jobs(batch(1), %L)', jsonb_build_object(filter, value))) WHERE state = '22023') AS refused
FROM (VALUES ('id', ''), ('id', '0000000100004000800000000000000'), ('id', '00000001-0000-4000-8000-00000000000g'),
			 ('id', '0x000001-0000-4000-8000-000000000001'), ('id', ' 00000001-0000-4000-8000-000000000001'),
			 ('id', '0000{0001-0000-4000-8000-000000000001}'), ('id', '00000001-0000-4000-8000-000000000001-1'),
			 ('id', '{00000001-0000-4000-8000-000000000001'), ('id', '00000001-0000-4000-8000-000000000001}'), ('id', '{{00000001-0000-4000-8000-000000000001}}'),
			 ('id', 'urn:00000001-0000-4000-8000-000000000001'), ('id', '{urn:uuid:00000001-0000-4000-8000-000000000001}'), ('id', '{'), ('id', 'urn:uuid:'),
			 ('status', ''), ('status', ' PENDING'), ('status', 'PENDING,RUNNING'), ('origin', 'client'),
			 ('min_runs', ''), ('min_runs', '+'), ('min_runs', '1.0'), ('min_runs', '1e2'), ('min_runs', '1_000'), ('min_runs', '0x10'),
			 ('min_runs', '- 1'), ('min_runs', 'NaN'), ('errors', ''), ('errors', ' true'), ('errors', '2'), ('errors', 'tru'),
			 ('start_date', ''), ('start_date', 'now'), ('start_date', 'infinity'), ('start_date', '-inf'), ('start_date', 'nan'), ('start_date', '1e400'),
			 ('start_date', '2023-01-01'), ('start_date', '2023-02-29T00:00Z'), ('start_date', '2023-13-01T00:00Z'), ('start_date', '0000-01-01T00:00Z'),
			 ('start_date', '2023-01-01T24:00Z'), ('start_date', '2023-01-01T00:60Z'), ('start_date', '2023-01-01T00:00:60Z'),
			 ('start_date', '2023-01-01T00:00:00.Z'), ('start_date', '2023-01-01T00:00:00.1234567890123Z'), ('start_date', '2023-01-01T00:00z'),
			 ('start_date', '2023-01-01T00:00+24:00'), ('start_date', '2023-01-01T00:00+2'), ('start_date', '2023-01-01T00:00 +02:00'),
			 ('start_date', ' 2023-01-01T00:00Z'), ('start_date', '2023-01-01T00:00Z '), ('start_date', '2023-01-01t00:00Z'),
			 ('start_date', '1900-02-29T00:00Z'), ('start_date', '2023-00-01T00:00Z'), ('start_date', '2023-01-00T00:00Z'), ('start_date', '2023-04-31T00:00Z'),
			 ('start_date', '202-01-01T00:00Z'), ('start_date', '2023/01-01T00:00Z'), ('start_date', '2023-x-01T00:00Z'), ('start_date', '2023-01/01T00:00Z'),
			 ('start_date', '2023-01-T00:00Z'), ('start_date', '2023-01-01'), ('start_date', '2023-01-01T:00Z'), ('start_date', '2023-01-01T00-00Z'),
			 ('start_date', '2023-01-01T00:Z'), ('start_date', '2023-01-01T00:00:Z'), ('start_date', '2023-01-01T00:00+02:'), ('start_date', '2023-01-01T00:00+02:0'),
			 ('start_date', '02023-01-01T00:00Z'), ('start_date', '2023-001-01T00:00Z'), ('start_date', '2023-01-001T00:00Z'), ('start_date', '2023-01-01T000:00Z'),
			 ('start_date', '2023-01-01T00:000Z'), ('start_date', '2023-01-01T00:00:000Z'), ('start_date', '2023-01-01T00:00+002'), ('start_date', '2023-01-01T00:00+02:000'),
			 ('start_date', '2023-01-01T00:00+020'), ('start_date', '2023-01-01T00:00-24:00'),
			 ('start_date', '1e'), ('start_date', '1e+'), ('start_date', '1e-x'), ('start_date', '1.5.5'), ('start_date', '.'), ('start_date', '+'), ('start_date', '5x'),
			 ('start_date', '1e99999999999999999999'), ('start_date', '-1e309'),
			 ('start_date', '2023-01-01T00'), ('start_date', '2023-01-01T00:00:00 UTC'), ('start_date', '1_000')) AS v (filter, value);
-- a number longer than Python reads an integer
SELECT state FROM failure(format('SELECT cancel_jobs(batch(1), %L)', jsonb_build_object('start_date', repeat('0', 4301))));
-- longer than a label can be
SELECT state, message FROM failure(format($$SELECT cancel_jobs(batch(1), '{"status": "PENDING%s"}')$$, repeat(' ', 57)));
-- SQL in every filter is just a bad or an unmatched value
SELECT filter, tried(batch(1), jsonb_build_object(filter, $$'; UPDATE jobs SET status = 'CANCELED'; --$$)) FROM unnest('{user_id,id__starts_with}'::text[]) AS filter;
SELECT count(*) FROM unnest('{id,batch_id,project_id,status,min_runs,max_runs,errors,origin,start_date,end_date,x}'::text[]) AS filter,
	 LATERAL failure(format('SELECT cancel_jobs(batch(1), %L)', jsonb_build_object(filter, $$'; UPDATE jobs SET status = 'CANCELED'; --$$))) WHERE state = '22023';
SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1;

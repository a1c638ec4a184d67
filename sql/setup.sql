--
-- What all the other files build on: the extension, a jobs table, a batch of
-- ten jobs, and functions that show an answer or an error on a few lines.
--
-- what a run that was interrupted has left
DO $$
DECLARE
	role name;
BEGIN
	FOR role IN SELECT rolname FROM pg_roles WHERE rolname ~ '^regress_(pasqal|chunks)' LOOP
		EXECUTE format('DROP ROLE %I', role);
	END LOOP;
END
$$;
-- a setting of the cluster would change answers: there is none
SELECT name, setting FROM pg_file_settings WHERE name LIKE 'pasqal_jobs.%';
CREATE EXTENSION pasqal_jobs;
SELECT create_jobs_table();
\d jobs

-- The uuid of the n-th test job; batches, projects likewise
CREATE FUNCTION job(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT format('0000000%s-0000-4000-8000-%s', n % 10, lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION batch(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT format('bbbbbbbb-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION project(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT format('eeeeeeee-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid $$;

-- Ten jobs, two of each status; odd ones by alice, even ones by bob
CREATE FUNCTION submit(batch uuid, first int DEFAULT 1) RETURNS void LANGUAGE sql AS $$
INSERT INTO jobs (id, status, runs, batch_id, project_id, user_id, origin, created_at, updated_at,
				  start_timestamp, end_timestamp, variables, errors, progress, sequence, creation_order)
SELECT job(n), status::jobstatus, 100 * i, batch, project(1 + i % 3),
	   CASE i % 2 WHEN 1 THEN 'alice' ELSE 'bob' END,
	   (ARRAY['CLIENT', 'AZURE', 'UNKNOWN', NULL])[1 + i % 4]::origin,
	   '2023-03-01 12:00+00'::timestamptz + i * interval '1 day', '2023-03-01 12:00+00',
	   CASE WHEN status <> 'PENDING' THEN '2023-03-20 10:00+00'::timestamptz + i * interval '1 hour' END,
	   CASE WHEN status IN ('DONE', 'ERROR', 'CANCELED') THEN '2023-03-21 10:00+00'::timestamptz + i * interval '1 hour' END,
	   jsonb_build_object('omega', i / 2.0), CASE i % 3 WHEN 0 THEN ARRAY['a "quoted" word', NULL] WHEN 1 THEN '{}'::text[] END,
	   10 * i, 'sequence ' || i, n
FROM unnest(ARRAY['PENDING', 'PENDING', 'RUNNING', 'RUNNING', 'DONE', 'DONE', 'ERROR', 'ERROR', 'CANCELED', 'CANCELED'])
	 WITH ORDINALITY AS s (status, at), LATERAL (SELECT at::int, (first + at - 1)::int) AS x (i, n)
$$;

-- An answer in one line: canceled jobs in their order, then errors
CREATE FUNCTION told(answer jsonb) RETURNS text LANGUAGE sql AS $$
SELECT concat('canceled: ', (SELECT string_agg(ltrim(right(j->>'id', 12), '0'), ', ') FROM jsonb_array_elements(answer->'data'->'jobs') AS j),
			  (SELECT string_agg(E'\n' || ltrim(right(key, 12), '0') || ': ' || value, '' ORDER BY key COLLATE "C")
			   FROM jsonb_each_text(answer->'data'->'errors')))
$$;

-- Cancels and takes it back: what it would answer
CREATE FUNCTION tried(batch uuid, filters jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	BEGIN
		answer := told(cancel_jobs(batch, filters));
		RAISE EXCEPTION SQLSTATE 'UNDO0';
	EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
		RETURN answer;
	END;
END
$$;

-- The same of a request
CREATE FUNCTION tried_http(path text, query text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	BEGIN
		SELECT CASE status_code WHEN 200 THEN told(body::jsonb) ELSE status_code || (SELECT string_agg(E'\n' || d, '') FROM json_array_elements_text(body->'detail') AS d) END
		INTO answer FROM cancel_jobs_http(path, query);
		RAISE EXCEPTION SQLSTATE 'UNDO0';
	EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
		RETURN answer;
	END;
END
$$;

-- The error that a statement raises; that it changed nothing is checked, too
CREATE FUNCTION failure(sql text)
RETURNS TABLE (state text, message text, detail text, hint text) LANGUAGE plpgsql AS $$
DECLARE
	before text := (SELECT md5(string_agg(j::text, ',' ORDER BY id)) FROM jobs AS j);
BEGIN
	BEGIN
		EXECUTE sql;
		message := 'no error';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
			detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	END;
	IF before IS DISTINCT FROM (SELECT md5(string_agg(j::text, ',' ORDER BY id)) FROM jobs AS j) THEN
		RAISE EXCEPTION 'the table was changed';
	END IF;
	RETURN NEXT;
END
$$;

SELECT submit(batch(1));

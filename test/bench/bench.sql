-- test/bench/bench.sql: the tables, the jobs in them, and the rivals.
--
-- Each table is called jobs and stands in a schema of its own, so that every
-- contender runs the same statement on any of them: search_path chooses.

CREATE EXTENSION pasqal_jobs;

CREATE SCHEMA small;	-- the batches that are measured, other jobs around them
CREATE SCHEMA dense;	-- one batch is 80 % of all jobs
CREATE SCHEMA toasted;	-- jobs with long sequences
CREATE SCHEMA single;	-- for clients that cancel one job at a time
SELECT create_jobs_table(s || '.jobs') FROM unnest('{small,dense,toasted,single}'::text[]) AS s;

-- Batches that are all alike: of 10 jobs 8 are PENDING, one is RUNNING and
-- one is DONE. The ids follow from the name, in no order.
CREATE PROCEDURE load_jobs(target regclass, name text, batches int, jobs int, sequence text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($insert$
		INSERT INTO %s (id, status, runs, batch_id, project_id, user_id, origin, created_at, updated_at,
			start_timestamp, end_timestamp, variables, progress, sequence, slurm_job_id)
		SELECT md5($1 || ' ' || i)::uuid,
			(CASE i %% 10 WHEN 9 THEN 'DONE' WHEN 8 THEN 'RUNNING' ELSE 'PENDING' END)::jobstatus,
			100 + i %% 400,
			md5($1 || ' batch ' || i / $3)::uuid,
			md5('project')::uuid,
			'auth0|' || md5('user'),
			'CLIENT',
			now() - interval '1 hour' + i * interval '1 microsecond',
			now() - interval '1 minute',
			CASE WHEN i %% 10 > 7 THEN now() - interval '1 minute' END,
			CASE i %% 10 WHEN 9 THEN now() - interval '30 seconds' END,
			jsonb_build_object('omega_max', 12.566, 'detuning', round((i %% 1000) / 64.0, 3),
				'ts', jsonb_build_array(250, 500 + i %% 100)),
			CASE i %% 10 WHEN 9 THEN 100 WHEN 8 THEN 40 ELSE 0 END,
			$4,
			CASE WHEN i %% 10 > 7 THEN (4000000 + i)::text END
		FROM generate_series(0, $2 * $3 - 1) AS i$insert$, target)
	USING name, batches, jobs, sequence;
END
$$;

-- Text like a serialized pulse sequence, about 100 kB
CREATE FUNCTION long_sequence() RETURNS text
LANGUAGE sql AS $$
	SELECT format('{"version": "1", "name": "pulser-exported", "operations": [%s]}',
		string_agg(format('{"op": "pulse", "channel": "global", "amplitude": {"kind": "constant", "duration": %s, "value": %s}, "phase": %s}',
			100 + i * 7919 % 900, sin(i)::numeric(20, 15), cos(i)::numeric(20, 15)), ', '))
	FROM generate_series(1, 715) AS i
$$;

-- The rivals. Each gives the very answer that cancel_jobs gives (bench.py
-- compares them), and as exactly: the rows are locked before they are looked
-- at, so that what other sessions do meanwhile is in the answer as well.
SET search_path = small, public;

-- RFC 3339 as the API writes it
CREATE FUNCTION public.iso(t timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT replace(to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), '.000000', '')
$$;

-- The CTEs: as jsonb and as json; locking, and not locking, whose answer may be wrong about
-- what other sessions do meanwhile
SELECT format($create$
	CREATE FUNCTION public.cancel_cte_%1$s%2$s(batch uuid) RETURNS %1$s
	LANGUAGE sql AS $$
		WITH matched AS (
			SELECT id, status FROM jobs WHERE batch_id = batch %3$s
		), canceled AS (
			UPDATE jobs AS j SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
			%4$s
			RETURNING j.id, j.parent_id, j.status, j.runs, j.batch_id, j.project_id, iso(j.created_at) AS created_at,
				iso(j.updated_at) AS updated_at, iso(j.start_timestamp) AS start_timestamp,
				iso(j.end_timestamp) AS end_timestamp, j.variables, j.errors, j.progress, j.sequence,
				j.creation_order, j.slurm_job_id
		)
		SELECT %1$s_build_object('data', %1$s_build_object(
			'jobs', (SELECT coalesce(%1$s_agg(c ORDER BY c.creation_order, c.id), '[]') FROM canceled AS c),
			'errors', (SELECT coalesce(%1$s_object_agg(id, 'Job cannot be canceled: its status is ' || status), '{}')
				FROM matched WHERE status NOT IN ('PENDING', 'RUNNING'))))
	$$
	$create$, type, suffix, lock, condition)
FROM unnest('{json,jsonb}'::text[]) AS type, (VALUES
	('', 'FOR NO KEY UPDATE', 'FROM matched AS m WHERE j.id = m.id AND m.status IN (''PENDING'', ''RUNNING'')'),
	('_unlocked', '', 'WHERE j.batch_id = batch AND j.status IN (''PENDING'', ''RUNNING'')')
) AS variant (suffix, lock, condition) \gexec

CREATE FUNCTION public.cancel_loop(batch uuid) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
	job record;
	canceled record;
	canceled_jobs text[] := '{}';
	errors text[] := '{}';
BEGIN
	FOR job IN SELECT j.id, j.status FROM jobs AS j WHERE j.batch_id = batch ORDER BY j.creation_order, j.id FOR NO KEY UPDATE LOOP
		IF job.status IN ('PENDING', 'RUNNING') THEN
			UPDATE jobs AS j SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
			WHERE j.id = job.id
			RETURNING j.id, j.parent_id, j.status, j.runs, j.batch_id, j.project_id, iso(j.created_at) AS created_at,
				iso(j.updated_at) AS updated_at, iso(j.start_timestamp) AS start_timestamp,
				iso(j.end_timestamp) AS end_timestamp, j.variables, j.errors, j.progress, j.sequence,
				j.creation_order, j.slurm_job_id INTO canceled;
			canceled_jobs := array_append(canceled_jobs, row_to_json(canceled)::text);
		ELSE
			errors := array_append(errors, format('"%s": "Job cannot be canceled: its status is %s"', job.id, job.status));
		END IF;
	END LOOP;
	RETURN format('{"data": {"jobs": [%s], "errors": {%s}}}',
		array_to_string(canceled_jobs, ', '), array_to_string(errors, ', '));
END
$$;

-- test/bench/bench.sql: the tables, the jobs in them, and the rivals.
--
-- Each table is called jobs and stands in a schema of its own, so that every
-- contender runs the same statement on any of them: search_path chooses.

CREATE EXTENSION pasqal_jobs;

CREATE SCHEMA small;	-- the batches that are measured, other jobs around them
CREATE SCHEMA large;	-- the same batches, 10 times as many jobs in all
CREATE SCHEMA toasted;	-- jobs with long sequences
CREATE SCHEMA single;	-- for clients that cancel one job at a time
SELECT create_jobs_table(s || '.jobs') FROM unnest('{small,large,toasted,single}'::text[]) AS s;

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

-- The rivals. Each answers as the API does, with the jobs canceled and with an
-- error for each of the others; none is as exact as cancel_jobs if another
-- session is at work, which is to their advantage here.
SET search_path = small, public;

CREATE FUNCTION public.cancel_cte_jsonb(batch uuid) RETURNS jsonb
LANGUAGE sql AS $$
	WITH canceled AS (
		UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
		WHERE batch_id = batch AND status IN ('PENDING', 'RUNNING')
		RETURNING id, parent_id, status, runs, batch_id, project_id, created_at, updated_at, start_timestamp,
			end_timestamp, variables, errors, progress, sequence, creation_order, slurm_job_id
	)
	SELECT jsonb_build_object('data', jsonb_build_object(
		'jobs', (SELECT coalesce(jsonb_agg(c ORDER BY c.creation_order, c.id), '[]') FROM canceled AS c),
		'errors', (SELECT coalesce(jsonb_object_agg(j.id, 'Job cannot be canceled: its status is ' || j.status), '{}')
			FROM jobs AS j WHERE j.batch_id = batch AND j.status NOT IN ('PENDING', 'RUNNING'))))
$$;

CREATE FUNCTION public.cancel_cte_json(batch uuid) RETURNS json
LANGUAGE sql AS $$
	WITH canceled AS (
		UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
		WHERE batch_id = batch AND status IN ('PENDING', 'RUNNING')
		RETURNING id, parent_id, status, runs, batch_id, project_id, created_at, updated_at, start_timestamp,
			end_timestamp, variables, errors, progress, sequence, creation_order, slurm_job_id
	)
	SELECT json_build_object('data', json_build_object(
		'jobs', (SELECT coalesce(json_agg(c ORDER BY c.creation_order, c.id), '[]') FROM canceled AS c),
		'errors', (SELECT coalesce(json_object_agg(j.id, 'Job cannot be canceled: its status is ' || j.status), '{}')
			FROM jobs AS j WHERE j.batch_id = batch AND j.status NOT IN ('PENDING', 'RUNNING'))))
$$;

CREATE FUNCTION public.cancel_loop(batch uuid) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
	job record;
	canceled record;
	canceled_jobs text[] := '{}';
	errors text[] := '{}';
BEGIN
	FOR job IN SELECT j.id, j.status FROM jobs AS j WHERE j.batch_id = batch ORDER BY j.creation_order, j.id LOOP
		IF job.status IN ('PENDING', 'RUNNING') THEN
			UPDATE jobs AS j SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
			WHERE j.id = job.id AND j.status IN ('PENDING', 'RUNNING')
			RETURNING j.id, j.parent_id, j.status, j.runs, j.batch_id, j.project_id, j.created_at, j.updated_at,
				j.start_timestamp, j.end_timestamp, j.variables, j.errors, j.progress, j.sequence,
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

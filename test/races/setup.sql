-- What the specs of races.py call.

CREATE EXTENSION injection_points;
CREATE EXTENSION pasqal_jobs;

-- Who cancels may do no more than that takes
CREATE ROLE caller;
ALTER DEFAULT PRIVILEGES GRANT SELECT, UPDATE ON TABLES TO caller;

CREATE FUNCTION batch(n int DEFAULT 1) RETURNS uuid LANGUAGE sql IMMUTABLE
AS $$ SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid $$;

CREATE FUNCTION job(label text) RETURNS uuid LANGUAGE sql IMMUTABLE
AS $$ SELECT ('00000000-0000-0000-0000-00000000000' || label)::uuid $$;

-- The jobs that a response calls canceled, then ~ and why others were not
CREATE FUNCTION answer(response jsonb) RETURNS text LANGUAGE sql
AS $$
	SELECT concat_ws(' ',
		(SELECT string_agg(right(j->>'id', 1) || CASE j->>'status' WHEN 'CANCELED' THEN '' ELSE ' is ' || (j->>'status') END,
						   ' ' ORDER BY j->>'id')
		 FROM jsonb_array_elements(response->'data'->'jobs') AS j),
		'~',
		(SELECT string_agg(right(e.key, 1) || ' ' || CASE e.value
				WHEN 'Job was not canceled: a trigger or a row-level security policy kept it' THEN 'KEPT'
				WHEN 'Job is locked by another transaction' THEN 'LOCKED'
				WHEN 'Job was not found in this batch' THEN 'NOT FOUND'
				WHEN 'Job does not match the other filters' THEN 'NO MATCH'
				ELSE regexp_replace(e.value, '^Job cannot be canceled: its status is ', '') END,
						   ', ' ORDER BY e.key)
		 FROM jsonb_each_text(response->'data'->'errors') AS e))
$$;

-- Each job with the first letter of its status, and its batch if that is another
CREATE FUNCTION state() RETURNS text LANGUAGE plpgsql
AS $$
DECLARE
	result text;
BEGIN
	IF to_regclass('jobs') IS NULL THEN
		RETURN 'no table';
	END IF;
	SELECT string_agg(right(id::text, 1) || left(status::text, 1) || CASE batch_id WHEN batch() THEN '' ELSE '/' || right(batch_id::text, 1) END,
					  ' ' ORDER BY id)
	INTO result FROM jobs;
	RETURN coalesce(result, 'no jobs');
END
$$;

-- b comes before a in chunks
CREATE PROCEDURE make_jobs(partitioned boolean) LANGUAGE plpgsql
AS $$
BEGIN
	IF partitioned THEN
		PERFORM create_jobs_table('template');
		CREATE TABLE jobs (LIKE template INCLUDING DEFAULTS) PARTITION BY RANGE (runs);
		CREATE TABLE jobs_short PARTITION OF jobs FOR VALUES FROM (0) TO (100);
		CREATE TABLE jobs_long PARTITION OF jobs FOR VALUES FROM (100) TO (1000);
		DROP TABLE template;
	ELSE
		PERFORM create_jobs_table();
	END IF;
	INSERT INTO jobs (id, batch_id, project_id, status, runs, user_id, creation_order) VALUES
		(job('a'), batch(), job('0'), 'PENDING', 10, 'ann', 2),
		(job('b'), batch(), job('0'), 'PENDING', 10, 'ann', 1),
		(job('c'), batch(), job('0'), 'DONE', 10, 'ann', 3),
		(job('d'), batch(), job('0'), 'PENDING', 10, 'bob', 4);
END
$$;

-- After the deed "rename label"
CREATE PROCEDURE restore_label() LANGUAGE plpgsql
AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_enum WHERE enumtypid = 'jobstatus'::regtype AND enumlabel = 'GONE') THEN
		ALTER TYPE jobstatus RENAME VALUE 'GONE' TO 'CANCELED';
	END IF;
END
$$;

-- Lets calls of this session, and of no other, stop at these seams; they are
-- those of the role caller
CREATE PROCEDURE stop_at(seams text[]) LANGUAGE plpgsql
AS $$
DECLARE
	seam text;
BEGIN
	IF current_setting('races.local', true) IS DISTINCT FROM 'on' THEN
		PERFORM injection_points_set_local();
		SET races.local = 'on';
	END IF;
	FOREACH seam IN ARRAY seams LOOP
		BEGIN
			-- of a permutation that failed
			PERFORM injection_points_detach('pasqal-jobs-' || seam);
		EXCEPTION WHEN OTHERS THEN
		END;
		PERFORM injection_points_attach('pasqal-jobs-' || seam, 'wait');
	END LOOP;
	SET ROLE caller;
END
$$;

-- Has a session nothing more to do?  Then there is nothing to wait for.
CREATE FUNCTION is_idle(who text) RETURNS boolean LANGUAGE sql
AS $$ SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '%/' || who AND state <> 'active') $$;

-- Returns when the canceler has stopped at a seam
CREATE PROCEDURE reached(seam text) LANGUAGE plpgsql
AS $$
BEGIN
	FOR i IN 1..1000 LOOP
		IF EXISTS (SELECT FROM pg_stat_activity
				   WHERE application_name LIKE '%/canceler' AND wait_event = 'pasqal-jobs-' || seam) THEN
			RETURN;
		END IF;
		EXIT WHEN is_idle('canceler');
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
	RAISE 'the call has not come to %', seam;
END
$$;

-- Lets the canceler go on, as far as the next seam if there is one
CREATE PROCEDURE go_on(seam text, next text DEFAULT NULL) LANGUAGE plpgsql
AS $$
BEGIN
	CALL reached(seam);
	PERFORM injection_points_detach('pasqal-jobs-' || seam);
	PERFORM injection_points_wakeup('pasqal-jobs-' || seam);
	IF next IS NOT NULL THEN
		CALL reached(next);
	END IF;
END
$$;

-- Returns when a session waits for a lock that another one holds
CREATE PROCEDURE waits(who text, for_whom text) LANGUAGE plpgsql
AS $$
BEGIN
	FOR i IN 1..1000 LOOP
		IF EXISTS (SELECT FROM pg_stat_activity AS w, pg_stat_activity AS h
				   WHERE w.application_name LIKE '%/' || who AND h.application_name LIKE '%/' || for_whom
				   AND h.pid = ANY (pg_blocking_pids(w.pid))) THEN
			RETURN;
		END IF;
		EXIT WHEN is_idle(who);
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
	RAISE 'the % does not wait for the %', who, for_whom;
END
$$;

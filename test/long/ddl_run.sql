--
-- test/long/ddl_run.sql: random DDL in the middle of random calls
--
-- Needs oracle.sql and oracle_run.sql. A call may end in an error; but if it
-- answers, the answer must be that of the second implementation, and the table
-- must be what that leaves. A crash ends the test.
--

-- Runs what the setting ddl.plan, [[seam, statement, swallow], ...], has for a seam
CREATE FUNCTION oracle.meddle(seam text) RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	plan jsonb := nullif(current_setting('ddl.plan', true), '')::jsonb;
	step jsonb;
BEGIN
	FOR i IN 0 .. coalesce(jsonb_array_length(plan), 0) - 1 LOOP
		step := plan->i;
		IF step->>0 = seam THEN
			PERFORM set_config('ddl.plan', (plan - i)::text, true), set_config('ddl.ran', (current_setting('ddl.ran')::int + 1)::text, true);
			IF (step->>2)::bool THEN
				BEGIN
					EXECUTE step->>1;
				EXCEPTION WHEN OTHERS THEN
					PERFORM oracle.count('changes refused');
				END;
			ELSE
				EXECUTE step->>1;
			END IF;
			EXIT;
		END IF;
	END LOOP;
	RETURN true;
END
$$;
CREATE FUNCTION oracle.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM oracle.meddle(lower(tg_when || ' ' || tg_level));
	RETURN NEW;
END
$$;

-- A view with a function in it, over a table of its own
SELECT create_jobs_table('oracle.behind');
CREATE VIEW oracle.window AS SELECT * FROM oracle.behind WHERE oracle.meddle('read');
INSERT INTO oracle.relations VALUES
	('meddled view', 'oracle.window', 'oracle.behind', '{PENDING,RUNNING,PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', false);
DO $$
DECLARE
	t text;
BEGIN
	FOR t IN SELECT DISTINCT base FROM oracle.relations WHERE kind <> 'policies' LOOP
		EXECUTE format('CREATE TRIGGER x1 BEFORE UPDATE ON %s EXECUTE FUNCTION oracle.meddle()', t);
		EXECUTE format('CREATE TRIGGER x2 BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION oracle.meddle()', t);
		EXECUTE format('CREATE TRIGGER x3 AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION oracle.meddle()', t);
		EXECUTE format('CREATE TRIGGER x4 AFTER UPDATE ON %s EXECUTE FUNCTION oracle.meddle()', t);
	END LOOP;
END
$$;

CREATE FUNCTION oracle.a_column() RETURNS text LANGUAGE sql AS $$
SELECT oracle.pick('id', 'parent_id', 'status', 'runs', 'batch_id', 'project_id', 'user_id', 'origin', 'created_at', 'updated_at', 'start_timestamp',
	'end_timestamp', 'variables', 'errors', 'progress', 'sequence', 'creation_order', 'slurm_job_id')
$$;

-- One deed on what a relation is made of
CREATE FUNCTION oracle.a_deed(r oracle.relations) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	rel text := oracle.pick(r.rel, r.base);
	name text := split_part(rel, '.', 2);
	a text := oracle.a_column();
	b text := oracle.a_column();
BEGIN
	RETURN format(oracle.pick(
		'ALTER TABLE %1$s RENAME TO moved',
		'ALTER TABLE %1$s RENAME TO moved; CREATE TABLE oracle.%2$s (id text, status int)',
		'ALTER TABLE %1$s RENAME TO moved; CREATE VIEW oracle.%2$s AS SELECT * FROM oracle.moved',
		'ALTER TABLE %1$s RENAME TO moved; ALTER TABLE oracle.moved RENAME TO %2$s',
		'ALTER TABLE %1$s RENAME COLUMN %3$s TO x',
		'ALTER TABLE %1$s RENAME COLUMN %3$s TO x; ALTER TABLE %1$s RENAME COLUMN %4$s TO %3$s; ALTER TABLE %1$s RENAME COLUMN x TO %4$s',
		'ALTER TABLE %1$s RENAME COLUMN %3$s TO x; ALTER TABLE %1$s RENAME COLUMN x TO %3$s',
		'ALTER TABLE %1$s ALTER COLUMN %3$s TYPE text USING %3$s::text',
		'ALTER TABLE %1$s DROP COLUMN %3$s CASCADE',
		'ALTER TABLE %1$s ADD COLUMN more text DEFAULT ''x''',
		'ALTER TABLE %1$s SET SCHEMA public',
		'ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY',
		'ALTER SCHEMA oracle RENAME TO elsewhere',
		'DROP TABLE %1$s CASCADE',
		'DROP VIEW oracle.seen; DROP VIEW oracle.window',
		'CREATE OR REPLACE VIEW oracle.window AS SELECT * FROM oracle.behind WHERE false',
		'CREATE INDEX ON %5$s (%3$s)',
		'DROP TYPE jobstatus CASCADE',
		'DROP TYPE oracle.own_status CASCADE',
		'DROP EXTENSION pasqal_jobs CASCADE',
		'ALTER TYPE jobstatus ADD VALUE ''MORE''',
		'ALTER TYPE jobstatus RENAME VALUE ''CANCELED'' TO ''ENDED''',
		'ALTER TYPE oracle.own_status RENAME VALUE ''PENDING'' TO ''WAITING''',
		'ALTER TYPE oracle.own_status RENAME VALUE ''PAUSED'' TO ''HELD''; ALTER TYPE oracle.own_status RENAME VALUE ''HELD'' TO ''PAUSED''',
		'ALTER TYPE origin RENAME VALUE ''AZURE'' TO ''X''; ALTER TYPE origin RENAME VALUE ''CLIENT'' TO ''AZURE''; ALTER TYPE origin RENAME VALUE ''X'' TO ''CLIENT''',
		'DISCARD PLANS',
		'DISCARD TEMP',
		'SET LOCAL pasqal_jobs.jobs_table = ''nowhere''',
		'SET LOCAL pasqal_jobs.date_filter = ''creation''',
		'SET LOCAL search_path = pg_catalog',
		'SELECT 1 FROM public.cancel_jobs(md5(''none'')::uuid, ''{"status": ["DONE"], "min_runs": 1, "user_id": "x"}'')',
		'CREATE TEMP TABLE jobs (id int); DROP TABLE pg_temp.jobs',
		'ANALYZE %5$s'), rel, name, a, b, r.base);
END
$$;

CREATE PROCEDURE oracle.run_ddl(seed int, cases int) LANGUAGE plpgsql AS $$
DECLARE
	r oracle.relations;
	filters jsonb;
	batch uuid;
	given jsonb;
	by_creation bool;
	expected oracle.outcome;
	got oracle.outcome;
	plan jsonb;
	call text;
	done int := 0;
BEGIN
	PERFORM set_config('jit', 'off', false), set_config('client_min_messages', 'warning', false);
	PERFORM setseed(seed % 1000003 / 1000003.0);
	TRUNCATE oracle.counts;
	WHILE done < cases LOOP
		SELECT * INTO r FROM oracle.relations WHERE kind <> 'policies' ORDER BY random() LIMIT 1;
		PERFORM set_config('ddl.plan', '', false), set_config('ddl.ran', '0', false);
		CALL oracle.fill(r);
		PERFORM set_config('pasqal_jobs.jobs_table', r.rel, false);
		COMMIT;
		FOR n IN 1 .. 10 LOOP
			done := done + 1;
			by_creation := oracle.chance(0.3);
			PERFORM set_config('pasqal_jobs.date_filter', CASE WHEN by_creation THEN 'creation' ELSE 'execution' END, false),
				set_config('plan_cache_mode', oracle.pick('auto', 'force_generic_plan', 'force_custom_plan'), false);
			batch := oracle.a_batch();
			filters := CASE WHEN oracle.chance(0.5) THEN '{}' ELSE oracle.some_filters(r.rel::regclass, 0) END;
			given := (oracle.read_arguments(batch, filters)).given;
			expected := oracle.try(r, format('SELECT 200, oracle.cancel($5::regclass, $1, %L, %L)', given, by_creation), batch, filters, NULL, NULL);
			plan := (SELECT jsonb_agg(jsonb_build_array(oracle.pick('read', 'before statement', 'before row', 'after row', 'after statement'),
				oracle.a_deed(r), oracle.chance(0.5))) FROM generate_series(1, oracle.int(1, 3)));
			call := oracle.pick(
				'SELECT 200, public.cancel_jobs($1, $2)',
				$q$SELECT 200, jsonb_build_object('data', jsonb_build_object(
					'jobs', coalesce(jsonb_agg(job ORDER BY (job->>'creation_order')::int8 NULLS LAST, id) FILTER (WHERE error IS NULL), '[]'),
					'errors', coalesce(jsonb_object_agg(id, error) FILTER (WHERE error IS NOT NULL AND job IS NULL), '{}')))
				FROM public.cancel_jobs_rows($1, $2)$q$);
			PERFORM set_config('ddl.plan', plan::text, false), set_config('ddl.ran', '0', false);
			got := oracle.try(r, call, batch, filters, NULL, NULL);
			PERFORM set_config('ddl.plan', '', false);
			PERFORM oracle.count('ended in ' || coalesce(got.state, 'an answer'));
			IF got.state IS NULL AND got.answer IS DISTINCT FROM expected.answer THEN
				CALL oracle.differ('answer amid DDL', seed, done, r, plan || call || filters::text, oracle.told(expected), oracle.told(got));
			END IF;
			-- the next call works, and a preview amid DDL does no harm
			got := oracle.try(r, 'SELECT 200, public.cancel_jobs($1, $2)', batch, filters, NULL, NULL);
			IF got IS DISTINCT FROM expected THEN
				CALL oracle.differ('the next call', seed, done, r, plan || call || filters::text, oracle.told(expected), oracle.told(got));
			END IF;
			PERFORM set_config('ddl.plan', jsonb_build_array(jsonb_build_array('read', oracle.a_deed(r), oracle.chance(0.5)))::text, false);
			got := oracle.try(r, 'SELECT 200, jsonb_agg(p) FROM public.cancel_jobs_preview($1, $2) AS p', batch, filters, NULL, NULL);
			PERFORM set_config('ddl.plan', '', false);
			COMMIT;
			IF (SELECT c.n FROM oracle.counts AS c WHERE what = 'differences') >= 10 THEN
				RAISE EXCEPTION 'these are enough differences';
			END IF;
		END LOOP;
	END LOOP;
	PERFORM oracle.count('cases', done), oracle.count('differences', 0);
END
$$;

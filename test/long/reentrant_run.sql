--
-- test/long/reentrant_run.sql: random calls in the middle of random calls
--
-- Needs oracle.sql and oracle_run.sql. Code of others runs inside a call: while
-- a plan is made (STABLE functions of policies and views, IMMUTABLE functions
-- that are folded) and while it runs (triggers, policies, views). Here this code
-- calls every function again, with more different statements than a session
-- keeps plans of, after DDL and GRANTs. All that it does is taken back, so each
-- call, inside and around, must answer what the second implementation answers.
-- A crash ends the test.
--

-- Counts stay when a subtransaction is undone if they are sequences
CREATE SEQUENCE oracle.budget;
CREATE SEQUENCE oracle.flood_first;
CREATE SEQUENCE oracle.flood_last;
DO $$
DECLARE
	what text;
BEGIN
	FOREACH what IN ARRAY '{calls inside,calls while a plan is made,calls amid changes,calls without the right,changes inside,changes refused,many calls inside,errors inside,differences}'::text[] LOOP
		EXECUTE format('CREATE SEQUENCE oracle.%I', 'tally of ' || what);
	END LOOP;
END
$$;
CREATE FUNCTION oracle.tally(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval(format('oracle.%I', 'tally of ' || what));
END
$$;

-- The calls: on which relation, with which arguments, and what must be answered
CREATE TABLE oracle.calls (n int PRIMARY KEY, r oracle.relations, batch uuid, filters jsonb, query text, by_creation bool,
	expected oracle.outcome, foreseen jsonb);

-- An answer of one of our functions, in the form of cancel_jobs, or of foreseen
CREATE FUNCTION oracle.query_of(name text) RETURNS text LANGUAGE sql AS $$
SELECT CASE name
	WHEN 'cancel_jobs' THEN 'SELECT 200, public.cancel_jobs($1, $2)'
	WHEN 'cancel_jobs_http' THEN 'SELECT status_code, body::jsonb FROM public.cancel_jobs_http($1::text, $4)'
	WHEN 'cancel_jobs_rows' THEN $q$SELECT 200, jsonb_build_object('data', jsonb_build_object(
			'jobs', coalesce(jsonb_agg(job ORDER BY (job->>'creation_order')::int8 NULLS LAST, id) FILTER (WHERE error IS NULL), '[]'),
			'errors', coalesce(jsonb_object_agg(id, error) FILTER (WHERE error IS NOT NULL AND job IS NULL), '{}')))
		FROM public.cancel_jobs_rows($1, $2)$q$
	WHEN 'cancel_jobs_preview' THEN 'SELECT 200, coalesce(jsonb_object_agg(id, coalesce(error, ''canceled'')), ''{}'') FROM public.cancel_jobs_preview($1, $2)'
	END
$$;

-- The settings and the role of a call
CREATE FUNCTION oracle.as_asked(c oracle.calls) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pasqal_jobs.jobs_table', (c.r).rel, true),
		set_config('pasqal_jobs.date_filter', CASE WHEN c.by_creation THEN 'creation' ELSE 'execution' END, true),
		set_config('role', CASE (c.r).kind WHEN 'policies' THEN 'oracle_tenant' ELSE 'none' END, true);
END
$$;

-- One call that is taken back. Amid a deed, or in a batch that the code around is
-- changing, it may answer what it likes, but must end; else it must be as expected.
CREATE FUNCTION oracle.call_inside(c oracle.calls, seam text, revoked bool DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	name text := oracle.pick('cancel_jobs', 'cancel_jobs_http', 'cancel_jobs_rows', 'cancel_jobs_preview');
	place text := format('[%s %s]', (c.r).base, c.batch);
	stack text := current_setting('reentrant.stack');
	status int;
	answer jsonb;
	state text;
	message text;
	expected jsonb := CASE name WHEN 'cancel_jobs_preview' THEN c.foreseen ELSE (c.expected).answer END;
	expected_state text := CASE WHEN revoked AND name <> 'cancel_jobs_preview' THEN '42501' END;
BEGIN
	-- PostgreSQL's own assertions do not hold for an UPDATE of a row whose BEFORE trigger has updated it and undone that
	IF stack ~ 'before row' AND position(place IN stack) > 0 THEN
		RETURN;
	END IF;
	PERFORM oracle.tally('calls inside');
	IF seam = 'plan' THEN
		PERFORM oracle.tally('calls while a plan is made');
	END IF;
	BEGIN
		PERFORM oracle.as_asked(c), set_config('reentrant.stack', stack || place, true);
		EXECUTE oracle.query_of(name) INTO status, answer USING c.batch, c.filters, NULL::text, c.query;
		RAISE SQLSTATE 'UNDO0';
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN
			NULL;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	END;
	IF state = 'HOOK0' THEN
		NULL;
	ELSIF position(place IN stack) > 0 OR stack ~ 'deed' THEN
		PERFORM oracle.tally('calls amid changes');
	ELSIF state IS DISTINCT FROM expected_state OR (state IS NULL AND (status, answer) IS DISTINCT FROM (200, expected)) THEN
		PERFORM oracle.tally('differences');
		RAISE WARNING E'difference at %, within %: % of % % %\nexpected: % %\ngot: % % % %', seam, stack, name, (c.r).kind, c.batch, c.filters,
			expected_state, expected, state, message, status, answer;
	END IF;
END
$$;

-- So many statements, on the relation of the call around, that the plans of all
-- others are forgotten. No number is above one and below another, so none of them
-- finds a job. Two sequences say which statements, step in which order.
CREATE FUNCTION oracle.flood(step int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	first int := (SELECT last_value FROM oracle.flood_first);
	last int := (SELECT last_value FROM oracle.flood_last);
	i int;
	filters jsonb;
	answer jsonb;
BEGIN
	PERFORM oracle.tally('many calls inside');
	BEGIN
		PERFORM set_config('reentrant.depth', '', true), set_config('role', 'none', true);
		PERFORM set_config('pasqal_jobs.jobs_table', current_setting('reentrant.around'), true),
			set_config('role', CASE current_setting('reentrant.around') WHEN 'oracle.policed' THEN 'oracle_tenant' ELSE 'none' END, true);
		FOR i IN SELECT generate_series(CASE step WHEN 1 THEN first ELSE last END, CASE step WHEN 1 THEN last ELSE first END, step) LOOP
			filters := jsonb_build_object('min_runs', 2, 'max_runs', 1)
				|| (ARRAY['{}', '{"user_id": "x"}', '{"user_id": ["x", "y"]}'])[1 + i % 3]::jsonb
				|| (ARRAY['{}', '{"project_id": "00000000-0000-0000-0000-000000000000"}', '{"id__starts_with": "0"}', '{"errors": true}'])[1 + i / 3 % 4]::jsonb
				|| (ARRAY['{}', '{"origin": "AZURE"}', '{"origin": ["AZURE", "CLIENT"]}', '{"end_date": 1}'])[1 + i / 12 % 4]::jsonb
				|| CASE WHEN i / 48 % 5 > 0 THEN jsonb_build_object('status', (oracle.labels('status'))[1 : i / 48 % 5]) ELSE '{}' END;
			answer := public.cancel_jobs(md5('batch 1')::uuid, filters);
			IF answer <> '{"data": {"jobs": [], "errors": {}}}' THEN
				PERFORM oracle.tally('differences');
				RAISE WARNING 'difference in a flood: % of % canceled %', filters, current_setting('pasqal_jobs.jobs_table'), answer;
			END IF;
		END LOOP;
		RAISE SQLSTATE 'UNDO0';
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN
			NULL;
		WHEN OTHERS THEN
			PERFORM oracle.tally('differences');
			RAISE WARNING 'difference in a flood: % of % ended in % %', filters, current_setting('reentrant.around'), SQLSTATE, SQLERRM;
	END;
END
$$;

-- DDL, settings and calls that fail
CREATE FUNCTION oracle.a_deed_inside(r oracle.relations) RETURNS text LANGUAGE sql AS $$
SELECT format(oracle.pick(
	'ANALYZE %2$s', 'DISCARD PLANS', 'CREATE INDEX ON %2$s (runs)', 'GRANT UPDATE ON %1$s TO oracle_tenant', 'REVOKE ALL ON %1$s FROM oracle_tenant',
	'ALTER TABLE %1$s RENAME TO moved', 'ALTER TABLE %1$s RENAME TO moved; ALTER TABLE oracle.twin RENAME TO %3$I',
	'ALTER TABLE %2$s RENAME COLUMN runs TO shots',
	'ALTER TABLE %2$s RENAME COLUMN sequence TO x; ALTER TABLE %2$s RENAME COLUMN user_id TO sequence; ALTER TABLE %2$s RENAME COLUMN x TO user_id',
	'ALTER TABLE %2$s ADD COLUMN more int', 'ALTER TABLE %2$s DISABLE ROW LEVEL SECURITY', 'DROP TABLE %2$s CASCADE', 'ALTER SCHEMA oracle RENAME TO elsewhere',
	'ALTER TYPE jobstatus RENAME VALUE ''CANCELED'' TO ''GONE''', 'ALTER TYPE oracle.many_status RENAME VALUE ''label 1'' TO ''renamed''', 'DROP TYPE oracle.many_status CASCADE',
	'SELECT public.create_jobs_table(''oracle.another'')', 'CREATE TEMP TABLE jobs (id int)', 'SET LOCAL search_path = pg_catalog', 'SET LOCAL ROLE oracle_tenant',
	'CALL public.cancel_jobs_in_chunks(md5(''none'')::uuid)', 'SELECT public.cancel_jobs(md5(''none'')::uuid, ''{"min_runs": "many"}'')'),
	r.rel, r.base, split_part(r.rel, '.', 2))
$$;

-- What code inside a call does: a deed, calls, calls without the right, a flood
CREATE FUNCTION oracle.inside(seam text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	depth int := nullif(current_setting('reentrant.depth', true), '');
	stack text := current_setting('reentrant.stack', true);
	always bool := seam = 'plan' AND current_setting('reentrant.flood', true) = 'on';
	what text := CASE WHEN always OR (seam = 'plan' AND oracle.chance(0.3)) THEN 'flood'
		ELSE oracle.pick('deed', 'calls', 'calls', 'deed, calls', 'deed, calls, flood', 'calls, right', 'flood, calls', 'nothing') END;
	c oracle.calls;
BEGIN
	IF depth IS NULL OR depth >= 3 OR (NOT always AND oracle.chance(0.3)) OR nextval('oracle.budget') > 5 THEN
		RETURN;
	END IF;
	PERFORM set_config('reentrant.depth', (depth + 1)::text, true), set_config('reentrant.stack', stack || seam, true);
	IF what ~ 'deed' THEN
		BEGIN
			SELECT * INTO c FROM oracle.calls ORDER BY random() LIMIT 1;
			PERFORM set_config('role', 'none', true), oracle.tally('changes inside');
			EXECUTE oracle.a_deed_inside(c.r);
			IF oracle.chance(0.5) THEN
				PERFORM set_config('reentrant.stack', current_setting('reentrant.stack') || 'deed', true), oracle.call_inside(c, seam);
			END IF;
			RAISE SQLSTATE 'UNDO0';
		EXCEPTION
			WHEN SQLSTATE 'UNDO0' THEN
				NULL;
			WHEN OTHERS THEN
				PERFORM oracle.tally('changes refused');
		END;
	END IF;
	IF what ~ 'calls' THEN
		FOR c IN SELECT * FROM oracle.calls ORDER BY random() LIMIT oracle.int(1, 5) LOOP
			PERFORM oracle.call_inside(c, seam);
		END LOOP;
	END IF;
	IF what ~ 'right' THEN
		BEGIN
			PERFORM set_config('role', 'none', true), set_config('reentrant.depth', '', true), oracle.tally('calls without the right');
			REVOKE UPDATE (status) ON oracle.policed FROM oracle_tenant;
			FOR c IN SELECT * FROM oracle.calls WHERE (r).kind = 'policies' ORDER BY random() LIMIT 2 LOOP
				PERFORM oracle.call_inside(c, seam, true);
			END LOOP;
			RAISE SQLSTATE 'UNDO0';
		EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
			NULL;
		END;
	END IF;
	IF what ~ 'flood' AND stack !~ 'deed' AND NOT (SELECT is_called FROM oracle.flood_last) THEN
		PERFORM setval('oracle.flood_first', oracle.int(1, 240)), setval('oracle.flood_last', currval('oracle.flood_first') + oracle.int(100, 240)), oracle.flood(1);
	END IF;
	PERFORM set_config('reentrant.depth', depth::text, true), set_config('reentrant.stack', stack, true);
	IF oracle.chance(0.03) THEN
		PERFORM oracle.tally('errors inside');
		RAISE SQLSTATE 'HOOK0';
	END IF;
END
$$;

-- Where it runs: while views and policies are planned, and as they and triggers run
CREATE FUNCTION oracle.at_fold(n int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM oracle.inside('plan'); RETURN true; END $$;
CREATE FUNCTION oracle.at_plan() RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM oracle.inside('plan'); RETURN 'nobody'; END $$;
CREATE FUNCTION oracle.at_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM oracle.inside(lower(tg_when || ' ' || tg_level)); RETURN NEW; END $$;

-- Many labels make many statements
DO $$
BEGIN
	EXECUTE format('CREATE TYPE oracle.many_status AS ENUM (''PENDING'', ''RUNNING'', ''DONE'', ''ERROR'', ''CANCELED'', %s)',
		(SELECT string_agg(quote_literal('label ' || n), ', ' ORDER BY n) FROM generate_series(1, 60) AS n));
END
$$;
CREATE TABLE oracle.many (LIKE oracle.own INCLUDING ALL);
ALTER TABLE oracle.many ALTER status TYPE oracle.many_status USING status::text::oracle.many_status;
CREATE TABLE oracle.twin (LIKE oracle.jobs INCLUDING ALL);
CREATE TABLE oracle.beneath (LIKE oracle.jobs INCLUDING ALL);
CREATE VIEW oracle.folded AS SELECT * FROM oracle.beneath WHERE oracle.at_fold(1) AND user_id IS DISTINCT FROM oracle.at_plan();
INSERT INTO oracle.relations VALUES
	('many labels', 'oracle.many', 'oracle.many', '{PENDING,RUNNING,DONE,ERROR,CANCELED,"label 1",NULL}', '{CLIENT,AZURE,UNKNOWN,MARS,NULL}', true),
	('folded view', 'oracle.folded', 'oracle.beneath', '{PENDING,RUNNING,PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', false);
CREATE POLICY plans ON oracle.policed AS RESTRICTIVE USING (user_id IS DISTINCT FROM oracle.at_plan());
DO $$
DECLARE
	t text;
BEGIN
	FOR t IN SELECT DISTINCT base FROM oracle.relations LOOP
		EXECUTE format('CREATE TRIGGER x1 BEFORE UPDATE ON %s EXECUTE FUNCTION oracle.at_row()', t);
		EXECUTE format('CREATE TRIGGER x2 BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION oracle.at_row()', t);
		EXECUTE format('CREATE TRIGGER x3 AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION oracle.at_row()', t);
		EXECUTE format('CREATE TRIGGER x4 AFTER UPDATE ON %s EXECUTE FUNCTION oracle.at_row()', t);
	END LOOP;
END
$$;
GRANT SELECT ON ALL TABLES IN SCHEMA oracle TO oracle_tenant;
GRANT ALL ON ALL SEQUENCES IN SCHEMA oracle TO oracle_tenant;

-- So many calls on newly filled tables, with what the second implementation answers
CREATE PROCEDURE oracle.make_calls(wanted int) LANGUAGE plpgsql AS $$
DECLARE
	c oracle.calls;
	given jsonb;
BEGIN
	FOR c.r IN SELECT r FROM oracle.relations AS r LOOP
		CALL oracle.fill(c.r);
	END LOOP;
	TRUNCATE oracle.calls;
	FOR n IN 1 .. wanted LOOP
		c.n := n;
		SELECT r INTO c.r FROM oracle.relations AS r ORDER BY random() * CASE WHEN kind IN ('many labels', 'policies') THEN 0.3 ELSE 1 END LIMIT 1;
		c.batch := oracle.a_batch();
		c.by_creation := oracle.chance(0.3);
		PERFORM oracle.as_asked(c), set_config('role', 'none', true);
		-- whole batches and single jobs are planned once for all values
		c.filters := CASE WHEN oracle.chance(CASE (c.r).kind WHEN 'policies' THEN 0.5 ELSE 0.2 END) THEN '{}' WHEN oracle.chance(0.3) THEN jsonb_build_object('id', oracle.new_id()) ELSE oracle.some_filters((c.r).rel::regclass, 0) END;
		IF (c.r).kind = 'many labels' AND oracle.chance(0.8) THEN
			c.filters := c.filters || jsonb_build_object('status',
				(SELECT jsonb_agg(l) FROM (SELECT l FROM unnest(oracle.labels('status')) AS l ORDER BY random() LIMIT oracle.int(1, 65)) AS x));
		END IF;
		given := (oracle.read_arguments(c.batch, c.filters)).given;
		-- one that is empty would count, as the last one
		c.query := regexp_replace(oracle.a_query(c.filters, false), '&id__starts_with=$', '');
		c.expected := oracle.try(c.r, format('SELECT 200, oracle.cancel($5::regclass, $1, %L, %L)', given, c.by_creation), c.batch, c.filters, NULL, NULL);
		c.foreseen := (oracle.try(c.r, format($q$SELECT 200, (a->'data'->'errors') || coalesce((SELECT jsonb_object_agg(j->>'id', 'canceled') FROM jsonb_array_elements(a->'data'->'jobs') AS j), '{}')
			FROM oracle.cancel($5::regclass, $1, %L, %L, true) AS a$q$, given, c.by_creation), c.batch, c.filters, NULL, NULL)).answer;
		IF (c.expected).state IS NOT NULL OR c.foreseen IS NULL THEN
			RAISE EXCEPTION 'the oracle fails: %', c;
		END IF;
		INSERT INTO oracle.calls SELECT (c).*;
	END LOOP;
END
$$;

CREATE PROCEDURE oracle.run_reentrant(seed int, cases int) LANGUAGE plpgsql AS $$
DECLARE
	c oracle.calls;
	got oracle.outcome;
	name text;
	what text;
BEGIN
	PERFORM set_config('jit', 'off', false), set_config('client_min_messages', 'warning', false), set_config('reentrant.depth', '', false);
	PERFORM setseed(seed % 1000003 / 1000003.0);
	TRUNCATE oracle.counts;
	PERFORM oracle.count('cases', cases);
	FOR n IN 1 .. cases LOOP
		-- in one transaction with them, since they write the time of its beginning
		IF n % 100 = 1 THEN
			COMMIT;
			CALL oracle.make_calls(60);
		END IF;
		SELECT * INTO c FROM oracle.calls ORDER BY random() * CASE (r).kind WHEN 'policies' THEN 0.2 WHEN 'folded view' THEN 0.5 ELSE 1 END LIMIT 1;
		-- each fifth is planned, and forgotten meanwhile
		IF n % 5 = 0 THEN
			SELECT * INTO c FROM oracle.calls WHERE (r).kind = 'policies' ORDER BY filters = '{}' DESC, random() LIMIT 1;
		END IF;
		PERFORM set_config('reentrant.flood', CASE n % 5 WHEN 0 THEN 'on' ELSE 'off' END, true);
		IF n % 5 = 0 OR oracle.chance(0.5) THEN
			DISCARD PLANS;
		END IF;
		name := oracle.pick('cancel_jobs', 'cancel_jobs', 'cancel_jobs_http', 'cancel_jobs_rows');
		PERFORM set_config('plan_cache_mode', oracle.pick('auto', 'auto', 'force_generic_plan', 'force_custom_plan'), true),
			set_config('enable_seqscan', oracle.pick('on', 'off'), true), set_config('enable_indexscan', oracle.pick('on', 'off'), true),
			setval('oracle.budget', 1), oracle.as_asked(c), set_config('role', 'none', true),
			set_config('reentrant.stack', format('[%s %s]', (c.r).base, c.batch), true), set_config('reentrant.depth', '0', true);
		PERFORM set_config('reentrant.around', (c.r).rel, true), setval('oracle.flood_last', 1, false);
		got := oracle.try(c.r, oracle.query_of(name), c.batch, c.filters, NULL, c.query);
		PERFORM set_config('reentrant.depth', '', true);
		IF got.state = 'HOOK0' THEN
			PERFORM oracle.count('calls ended by an error inside');
		ELSIF got IS DISTINCT FROM c.expected THEN
			PERFORM oracle.tally('differences');
			CALL oracle.differ('the call around', seed, n, c.r, format('%s(%L, %L)', name, c.batch, c.filters), oracle.told(c.expected), oracle.told(got));
		ELSE
			PERFORM oracle.count('calls answered');
		END IF;
		-- the same statements, the last ones of which are saved, mean what they meant
		IF (SELECT is_called FROM oracle.flood_last) THEN
			PERFORM oracle.flood(-1);
		END IF;
		IF (SELECT is_called AND last_value >= 10 FROM oracle."tally of differences") THEN
			RAISE EXCEPTION 'these are enough differences';
		END IF;
	END LOOP;
	FOR what IN SELECT substr(relname, 10) FROM pg_class WHERE relnamespace = 'oracle'::regnamespace AND relname LIKE 'tally of %' LOOP
		EXECUTE format('SELECT oracle.count(%L, CASE WHEN is_called THEN last_value ELSE 0 END) FROM oracle.%I', what, 'tally of ' || what);
	END LOOP;
END
$$;

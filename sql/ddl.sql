--
-- DDL in the middle of a call, by the caller's own triggers, policies and
-- functions: the call ends in an error or a right answer, and the next works
--
CREATE SCHEMA meddled;

-- Runs the statement of the setting ddl.deed, once, at the seam ddl.seam
CREATE FUNCTION meddle(seam text) RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	deed text := current_setting('ddl.deed', true);
BEGIN
	IF seam = 'read' THEN
		seam := current_setting('ddl.phase');
	END IF;
	IF seam = current_setting('ddl.seam', true) THEN
		PERFORM set_config('ddl.seam', '', true);
		EXECUTE deed;
	END IF;
	RETURN true;
END
$$;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.meddle(lower(tg_when || ' ' || tg_level));
	IF tg_when = 'AFTER' AND tg_level = 'STATEMENT' THEN
		PERFORM set_config('ddl.phase', 'look', true);
	END IF;
	-- one job is kept, so that there is a second look
	RETURN CASE WHEN tg_level = 'ROW' AND tg_when = 'BEFORE' AND NEW.runs = 200 THEN NULL ELSE NEW END;
END
$$;

-- Three tables with jobs and triggers, and a view with a function in it
SELECT create_jobs_table('meddled.plain'), create_jobs_table('meddled.parted', 2), create_jobs_table('meddled.base');
CREATE TYPE meddled.state AS ENUM ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'CANCELED', 'PAUSED');
CREATE TEMP TABLE temporary (LIKE meddled.plain INCLUDING ALL);
ALTER TABLE temporary ALTER status DROP DEFAULT, ALTER status TYPE meddled.state USING status::text::meddled.state, ADD other jobstatus;
DO $$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY '{meddled.plain,meddled.parted,meddled.base,pg_temp.temporary}'::text[] LOOP
		EXECUTE format('INSERT INTO %s (id, batch_id, project_id, status, runs, user_id, origin, variables, sequence)
			SELECT id, batch_id, project_id, status::text::%s, runs, user_id, origin, variables, sequence FROM public.jobs ORDER BY creation_order',
			t, CASE t WHEN 'pg_temp.temporary' THEN 'meddled.state' ELSE 'jobstatus' END);
		EXECUTE format('CREATE TRIGGER a BEFORE UPDATE ON %s EXECUTE FUNCTION meddle()', t);
		EXECUTE format('CREATE TRIGGER b BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION meddle()', t);
		EXECUTE format('CREATE TRIGGER c AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION meddle()', t);
		EXECUTE format('CREATE TRIGGER d AFTER UPDATE ON %s EXECUTE FUNCTION meddle()', t);
	END LOOP;
END
$$;
CREATE VIEW meddled.seen AS SELECT * FROM meddled.base WHERE meddle('read');

-- What a call comes to with such a deed at a seam: its answer, if it is the
-- usual one, or the error; all taken back
CREATE FUNCTION meddled(relation text, seam text, deed text, filters jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	usual text;
	answer text;
BEGIN
	PERFORM set_config('pasqal_jobs.jobs_table', relation, true), set_config('ddl.phase', 'match', true), set_config('ddl.seam', '', true);
	usual := tried(batch(1), filters);
	PERFORM set_config('ddl.seam', seam, true), set_config('ddl.deed', deed, true);
	IF current_setting('ddl.plan_anew', true) = 'on' THEN
		DISCARD PLANS;
	END IF;
	BEGIN
		answer := told(cancel_jobs(batch(1), filters));
		RAISE EXCEPTION SQLSTATE 'UNDO0' USING MESSAGE = current_setting('ddl.seam');
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN
			answer := CASE WHEN SQLERRM <> '' THEN 'not run' WHEN answer = usual THEN 'as usual' ELSE answer END;
		WHEN OTHERS THEN
			answer := SQLSTATE || CASE WHEN SQLSTATE = '55000' THEN ': ' || SQLERRM ELSE '' END;
	END;
	PERFORM set_config('ddl.phase', 'match', true), set_config('ddl.seam', '', true);
	IF tried(batch(1), filters) IS DISTINCT FROM usual THEN
		RAISE EXCEPTION 'the next call differs';
	END IF;
	RETURN answer;
END
$$;

CREATE TEMP TABLE deeds (n serial, relation text, deed text);
INSERT INTO deeds (relation, deed)
SELECT r.relation, replace(replace(replace(d.deed, '%R', r.relation), '%K', r.kind), '%N', r.name)
FROM (VALUES ('meddled.plain', 'TABLE', 'plain'), ('meddled.parted', 'TABLE', 'parted'), ('pg_temp.temporary', 'TABLE', 'temporary'), ('meddled.seen', 'VIEW', 'seen')) AS r (relation, kind, name),
	(VALUES ('DROP %K %R'),
			('DROP %K %R CASCADE'),
			('ALTER %K %R RENAME TO other'),
			('ALTER %K %R RENAME TO other; CREATE VIEW %N AS SELECT 1 AS id, 2 AS status'),
			('ALTER %K %R RENAME COLUMN sequence TO s; ALTER %K %R RENAME COLUMN creation_order TO sequence; ALTER %K %R RENAME COLUMN s TO creation_order'),
			('ALTER %K %R RENAME COLUMN updated_at TO u; ALTER %K %R RENAME COLUMN created_at TO updated_at; ALTER %K %R RENAME COLUMN u TO created_at'),
			('ALTER %K %R RENAME COLUMN runs TO shots'),
			('DISCARD PLANS'),
			('DISCARD TEMP'),
			('DISCARD ALL')) AS d (deed)
UNION ALL
SELECT r, d FROM unnest('{meddled.plain,meddled.seen}'::text[]) AS r,
	(VALUES ('ALTER TABLE meddled.plain ALTER COLUMN runs TYPE bigint'),
			('ALTER TABLE meddled.plain ALTER COLUMN status DROP DEFAULT, ALTER COLUMN status TYPE text'),
			('ALTER SCHEMA meddled RENAME TO other'),
			('ALTER SCHEMA meddled RENAME TO other; CREATE SCHEMA meddled'),
			('ALTER TYPE jobstatus RENAME VALUE ''DONE'' TO ''FINISHED'''),
			('ALTER TYPE jobstatus RENAME VALUE ''CANCELED'' TO ''GONE'''),
			('ALTER TYPE jobstatus ADD VALUE ''PAUSED'''),
			('DROP TYPE jobstatus CASCADE'),
			('DROP EXTENSION pasqal_jobs CASCADE'),
			('SET LOCAL pasqal_jobs.jobs_table = ''nowhere'''),
			('SET LOCAL pasqal_jobs.date_filter = ''creation'''),
			('SET LOCAL pasqal_jobs.notify_channel = ''x'''),
			('SET LOCAL search_path = pg_catalog'),
			('CREATE OR REPLACE VIEW meddled.seen AS SELECT * FROM meddled.base WHERE false'),
			('ALTER TABLE meddled.base ADD COLUMN more int, DROP COLUMN user_id CASCADE'),
			('DROP TABLE meddled.base CASCADE'),
			('ALTER TABLE meddled.base RENAME TO elsewhere')) AS v (d)
UNION ALL
SELECT 'pg_temp.temporary', d FROM (VALUES ('ALTER TYPE meddled.state RENAME VALUE ''PAUSED'' TO ''HELD'''),
	('ALTER TYPE meddled.state RENAME VALUE ''RUNNING'' TO ''ON'''),
	('ALTER TYPE meddled.state RENAME VALUE ''RUNNING'' TO ''x''; ALTER TYPE meddled.state RENAME VALUE ''PENDING'' TO ''RUNNING''; ALTER TYPE meddled.state RENAME VALUE ''x'' TO ''PENDING'''),
	('ALTER TABLE temporary RENAME COLUMN status TO s; ALTER TABLE temporary RENAME COLUMN other TO status; ALTER TABLE temporary RENAME COLUMN s TO other'), ('DROP TYPE meddled.state CASCADE'), ('DROP SCHEMA meddled CASCADE')) AS v (d)
UNION ALL
SELECT 'meddled.parted', d FROM (VALUES ('ALTER TABLE meddled.parted DETACH PARTITION meddled.parted_p0'), ('ALTER TABLE meddled.parted_p1 RENAME TO p'),
	('DO $x$ BEGIN EXECUTE format(''DROP TABLE %s'', (SELECT tableoid::regclass FROM meddled.parted WHERE batch_id = public.batch(1) LIMIT 1)); END $x$')) AS v (d);

SET client_min_messages = warning;
\pset format unaligned
SELECT n, relation, deed FROM deeds ORDER BY n;
SELECT n, result, string_agg(seam, ', ' ORDER BY o) AS seams
FROM (SELECT n, s.o, s.seam, replace(meddled(relation, s.seam, deed), (SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()), 'pg_temp') AS result
	FROM deeds, unnest('{match,before statement,before row,after row,after statement,look}'::text[]) WITH ORDINALITY AS s (seam, o)
	WHERE s.seam NOT IN ('match', 'look') OR relation = 'meddled.seen') AS x
GROUP BY n, result ORDER BY n, min(o);

-- what is undone before the call goes on leaves no trace
CREATE FUNCTION undone(deed text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE deed;
	RAISE EXCEPTION SQLSTATE 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
	NULL;
END
$$;
SELECT deed, result, string_agg(relation || ' ' || seam, ', ' ORDER BY relation, o) AS seams
FROM (SELECT d.deed, r.relation, s.o, s.seam, meddled(r.relation, s.seam, format('SELECT undone(%L)', format(d.deed, r.relation))) AS result
	FROM (VALUES ('ALTER TABLE %s RENAME TO other'), ('ALTER TABLE %s RENAME COLUMN runs TO shots'), ('ALTER TYPE jobstatus RENAME VALUE ''CANCELED'' TO ''GONE''')) AS d (deed),
		unnest('{meddled.plain,meddled.seen}'::text[]) AS r (relation),
		unnest('{match,before statement,before row,after row,after statement,look}'::text[]) WITH ORDINALITY AS s (seam, o)
	WHERE s.seam NOT IN ('match', 'look') OR relation = 'meddled.seen') AS x
GROUP BY deed, result ORDER BY deed, min(o);

-- a policy is code of others, too; it runs for those who do not own the table
CREATE ROLE regress_pasqal_tenant;
CREATE TEMP TABLE owned (LIKE meddled.plain INCLUDING ALL);
INSERT INTO owned SELECT * FROM meddled.plain;
ALTER TABLE owned OWNER TO regress_pasqal_tenant;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
ALTER TABLE owned FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON owned USING (meddle('read'));
SET ROLE regress_pasqal_tenant;
SELECT d.deed, regexp_replace(meddled('pg_temp.owned', 'match', d.deed), 'pg_temp_\d+', 'pg_temp') FROM (VALUES
	('DROP TABLE owned'), ('ALTER TABLE owned RENAME COLUMN runs TO shots'), ('ALTER TABLE owned RENAME TO other'), ('ALTER TABLE owned DISABLE ROW LEVEL SECURITY'),
	('ALTER TABLE owned RENAME COLUMN sequence TO s; ALTER TABLE owned RENAME COLUMN progress TO sequence; ALTER TABLE owned RENAME COLUMN s TO progress')) AS d (deed);
-- a preview reads types, too
CREATE FUNCTION pg_temp.previewed(deed text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pasqal_jobs.jobs_table', 'pg_temp.owned', true), set_config('ddl.phase', 'match', true),
		set_config('ddl.seam', 'match', true), set_config('ddl.deed', deed, true);
	RETURN (SELECT string_agg(status::text, ' ' ORDER BY id) FROM cancel_jobs_preview(batch(1)));
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
SELECT regexp_replace(pg_temp.previewed('ALTER TABLE owned RENAME COLUMN status TO s; ALTER TABLE owned RENAME COLUMN runs TO status'), 'pg_temp_\d+', 'pg_temp');
SELECT pg_temp.previewed('DROP TABLE owned');
-- it runs while the statement is planned, too, if its function is STABLE: a name
-- that is another one's by then is not taken for the relation's
CREATE FUNCTION pg_temp.planned() RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.meddle('read'); RETURN 'nobody'; END $$;
ALTER POLICY p ON owned USING (user_id IS DISTINCT FROM pg_temp.planned());
RESET ROLE;
CREATE TEMP TABLE twin (LIKE owned INCLUDING ALL);
ALTER TABLE twin OWNER TO regress_pasqal_tenant;
SET ROLE regress_pasqal_tenant;
PREPARE amid_planning AS
SELECT deed, regexp_replace(result, 'pg_temp_\d+', 'pg_temp') AS result, string_agg(filters, ', ' ORDER BY filters COLLATE "C") AS filters
FROM (SELECT d.n, d.deed, f.filters, meddled('pg_temp.owned', 'match', d.deed, f.filters::jsonb) AS result
	FROM (VALUES (1, 'SELECT 1'), (2, 'ALTER TABLE owned RENAME TO other'), (3, 'ALTER TABLE owned RENAME TO other; ALTER TABLE twin RENAME TO owned'),
			(4, 'ALTER TABLE owned RENAME TO other; CREATE TEMP VIEW owned AS SELECT * FROM other WHERE false'),
			(5, 'ALTER TABLE owned RENAME TO other; CREATE TEMP TABLE owned (id int)'), (6, 'ALTER TABLE owned RENAME COLUMN runs TO shots'),
			(7, 'SELECT undone(''ALTER TABLE owned RENAME COLUMN runs TO shots; ALTER TABLE owned RENAME TO other'')')) AS d (n, deed),
		(VALUES ('{}'), (jsonb_build_object('id', job(1))::text), ('{"user_id": "alice"}')) AS f (filters)) AS x
GROUP BY n, deed, result ORDER BY n, min(filters COLLATE "C");
SET ddl.plan_anew = on;
EXECUTE amid_planning;
SET enable_seqscan = off;
EXECUTE amid_planning;
RESET enable_seqscan;
RESET ddl.plan_anew;
-- the plan cache plans once for all values, at the sixth time, and then for the
-- values again: from the text, whose name is the twin's by then
CREATE PROCEDURE pg_temp.sixth(deed text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pasqal_jobs.jobs_table', 'pg_temp.owned', true), set_config('ddl.phase', 'match', true), set_config('ddl.seam', '', true);
	FOR n IN 1 .. 5 LOOP
		PERFORM cancel_jobs_preview(batch(2), '{"user_id": "rare"}');
	END LOOP;
	PERFORM set_config('ddl.seam', 'match', true), set_config('ddl.deed', deed, true);
	RAISE WARNING '%', (SELECT count(*) FROM cancel_jobs_preview(batch(2), '{"user_id": "rare"}'));
END
$$;
INSERT INTO owned (batch_id, project_id, runs, user_id) SELECT batch(2), project(1), 1, CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'frequent' END FROM generate_series(1, 5000) AS n;
CREATE INDEX ON owned (user_id);
ANALYZE owned;
\set VERBOSITY sqlstate
CALL pg_temp.sixth('ALTER TABLE owned RENAME TO other; ALTER TABLE twin RENAME TO owned');
\set VERBOSITY default
CALL pg_temp.sixth('SELECT 1');
RESET ROLE;
DROP TABLE owned, twin;
-- a trigger of the table drops the view that the setting names
CREATE VIEW pg_temp.crash AS SELECT * FROM meddled.base;
CREATE FUNCTION pg_temp.drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DROP VIEW IF EXISTS pg_temp.crash; RETURN NEW; END $$;
CREATE TRIGGER e BEFORE UPDATE ON meddled.base FOR EACH ROW EXECUTE FUNCTION pg_temp.drop_it();
SET pasqal_jobs.jobs_table = 'pg_temp.crash';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
DROP TRIGGER e ON meddled.base;

-- between two chunks, and at their commits
CREATE FUNCTION deferred() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('ddl.deed', true) <> '' THEN
		EXECUTE current_setting('ddl.deed') ;
	END IF;
	RETURN NULL;
END
$$;
CREATE TABLE meddled.chunked (LIKE meddled.plain INCLUDING ALL);
INSERT INTO meddled.chunked SELECT * FROM meddled.plain;
CREATE CONSTRAINT TRIGGER z AFTER UPDATE ON meddled.chunked DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION deferred();
SET pasqal_jobs.jobs_table = 'meddled.chunked';
CREATE PROCEDURE chunked(deed text) LANGUAGE plpgsql AS $$
DECLARE
	c bigint;
	f bigint;
BEGIN
	PERFORM set_config('ddl.deed', deed, false);
	CALL cancel_jobs_in_chunks(batch(1), '{}', 1, c, f);
	PERFORM set_config('ddl.deed', '', false);
	RAISE WARNING '% canceled, % failed', c, f;
END
$$;
CALL chunked('ALTER TABLE meddled.chunked ALTER COLUMN runs TYPE bigint');
CALL chunked('ALTER TABLE meddled.chunked RENAME COLUMN runs TO shots');
SELECT set_config('ddl.deed', '', false);
ALTER TABLE meddled.chunked RENAME COLUMN shots TO runs;
CALL chunked('SET pasqal_jobs.jobs_table = ''jobs''');
\echo :SQLSTATE
SELECT set_config('ddl.deed', '', false);
SET pasqal_jobs.jobs_table = 'meddled.chunked';
SELECT count(*) FROM meddled.chunked WHERE status = 'CANCELED' AND id IN (job(1), job(2), job(3), job(4));
CALL chunked('DISCARD PLANS');
-- where the jobs are is not in the list if a trigger may keep them, and not needed when it is gone
UPDATE meddled.chunked SET status = 'PENDING';
CREATE TRIGGER y BEFORE UPDATE ON meddled.chunked FOR EACH ROW EXECUTE FUNCTION meddle();
CALL chunked('DROP TRIGGER IF EXISTS y ON meddled.chunked');
SELECT status, count(*) FROM meddled.chunked GROUP BY 1;
-- a label that the filters name
CREATE TYPE meddled.place AS ENUM ('CLIENT', 'OVH');
ALTER TABLE meddled.chunked ALTER origin DROP DEFAULT, ALTER origin TYPE meddled.place USING 'OVH';
UPDATE meddled.chunked SET status = 'PENDING';
SET ddl.deed = 'ALTER TYPE meddled.place RENAME VALUE ''OVH'' TO ''LOCAL''';
CALL cancel_jobs_in_chunks(batch(1), '{"origin": "OVH"}', 1);
\echo :SQLSTATE
SET ddl.deed = '';
SELECT status, origin, count(*) FROM meddled.chunked WHERE batch_id = batch(1) GROUP BY 1, 2 ORDER BY 1, 2;

-- a view between commits: another one in its place
UPDATE jobs SET status = 'PENDING';
CREATE VIEW meddled.window AS SELECT * FROM jobs WHERE runs < 600;
SET pasqal_jobs.jobs_table = 'meddled.window';
CREATE CONSTRAINT TRIGGER z AFTER UPDATE ON jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION deferred();
CALL chunked('CREATE OR REPLACE VIEW meddled.window AS SELECT * FROM jobs WHERE runs < 300');
UPDATE jobs SET status = 'PENDING';
CALL chunked('DROP VIEW meddled.window; CREATE VIEW meddled.window AS SELECT * FROM jobs');
\echo :SQLSTATE
SELECT set_config('ddl.deed', '', false);
UPDATE jobs SET status = 'PENDING';
CALL chunked('ALTER VIEW meddled.window RENAME updated_at TO u; ALTER VIEW meddled.window RENAME created_at TO updated_at; ALTER VIEW meddled.window RENAME u TO created_at');
SELECT set_config('ddl.deed', '', false);
DROP TRIGGER z ON jobs;
TRUNCATE jobs;
SELECT submit(batch(1));

-- no trigger of a statement and no function of a plan is planned by settings of ours
RESET pasqal_jobs.jobs_table;
CREATE TABLE meddled.members (project uuid PRIMARY KEY, member text);
INSERT INTO meddled.members SELECT project(n), 'regress_pasqal_tenant' FROM generate_series(1, 3) AS n;
CREATE FUNCTION planned_with() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
	RAISE WARNING '%', (SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
		WHERE name IN ('enable_seqscan', 'enable_indexscan', 'enable_bitmapscan', 'synchronize_seqscans'));
	RETURN project(1);
END
$$;
GRANT USAGE ON SCHEMA meddled TO regress_pasqal_tenant;
GRANT SELECT ON meddled.members TO regress_pasqal_tenant;
GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO regress_pasqal_tenant;
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON jobs USING (EXISTS (SELECT FROM meddled.members WHERE project = project_id AND member = current_user) AND project_id = (SELECT planned_with()));
SET ROLE regress_pasqal_tenant;
SELECT tried(batch(1));
RESET ROLE;
DROP POLICY p ON jobs;
ALTER TABLE jobs DISABLE ROW LEVEL SECURITY;

-- a STABLE function runs as a plan for all values is made; if that one is dearer
-- than a plan for these, the other is made next, maybe of another table or with
-- another id, which must not be taken for a uuid
CREATE FUNCTION planned() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM public.meddle('plan'); RETURN 0; END $$;
CREATE TABLE meddled.first (LIKE jobs INCLUDING ALL);
INSERT INTO meddled.first (batch_id, project_id, runs, progress)
SELECT batch(CASE n WHEN 1 THEN 9 ELSE 1 END), project(1), 1, 1 FROM generate_series(1, 3000) AS n;
CREATE TABLE meddled.second AS SELECT 1 AS id, batch(9) AS batch_id, 'PENDING' AS status, 1 AS runs;
GRANT CREATE ON SCHEMA meddled TO regress_pasqal_tenant;
ALTER TABLE meddled.first OWNER TO regress_pasqal_tenant;
ALTER TABLE meddled.second OWNER TO regress_pasqal_tenant;
ALTER TABLE meddled.first ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON meddled.first USING (runs > planned());
ANALYZE meddled.first;
SET ROLE regress_pasqal_tenant;
SET pasqal_jobs.jobs_table = 'meddled.first';
SET ddl.seam = '';
SELECT count(tried(batch(9), '{"min_runs": 1}')) FROM generate_series(1, 5);
SET ddl.seam = 'plan';
SET ddl.deed = 'ALTER TABLE meddled.first RENAME TO other; ALTER TABLE meddled.second RENAME TO first';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(9), '{"min_runs": 1}')$$);
SET ddl.seam = '';
SELECT count(tried(batch(9), '{"min_runs": 1}')) FROM generate_series(1, 5);
SET ddl.seam = 'plan';
SET ddl.deed = 'ALTER TABLE meddled.first RENAME id TO i; ALTER TABLE meddled.first RENAME progress TO id';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(9), '{"min_runs": 1}')$$);
SET ddl.seam = '';
RESET pasqal_jobs.jobs_table;
RESET ROLE;
-- a type that is dropped as the jobs are read, when its label is to be told
CREATE TYPE meddled.mood AS ENUM ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'CANCELED', 'PAUSED');
CREATE TABLE meddled.moody (LIKE jobs INCLUDING ALL);
ALTER TABLE meddled.moody ALTER status DROP DEFAULT, ALTER status TYPE meddled.mood USING status::text::meddled.mood;
INSERT INTO meddled.moody (batch_id, project_id, runs, status) SELECT batch(1), project(1), n, 'PAUSED' FROM generate_series(1, 4) AS n;
CREATE FUNCTION drop_mood(runs int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	IF runs = 2 THEN
		DROP TYPE meddled.mood CASCADE;
	END IF;
	RETURN true;
END
$$;
ALTER TYPE meddled.mood OWNER TO regress_pasqal_tenant;
ALTER TABLE meddled.moody OWNER TO regress_pasqal_tenant;
ALTER TABLE meddled.moody ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON meddled.moody USING (drop_mood(runs));
SET ROLE regress_pasqal_tenant;
SET pasqal_jobs.jobs_table = 'meddled.moody';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET pasqal_jobs.jobs_table;
RESET ROLE;
DROP TABLE meddled.first, meddled.moody;
DROP FUNCTION planned();
DROP FUNCTION drop_mood(int);
REVOKE ALL ON jobs FROM regress_pasqal_tenant;

\pset format aligned
-- a bad value that was set before the library was loaded is an error, not a default
\c -
SET pasqal_jobs.date_filter = 'finished';
SELECT state, message, detail, hint FROM failure($$SELECT cancel_jobs(batch(1))$$);
SELECT state, message FROM failure($$SELECT * FROM cancel_jobs_http(batch(1)::text)$$);
SELECT state, message FROM failure($$SELECT * FROM cancel_jobs_preview(batch(1))$$);
BEGIN; SET LOCAL pasqal_jobs.date_filter = 'creation'; SELECT tried(batch(1), '{"min_runs": 900}'); ROLLBACK;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.date_filter = 'creation';
SELECT tried(batch(1), '{"min_runs": 900}');
RESET pasqal_jobs.date_filter;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
\c -
SET pasqal_jobs.notify_channel = 'a234567890b234567890c234567890d234567890e234567890f234567890g234567890';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
-- what has ended, or was reset, is as if it had never been
\c -
BEGIN; SET LOCAL pasqal_jobs.max_jobs = 5; SET LOCAL pasqal_jobs.locked_jobs = 'x'; ROLLBACK;
SET pasqal_jobs.chunk_pause = 5; RESET pasqal_jobs.chunk_pause; RESET pasqal_jobs.date_filter;
SELECT tried(batch(1), '{"min_runs": 900}');
-- it stays an error until it is set right itself
\c -
SET client_min_messages = error;
SET pasqal_jobs.max_jobs = '1oo';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.chunk_pause = 1;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.max_jobs = 100;
SELECT tried(batch(1), '{"min_runs": 900}');
\c -
SET client_min_messages = error;
SET pasqal_jobs.chunk_pause = '1 fortnight';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.max_jobs = 100;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.chunk_pause = 1;
SELECT tried(batch(1), '{"min_runs": 900}');
-- capitals are right
\c -
SET pasqal_jobs.date_filter = 'CREATION';
SELECT tried(batch(1), '{"min_runs": 900, "start_date": "2023-03-11T00:00Z"}');
-- also where a role's setting below it is valid; the role that runs the tests is
-- the one that may log in
GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO regress_pasqal_tenant;
ALTER ROLE CURRENT_USER IN DATABASE :"DBNAME" SET pasqal_jobs.date_filter = 'execution';
\c -
SET SESSION AUTHORIZATION regress_pasqal_tenant;
SET pasqal_jobs.date_filter = 'creatoin';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.date_filter = 'creation';
SELECT tried(batch(1), '{"min_runs": 900}');
-- or a role's setting is not, which RESET would bring back
\c -
ALTER ROLE CURRENT_USER IN DATABASE :"DBNAME" SET pasqal_jobs.date_filter = 'creatoin';
\c -
SET SESSION AUTHORIZATION regress_pasqal_tenant;
SET client_min_messages = error;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.date_filter = 'creation';
SELECT tried(batch(1), '{"min_runs": 900}');
RESET pasqal_jobs.date_filter;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
\c -
SET SESSION AUTHORIZATION regress_pasqal_tenant;
SET client_min_messages = error;
SET pasqal_jobs.date_filter = 'creation';
SET pasqal_jobs.max_jobs = '2147483647';
SET pasqal_jobs.chunk_pause = '5ms';
SELECT tried(batch(1), '{"min_runs": 900}');
RESET pasqal_jobs.date_filter;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
\c -
SET SESSION AUTHORIZATION regress_pasqal_tenant;
SET client_min_messages = error;
SET pasqal_jobs.date_filter = 'creation';
SET pasqal_jobs.chunk_pause = '-5ms';
SELECT state, message, hint FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET SESSION AUTHORIZATION;
ALTER ROLE CURRENT_USER IN DATABASE :"DBNAME" RESET pasqal_jobs.date_filter;
SET client_min_messages = warning;
DROP OWNED BY regress_pasqal_tenant;
DROP ROLE regress_pasqal_tenant;
DROP SCHEMA meddled CASCADE;
DROP FUNCTION meddle(), meddle(text), meddled(text, text, text, jsonb), undone(text), deferred(), planned_with();
DROP PROCEDURE chunked(text);

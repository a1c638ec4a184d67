--
-- Whoever calls: least privileges, row-level security, a hostile search_path
--
CREATE ROLE regress_pasqal_operator;
CREATE ROLE regress_pasqal_tenant;
CREATE ROLE regress_pasqal_mallory;
-- SELECT and UPDATE of three columns are enough, and less is not
GRANT SELECT ON jobs TO regress_pasqal_operator;
SET ROLE regress_pasqal_operator;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET ROLE;
GRANT UPDATE (status, updated_at, end_timestamp) ON jobs TO regress_pasqal_operator;
SET ROLE regress_pasqal_operator;
SELECT tried(batch(1));
SELECT tried(batch(1), jsonb_build_object('id', job(5)));
RESET ROLE;
REVOKE UPDATE (end_timestamp) ON jobs FROM regress_pasqal_operator;
SET ROLE regress_pasqal_operator;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET ROLE;
GRANT UPDATE (end_timestamp) ON jobs TO regress_pasqal_operator;
REVOKE SELECT ON jobs FROM regress_pasqal_operator;
SET ROLE regress_pasqal_operator;
SELECT cancel_jobs(batch(1));
SELECT * FROM cancel_jobs_preview(batch(1));
RESET ROLE;
-- a preview needs no other columns than these
GRANT SELECT (id, status, batch_id) ON jobs TO regress_pasqal_operator;
SET ROLE regress_pasqal_operator;
SELECT count(*) FROM cancel_jobs_preview(batch(1));
RESET ROLE;
GRANT SELECT ON jobs TO regress_pasqal_operator;
-- the GRANT that helps can be typed as it is shown
CREATE ROLE "regress_pasqal odd";
GRANT SELECT, UPDATE (status, updated_at) ON jobs TO "regress_pasqal odd";
CREATE VIEW "some jobs" AS SELECT * FROM jobs;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE TABLE near_jobs (LIKE jobs);
CREATE FOREIGN TABLE far_jobs () INHERITS (near_jobs) SERVER nowhere;
-- ... also to who had the right by a role, which no change of the table tells
CREATE ROLE regress_pasqal_group;
GRANT UPDATE ON jobs TO regress_pasqal_group;
GRANT regress_pasqal_group TO "regress_pasqal odd";
SET ROLE "regress_pasqal odd";
SELECT tried(batch(1), '{"user_id": "alice", "status": "PENDING"}');
RESET ROLE;
REVOKE regress_pasqal_group FROM "regress_pasqal odd";
\x on
SET ROLE "regress_pasqal odd";
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SELECT hint FROM failure($$SELECT cancel_jobs(batch(1), '{"status": "PENDING"}')$$);
SELECT hint FROM failure($$SELECT * FROM cancel_jobs_http(batch(1)::text, 'status=PENDING')$$);
SET pasqal_jobs.jobs_table = '"some jobs"';
SELECT message, hint FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'far_jobs';
SELECT message, hint FROM failure($$SELECT cancel_jobs(batch(1))$$);
RESET pasqal_jobs.jobs_table;
RESET ROLE;
\x off
DROP OWNED BY regress_pasqal_group;
DROP ROLE regress_pasqal_group;
SET client_min_messages = warning;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;
RESET client_min_messages;
DROP TABLE near_jobs;
DROP VIEW "some jobs";
-- a schema that may not be used
CREATE SCHEMA "Closed";
SET ROLE "regress_pasqal odd";
SET pasqal_jobs.jobs_table = '"Closed".jobs';
SELECT cancel_jobs(batch(1));
\echo :SQLSTATE
-- a database that is another's: USAGE would not help
SET pasqal_jobs.jobs_table = 'elsewhere."Closed".jobs';
SELECT cancel_jobs(batch(1));
RESET pasqal_jobs.jobs_table;
RESET ROLE;
DROP SCHEMA "Closed";
DROP OWNED BY "regress_pasqal odd";
DROP ROLE "regress_pasqal odd";
-- EXECUTE can be taken away
REVOKE EXECUTE ON FUNCTION cancel_jobs(uuid, jsonb) FROM PUBLIC;
SET ROLE regress_pasqal_operator;
SELECT cancel_jobs(batch(1));
RESET ROLE;
GRANT EXECUTE ON FUNCTION cancel_jobs(uuid, jsonb) TO PUBLIC;

-- row-level security: what the caller cannot see is not there; what a policy
-- keeps from being updated is told, and not tried again
GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO regress_pasqal_tenant;
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON jobs FOR SELECT USING (project_id IN (project(1), project(2)));
CREATE POLICY updated ON jobs FOR UPDATE USING (project_id = project(1));
CREATE FUNCTION ran() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% ran', tg_op; RETURN NULL; END $$;
CREATE TRIGGER ran AFTER UPDATE ON jobs EXECUTE FUNCTION ran();
SET ROLE regress_pasqal_tenant;
SELECT tried(batch(1));
RESET ROLE;
DROP TRIGGER ran ON jobs;
DROP FUNCTION ran;
SET ROLE regress_pasqal_tenant;
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(2), job(3), job(4))));
RESET ROLE;
ALTER POLICY updated ON jobs USING (true) WITH CHECK (runs < 300);
SET ROLE regress_pasqal_tenant;
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SELECT tried(batch(1), '{"max_runs": 200}');
RESET ROLE;
-- the same session, another role: plans are made for the role
SELECT tried(batch(1));
SET ROLE regress_pasqal_tenant;
SELECT tried(batch(1), '{"max_runs": 200}');
RESET ROLE;
DROP POLICY seen ON jobs;
DROP POLICY updated ON jobs;
ALTER TABLE jobs DISABLE ROW LEVEL SECURITY;

-- a search_path full of look-alikes changes nothing
CREATE SCHEMA evil AUTHORIZATION regress_pasqal_mallory;
CREATE SCHEMA evil_ext;
SET ROLE regress_pasqal_mallory;
CREATE TYPE evil.jobstatus AS ENUM ('CANCELED', 'PENDING');
CREATE FUNCTION evil.yes(uuid, uuid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil uuid'; RETURN true; END $$;
CREATE FUNCTION evil.yes(anyenum, anyenum) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil enum'; RETURN true; END $$;
CREATE FUNCTION evil.yes(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil int4'; RETURN true; END $$;
CREATE FUNCTION evil.yes(int, bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil int'; RETURN true; END $$;
CREATE FUNCTION evil.yes(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil text'; RETURN true; END $$;
CREATE FUNCTION evil.yes(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil time'; RETURN true; END $$;
CREATE FUNCTION evil.yes(tid, tid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil tid'; RETURN true; END $$;
CREATE FUNCTION evil.yes(bool, bool) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil bool'; RETURN true; END $$;
CREATE FUNCTION evil.cardinality(anyarray) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil cardinality'; RETURN 1; END $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil now'; RETURN '-infinity'; END $$;
CREATE FUNCTION evil.format(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil format'; RETURN $1; END $$;
CREATE FUNCTION evil.concat(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil concat'; RETURN ''; END $$;
CREATE FUNCTION evil.parse_ident(text, bool DEFAULT true) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil parse_ident'; RETURN '{evil,taken}'; END $$;
DO $$
DECLARE o text; t text;
BEGIN
	FOREACH o IN ARRAY '{=,>=,<=,>,<,+,-}'::text[] LOOP
		FOREACH t IN ARRAY '{"uuid,uuid","int,int","int,bigint","text,text","anyenum,anyenum","timestamptz,timestamptz","tid,tid","bool,bool"}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.yes, LEFTARG = %s, RIGHTARG = %s)', o, split_part(t, ',', 1), split_part(t, ',', 2));
		END LOOP;
	END LOOP;
END
$$;
CREATE DOMAIN evil.text AS pg_catalog.text;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
RESET ROLE;
-- a cast from our type to one of mallory's own, implicit
SET ROLE regress_pasqal_mallory;
CREATE TYPE evil.state AS ENUM ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'CANCELED');
CREATE FUNCTION evil.to_state(public.jobstatus) RETURNS evil.state LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil cast'; RETURN 'PENDING'; END $$;
CREATE CAST (public.jobstatus AS evil.state) WITH FUNCTION evil.to_state AS IMPLICIT;
RESET ROLE;
SET search_path = evil, pg_catalog, public;
BEGIN;
SELECT pg_catalog.jsonb_path_query_array(public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001'), '$.data.jobs[*].creation_order');
ROLLBACK;
BEGIN;
SELECT pg_catalog.jsonb_path_query_array(public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001',
	'{"user_id": ["alice", "x"], "status": ["PENDING", "RUNNING"], "min_runs": 1, "errors": false, "start_date": "2020-01-01T00:00Z", "origin": "AZURE", "id__starts_with": "0"}'), '$.data.jobs[*].creation_order');
SELECT public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001',
	'{"id": ["00000003-0000-4000-8000-000000000003", "00000007-0000-4000-8000-000000000077"], "errors": false, "batch_id": "bbbbbbbb-0000-4000-8000-000000000001"}');
-- none matches
SELECT public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001', '{"end_date": "2020-01-01T00:00Z"}');
SELECT public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001', '{"max_runs": 1}');
SELECT public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001', '{"project_id": "eeeeeeee-0000-4000-8000-00000000000f"}');
SET LOCAL pasqal_jobs.date_filter = 'creation';
SELECT public.cancel_jobs('bbbbbbbb-0000-4000-8000-000000000001', '{"start_date": "2120-01-01T00:00Z"}');
SELECT public.create_jobs_table('evil_ext.jobs', 2);
SELECT public.create_jobs_table('evil_ext.jobs1');
SET LOCAL search_path = public;
SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'evil_ext.jobs1'::regclass AND attname = 'user_id';
\set VERBOSITY terse
INSERT INTO evil_ext.jobs1 (batch_id, project_id, runs, progress) VALUES (batch(1), project(1), 1, 101);
\set VERBOSITY default
ROLLBACK;
CALL public.cancel_jobs_in_chunks('bbbbbbbb-0000-4000-8000-000000000001', '{}', 2);
RESET search_path;
TRUNCATE jobs;
SELECT submit(batch(1));

-- nor do casts that an application may have for its own comfort
CREATE CAST (varchar AS jobstatus) WITH INOUT AS IMPLICIT;
CREATE CAST (jobstatus AS varchar) WITH INOUT AS ASSIGNMENT;
SELECT tried(batch(1), '{"status": "RUNNING"}');
DROP CAST (varchar AS jobstatus);
DROP CAST (jobstatus AS varchar);

-- a SECURITY DEFINER wrapper without the settings lets its caller choose the
-- table; with them it does not
CREATE SCHEMA app;
\set SHOW_CONTEXT never
GRANT CREATE ON SCHEMA app TO regress_pasqal_mallory;
SET ROLE regress_pasqal_mallory;
SELECT create_jobs_table('app.jobs');
RESET ROLE;
REVOKE CREATE ON SCHEMA app FROM regress_pasqal_mallory;
GRANT USAGE ON SCHEMA app TO PUBLIC;
SET ROLE regress_pasqal_mallory;
SELECT create_jobs_table('app.jobs');
\set SHOW_CONTEXT errors
RESET ROLE;
SELECT create_jobs_table('app.jobs');
SELECT create_jobs_table('app.payroll');
INSERT INTO app.payroll SELECT * FROM jobs;
CREATE FUNCTION app.cancel_open(batch uuid) RETURNS jsonb LANGUAGE sql SECURITY DEFINER
	AS $$ SELECT public.cancel_jobs(batch) $$;
CREATE FUNCTION app.cancel_tight(batch uuid) RETURNS jsonb LANGUAGE sql SECURITY DEFINER
	SET pasqal_jobs.jobs_table = 'app.jobs' SET pasqal_jobs.date_filter = 'execution' SET search_path = pg_catalog, pg_temp
	AS $$ SELECT public.cancel_jobs(batch) $$;
SET ROLE regress_pasqal_mallory;
SET pasqal_jobs.jobs_table = 'app.payroll';
BEGIN;
SELECT told(app.cancel_tight(batch(1)));
SELECT told(app.cancel_open(batch(1)));
ROLLBACK;
RESET pasqal_jobs.jobs_table;
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
DROP SCHEMA evil CASCADE;
DROP SCHEMA evil_ext CASCADE;
DROP OWNED BY regress_pasqal_operator, regress_pasqal_tenant, regress_pasqal_mallory;
DROP ROLE regress_pasqal_operator, regress_pasqal_tenant, regress_pasqal_mallory;

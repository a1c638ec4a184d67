--
-- The extension as an object: what it is made of, where it can live, who may
-- install it, and what psql says of it
--
SELECT extversion, nspname, extrelocatable, obj_description(e.oid, 'pg_extension'),
	(SELECT array_agg(r.extname) FROM pg_depend AS d JOIN pg_extension AS r ON r.oid = d.refobjid
	 WHERE d.classid = 'pg_extension'::regclass AND d.objid = e.oid AND d.refclassid = 'pg_extension'::regclass) AS requires
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'pasqal_jobs';
-- its members, all with a comment; from 17 on array types are members, too
SELECT pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::text) IS NOT NULL AS has_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pasqal_jobs') AND deptype = 'e'
	AND objid NOT IN (SELECT typarray FROM pg_type) ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C";
-- names of parameters are part of the contract
SELECT p.oid::regprocedure, pg_get_function_arguments(p.oid), provolatile, proparallel, prosecdef, procost, prorows
FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension AS e ON e.oid = d.refobjid WHERE extname = 'pasqal_jobs' ORDER BY 1::text;
LOAD 'pasqal_jobs';
SELECT name, setting, boot_val, context, enumvals FROM pg_settings WHERE name LIKE 'pasqal_jobs.%' ORDER BY 1;
SELECT name, short_desc, extra_desc FROM pg_settings WHERE name LIKE 'pasqal_jobs.%' ORDER BY 1;
-- none is a list
SET pasqal_jobs.jobs_table = jobs, other;
SET pasqal_jobs.notify_channel = a, b;
SET pasqal_jobs.running_status = 'CANCELED', 'CANCELING';
-- in another schema, moved, and dropped
DROP TABLE jobs;
DROP EXTENSION pasqal_jobs;
CREATE SCHEMA "Ext One";
CREATE EXTENSION pasqal_jobs SCHEMA "Ext One";
SELECT "Ext One".create_jobs_table('app_jobs');
SELECT "Ext One".create_jobs_table('app_jobs_2', 2);
SET pasqal_jobs.jobs_table = 'app_jobs';
SELECT "Ext One".cancel_jobs(gen_random_uuid());
ALTER EXTENSION pasqal_jobs SET SCHEMA public;
SELECT cancel_jobs(gen_random_uuid(), '{"status": "PENDING", "origin": ["CLIENT", "AZURE"]}');
SELECT create_jobs_table('app_jobs_3');
RESET pasqal_jobs.jobs_table;
DROP TABLE app_jobs, app_jobs_2, app_jobs_3;
DROP EXTENSION pasqal_jobs;
-- beside an application that has a type origin, a table jobprogress, or jobstatus and columns of it
CREATE TYPE origin AS ENUM ('CLIENT');
\set SHOW_CONTEXT never
CREATE EXTENSION pasqal_jobs;
\echo :SQLSTATE
\set SHOW_CONTEXT errors
DROP TYPE origin;
CREATE TABLE jobprogress ();
\set SHOW_CONTEXT never
CREATE EXTENSION pasqal_jobs;
\echo :SQLSTATE
\set SHOW_CONTEXT errors
DROP TABLE jobprogress;
-- what is there already is never made its own (CREATE OR REPLACE would do that)
CREATE FUNCTION cancel_jobs(uuid, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $2';
\set SHOW_CONTEXT never
CREATE EXTENSION pasqal_jobs;
\echo :SQLSTATE
\set SHOW_CONTEXT errors
DROP FUNCTION cancel_jobs;
CREATE TYPE jobstatus AS ENUM ('PENDING', 'RUNNING', 'DONE', 'CANCELING', 'ERROR', 'CANCELED');
\set SHOW_CONTEXT never
CREATE EXTENSION pasqal_jobs;
\echo :SQLSTATE
\set SHOW_CONTEXT errors
CREATE SCHEMA pasqal_jobs;
CREATE EXTENSION pasqal_jobs SCHEMA pasqal_jobs;
SELECT pasqal_jobs.create_jobs_table('app_jobs');
\set SHOW_CONTEXT never
SELECT pasqal_jobs.create_jobs_table('app_jobs');
\set SHOW_CONTEXT errors
SELECT pasqal_jobs.create_jobs_table('app_jobs', if_not_exists => true);
ALTER TABLE app_jobs ALTER status DROP DEFAULT, ALTER status TYPE jobstatus USING status::text::jobstatus;
INSERT INTO app_jobs (id, batch_id, project_id, runs, status)
SELECT job(n), batch(1), project(1), n, (enum_range(NULL::jobstatus))[n] FROM generate_series(1, 6) AS n;
SET pasqal_jobs.jobs_table = 'app_jobs';
BEGIN; SELECT told(pasqal_jobs.cancel_jobs(batch(1))); ROLLBACK;
-- all labels of its enum are values of the filter, and those that a 422 lists
BEGIN; SELECT told(pasqal_jobs.cancel_jobs(batch(1), '{"status": ["CANCELING", "PENDING"]}')); ROLLBACK;
SELECT body FROM pasqal_jobs.cancel_jobs_http(batch(1)::text, 'status=CANCELLING&origin=OVH');
SELECT * FROM pasqal_jobs.cancel_jobs_preview(batch(1), '{"status": "CANCELING"}');
CALL pasqal_jobs.cancel_jobs_in_chunks(batch(1), '{"status": ["PENDING", "CANCELING"]}');
-- labels as Python shows them
ALTER TYPE jobstatus ADD VALUE 'it''s';
ALTER TYPE jobstatus ADD VALUE '"quoted"';
ALTER TYPE jobstatus ADD VALUE '''both"';
ALTER TYPE jobstatus ADD VALUE E'\\ \t\n\r\x01\x7f';
SELECT body #>> '{detail,0,msg}' AS msg FROM pasqal_jobs.cancel_jobs_http(batch(1)::text, 'status=x');
-- more labels than are compared one by one
DO $$
BEGIN
	FOR n IN 1 .. 150 LOOP
		EXECUTE format('ALTER TYPE jobstatus ADD VALUE %L', 'LABEL' || n);
	END LOOP;
END
$$;
SELECT told(pasqal_jobs.cancel_jobs(batch(1), jsonb_build_object('status', (SELECT jsonb_agg(enumlabel) FROM pg_enum WHERE enumtypid = 'jobstatus'::regtype))));
-- the first entry of a filter lists them, later ones until they come to 1 MB, or to 32 kB in an error
CREATE VIEW entries AS SELECT entry #>> '{loc,1}' AS filter, entry #> '{ctx,enum_values}' IS NOT NULL AS complete, entry->>'msg' LIKE '%permitted: ...' AS cut,
	row_number() OVER (PARTITION BY entry #>> '{loc,1}' ORDER BY n) = 1 AS first, length(entry::text) AS length
FROM json_array_elements(current_setting('test.body')::json->'detail') WITH ORDINALITY AS e (entry, n);
SELECT length(set_config('test.body', body::text, false)) BETWEEN 1000000 AND 1250000 AS bounded FROM pasqal_jobs.cancel_jobs_http(batch(1)::text, repeat('status=x&', 1000) || repeat('origin=x&', 2));
SELECT filter, first, complete, cut, count(*) > 100 AS many, min(length) > 1000 AS long FROM entries GROUP BY 1, 2, 3, 4 ORDER BY 1, 2 DESC, 3 DESC;
DO $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM pasqal_jobs.cancel_jobs(batch(1), jsonb_build_object('status', array_fill(5, ARRAY[1000]), 'origin', 'x'));
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '% ... % (% bytes), %', left(hint, 26), right(hint, 20), length(hint), length(set_config('test.body', detail, false)) BETWEEN 32000 AND 50000;
END
$$;
SELECT filter, first, complete, cut, count(*) > 50 AS many, min(length) > 1000 AS long FROM entries GROUP BY 1, 2, 3, 4 ORDER BY 1, 2 DESC, 3 DESC;
DROP VIEW entries;
RESET pasqal_jobs.jobs_table;
DROP TABLE app_jobs;
DROP TYPE jobstatus;
DROP EXTENSION pasqal_jobs;
DROP SCHEMA pasqal_jobs;
-- dropped and created again in one session: what it remembers of a table that
-- stayed, and of statements, is of the old one
CREATE EXTENSION pasqal_jobs;
SELECT create_jobs_table('app_jobs');
ALTER TABLE app_jobs ALTER status DROP DEFAULT, ALTER status TYPE text, ALTER origin DROP DEFAULT, ALTER origin TYPE text, ALTER progress TYPE int;
INSERT INTO app_jobs (id, batch_id, project_id, runs, status) SELECT job(n), batch(1), project(1), n, 'PENDING' FROM generate_series(1, 4) AS n;
SET pasqal_jobs.jobs_table = 'app_jobs';
PREPARE again (jsonb) AS SELECT told(cancel_jobs(batch(1), $1));
EXECUTE again ('{"max_runs": 1}');
DROP EXTENSION pasqal_jobs;
\set VERBOSITY sqlstate
EXECUTE again ('{"max_runs": 2}');
\set VERBOSITY default
CREATE EXTENSION pasqal_jobs;
EXECUTE again ('{"max_runs": 2}');
-- in one transaction, which is rolled back and then not
BEGIN;
DROP EXTENSION pasqal_jobs;
CREATE EXTENSION pasqal_jobs;
EXECUTE again ('{"max_runs": 3}');
ROLLBACK;
EXECUTE again ('{"max_runs": 3}');
BEGIN;
DROP EXTENSION pasqal_jobs;
CREATE EXTENSION pasqal_jobs;
ALTER TABLE app_jobs ALTER status TYPE jobstatus USING status::jobstatus, ALTER origin TYPE origin USING origin::origin;
EXECUTE again ('{"status": "PENDING"}');
COMMIT;
SELECT * FROM cancel_jobs_preview(batch(1), '{"status": "CANCELED"}') ORDER BY id;
DEALLOCATE again;
RESET pasqal_jobs.jobs_table;
DROP TABLE app_jobs;
DROP EXTENSION pasqal_jobs;
-- whoever may create in the database may install it
CREATE ROLE regress_pasqal_owner;
GRANT CREATE ON DATABASE :"DBNAME" TO regress_pasqal_owner;
CREATE SCHEMA owned AUTHORIZATION regress_pasqal_owner;
SET ROLE regress_pasqal_owner;
CREATE EXTENSION pasqal_jobs SCHEMA owned;
SET search_path = owned;
SELECT create_jobs_table();
SELECT cancel_jobs(gen_random_uuid());
RESET search_path;
DROP TABLE owned.jobs;
DROP EXTENSION pasqal_jobs;
RESET ROLE;
DROP SCHEMA owned, "Ext One";
DROP OWNED BY regress_pasqal_owner;
DROP ROLE regress_pasqal_owner;

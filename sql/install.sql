--
-- The extension as an object: what it is made of, where it can live, who may
-- install it, and what psql says of it
--
SELECT extversion, nspname, extrelocatable, obj_description(e.oid, 'pg_extension')
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'pasqal_jobs';
-- its members, all with a comment; from 17 on array types are members, too
SELECT pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::text) IS NOT NULL AS has_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pasqal_jobs') AND deptype = 'e'
	AND objid NOT IN (SELECT typarray FROM pg_type) ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C";
-- names of parameters are part of the contract
SELECT p.oid::regprocedure, pg_get_function_arguments(p.oid), provolatile, proparallel, prosecdef
FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension AS e ON e.oid = d.refobjid WHERE extname = 'pasqal_jobs' ORDER BY 1::text;
LOAD 'pasqal_jobs';
SELECT name, setting, boot_val, context, enumvals FROM pg_settings WHERE name LIKE 'pasqal_jobs.%' ORDER BY 1;
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
-- whoever may create in the database may install it
CREATE ROLE regress_pasqal_owner;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_pasqal_owner', current_database()) \gexec
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

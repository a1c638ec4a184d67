/* pasqal_jobs--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pasqal_jobs" to load this file. \quit

--
-- A superuser's rights run this script, in a schema where others may create, with
-- pg_catalog before that schema in the search_path and pg_temp behind it. So
-- types of PostgreSQL need no schema here, operators have one, and nothing says
-- OR REPLACE or IF NOT EXISTS: what somebody has put there already is an error,
-- and does not become a member of the extension.
--

--
-- Types of these names may be there already: SQLAlchemy gives an application's
-- Enum(JobStatus) the same one. A table has a type of its name, too.
--
DO $$
DECLARE
	taken pg_catalog.text;
BEGIN
	SELECT t.typname INTO taken
	FROM pg_catalog.pg_type AS t
	JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
	WHERE n.nspname OPERATOR(pg_catalog.=) pg_catalog.current_schema()
		AND t.typname OPERATOR(pg_catalog.=) ANY ('{jobstatus,origin,jobprogress}'::pg_catalog.name[])
	ORDER BY 1 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'type "%" already exists in schema "%"', taken, pg_catalog.current_schema()
			USING ERRCODE = 'duplicate_object',
				DETAIL = 'The extension pasqal_jobs has types "jobstatus", "origin" and "jobprogress" of its own.',
				HINT = 'Give the extension a schema of its own: CREATE SCHEMA pasqal_jobs; CREATE EXTENSION pasqal_jobs SCHEMA pasqal_jobs;';
	END IF;
END
$$;

--
-- The API's enumerations
--

CREATE TYPE JobStatus AS ENUM ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'CANCELED');

COMMENT ON TYPE JobStatus IS
'status of a job; a PENDING or RUNNING job can be canceled, a DONE, ERROR or CANCELED job has ended. A column may have another enum with PENDING, RUNNING and CANCELED instead; a label that is added to this one is not in a dump';

CREATE TYPE Origin AS ENUM ('CLIENT', 'AZURE', 'UNKNOWN');

COMMENT ON TYPE Origin IS
'where a job was submitted. A column may have another enum instead; a label that is added to this one is not in a dump';

--
-- The progress of a job. A CHECK of the table would do the same, but PostgreSQL
-- parses those anew for each UPDATE, whatever it changes; a domain is looked at
-- only where the column is written. It is a member of the extension, as the
-- enums are, and not made beside each table: a dump then has it before the
-- tables, whatever their number and schemas, and DROP TABLE leaves nothing.
--
CREATE DOMAIN JobProgress AS int
	CONSTRAINT jobprogress_check CHECK (VALUE OPERATOR(pg_catalog.>=) 0 AND VALUE OPERATOR(pg_catalog.<=) 100);

COMMENT ON DOMAIN JobProgress IS
'progress of a job, in percent: an integer from 0 to 100';

--
-- The default table
--
-- No search_path is set here, since the caller's decides where an unqualified
-- name goes. So nothing below may depend on it: every function, operator and
-- type is qualified.
--
CREATE FUNCTION create_jobs_table(name text DEFAULT 'jobs', partitions int DEFAULT 0, if_not_exists boolean DEFAULT false,
	fillfactor int DEFAULT 45)
RETURNS regclass
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	parts pg_catalog.text[];
	nsp pg_catalog.text;
	rel pg_catalog.text;
	types pg_catalog.text;
	target pg_catalog.text;
	many pg_catalog.bool;
	schema pg_catalog.regnamespace;
	existing pg_catalog.regclass;
	lz4 pg_catalog.text;
	-- 45 leaves room for a second version of each row in its page (HOT); vacuum
	-- comes after a cancel of a twentieth of the table, not of a fifth
	storage pg_catalog.text := pg_catalog.concat('fillfactor = ', fillfactor,
		', autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05');
BEGIN
	IF create_jobs_table.name IS NULL THEN
		RAISE EXCEPTION 'name of the jobs table must not be null'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Call create_jobs_table() for a table "jobs".';
	END IF;
	IF partitions IS NULL OR partitions OPERATOR(pg_catalog.<) 0 THEN
		RAISE EXCEPTION 'number of partitions must not be negative or null'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Pass 0 for a table without partitions.';
	END IF;
	IF fillfactor IS NULL OR fillfactor OPERATOR(pg_catalog.<) 10 OR fillfactor OPERATOR(pg_catalog.>) 100 THEN
		RAISE EXCEPTION 'fillfactor of the jobs table must be between 10 and 100, and not null'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Leave it out for 45, with which a cancel of a whole batch is HOT; 85 is for jobs that change one by one.';
	END IF;
	many := partitions OPERATOR(pg_catalog.>) 0;

	BEGIN
		parts := pg_catalog.parse_ident(create_jobs_table.name);
	EXCEPTION WHEN invalid_parameter_value THEN
		parts := '{}';
	END;
	IF pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 1 THEN
		nsp := pg_catalog.current_schema();
		rel := parts[1];
		IF nsp IS NULL THEN
			RAISE EXCEPTION 'no schema has been selected to create in'
				USING ERRCODE = 'invalid_schema_name',
					HINT = 'Qualify the name, or set search_path.';
		END IF;
	ELSIF pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 2 THEN
		nsp := parts[1];
		rel := parts[2];
	ELSE
		RAISE EXCEPTION 'invalid name for a jobs table: "%"', create_jobs_table.name
			USING ERRCODE = 'invalid_name',
				HINT = 'Write it as in SQL: jobs, or schema.jobs.';
	END IF;
	IF many AND pg_catalog.octet_length(rel) OPERATOR(pg_catalog.+)
			pg_catalog.length(partitions::pg_catalog.text) OPERATOR(pg_catalog.+) 2 OPERATOR(pg_catalog.>) 63 THEN
		RAISE EXCEPTION 'name of the jobs table is too long for the names of its partitions: "%"', rel
			USING ERRCODE = 'name_too_long',
				HINT = 'Choose a shorter name.';
	END IF;
	target := pg_catalog.format('%I.%I', nsp, rel);

	IF nsp OPERATOR(pg_catalog.<>) 'pg_temp' THEN
		schema := pg_catalog.to_regnamespace(pg_catalog.quote_ident(nsp));
		IF schema IS NULL THEN
			RAISE EXCEPTION 'schema "%" does not exist', nsp
				USING ERRCODE = 'invalid_schema_name',
					HINT = pg_catalog.format('CREATE SCHEMA %I;', nsp);
		ELSIF NOT (pg_catalog.has_schema_privilege(schema, 'CREATE')
					AND pg_catalog.has_schema_privilege(schema, 'USAGE')) THEN
			RAISE EXCEPTION 'permission denied for schema %', nsp
				USING ERRCODE = 'insufficient_privilege',
					HINT = pg_catalog.format('The call needs: GRANT CREATE, USAGE ON SCHEMA %I TO %I;', nsp, current_user);
		END IF;
	END IF;

	existing := pg_catalog.to_regclass(target);
	IF existing IS NOT NULL THEN
		IF if_not_exists THEN
			RAISE NOTICE 'relation "%" already exists, skipping', rel;
			RETURN existing;
		END IF;
		RAISE EXCEPTION 'relation "%" already exists', rel
			USING ERRCODE = 'duplicate_table',
				HINT = 'Choose another name, or pass if_not_exists => true.';
	END IF;

	SELECT ' COMPRESSION lz4' INTO lz4
	FROM pg_catalog.pg_settings AS s
	WHERE s.name OPERATOR(pg_catalog.=) 'default_toast_compression'
		AND 'lz4' OPERATOR(pg_catalog.=) ANY (s.enumvals);

	SELECT pg_catalog.quote_ident(n.nspname) INTO STRICT types
	FROM pg_catalog.pg_extension AS e
	JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
	WHERE e.extname OPERATOR(pg_catalog.=) 'pasqal_jobs';

	-- Columns of a fixed width first, those that may be null behind the others,
	-- and the three that a cancel changes side by side: an update logs the
	-- bytes from the first that changes to the last
	EXECUTE pg_catalog.concat('
		CREATE TABLE ', target, ' (
			id pg_catalog.uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
			batch_id pg_catalog.uuid NOT NULL,
			project_id pg_catalog.uuid NOT NULL,
			creation_order pg_catalog.int8 NOT NULL GENERATED BY DEFAULT AS IDENTITY,
			created_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
			runs pg_catalog.int4 NOT NULL,
			status ', types, '.jobstatus NOT NULL DEFAULT ''PENDING'',
			updated_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
			end_timestamp pg_catalog.timestamptz,
			start_timestamp pg_catalog.timestamptz,
			origin ', types, '.origin DEFAULT ''UNKNOWN'',
			progress ', types, '.jobprogress,
			parent_id pg_catalog.uuid,
			user_id pg_catalog.text,
			slurm_job_id pg_catalog.text,
			errors pg_catalog.text[],
			variables pg_catalog.jsonb', lz4, ',
			sequence pg_catalog.text', lz4, ',
			PRIMARY KEY (', CASE WHEN many THEN 'batch_id, id' ELSE 'id' END, ')
		) ', CASE WHEN many THEN 'PARTITION BY HASH (batch_id)'
				  ELSE pg_catalog.concat('WITH (', storage, ')') END);

	-- partitioned, the primary key serves the jobs of one batch
	IF NOT many THEN
		EXECUTE pg_catalog.format('CREATE INDEX ON %s (batch_id)', target);
	END IF;
	FOR i IN 0 .. partitions OPERATOR(pg_catalog.-) 1 LOOP
		EXECUTE pg_catalog.format(
			'CREATE TABLE %I.%I PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s) WITH (%s)',
			nsp, pg_catalog.concat(rel, '_p', i), target, partitions, i, storage);
	END LOOP;

	EXECUTE pg_catalog.format('COMMENT ON TABLE %s IS %L', target,
		'jobs of a quantum cloud, for cancel_jobs() of the extension pasqal_jobs');

	RETURN target::pg_catalog.regclass;
END
$$;

COMMENT ON FUNCTION create_jobs_table(text, int, boolean, int) IS
'creates a table of jobs for cancel_jobs(): SELECT create_jobs_table(''app.jobs''). The table belongs to the caller and not to the extension, so pg_dump dumps its rows. With partitions > 0 it is partitioned by hash of batch_id. With if_not_exists a relation that has the name already is left as it is. An index finds the jobs of a batch. fillfactor, 10 to 100, is how full pages get: with 45 a cancel of a whole batch finds room in its pages and touches no index, with 85 changes of single jobs do, and the table takes about half the disk';

--
-- The cancel
--
-- COST 10000 (times cpu_operator_cost) is what the planner reckons for 25 pages
-- read in their order, some 0.1 ms: a cancel of one job. So a query tests what is
-- cheap before it calls. It takes 4000 calls in a query to reach jit_above_cost.
--
-- PARALLEL UNSAFE, the preview as well: the relation may be a view or have
-- policies whose code no parallel query may run (a sequence, an EXCEPTION block),
-- and a library that is first loaded in one does not get the session's settings,
-- such as the name of the jobs table.
--

CREATE FUNCTION cancel_jobs(batch uuid, filters jsonb DEFAULT '{}')
RETURNS jsonb
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION cancel_jobs(uuid, jsonb) IS
'cancels the PENDING and RUNNING jobs of a batch that match all filters, and returns {"data": {"jobs": [canceled jobs], "errors": {"id": "why it was not canceled"}}}. filters: id, id__starts_with, batch_id, project_id, user_id, status, min_runs, max_runs, errors, origin, start_date, end_date; a list matches any of its values; {} means every job of the batch. start_date and end_date compare with start_timestamp and end_timestamp, or with created_at if pasqal_jobs.date_filter = creation. A misspelt or empty filter is an error (22023), never a wider cancel. The setting pasqal_jobs.jobs_table names the table. A call that may cancel more than one job waits for other cancels of its batch. Jobs that a worker has locked are waited for, once all others are canceled; with pasqal_jobs.locked_jobs = skip they are answered as locked';

CREATE FUNCTION cancel_jobs_http(batch__id text, query_string text DEFAULT '', OUT status_code int, OUT body json)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000 ROWS 1;

COMMENT ON FUNCTION cancel_jobs_http(text, text) IS
'serves the endpoint PATCH /api/v2/batches/{batch__id}/cancel/jobs: takes the segment of the path and the query string as they came, and returns the status code (200, or 422 for a bad path or query) and the body. Call it as SELECT * FROM cancel_jobs_http(...). Errors that are not the client''s fault are raised';

--
-- For a person at psql
--

CREATE FUNCTION cancel_jobs_rows(batch uuid, filters jsonb DEFAULT '{}')
RETURNS TABLE (id uuid, error text, job jsonb)
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION cancel_jobs_rows(uuid, jsonb) IS
'cancels as cancel_jobs() does, and returns one row for each job: either error is null and job is the canceled job, or error says why the job was not canceled and job is null. SELECT error, count(*) FROM cancel_jobs_rows(...) GROUP BY error sums it up. LIMIT and WHERE choose what is shown, not what is canceled. The result may be as large as the disk';

CREATE FUNCTION cancel_jobs_preview(batch uuid, filters jsonb DEFAULT '{}')
RETURNS TABLE (id uuid, status JobStatus, error text)
AS 'MODULE_PATHNAME'
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION cancel_jobs_preview(uuid, jsonb) IS
'shows what cancel_jobs() would do now: one row for each job with its status; error is null if the job would be canceled, else it says why not. It changes and locks nothing, and works on a standby. It cannot foresee triggers and policies for UPDATE, and does not heed pasqal_jobs.max_jobs';

CREATE PROCEDURE cancel_jobs_in_chunks(batch uuid, filters jsonb DEFAULT '{}', chunk_size int DEFAULT 1000,
	INOUT canceled bigint DEFAULT 0, INOUT failed bigint DEFAULT 0)
AS 'MODULE_PATHNAME'
LANGUAGE C;

COMMENT ON PROCEDURE cancel_jobs_in_chunks(uuid, jsonb, int, bigint, bigint) IS
'cancels as cancel_jobs() does, and commits chunk by chunk: CALL cancel_jobs_in_chunks(...). It tries each job that matches as it starts once, PENDING before RUNNING, each by creation_order. Progress is reported as notices and in pg_stat_activity.query. The setting pasqal_jobs.chunk_pause makes it sleep between chunks. It can be interrupted and called again; what is committed stays. It cannot run inside a transaction block or a function';

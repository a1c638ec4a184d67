--
-- Relations that hold jobs, and relations that do not
--
-- the setting: a name as in SQL, looked up in search_path, never among
-- temporary tables
BEGIN;
CREATE TEMP TABLE jobs (LIKE public.jobs INCLUDING ALL);
INSERT INTO pg_temp.jobs SELECT * FROM public.jobs;
SELECT told(cancel_jobs(batch(1), '{"user_id": "alice"}'));
SELECT count(*) FILTER (WHERE status = 'CANCELED') AS temporary, (SELECT count(*) FROM public.jobs WHERE status = 'CANCELED') AS permanent FROM pg_temp.jobs;
SET LOCAL search_path = pg_temp, public;
SELECT told(cancel_jobs(batch(1), '{"user_id": "bob"}'));
-- unless it is qualified so
SET LOCAL pasqal_jobs.jobs_table = 'pg_temp.jobs';
SELECT told(cancel_jobs(batch(1), '{"user_id": "bob"}'));
ROLLBACK;
\x on
SET pasqal_jobs.jobs_table = 'elsewhere';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'nowhere.jobs';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = '';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'elsewhere.public.jobs';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'a.b.c.d';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'jobs; DROP TABLE jobs';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'jobs_batch_id_idx';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
-- a bad batch or filter is told before a bad setting
SELECT message FROM failure($$SELECT cancel_jobs(NULL)$$);
SELECT set_config('pasqal_jobs.jobs_table', current_database() || '.public.jobs', false) LIKE '%.public.jobs' AS of_this_database;
SELECT tried(batch(1), '{"user_id": "bob"}');
RESET pasqal_jobs.jobs_table;
-- date_filter is checked as it is set, and no other setting has our prefix
SELECT * FROM failure($$SET pasqal_jobs.date_filter = 'finished'$$);
SELECT * FROM failure($$SET pasqal_jobs.job_table = 'x'$$);

-- columns that are missing or of another type
CREATE SCHEMA "My Schema";
SELECT create_jobs_table('"My Schema"."Odd ""Jobs"""');
SET pasqal_jobs.jobs_table = '"My Schema"."Odd ""Jobs"""';
INSERT INTO "My Schema"."Odd ""Jobs""" SELECT * FROM jobs;
SELECT tried(batch(1));
ALTER TABLE "My Schema"."Odd ""Jobs""" RENAME COLUMN progress TO progres;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE "My Schema"."Odd ""Jobs""" RENAME COLUMN progres TO progress;
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN runs TYPE bigint;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN runs TYPE int;
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN updated_at TYPE timestamp;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN updated_at TYPE timestamptz, ALTER COLUMN end_timestamp TYPE date;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN end_timestamp TYPE timestamptz;
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN origin TYPE char(7);
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
CREATE TYPE state AS ENUM ('PENDING', 'RUNNING', 'DONE', 'ERROR');
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN origin TYPE origin USING trim(origin)::origin,
	ALTER COLUMN status DROP DEFAULT, ALTER COLUMN status TYPE state USING replace(status::text, 'CANCELED', 'DONE')::state;
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN created_at TYPE timestamp;
ALTER TYPE state ADD VALUE 'CANCELED';
SELECT * FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE "My Schema"."Odd ""Jobs""" ALTER COLUMN created_at TYPE timestamptz;
\x off
-- it has all now, with an enum of its own; more labels do no harm
SELECT tried(batch(1), '{"status": ["RUNNING", "ERROR"]}');
ALTER TYPE state ADD VALUE 'PAUSED';
UPDATE "My Schema"."Odd ""Jobs""" SET status = 'PAUSED' WHERE id = job(1);
SELECT tried(batch(1));
-- of status a cancel needs three labels, of origin none; what the enum lacks is
-- no value of a filter
CREATE TYPE brief AS ENUM ('RUNNING', 'CANCELED', 'PENDING', 'OVERDUE');
CREATE TYPE provider AS ENUM ('OVH', 'CLIENT');
CREATE TYPE nothing AS ENUM ();
CREATE TABLE brief_jobs (LIKE jobs);
ALTER TABLE brief_jobs ALTER COLUMN status TYPE brief USING 'PENDING', ALTER COLUMN origin TYPE provider USING 'OVH';
INSERT INTO brief_jobs (id, batch_id, project_id, runs, status, origin, creation_order, created_at, updated_at)
SELECT job(n), batch(1), project(1), n, (enum_range(NULL::brief))[n], (ARRAY['OVH', 'CLIENT', NULL]::provider[])[1 + n % 3], n, now(), now() FROM generate_series(1, 4) AS n;
SET pasqal_jobs.jobs_table = 'brief_jobs';
SELECT tried(batch(1));
SELECT tried(batch(1), '{"origin": "OVH"}');
SELECT tried(batch(1), '{"status": ["OVERDUE", "RUNNING"]}');
SELECT body FROM cancel_jobs_http(batch(1)::text, 'status=DONE&origin=AZURE');
SELECT id, status, error FROM cancel_jobs_preview(batch(1)) ORDER BY id;
ALTER TABLE brief_jobs ALTER COLUMN origin TYPE nothing USING NULL;
SELECT tried(batch(1));
\x on
SELECT * FROM failure($$SELECT cancel_jobs(batch(1), '{"origin": "CLIENT"}')$$);
\x off
-- the extension's own type, with a label more
BEGIN;
ALTER TYPE jobstatus ADD VALUE 'CANCELING' AFTER 'RUNNING';
SET LOCAL pasqal_jobs.jobs_table = 'jobs';
SELECT tried(batch(1), '{"status": ["CANCELING", "RUNNING"]}');
SELECT body FROM cancel_jobs_http(batch(1)::text, 'status=CANCELLING');
ROLLBACK;
SET pasqal_jobs.jobs_table = '"My Schema"."Odd ""Jobs"""';
DROP TABLE brief_jobs;
DROP TYPE brief, provider, nothing;
-- the enum may belong to another extension
ALTER EXTENSION plpgsql ADD TYPE state;
ALTER TABLE "My Schema"."Odd ""Jobs""" SET (fillfactor = 90);
SELECT tried(batch(1), '{"status": ["PAUSED", "RUNNING"]}');
ALTER EXTENSION plpgsql DROP TYPE state;
-- rules and triggers that keep no job from being updated
CREATE RULE nothing AS ON DELETE TO "My Schema"."Odd ""Jobs""" DO INSTEAD NOTHING;
CREATE FUNCTION "My Schema".never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER at_insert BEFORE INSERT ON "My Schema"."Odd ""Jobs""" FOR EACH ROW EXECUTE FUNCTION "My Schema".never();
CREATE TRIGGER disabled BEFORE UPDATE ON "My Schema"."Odd ""Jobs""" FOR EACH ROW EXECUTE FUNCTION "My Schema".never();
ALTER TABLE "My Schema"."Odd ""Jobs""" DISABLE TRIGGER disabled;
SELECT tried(batch(1), '{"status": "RUNNING"}');
DROP RULE nothing ON "My Schema"."Odd ""Jobs""";
SELECT tried(batch(1), '{"status": "RUNNING"}');
DROP TRIGGER at_insert ON "My Schema"."Odd ""Jobs""";
DROP TRIGGER disabled ON "My Schema"."Odd ""Jobs""";
DROP FUNCTION "My Schema".never;
-- a label or a schema with another name is noticed
ALTER TYPE state RENAME VALUE 'PENDING' TO 'WAITING';
SELECT message, detail FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TYPE state RENAME VALUE 'WAITING' TO 'PENDING';
SELECT tried(batch(1), '{"user_id": "bob"}');
-- and so are two that swap their names
ALTER TYPE state RENAME VALUE 'PENDING' TO 'x'; ALTER TYPE state RENAME VALUE 'DONE' TO 'PENDING'; ALTER TYPE state RENAME VALUE 'x' TO 'DONE';
SELECT tried(batch(1), '{"user_id": "bob"}');
ALTER TYPE state RENAME VALUE 'PENDING' TO 'x'; ALTER TYPE state RENAME VALUE 'DONE' TO 'PENDING'; ALTER TYPE state RENAME VALUE 'x' TO 'DONE';
SELECT tried(batch(1), '{"user_id": "bob"}');
ALTER SCHEMA "My Schema" RENAME TO mine;
SET pasqal_jobs.jobs_table = 'mine."Odd ""Jobs"""';
SELECT tried(batch(1), '{"user_id": "bob"}');
ALTER TABLE mine."Odd ""Jobs""" RENAME TO jobs;
SET pasqal_jobs.jobs_table = 'mine.jobs';
SELECT tried(batch(1), '{"user_id": "bob"}');
-- unqualified, the first schema of search_path that has one
SET pasqal_jobs.jobs_table = 'jobs';
SET search_path = mine, public;
SELECT tried(batch(1), '{"status": "PENDING"}');
SET search_path = public, mine;
SELECT tried(batch(1), '{"status": "PENDING"}');

-- status and origin as text, with values beyond the labels
ALTER TABLE mine.jobs ALTER COLUMN status TYPE text, ALTER COLUMN status DROP NOT NULL, ALTER COLUMN origin TYPE varchar(20);
SET pasqal_jobs.jobs_table = 'mine.jobs';
UPDATE mine.jobs SET status = CASE id WHEN job(1) THEN 'pending' WHEN job(6) THEN NULL ELSE status END;
SELECT tried(batch(1));
SELECT tried(batch(1), '{"status": ["RUNNING", "ERROR"], "origin": ["CLIENT", "UNKNOWN"]}');
ALTER TABLE mine.jobs ALTER COLUMN status TYPE varchar, ALTER COLUMN origin TYPE text;
SELECT tried(batch(1), '{"status": "RUNNING", "origin": "UNKNOWN"}');
-- domains are what they are made of
CREATE DOMAIN job_state AS text CHECK (VALUE <> 'LOST');
ALTER TABLE mine.jobs ALTER COLUMN status TYPE job_state;
SELECT tried(batch(1), '{"status": "RUNNING"}');

-- but equal must mean the same text
CREATE COLLATION any_case (provider = libc, locale = 'C');
UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'any_case';
ALTER TABLE mine.jobs ALTER COLUMN status TYPE varchar COLLATE any_case;
SELECT state, message, detail FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE mine.jobs ALTER COLUMN status TYPE job_state, ALTER COLUMN origin TYPE text COLLATE any_case;
SELECT state, message, detail FROM failure($$SELECT cancel_jobs(batch(1), '{"origin": "AZURE"}')$$);
ALTER TABLE mine.jobs ALTER COLUMN origin TYPE text;
DROP COLLATION any_case;

CREATE DOMAIN open_state AS state CHECK (VALUE <> 'PAUSED');
ALTER TABLE mine.jobs ALTER COLUMN status TYPE open_state USING 'PENDING';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
ALTER TABLE mine.jobs ALTER COLUMN status TYPE job_state USING status::text;
DROP DOMAIN open_state;

-- a view with other names and types underneath
CREATE TABLE legacy (job_uuid uuid PRIMARY KEY, state text, shots int, batch text, project uuid, owner text, made timestamptz,
	changed timestamptz, began timestamptz, ended timestamptz, vars jsonb, problems text, pct smallint, code text, nr int, slurm bigint);
INSERT INTO legacy SELECT id, status, runs, batch_id::text, project_id, user_id, created_at, updated_at, start_timestamp,
	end_timestamp, variables, errors[1], progress, sequence, creation_order FROM jobs;
CREATE VIEW legacy_jobs AS SELECT job_uuid AS id, NULL::uuid AS parent_id, state AS status, shots AS runs, batch::uuid AS batch_id,
	project AS project_id, owner AS user_id, 'CLIENT'::text AS origin, made AS created_at, changed AS updated_at, began AS start_timestamp,
	ended AS end_timestamp, vars AS variables, ARRAY[problems] AS errors, pct::int AS progress, code AS sequence,
	nr::bigint AS creation_order, slurm::text AS slurm_job_id FROM legacy;
SET pasqal_jobs.jobs_table = 'legacy_jobs';
SELECT tried(batch(1));
BEGIN;
SELECT told(cancel_jobs(batch(1), '{"min_runs": 200}'));
SELECT state, count(*), count(*) FILTER (WHERE changed = now() AND ended = now()) AS now FROM legacy GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- one that cannot be updated says so; INSTEAD OF triggers help
CREATE VIEW all_jobs AS SELECT * FROM jobs UNION ALL SELECT * FROM jobs WHERE false;
SET pasqal_jobs.jobs_table = 'all_jobs';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
CREATE FUNCTION update_all_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE jobs SET status = NEW.status, updated_at = NEW.updated_at, end_timestamp = NEW.end_timestamp WHERE id = OLD.id;
	RETURN NEW;
END
$$;
CREATE TRIGGER update_all_jobs INSTEAD OF UPDATE ON all_jobs FOR EACH ROW EXECUTE FUNCTION update_all_jobs();
SELECT tried(batch(1));

-- partitioned, also by something else than the batch; and inherited
SELECT create_jobs_table('mine.many', 4);
\d mine.many
SELECT relid, pg_get_expr(relpartbound, oid) FROM pg_partition_tree('mine.many') JOIN pg_class ON oid = relid WHERE isleaf ORDER BY 1::text;
SELECT reloptions FROM pg_class WHERE oid = 'mine.many_p3'::regclass;
BEGIN;
SELECT create_jobs_table('mine.low', fillfactor => 10), create_jobs_table('mine.packed', 2, fillfactor => 100);
SELECT oid::regclass, reloptions FROM pg_class WHERE relkind IN ('r', 'p') AND relname ~ '^(low|packed)' ORDER BY relname;
ROLLBACK;
INSERT INTO mine.many SELECT * FROM jobs;
SET pasqal_jobs.jobs_table = 'mine.many';
SELECT tried(batch(1));
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(9), job(77))));
CREATE TABLE by_status (LIKE jobs) PARTITION BY LIST (status);
CREATE TABLE by_status_open PARTITION OF by_status FOR VALUES IN ('PENDING', 'RUNNING');
CREATE TABLE by_status_ended PARTITION OF by_status DEFAULT;
INSERT INTO by_status SELECT * FROM jobs;
SET pasqal_jobs.jobs_table = 'by_status';
SELECT tried(batch(1), '{"errors": true}');
CREATE TABLE old_jobs () INHERITS (mine.jobs);
INSERT INTO old_jobs SELECT * FROM jobs;
TRUNCATE ONLY mine.jobs;
SET pasqal_jobs.jobs_table = 'mine.jobs';
SELECT tried(batch(1), '{"user_id": "alice"}');
RESET pasqal_jobs.jobs_table;
RESET search_path;

-- create_jobs_table: names, and the table belongs to its maker alone
\x on
SELECT * FROM failure($$SELECT create_jobs_table(NULL)$$);
SELECT * FROM failure($$SELECT create_jobs_table('t', -1)$$);
SELECT * FROM failure($$SELECT create_jobs_table('t', NULL)$$);
SELECT * FROM failure($$SELECT create_jobs_table('t', fillfactor => 9)$$);
SELECT * FROM failure($$SELECT create_jobs_table('t', 2, fillfactor => 101)$$);
SELECT * FROM failure($$SELECT create_jobs_table('jobs', if_not_exists => true, fillfactor => NULL)$$);
SELECT * FROM failure($$SELECT create_jobs_table('a.b.c')$$);
SELECT * FROM failure($$SELECT create_jobs_table('no such.name')$$);
SELECT * FROM failure($$SELECT create_jobs_table('')$$);
SELECT * FROM failure($$SELECT create_jobs_table('nowhere.jobs')$$);
SELECT * FROM failure($$SELECT create_jobs_table('jobs')$$);
SELECT * FROM failure(format('SELECT create_jobs_table(%L, 10)', repeat('n', 62)));
\x off
-- longer names are cut off, as CREATE TABLE does it
SET client_min_messages = warning;
DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I', repeat('s', 70)); END $$;
SELECT length(create_jobs_table(repeat('s', 70) || '.' || repeat('t', 70))::text), length(create_jobs_table(repeat('s', 70) || '.few', 1)::text);
DO $$ BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', repeat('s', 70)); END $$;
RESET client_min_messages;
SELECT create_jobs_table('pg_temp.mine') IS NOT NULL AS made;
DROP TABLE pg_temp.mine;
SELECT count(*) AS members FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = 'pg_class'::regclass
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pasqal_jobs');
SELECT message, detail LIKE '%column status of table jobs depends on type jobstatus%' AS told FROM failure('DROP EXTENSION pasqal_jobs');
\set VERBOSITY terse
INSERT INTO jobs (batch_id, project_id, runs, progress) VALUES (batch(1), project(1), 1, 101);
UPDATE jobs SET progress = -1 WHERE id = job(1);
\set VERBOSITY default
BEGIN;
UPDATE jobs SET progress = n FROM (VALUES (1, 0), (2, 100), (3, NULL)) AS v (nr, n) WHERE id = job(nr) RETURNING nr, progress;
ROLLBACK;
-- a CHECK of the table would cost each UPDATE
SELECT count(*) AS checks FROM pg_constraint WHERE conrelid = 'jobs'::regclass AND contype = 'c';
SET client_min_messages = warning;
DROP TABLE old_jobs, by_status, legacy CASCADE;
DROP SCHEMA mine CASCADE;
RESET client_min_messages;
DROP VIEW all_jobs;
DROP FUNCTION update_all_jobs;
DROP DOMAIN job_state;
DROP TYPE state;
-- jobs without an id, and without a creation_order
CREATE TABLE nameless (LIKE jobs INCLUDING DEFAULTS);
ALTER TABLE nameless ALTER id DROP NOT NULL, ALTER creation_order DROP NOT NULL;
INSERT INTO nameless SELECT * FROM jobs WHERE id IN (job(1), job(2), job(3), job(4), job(5));
UPDATE nameless SET creation_order = NULL WHERE id IN (job(1), job(2), job(3));
UPDATE nameless SET creation_order = 9223372036854775807 WHERE id = job(4);
INSERT INTO nameless (id, batch_id, project_id, runs, status) VALUES (NULL, batch(1), project(1), 1, 'PENDING'), (NULL, batch(1), project(1), 2, 'PENDING'), (NULL, batch(1), project(1), 3, 'DONE');
SET pasqal_jobs.jobs_table = 'nameless';
SELECT * FROM cancel_jobs_preview(batch(1)) ORDER BY id;
SELECT tried(batch(1));
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(1), job(2), job(77))));
BEGIN;
SELECT array_agg(concat(j->>'id', ' ', j->>'creation_order')) FROM jsonb_array_elements(cancel_jobs(batch(1)) #> '{data,jobs}') AS j;
ROLLBACK;
BEGIN; SELECT body #> '{data,jobs,5,id}' AS id, json_array_length(body #> '{data,jobs}') AS jobs FROM cancel_jobs_http(batch(1)::text); ROLLBACK;
BEGIN; SELECT id, error, job->>'runs' AS runs FROM cancel_jobs_rows(batch(1)) ORDER BY id, job->>'runs'; ROLLBACK;
BEGIN;
SELECT jsonb_array_length(a->'data'->'jobs') AS jobs, (SELECT count(*) FROM jsonb_object_keys(a->'data'->'errors')) AS errors
FROM cancel_jobs(batch(1), (SELECT jsonb_build_object('id', jsonb_agg(x)) FROM (SELECT md5(n::text)::uuid FROM generate_series(1, 60000) AS n UNION SELECT job(1)) AS y (x))) AS a;
ROLLBACK;
-- chunks leave those without an id alone
CALL cancel_jobs_in_chunks(batch(1), '{}', 1);
SELECT id, status, runs FROM nameless ORDER BY id, runs;
-- of jobs with the same id each is canceled, and what was not is reported once
UPDATE nameless SET status = 'PENDING', creation_order = 9 WHERE id IN (job(1), job(2));
INSERT INTO nameless SELECT * FROM nameless WHERE id IN (job(1), job(3));
INSERT INTO nameless SELECT * FROM nameless WHERE id = job(2);
SELECT tried(batch(1));
SELECT tried(batch(1), jsonb_build_object('id', jsonb_build_array(job(2), job(3), job(1))));
-- ... of a long list, too, also if the UPDATE goes another way than the first read
CREATE INDEX ON nameless (id);
SET enable_seqscan = off;
BEGIN;
SELECT right(id::text, 2) AS job, error
FROM cancel_jobs_rows(batch(1), (SELECT jsonb_build_object('id', jsonb_agg(x)) FROM (SELECT md5(n::text)::uuid FROM generate_series(1, 60000) AS n UNION SELECT job(n) FROM generate_series(1, 3) AS n) AS y (x)))
WHERE id IN (job(1), job(2), job(3)) ORDER BY 1, 2;
ROLLBACK;
RESET enable_seqscan;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE UPDATE ON nameless FOR EACH ROW WHEN (NEW.id = job(1)) EXECUTE FUNCTION keep();
SELECT tried(batch(1));
RESET pasqal_jobs.jobs_table;
DROP TABLE nameless;
DROP FUNCTION keep;

-- a pg_temp in the search_path makes no temporary schema
\c -
SET search_path = pg_temp, public;
SELECT count(*) >= 0 AS done FROM cancel_jobs_preview(batch(1));
SELECT pg_my_temp_schema();
-- the search_path may be long
DO $$ BEGIN FOR n IN 1 .. 40 LOOP EXECUTE format('CREATE SCHEMA on_path_%s', n); END LOOP; END $$;
SELECT set_config('search_path', string_agg('on_path_' || n, ', ') || ', public', false) <> '' AS long FROM generate_series(1, 40) AS n;
SELECT count(*) >= 0 AS done FROM cancel_jobs_preview(batch(1));
RESET search_path;
DO $$ BEGIN FOR n IN 1 .. 40 LOOP EXECUTE format('DROP SCHEMA on_path_%s', n); END LOOP; END $$;

-- a session that cancels in more relations than it remembers
CREATE SCHEMA many;
SELECT create_jobs_table('many.jobs');
INSERT INTO many.jobs (batch_id, project_id, runs) SELECT batch(1), project(1), n FROM generate_series(1, 600) AS n;
DO $$
BEGIN
	FOR n IN 1 .. 600 LOOP
		EXECUTE format('CREATE VIEW many.jobs%s AS SELECT * FROM many.jobs WHERE runs = %1$s', n);
	END LOOP;
	FOR round IN 1 .. 2 LOOP
		FOR n IN 1 .. 600 LOOP
			PERFORM set_config('pasqal_jobs.jobs_table', 'many.jobs' || n, false);
			IF (SELECT runs FROM many.jobs WHERE id = (SELECT id FROM cancel_jobs_preview(batch(1)))) IS DISTINCT FROM n THEN
				RAISE EXCEPTION 'not the job of jobs%', n;
			END IF;
		END LOOP;
	END LOOP;
END
$$;
SET client_min_messages = warning;
DROP SCHEMA many CASCADE;
RESET client_min_messages;

-- a partition whose DETACH was interrupted, a child of inheritance, views that select from each other
RESET pasqal_jobs.jobs_table;
CREATE SCHEMA tops;
SELECT create_jobs_table('tops.parted', 1), create_jobs_table('tops.parent');
INSERT INTO tops.parent SELECT * FROM jobs WHERE id = job(1);
UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'tops.parted_p0'::regclass;
SET pasqal_jobs.jobs_table = 'tops.parted_p0';
SELECT told(cancel_jobs(batch(1)));
UPDATE pg_inherits SET inhdetachpending = false WHERE inhrelid = 'tops.parted_p0'::regclass;
CREATE TABLE tops.child () INHERITS (tops.parent);
CREATE VIEW tops.over_child AS SELECT * FROM tops.child;
CREATE RULE unrelated AS ON DELETE TO tops.over_child DO INSTEAD NOTHING;
CREATE FUNCTION tops.locked(relation text) RETURNS regclass LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pasqal_jobs.jobs_table', relation, true);
	PERFORM cancel_jobs(batch(1));
	RETURN (SELECT classid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
END
$$;
BEGIN; SELECT tops.locked('tops.child'); ROLLBACK;
BEGIN; SELECT tops.locked('tops.over_child'); ROLLBACK;
BEGIN; SELECT tops.locked('tops.parted_p0'); ROLLBACK;
-- a view of a view of a partition
CREATE VIEW tops.over_p0 AS SELECT * FROM tops.parted_p0;
CREATE VIEW tops.over_both AS SELECT * FROM tops.over_p0;
BEGIN; SELECT tops.locked('tops.over_both'); ROLLBACK;
-- what a trigger of the child keeps is not tried again
BEGIN;
INSERT INTO tops.child SELECT * FROM jobs WHERE id = job(3);
CREATE FUNCTION tops.kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'kept'; RETURN NULL; END $$;
CREATE TRIGGER kept BEFORE UPDATE ON tops.child FOR EACH ROW EXECUTE FUNCTION tops.kept();
SET LOCAL pasqal_jobs.jobs_table = 'tops.parent';
SELECT told(cancel_jobs(batch(1)));
ROLLBACK;
-- a view with options and a trigger of statements
CREATE VIEW tops.checked WITH (check_option = cascaded) AS SELECT * FROM tops.parent WHERE runs > 0;
CREATE FUNCTION tops.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER nothing AFTER UPDATE ON tops.checked EXECUTE FUNCTION tops.nothing();
BEGIN; SELECT tops.locked('tops.checked'); ROLLBACK;
-- a trigger in place of UPDATE
CREATE VIEW tops.triggered AS SELECT * FROM tops.parent;
CREATE TRIGGER instead INSTEAD OF UPDATE ON tops.triggered FOR EACH ROW EXECUTE FUNCTION tops.nothing();
BEGIN; SELECT tops.locked('tops.triggered'); ROLLBACK;
-- rules on UPDATE: in its place, or besides it
CREATE VIEW tops.ruled AS SELECT * FROM tops.parent;
CREATE RULE besides AS ON UPDATE TO tops.ruled DO ALSO NOTHING;
BEGIN; SELECT tops.locked('tops.ruled'); ROLLBACK;
CREATE RULE instead AS ON UPDATE TO tops.ruled DO INSTEAD
	UPDATE tops.parent SET status = NEW.status, updated_at = NEW.updated_at, end_timestamp = NEW.end_timestamp WHERE id = OLD.id RETURNING *;
BEGIN; SELECT tops.locked('tops.ruled'); ROLLBACK;
-- ... whose name may come before _RETURN, that of the view's own rule
ALTER RULE instead ON tops.ruled RENAME TO "Instead";
BEGIN; SELECT tops.locked('tops.ruled'); ROLLBACK;
-- a view is a way to the table if its owner may update that, or its caller if
-- it runs as that one; else its lock alone is held while its functions run
CREATE ROLE regress_pasqal_viewer;
GRANT USAGE ON SCHEMA tops TO regress_pasqal_viewer;
CREATE FUNCTION tops.held() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'held: %', (SELECT classid::regclass FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
	RETURN true;
END
$$;
CREATE VIEW tops.owned AS SELECT * FROM tops.parent;
CREATE VIEW tops.invoker WITH (security_invoker) AS SELECT * FROM tops.parent WHERE tops.held();
CREATE VIEW tops.viewers AS SELECT * FROM tops.parent WHERE tops.held();
ALTER VIEW tops.viewers OWNER TO regress_pasqal_viewer;
GRANT SELECT, UPDATE ON tops.owned, tops.invoker TO regress_pasqal_viewer;
GRANT SELECT ON tops.parent TO regress_pasqal_viewer;
SET ROLE regress_pasqal_viewer;
\set VERBOSITY terse
BEGIN; SELECT tops.locked('tops.owned'); ROLLBACK;
BEGIN; SELECT tops.locked('tops.invoker'); ROLLBACK;
BEGIN; SELECT tops.locked('tops.viewers'); ROLLBACK;
\set VERBOSITY default
RESET ROLE;
-- ... where the caller is the owner of a function with SECURITY DEFINER
ALTER FUNCTION tops.locked(text) SECURITY DEFINER;
SET ROLE regress_pasqal_viewer;
BEGIN; SELECT tops.locked('tops.invoker'); ROLLBACK;
RESET ROLE;
ALTER FUNCTION tops.locked(text) SECURITY INVOKER;
GRANT UPDATE (status, updated_at, end_timestamp) ON tops.parent TO regress_pasqal_viewer;
SET ROLE regress_pasqal_viewer;
BEGIN; SELECT tops.locked('tops.invoker'); ROLLBACK;
RESET ROLE;
-- whoever may not cancel in a table does not hold its lock, by no way of views; a
-- list of ids that are not there comes to an answer without an UPDATE
CREATE ROLE regress_pasqal_boss;
CREATE ROLE regress_pasqal_editor;
GRANT USAGE ON SCHEMA tops TO regress_pasqal_boss, regress_pasqal_editor;
CREATE TABLE tops.strangers AS SELECT jsonb_build_object('id', jsonb_agg(gen_random_uuid())) AS ids FROM generate_series(1, 50001);
GRANT SELECT ON tops.strangers TO public;
CREATE FUNCTION tops.holds(role text, relation text) RETURNS regclass LANGUAGE plpgsql AS $$
DECLARE
	held regclass;
BEGIN
	BEGIN
		PERFORM set_config('role', role, true), set_config('pasqal_jobs.jobs_table', relation, true);
		PERFORM cancel_jobs(batch(1), ids) FROM tops.strangers;
		held := (SELECT classid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
		RAISE EXCEPTION SQLSTATE 'UNDO0';
	EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
		RETURN held;
	END;
END
$$;
GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON tops.parent TO regress_pasqal_boss;
GRANT SELECT, UPDATE (sequence) ON tops.parent TO regress_pasqal_editor;
-- a view of one's own over one that lets its users change "sequence" alone
CREATE VIEW tops.own AS SELECT * FROM tops.parent WHERE user_id = current_user;
GRANT SELECT, UPDATE (sequence) ON tops.own TO regress_pasqal_editor;
SET ROLE regress_pasqal_editor;
CREATE TEMP VIEW over_own AS SELECT * FROM tops.own;
CREATE TEMP VIEW over_parent AS SELECT * FROM tops.parent;
RESET ROLE;
SELECT tops.holds('regress_pasqal_editor', 'pg_temp.over_own'), tops.holds('regress_pasqal_editor', 'pg_temp.over_parent');
-- below a view with security_invoker the caller's right counts, whatever is above it
CREATE VIEW tops.inner WITH (security_invoker) AS SELECT * FROM tops.parent;
CREATE VIEW tops.outer AS SELECT * FROM tops.inner;
CREATE VIEW tops.outer_invoker WITH (security_invoker) AS SELECT * FROM tops.outer;
ALTER VIEW tops.outer OWNER TO regress_pasqal_boss;
GRANT SELECT, UPDATE ON tops.inner, tops.outer, tops.outer_invoker TO regress_pasqal_boss, regress_pasqal_editor, regress_pasqal_viewer;
SELECT r AS relation, tops.holds('regress_pasqal_editor', r) AS by_editor, tops.holds('regress_pasqal_boss', r) AS by_boss
FROM unnest('{tops.inner,tops.outer,tops.outer_invoker}'::text[]) AS r;
REVOKE UPDATE (status, updated_at, end_timestamp) ON tops.parent FROM regress_pasqal_boss;
SELECT r AS relation, tops.holds('regress_pasqal_viewer', r) AS by_viewer, tops.holds('regress_pasqal_boss', r) AS by_boss
FROM unnest('{tops.inner,tops.outer,tops.outer_invoker}'::text[]) AS r;
GRANT UPDATE (status, updated_at, end_timestamp) ON tops.parent TO regress_pasqal_boss;
-- columns under other names and in another order, of which one is not what it is called
CREATE VIEW tops.turned AS SELECT status AS s, updated_at AS u, end_timestamp AS e, sequence, slurm_job_id, creation_order, progress, errors, variables,
	start_timestamp, created_at, origin, user_id, project_id, batch_id, runs, parent_id, id FROM tops.parent;
CREATE VIEW tops.back AS SELECT id, parent_id, runs, batch_id, project_id, user_id, origin, created_at, u AS updated_at, start_timestamp,
	e AS end_timestamp, s AS status, variables, errors, progress, sequence, creation_order, slurm_job_id FROM tops.turned;
CREATE VIEW tops.crossed AS SELECT id, parent_id, runs, batch_id, project_id, user_id, origin, u AS created_at, created_at AS updated_at, start_timestamp,
	e AS end_timestamp, s AS status, variables, errors, progress, sequence, creation_order, slurm_job_id FROM tops.turned;
ALTER VIEW tops.turned OWNER TO regress_pasqal_boss;
ALTER VIEW tops.back OWNER TO regress_pasqal_boss;
ALTER VIEW tops.crossed OWNER TO regress_pasqal_boss;
GRANT SELECT, UPDATE ON tops.back, tops.crossed TO regress_pasqal_editor;
SELECT tops.holds('regress_pasqal_editor', 'tops.back'), tops.holds('regress_pasqal_editor', 'tops.crossed');
-- views that nobody can update, although the right is granted
CREATE VIEW tops.newest AS SELECT * FROM tops.parent ORDER BY creation_order DESC LIMIT 5;
CREATE VIEW tops.summed AS SELECT DISTINCT * FROM tops.parent;
CREATE VIEW tops.cast AS SELECT id, parent_id, status::text AS status, runs, batch_id, project_id, user_id, origin, created_at, updated_at, start_timestamp,
	end_timestamp, variables, errors, progress, sequence, creation_order, slurm_job_id FROM tops.parent;
GRANT SELECT, UPDATE ON tops.newest, tops.summed, tops.cast TO regress_pasqal_editor;
SELECT tops.holds('regress_pasqal_editor', 'tops.newest'), tops.holds('regress_pasqal_editor', 'tops.summed'), tops.holds('regress_pasqal_editor', 'tops.cast');
-- who may cancel in a partition holds the lock of the root, also by a view
GRANT SELECT, UPDATE ON tops.parted_p0 TO regress_pasqal_boss;
ALTER VIEW tops.over_p0 OWNER TO regress_pasqal_boss;
GRANT SELECT, UPDATE ON tops.over_p0 TO regress_pasqal_editor;
SELECT tops.holds('regress_pasqal_boss', 'tops.parted_p0'), tops.holds('regress_pasqal_editor', 'tops.over_p0');
-- of several parents the first one
CREATE TABLE tops.uncle (LIKE tops.parent);
SET client_min_messages = warning;
CREATE TABLE tops.child_of_two () INHERITS (tops.child, tops.uncle);
RESET client_min_messages;
GRANT SELECT, UPDATE ON tops.child_of_two TO regress_pasqal_boss;
SELECT tops.holds('regress_pasqal_boss', 'tops.child_of_two');
-- views that cannot be updated
CREATE FUNCTION tops.all_jobs() RETURNS SETOF tops.parent LANGUAGE sql AS $$ SELECT * FROM tops.parent $$;
CREATE VIEW tops.of_function AS SELECT * FROM tops.all_jobs();
CREATE VIEW tops.of_join AS SELECT p.* FROM tops.parent AS p JOIN tops.parted AS q USING (id);
SET pasqal_jobs.jobs_table = 'tops.of_function';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET pasqal_jobs.jobs_table = 'tops.of_join';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
CREATE VIEW tops.a AS SELECT * FROM tops.parent;
CREATE VIEW tops.b AS SELECT * FROM tops.a;
CREATE OR REPLACE VIEW tops.a AS SELECT * FROM tops.b;
SET pasqal_jobs.jobs_table = 'tops.a';
SELECT state, message FROM failure($$SELECT cancel_jobs(batch(1))$$);
SET client_min_messages = warning;
DROP SCHEMA tops CASCADE;
DROP ROLE regress_pasqal_viewer, regress_pasqal_boss, regress_pasqal_editor;
RESET client_min_messages;
RESET pasqal_jobs.jobs_table;
-- a session that Citus opens from one node to another
SET application_name = 'citus_internal gpid=10000000001';
SELECT cancel_jobs(batch(1));
\echo :SQLSTATE
SELECT * FROM cancel_jobs_preview(batch(1));
RESET application_name;
-- a rule that makes two statements of the UPDATE
BEGIN;
CREATE TABLE noted (id uuid);
CREATE RULE also AS ON UPDATE TO jobs DO ALSO INSERT INTO noted VALUES (OLD.id);
SELECT jsonb_array_length(cancel_jobs(batch(1))->'data'->'jobs') AS canceled;
SELECT count(*) FROM noted;
ROLLBACK;

-- test/bench/queues.sql: how job queues cancel, beside cancel_jobs.
--
-- For each queue a table of its own with some of its columns and the index
-- from which its workers fetch. That index has the state as a column or in its
-- predicate, as in the queues themselves, so no cancel there is HOT. Their
-- other indexes, and triggers that notify or log, are left out.
--
-- All tables have the same jobs: ids 1, 2, ...; of 10 jobs the last cannot be
-- canceled, since it has ended (a queue that deletes what has ended: since it
-- is being worked on).

-- Our table with such an index: then our cancel is not HOT, either
CREATE SCHEMA indexed;
SELECT create_jobs_table('indexed.jobs');
CREATE INDEX ON indexed.jobs (creation_order) WHERE status = 'PENDING';

CREATE SCHEMA queues;
SET search_path = queues, public;

-- Oban: two statements, the second with the ids that the first returns
CREATE TABLE oban (id bigint, state text, queue text, worker text, args jsonb, priority int, scheduled_at timestamptz,
	cancelled_at timestamptz);
INSERT INTO oban SELECT i, CASE i % 10 WHEN 0 THEN 'completed' ELSE 'available' END, 'default', 'Simulate',
	jsonb_build_object('turn', i), 0, now() FROM generate_series(1, :jobs) AS i;
ALTER TABLE oban ADD PRIMARY KEY (id);
CREATE INDEX ON oban (state, queue, priority, scheduled_at, id);

-- River: a call cancels one job; many can only be deleted
CREATE TABLE river (id bigint, state text, queue text, kind text, args jsonb, metadata jsonb, priority int,
	scheduled_at timestamptz, finalized_at timestamptz);
INSERT INTO river SELECT i, CASE i % 10 WHEN 0 THEN 'running' ELSE 'available' END, 'default', 'simulate',
	jsonb_build_object('turn', i), '{}', 1, now() FROM generate_series(1, :jobs) AS i;
ALTER TABLE river ADD PRIMARY KEY (id);
CREATE INDEX ON river (state, queue, priority, scheduled_at, id);

-- pg-boss: ids are uuids within the name of a queue
CREATE TYPE boss_state AS ENUM ('created', 'retry', 'active', 'completed', 'cancelled', 'failed');
CREATE TABLE boss (name text, id uuid, state boss_state, data jsonb, priority int, start_after timestamptz,
	completed_on timestamptz);
INSERT INTO boss SELECT 'simulate', md5(i::text)::uuid,
	(CASE i % 10 WHEN 0 THEN 'completed' ELSE 'created' END)::boss_state, jsonb_build_object('turn', i), 0, now()
	FROM generate_series(1, :jobs) AS i;
ALTER TABLE boss ADD PRIMARY KEY (name, id);
CREATE INDEX ON boss (name, start_after) INCLUDE (priority, id) WHERE state < 'active';

-- Graphile Worker: a job given up for good has had all its attempts
CREATE TABLE graphile (id bigint, task text, payload json, priority int, run_at timestamptz, attempts int,
	max_attempts int, last_error text, updated_at timestamptz, locked_at timestamptz,
	is_available boolean GENERATED ALWAYS AS (locked_at IS NULL AND attempts < max_attempts) STORED);
INSERT INTO graphile SELECT i, 'simulate', json_build_object('turn', i), 0, now(), 0, 25, NULL, now(),
	CASE i % 10 WHEN 0 THEN now() END FROM generate_series(1, :jobs) AS i;
ALTER TABLE graphile ADD PRIMARY KEY (id);
CREATE INDEX ON graphile (priority, run_at) INCLUDE (id) WHERE is_available;

-- Procrastinate: a call of a function cancels one job
CREATE TYPE procrastinate_status AS ENUM ('todo', 'doing', 'succeeded', 'failed', 'cancelled');
CREATE TABLE procrastinate (id bigint, queue text, task text, status procrastinate_status, args jsonb, priority int,
	scheduled_at timestamptz, lock text);
INSERT INTO procrastinate SELECT i, 'default', 'simulate',
	(CASE i % 10 WHEN 0 THEN 'succeeded' ELSE 'todo' END)::procrastinate_status, jsonb_build_object('turn', i), 0,
	now() FROM generate_series(1, :jobs) AS i;
ALTER TABLE procrastinate ADD PRIMARY KEY (id);
CREATE INDEX ON procrastinate (priority, id) WHERE status = 'todo';

CREATE FUNCTION procrastinate_cancel(job bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
	canceled bigint;
BEGIN
	UPDATE queues.procrastinate AS p SET status = 'cancelled'
	WHERE p.id = job AND p.status = 'todo'
	RETURNING p.id INTO canceled;
	RETURN canceled;
END
$$;

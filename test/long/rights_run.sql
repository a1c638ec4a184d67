--
-- test/long/rights_run.sql: random calls of several roles, beside UPDATEs by hand
--
--	CALL rights.run(seed, cases)
--
-- Between the calls of one session policies, privileges, owners and the role
-- change. What the same role can do with a SELECT and an UPDATE written by hand
-- is what a call must do and answer: the same jobs, or the same SQLSTATE.
--
CREATE SCHEMA rights;
CREATE SCHEMA tenants;
DO $$
DECLARE
	r text;
BEGIN
	FOREACH r IN ARRAY '{rights_owner,rights_alice,rights_bob,rights_boss}'::text[] LOOP
		IF to_regrole(r) IS NULL THEN
			EXECUTE format('CREATE ROLE %I', r);
		END IF;
	END LOOP;
	ALTER ROLE rights_boss BYPASSRLS;
END
$$;
GRANT USAGE ON SCHEMA rights TO public;
GRANT USAGE, CREATE ON SCHEMA tenants TO rights_owner, rights_alice, rights_bob, rights_boss;

SELECT create_jobs_table('tenants.jobs'), create_jobs_table('tenants.parts', 2);
CREATE TABLE tenants.members (member name, project uuid);
INSERT INTO tenants.members SELECT 'rights_alice', md5('project ' || n)::uuid FROM generate_series(1, 2) AS n;
INSERT INTO tenants.members SELECT 'rights_bob', md5('project ' || n)::uuid FROM generate_series(2, 3) AS n;
CREATE VIEW tenants.owners AS SELECT * FROM tenants.jobs WHERE runs <> 7;
CREATE VIEW tenants.invokers WITH (security_invoker) AS SELECT * FROM tenants.jobs WHERE runs <> 7;
CREATE VIEW tenants.mixed AS SELECT * FROM tenants.invokers;
INSERT INTO tenants.jobs (batch_id, project_id, runs, status, user_id, origin, errors)
SELECT md5('batch ' || n % 3)::uuid, md5('project ' || n % 4)::uuid, n % 10, (enum_range(NULL::jobstatus))[1 + n * 7 % 5],
	(ARRAY['rights_alice', 'rights_bob', NULL])[1 + n / 5 % 3], (enum_range(NULL::origin))[1 + n % 3], CASE n % 2 WHEN 0 THEN ARRAY['e'] END
FROM generate_series(1, 90) AS n;
INSERT INTO tenants.parts SELECT * FROM tenants.jobs;
ALTER TABLE tenants.jobs OWNER TO rights_owner;
ALTER TABLE tenants.parts OWNER TO rights_owner;

CREATE FUNCTION rights.chance(p float8) RETURNS bool LANGUAGE sql AS $$ SELECT random() < p $$;
CREATE FUNCTION rights.pick(VARIADIC a text[]) RETURNS text LANGUAGE sql AS $$ SELECT a[1 + floor(random() * cardinality(a))::int] $$;
CREATE TABLE rights.counts (what text PRIMARY KEY, n int8 NOT NULL);
CREATE FUNCTION rights.count(what text, n int8 DEFAULT 1) RETURNS void LANGUAGE sql AS $$
INSERT INTO rights.counts VALUES (what, n) ON CONFLICT (what) DO UPDATE SET n = counts.n + excluded.n
$$;

CREATE FUNCTION rights.a_condition() RETURNS text LANGUAGE sql AS $$
SELECT rights.pick('true', 'true', 'true', 'false', 'user_id = current_user', 'user_id IS DISTINCT FROM ''rights_bob''', 'runs < 6', 'status <> ''RUNNING''', 'status <> ''CANCELED''',
	'runs < 5 OR status = ''PENDING''', 'project_id IN (SELECT project FROM tenants.members WHERE member = current_user)', 'origin = ''AZURE''')
$$;

-- A change of what somebody may do
CREATE FUNCTION rights.a_change() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	rel text := rights.pick('tenants.jobs', 'tenants.jobs', 'tenants.parts');
	any_rel text := rights.pick('tenants.jobs', 'tenants.jobs', 'tenants.parts', 'tenants.owners', 'tenants.invokers', 'tenants.mixed');
	role text := rights.pick('rights_owner', 'rights_alice', 'rights_bob', 'rights_boss', 'public');
	policy text := rights.pick('p1', 'p2', 'p3');
	command text := rights.pick('ALL', 'SELECT', 'UPDATE');
BEGIN
	RETURN format(rights.pick(
		'DROP POLICY IF EXISTS %3$s ON %1$s; CREATE POLICY %3$s ON %1$s AS %7$s FOR %4$s TO %2$s USING (%5$s)%6$s',
		'DROP POLICY IF EXISTS %3$s ON %1$s; CREATE POLICY %3$s ON %1$s AS PERMISSIVE FOR ALL TO %2$s USING (true)',
		'DROP POLICY IF EXISTS %3$s ON %1$s',
		'ALTER TABLE %1$s ' || rights.pick('ENABLE', 'ENABLE', 'ENABLE', 'DISABLE') || ' ROW LEVEL SECURITY',
		'ALTER TABLE %1$s ' || rights.pick('FORCE', 'NO FORCE') || ' ROW LEVEL SECURITY',
		'GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON %8$s TO %2$s',
		'GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON tenants.jobs, tenants.parts, tenants.owners, tenants.invokers, tenants.mixed TO rights_alice, rights_bob, rights_boss',
		'GRANT ' || rights.pick('SELECT', 'UPDATE', 'UPDATE (status)', 'SELECT (id, status, batch_id)', 'ALL') || ' ON %8$s TO %2$s',
		'REVOKE ' || rights.pick('SELECT', 'UPDATE', 'UPDATE (status)', 'UPDATE (end_timestamp)', 'SELECT (variables)', 'SELECT (user_id)', 'ALL') || ' ON %8$s FROM %2$s',
		'ALTER VIEW ' || rights.pick('tenants.owners', 'tenants.invokers', 'tenants.mixed') || ' OWNER TO ' || rights.pick('rights_owner', 'rights_alice', 'rights_bob', 'rights_boss'),
		rights.pick('GRANT SELECT ON tenants.members TO %2$s', 'REVOKE SELECT ON tenants.members FROM %2$s'),
		rights.pick('GRANT rights_owner TO rights_alice', 'GRANT rights_owner TO rights_alice; REVOKE rights_owner FROM rights_alice', 'GRANT rights_alice TO rights_bob', 'GRANT rights_alice TO rights_bob; REVOKE rights_alice FROM rights_bob'),
		rights.pick('GRANT USAGE ON SCHEMA tenants TO rights_bob', 'REVOKE USAGE ON SCHEMA tenants FROM rights_bob', 'GRANT USAGE ON SCHEMA tenants TO rights_bob')),
		rel, role, policy, command, rights.a_condition(),
		CASE WHEN command <> 'SELECT' AND rights.chance(0.5) THEN format(' WITH CHECK (%s)', rights.a_condition()) ELSE '' END,
		rights.pick('PERMISSIVE', 'PERMISSIVE', 'RESTRICTIVE'), any_rel);
END
$$;

-- Filters, and the condition in SQL; named ids are in ids, and not in the condition
CREATE FUNCTION rights.some_filters(batch uuid, OUT filters jsonb, OUT condition text, OUT ids uuid[]) LANGUAGE plpgsql AS $$
BEGIN
	filters := '{}';
	condition := 'true';
	IF rights.chance(0.2) THEN
		filters := filters || '{"user_id": ["rights_alice", "rights_owner"]}';
		condition := condition || ' AND user_id IN (''rights_alice'', ''rights_owner'')';
	END IF;
	IF rights.chance(0.2) THEN
		filters := filters || '{"status": ["PENDING", "DONE"]}';
		condition := condition || ' AND status IN (''PENDING'', ''DONE'')';
	END IF;
	IF rights.chance(0.2) THEN
		filters := filters || '{"max_runs": 5}';
		condition := condition || ' AND runs <= 5';
	END IF;
	IF rights.chance(0.1) THEN
		filters := filters || '{"origin": "AZURE"}';
		condition := condition || ' AND origin = ''AZURE''';
	END IF;
	IF rights.chance(0.1) THEN
		filters := filters || '{"errors": true}';
		condition := condition || ' AND cardinality(errors) > 0';
	END IF;
	IF rights.chance(0.3) THEN
		ids := (SELECT array_agg(id) FROM (SELECT id FROM tenants.jobs WHERE batch_id = batch OR rights.chance(0.1) ORDER BY random() LIMIT 1 + floor(random() * 12)) AS x);
		filters := filters || jsonb_build_object('id', ids);
	END IF;
END
$$;

-- The table as it is, for whoever may not see it, too
CREATE FUNCTION rights.image() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
SELECT md5(string_agg(j::text, ',' ORDER BY j::text)) FROM (SELECT 'jobs', * FROM tenants.jobs UNION ALL SELECT 'parts', * FROM tenants.parts) AS j
$$;
CREATE TYPE rights.outcome AS (state text, canceled uuid[], errors jsonb, image text);

-- What the role comes to by hand
CREATE FUNCTION rights.by_hand(rel text, batch uuid, condition text, ids uuid[], preview bool, OUT canceled uuid[], OUT errors jsonb) LANGUAGE plpgsql AS $$
DECLARE
	named text := CASE WHEN ids IS NULL THEN 'true' ELSE 'id = ANY ($2)' END;
	before jsonb;
	after jsonb;
BEGIN
	EXECUTE format('SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(status, (%s) IS TRUE)), ''{}'') FROM %s WHERE batch_id = $1 AND %s AND ($2 IS NOT NULL OR (%1$s))', condition, rel, named)
		INTO before USING batch, ids;
	IF preview THEN
		canceled := (SELECT array_agg(key::uuid ORDER BY key) FROM jsonb_each(before) WHERE value->>0 IN ('PENDING', 'RUNNING') AND (value->1)::bool);
		after := before;
	ELSE
		EXECUTE format('WITH c AS (UPDATE %s SET status = ''CANCELED'', updated_at = now(), end_timestamp = now()
			WHERE batch_id = $1 AND status IN (''PENDING'', ''RUNNING'') AND %s AND (%s)
			RETURNING id, parent_id, status, runs, batch_id, project_id, created_at, updated_at, start_timestamp, end_timestamp, variables, errors, progress, sequence,
				creation_order, slurm_job_id) SELECT array_agg(id ORDER BY id) FROM c', rel, named, condition) INTO canceled USING batch, ids;
		EXECUTE format('SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(status, (%s) IS TRUE)), ''{}'') FROM %s WHERE batch_id = $1 AND %s', condition, rel, named)
			INTO after USING batch, ids;
	END IF;
	-- each that matched or is named, and was not canceled: as it was if it had ended, else as it is
	errors := (SELECT coalesce(jsonb_object_agg(id, why), '{}') FROM (
		SELECT id, CASE WHEN seen IS NULL THEN CASE WHEN ids IS NOT NULL THEN 'Job was not found in this batch' END
			WHEN seen->>0 NOT IN ('PENDING', 'RUNNING') THEN 'Job cannot be canceled: its status is ' || (seen->>0)
			WHEN NOT (seen->1)::bool THEN CASE WHEN ids IS NOT NULL THEN 'Job does not match the other filters' END
			ELSE 'Job was not canceled: a trigger or a row-level security policy kept it' END AS why
		FROM (SELECT id, CASE WHEN ids IS NULL AND before->id::text->>0 NOT IN ('PENDING', 'RUNNING') THEN before->id::text ELSE after->id::text END AS seen
			  FROM (SELECT unnest(ids) UNION SELECT k::uuid FROM jsonb_object_keys(before) AS k) AS x (id)) AS y
		WHERE NOT id = ANY (coalesce(canceled, '{}'))) AS z WHERE why IS NOT NULL);
END
$$;

-- What it comes to by one of our functions
CREATE FUNCTION rights.by_call(rel text, batch uuid, filters jsonb, name text, OUT canceled uuid[], OUT errors jsonb) LANGUAGE plpgsql AS $$
DECLARE
	answer jsonb;
	query text;
BEGIN
	IF name IN ('cancel_jobs', 'cancel_jobs_http') THEN
		IF name = 'cancel_jobs' THEN
			answer := public.cancel_jobs(batch, filters);
		ELSE
			query := (SELECT string_agg(key || '=' || (v #>> '{}'), '&') FROM jsonb_each(filters) AS f,
				LATERAL jsonb_array_elements(CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END) AS v);
			answer := (SELECT body FROM public.cancel_jobs_http(batch::text, coalesce(query, '')));
		END IF;
		canceled := (SELECT array_agg((j->>'id')::uuid ORDER BY j->>'id') FROM jsonb_array_elements(answer->'data'->'jobs') AS j);
		errors := answer->'data'->'errors';
	ELSE
		EXECUTE format('SELECT array_agg(id ORDER BY id) FILTER (WHERE error IS NULL), coalesce(jsonb_object_agg(id, error) FILTER (WHERE error IS NOT NULL), ''{}'') FROM public.%I($1, $2)', name)
			INTO canceled, errors USING batch, filters;
	END IF;
END
$$;

-- One of both as a role, taken back
CREATE FUNCTION rights.try(role text, rel text, query text, batch uuid, filters jsonb, condition text, ids uuid[], name text) RETURNS rights.outcome LANGUAGE plpgsql AS $$
DECLARE
	o rights.outcome;
BEGIN
	BEGIN
		PERFORM set_config('pasqal_jobs.jobs_table', rel, true), set_config('role', role, true);
		EXECUTE query INTO o.canceled, o.errors USING rel, batch, filters, condition, ids, name;
		PERFORM set_config('role', 'none', true), set_config('row_security', 'on', true);
		o.image := rights.image();
		RAISE SQLSTATE 'UNDO0';
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN
			NULL;
		WHEN OTHERS THEN
			o := (SQLSTATE, NULL, NULL, NULL);
	END;
	RETURN o;
END
$$;

CREATE PROCEDURE rights.run(seed int, cases int) LANGUAGE plpgsql AS $$
DECLARE
	batch uuid;
	f record;
	role text;
	rel text;
	name text;
	changes text;
	change text;
	expected rights.outcome;
	got rights.outcome;
BEGIN
	PERFORM set_config('jit', 'off', false), set_config('client_min_messages', 'warning', false);
	PERFORM setseed(seed % 1000003 / 1000003.0);
	TRUNCATE rights.counts;
	PERFORM rights.count('cases', cases), rights.count('differences', 0);
	changes := '';
	FOR n IN 1 .. cases LOOP
		FOR i IN 1 .. floor(random() * 3)::int LOOP
			change := rights.a_change();
			changes := right(changes || change || E';\n', 3000);
			BEGIN
				EXECUTE change;
			EXCEPTION WHEN OTHERS THEN	-- such as a circle of roles
				PERFORM rights.count('changes refused');
			END;
		END LOOP;
		batch := md5('batch ' || n % 4)::uuid;
		f := rights.some_filters(batch);
		role := rights.pick('rights_owner', 'rights_alice', 'rights_alice', 'rights_bob', 'rights_bob', 'rights_boss');
		rel := rights.pick('tenants.jobs', 'tenants.jobs', 'tenants.parts', 'tenants.owners', 'tenants.invokers', 'tenants.mixed');
		name := rights.pick('cancel_jobs', 'cancel_jobs_http', 'cancel_jobs_rows', 'cancel_jobs_preview');
		PERFORM set_config('row_security', CASE WHEN rights.chance(0.05) THEN 'off' ELSE 'on' END, true),
			set_config('plan_cache_mode', rights.pick('auto', 'auto', 'force_generic_plan', 'force_custom_plan'), true);
		expected := rights.try(role, rel, format('SELECT * FROM rights.by_hand($1, $2, $4, $5, %L)', name = 'cancel_jobs_preview'), batch, f.filters, f.condition, f.ids, name);
		got := rights.try(role, rel, 'SELECT * FROM rights.by_call($1, $2, $3, $6)', batch, f.filters, f.condition, f.ids, name);
		PERFORM rights.count('ended in ' || coalesce(expected.state, 'an answer')), rights.count('canceled jobs', coalesce(cardinality(expected.canceled), 0)),
			rights.count('kept jobs', (SELECT count(*) FROM jsonb_each_text(expected.errors) WHERE value ~ 'kept'));
		IF got IS DISTINCT FROM expected THEN
			PERFORM rights.count('differences');
			RAISE WARNING E'difference, seed %, case %: % of % on %, % %\nafter: %expected: %\ngot: %', seed, n, name, role, rel, batch, f.filters, changes, expected, got;
		END IF;
		COMMIT;
		IF (SELECT c.n >= 5 FROM rights.counts AS c WHERE what = 'differences') THEN
			RAISE EXCEPTION 'these are enough differences';
		END IF;
	END LOOP;
END
$$;

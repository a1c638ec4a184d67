--
-- test/long/oracle_run.sql: the extension against the oracle
--
--	CALL oracle.run(seed, cases)
--
-- makes tables and calls up by chance, runs each call twice, once by the
-- extension and once by the oracle, and compares the answer or the error,
-- every row of the table bit for bit, and which rows were written at all.
-- What differs is a WARNING with all it takes to see it again.
--

--
-- Chance. random() after setseed() repeats itself on one major version.
--
CREATE FUNCTION oracle.chance(p float8) RETURNS bool LANGUAGE sql AS $$ SELECT random() < p $$;
CREATE FUNCTION oracle.int(lo int, hi int) RETURNS int LANGUAGE sql AS $$ SELECT lo + floor(random() * (hi - lo + 1))::int $$;
CREATE FUNCTION oracle.pick(VARIADIC a text[]) RETURNS text LANGUAGE sql AS $$ SELECT a[1 + floor(random() * cardinality(a))::int] $$;

CREATE FUNCTION oracle.any_case(t text) RETURNS text LANGUAGE sql AS $$
SELECT string_agg(CASE WHEN random() < 0.5 THEN upper(c) ELSE c END, '' ORDER BY n) FROM regexp_split_to_table(t, '') WITH ORDINALITY AS x (c, n)
$$;

-- Few batches and projects, ids that share prefixes
CREATE FUNCTION oracle.a_batch() RETURNS uuid LANGUAGE sql AS $$ SELECT md5('batch ' || oracle.int(1, 3))::uuid $$;
CREATE FUNCTION oracle.a_project() RETURNS uuid LANGUAGE sql AS $$ SELECT md5('project ' || oracle.int(1, 3))::uuid $$;
CREATE FUNCTION oracle.new_id() RETURNS uuid LANGUAGE sql AS $$
SELECT overlay(md5(random()::text) PLACING p FROM 1 FOR length(p))::uuid
FROM oracle.pick('', '0', 'ff', '0a1b2c3', 'abcdef12', 'abcdef1234', 'abcdef1234567890abcdef123456789', '0000000000000000000000000000000', 'fffffffffffffffffffffffffffffff') AS p
$$;

CREATE FUNCTION oracle.a_moment() RETURNS timestamptz LANGUAGE sql AS $$
SELECT CASE WHEN random() < 0.9 THEN timestamptz '2023-03-20 13:00+00' + oracle.int(-1, 1) * interval '1 hour'
		+ oracle.pick('0', '0', '1', '-1', '500000', '120000', '10')::int * interval '1 microsecond'
	ELSE oracle.pick('infinity', '-infinity', '0044-03-15 12:00:00.5+00 BC', '0001-01-01 00:00+00', '12345-06-07 08:09:10.000011+00',
					 '9999-12-31 23:59:59.999999+00', '1970-01-01 00:00+00', '1969-12-31 23:59:59.99+00', '294276-12-31 23:59:59.999999+00',
					 '4713-01-01 00:00+00 BC', '2024-02-29 23:59:59.1+00')::timestamptz END
$$;

CREATE FUNCTION oracle.odd_text() RETURNS text LANGUAGE sql AS $$
SELECT oracle.pick('', 'a "quoted" \ word', E'tab\t newline\n bell\x07 escape\x1b', U&'\2028 \+01F600 \00E9 \FFFD', repeat('long ', oracle.int(1, 60)),
	repeat(md5(random()::text), 200), 'null', '{}', ' ', E'\x7f', '%41+b', md5(random()::text))
$$;

--
-- Relations that hold jobs, of every kind that the contract allows
--
CREATE TYPE oracle.own_status AS ENUM ('CANCELED', 'PAUSED', 'RUNNING', 'DONE', 'PENDING', 'ERROR');
CREATE TYPE oracle.own_origin AS ENUM ('UNKNOWN', 'MARS', 'AZURE', 'CLIENT');

-- kind, what jobs_table names, what holds its rows, what of the loose and odd it can hold
CREATE TABLE oracle.relations (kind text PRIMARY KEY, rel text, base text, statuses text[], origins text[], loose bool);
INSERT INTO oracle.relations VALUES
	('default', 'oracle.jobs', 'oracle.jobs', '{PENDING,RUNNING,PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', false),
	('partitioned', 'oracle.parts', 'oracle.parts', '{PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', false),
	('own types', 'oracle.own', 'oracle.own', '{PENDING,RUNNING,DONE,ERROR,CANCELED,PAUSED,NULL}', '{CLIENT,AZURE,UNKNOWN,MARS,NULL}', true),
	('text', 'oracle.texts', 'oracle.texts', '{PENDING,RUNNING,DONE,ERROR,CANCELED,pending,"", \"it\",NULL}', '{CLIENT,AZURE,UNKNOWN,client,NULL}', true),
	('view', 'oracle.seen', 'oracle.unseen', '{PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', true),
	('trigger', 'oracle.guarded', 'oracle.guarded', '{PENDING,RUNNING,PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', false),
	('policies', 'oracle.policed', 'oracle.policed', '{PENDING,RUNNING,PENDING,RUNNING,DONE,ERROR,CANCELED}', '{CLIENT,AZURE,UNKNOWN,NULL}', false);

SELECT create_jobs_table('oracle.jobs'), create_jobs_table('oracle.parts', 3), create_jobs_table('oracle.guarded'), create_jobs_table('oracle.policed');
CREATE TABLE oracle.own (note text DEFAULT 'left alone', LIKE oracle.jobs);
DO $$
DECLARE
	c text;
BEGIN
	FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = 'oracle.own'::regclass AND attnotnull AND attnum > 0 LOOP
		EXECUTE format('ALTER TABLE oracle.own ALTER %I DROP NOT NULL', c);
	END LOOP;
END
$$;
ALTER TABLE oracle.own ALTER status DROP DEFAULT;
CREATE TABLE oracle.texts (LIKE oracle.own, dropped int, "Extra Column" int GENERATED ALWAYS AS (runs / 2) STORED);
ALTER TABLE oracle.texts DROP dropped, ALTER status TYPE text, ALTER origin TYPE varchar(10);
ALTER TABLE oracle.own ALTER status TYPE oracle.own_status USING status::text::oracle.own_status,
	ALTER origin TYPE oracle.own_origin USING origin::text::oracle.own_origin;
-- one id may be in several batches
CREATE UNIQUE INDEX ON oracle.own (batch_id, id);
CREATE INDEX ON oracle.own (batch_id, status);
CREATE UNIQUE INDEX ON oracle.texts (id, batch_id);
CREATE TABLE oracle.unseen (LIKE oracle.own);
ALTER TABLE oracle.unseen ALTER status TYPE jobstatus USING status::text::jobstatus, ALTER origin TYPE text,
	ALTER batch_id TYPE text, ALTER runs TYPE text, ALTER progress TYPE numeric;
CREATE UNIQUE INDEX ON oracle.unseen (id, batch_id);
CREATE VIEW oracle.seen AS
SELECT slurm_job_id, creation_order, sequence, progress::int AS progress, errors, variables, end_timestamp, start_timestamp, updated_at,
	   created_at, origin::origin AS origin, user_id, project_id, batch_id::uuid AS batch_id, runs::int AS runs, status, parent_id, id, note
FROM oracle.unseen WHERE slurm_job_id IS DISTINCT FROM 'hidden';

-- One job in the table is kept, one ends otherwise, one is edited
CREATE FUNCTION oracle.guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.slurm_job_id
		WHEN 'kept' THEN RETURN NULL;
		WHEN 'turned' THEN NEW.status := 'ERROR';
		WHEN 'back' THEN NEW.status := OLD.status;
		WHEN 'moved' THEN NEW.status := OLD.status; NEW.runs := 7; NEW.origin := 'AZURE';
		WHEN 'edited' THEN NEW.variables := '{"edited": [1, 2, {"x": null}]}'; NEW.creation_order := -(NEW.creation_order / 2);
		ELSE NULL;
	END CASE;
	RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE UPDATE ON oracle.guarded FOR EACH ROW EXECUTE FUNCTION oracle.guard();

-- One tenant that may see some jobs and change some of those
DO $$
BEGIN
	IF to_regrole('oracle_tenant') IS NULL THEN
		CREATE ROLE oracle_tenant;
	END IF;
END
$$;
ALTER TABLE oracle.policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON oracle.policed FOR SELECT USING (project_id <> md5('project 3')::uuid);
CREATE POLICY changes ON oracle.policed FOR UPDATE USING (origin IS DISTINCT FROM 'AZURE') WITH CHECK (true);
GRANT SELECT ON ALL TABLES IN SCHEMA oracle TO oracle_tenant;
GRANT UPDATE (status, updated_at, end_timestamp) ON oracle.policed TO oracle_tenant;

CREATE PROCEDURE oracle.fill(r oracle.relations) LANGUAGE plpgsql AS $$
DECLARE
	job text;
BEGIN
	IF oracle.chance(0.3) THEN
		EXECUTE format('TRUNCATE %s', r.base);
	ELSE
		EXECUTE format('DELETE FROM %s', r.base);
	END IF;
	FOR n IN 1 .. CASE WHEN oracle.chance(0.03) THEN 0 WHEN oracle.chance(0.03) THEN 300 ELSE oracle.int(1, 30) END LOOP
		job := (SELECT to_jsonb(x) FROM (SELECT
			CASE WHEN oracle.chance(0.95) OR NOT r.loose THEN oracle.new_id() ELSE md5('same')::uuid END AS id,
			CASE WHEN oracle.chance(0.2) THEN oracle.new_id() END AS parent_id,
			(SELECT s FROM oracle.pick(VARIADIC r.statuses) AS s) AS status,
			oracle.pick(VARIADIC '{0,1,2,5,10,-1,2147483647,-2147483648}'::text[] || CASE WHEN r.loose THEN '{NULL}' ELSE '{7}' END::text[]) AS runs,
			oracle.a_batch() AS batch_id,
			CASE WHEN oracle.chance(0.95) OR NOT r.loose THEN oracle.a_project() END AS project_id,
			CASE WHEN oracle.chance(0.8) THEN oracle.pick('alice', 'bob', 'Alice', NULL) ELSE oracle.odd_text() END AS user_id,
			(SELECT o FROM oracle.pick(VARIADIC r.origins) AS o) AS origin,
			oracle.a_moment() AS created_at,
			oracle.a_moment() AS updated_at,
			CASE WHEN oracle.chance(0.8) THEN oracle.a_moment() END AS start_timestamp,
			CASE WHEN oracle.chance(0.6) THEN oracle.a_moment() END AS end_timestamp,
			oracle.pick(NULL, 'null', '5', '-0.00', '1e100', '123456789012345678901234567890.5', '"text"', '""', 'true', '[]', '{}', '[[], {}, [null]]',
						'{"omega": [1, 2.50, -3], "b": {"c": "d", "": null}}', to_jsonb(oracle.odd_text())::text,
						(SELECT jsonb_agg(i * 1.5) FROM generate_series(1, oracle.int(1, 80)) AS i)::text,
						(SELECT jsonb_object_agg('key ' || i, CASE i % 3 WHEN 0 THEN to_jsonb(i) WHEN 1 THEN to_jsonb(i::text) ELSE jsonb_build_array(i, 'x') END)
						 FROM generate_series(1, oracle.int(1, 80)) AS i)::text)::jsonb AS variables,
			oracle.pick(NULL, '{}', '{NULL}', '{a}', '{a,"",NULL,"NULL"}', '[5:6]={c,d}', '{{a,b},{c,NULL}}', '{{{x}}}', ARRAY[oracle.odd_text(), oracle.odd_text()]::text,
						(SELECT array_agg(CASE WHEN i % 7 <> 0 THEN repeat('e', i) END) FROM generate_series(1, oracle.int(1, 70)) AS i)::text) AS errors,
			oracle.pick(NULL, '0', '100', '42') AS progress,
			CASE WHEN oracle.chance(0.5) THEN oracle.odd_text() END AS sequence,
			CASE WHEN oracle.chance(0.6) THEN n::text ELSE oracle.pick(VARIADIC '{0,1,-5,9223372036854775807,-9223372036854775808,10000,100000000}'::text[]
						|| CASE WHEN r.loose THEN '{NULL}' ELSE '{7}' END::text[]) END AS creation_order,
			CASE WHEN oracle.chance(0.5) THEN oracle.pick('hidden', 'kept', 'turned', 'back', 'moved', 'edited', 'edited') END AS slurm_job_id
			) AS x);
		-- NULL as a text of a list is none
		EXECUTE format('INSERT INTO %s (id, parent_id, status, runs, batch_id, project_id, user_id, origin, created_at, updated_at, start_timestamp,
				end_timestamp, variables, errors, progress, sequence, creation_order, slurm_job_id)
			SELECT id, parent_id, status, runs, batch_id, project_id, user_id, origin, created_at, updated_at, start_timestamp,
				end_timestamp, variables, ($1::jsonb->>''errors'')::text[], progress, sequence, creation_order, slurm_job_id
			FROM jsonb_populate_record(NULL::%s, $1::jsonb - ''errors'')
			ON CONFLICT DO NOTHING', r.base, r.base) USING job;
	END LOOP;
	IF oracle.chance(0.3) THEN
		EXECUTE format('ANALYZE %s', r.base);
	END IF;
END
$$;

--
-- Another session locks some jobs. A cancel that waits must not have to, so for it only references are held.
--
CREATE EXTENSION IF NOT EXISTS dblink SCHEMA oracle;

CREATE PROCEDURE oracle.hold(r oracle.relations) LANGUAGE plpgsql AS $$
DECLARE
	skips bool := r.kind <> 'view' AND oracle.chance(0.5);
	strength text := CASE WHEN skips THEN oracle.pick('UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE') ELSE 'KEY SHARE' END;
BEGIN
	DELETE FROM oracle.held;
	PERFORM set_config('pasqal_jobs.locked_jobs', CASE WHEN skips THEN 'skip' ELSE 'wait' END, false),
			set_config('pasqal_jobs.running_status', CASE WHEN r.kind = 'own types' AND oracle.chance(0.5) THEN 'PAUSED'
				WHEN r.kind = 'text' AND oracle.chance(0.5) THEN 'CANCELING' ELSE 'CANCELED' END, false),
			oracle.dblink_exec('holder', 'BEGIN');
	IF oracle.chance(0.7) THEN
		-- a job that a policy keeps may be called locked if it is that, too
		INSERT INTO oracle.held SELECT * FROM oracle.dblink('holder', format('SELECT id, batch_id::text::uuid FROM %s WHERE mod(runs::text::int8 + creation_order %% 7, %s) = 0 AND (%L <> ''policies'' OR origin IS DISTINCT FROM ''AZURE'') FOR %s',
			r.base, oracle.int(1, 3), r.kind, strength)) AS x (id uuid, batch_id uuid);
	END IF;
	IF strength = 'KEY SHARE' THEN
		DELETE FROM oracle.held;
	END IF;
	COMMIT;
END
$$;

--
-- Filters
--

-- A uuid in one of its spellings
CREATE FUNCTION oracle.spelt(u uuid) RETURNS text LANGUAGE sql AS $$
SELECT CASE oracle.int(1, 8) WHEN 1 THEN upper(u::text) WHEN 2 THEN replace(u::text, '-', '') WHEN 3 THEN '{' || u || '}'
	WHEN 4 THEN 'urn:uuid:' || u WHEN 5 THEN oracle.any_case(u::text) ELSE u::text END
$$;

CREATE FUNCTION oracle.bad_uuid() RETURNS text LANGUAGE sql AS $$
SELECT oracle.pick('', 'x', left(u, 35), u || '0', ' ' || u, u || E'\n', overlay(u PLACING 'g' FROM 3), '0x' || left(u, 30), 'urn:urn:' || u, '-' || u || '-',
	'{{' || u || '}', overlay(u PLACING '{' FROM 5 FOR 0), 'urn' || u, 'uuid:' || u, 'URN:UUID:' || u, '}' || u || '{', U&'\FF10' || substr(u, 2), u || ',' || u,
	'uurn:uid:' || u, '{urn:uuid:' || u || '}', 'urn:uuid:{' || u || '}', '''; DROP TABLE jobs; --')
FROM (SELECT md5(random()::text)::uuid::text AS u) AS x
$$;

CREATE FUNCTION oracle.a_datetime() RETURNS jsonb LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
	t timestamp := timestamp '2023-03-20 13:00' + oracle.int(-1, 1) * interval '1 hour'
		+ oracle.pick('0', '0', '1', '-1', '500000', '120000', '10')::int * interval '1 microsecond';
	east int := oracle.int(-1439, 1439);
	s text;
BEGIN
	CASE oracle.int(1, 10)
		WHEN 1 THEN RETURN to_jsonb(extract(epoch FROM t)::numeric(30, 6));
		WHEN 2 THEN RETURN to_jsonb((extract(epoch FROM t) * 1000)::numeric(30, 3));
		WHEN 3 THEN RETURN to_jsonb(extract(epoch FROM t)::text);
		WHEN 4 THEN RETURN oracle.pick('"0001-01-01T00:00+23:59"', '"9999-12-31T23:59:59.999999-23:59"', '0', '-1', '20000000000', '20000000001', '-20000000000.5',
			'1e18', '3e20', '4e20', '-4e20', '"1e-400"', '".5"', '"5."', '" 1679317200 "', '"+1679317200e0"', '1679317200.0000005', '1679317200.0000015',
			'"0000000000000000000001679317200"', '"2024-02-29 00:00"', '"2000-02-29T00:00"', E'"2023-3-2T1:2\\n"')::jsonb;
		ELSE
			s := to_char(t + east * interval '1 minute', oracle.pick('YYYY-MM-DD"T"HH24:MI:SS.US', 'YYYY-MM-DD HH24:MI:SS.US', 'YYYY-FMMM-FMDD"T"FMHH24:MI:SS', 'YYYY-MM-DD"T"HH24:MI'));
			IF s ~ '\.' THEN
				s := oracle.pick(s, s || '999999', rtrim(s, '0') || '0', regexp_replace(s, '(\.[0-9]+?)0+$', '\1'));
			END IF;
			IF oracle.chance(0.3) THEN
				RETURN to_jsonb(s || oracle.pick('Z', ''));
			END IF;
			RETURN to_jsonb(s || CASE WHEN east < 0 THEN '-' ELSE '+' END || lpad((abs(east) / 60)::text, 2, '0')
				|| CASE WHEN abs(east) % 60 = 0 AND oracle.chance(0.5) THEN '' ELSE oracle.pick(':', '') || lpad((abs(east) % 60)::text, 2, '0') END);
	END CASE;
END
$$;

CREATE FUNCTION oracle.bad_datetime() RETURNS text LANGUAGE sql AS $$
SELECT oracle.pick('', 'now', 'infinity', '-infinity', 'yesterday', 'epoch', 'today', 'nan', 'inf', '1e400', '1_000', '0x10', '2023-01-01', '2023-02-29T00:00', '1900-02-29T00:00',
	'2023-13-01T00:00', '2023-00-01T00:00', '2023-01-00T00:00', '2023-01-32T00:00', '0000-01-01T00:00', '2023-01-01T24:00', '2023-01-01T00:60', '2023-01-01T00:00:60',
	'2023-01-01T00:00:00.', '2023-01-01T00:00:00.1234567890123', '2023-01-01T00:00z', '2023-01-01T00:00+24:00', '2023-01-01T00:00+23:60', '2023-01-01T00:00+2',
	'2023-01-01T00:00+02:', '2023-01-01T00:00+020', '2023-01-01T00:00+02:0', '2023-01-01T00:00 +02:00', ' 2023-01-01T00:00', '2023-01-01T00:00 ', '2023-01-01t00:00',
	'2023-01-01T00', '2023-01-01T00:00:00,5', '20230101T0000', '2023-01-01T00:00ZZ', '2023-01-01T00:00Z+00', '12023-01-01T00:00', '-2023-01-01T00:00', '2023-W01-1T00:00',
	'2023-01-01  00:00', '2023-01-01_00:00', E'2023-01-01T00:00\n\n', U&'2023-01-0\0661T00:00', '..', '.', 'e5', '+', '1e', '1 2', '2023-001-01T00:00', '2023-01-01T000:00')
$$;

-- A value for a kind of filter, good or bad; sample is a job's id
CREATE FUNCTION oracle.a_value(kind text, bad bool, sample uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	v text;
BEGIN
	IF bad AND oracle.chance(0.4) THEN
		RETURN CASE oracle.int(1, 6) WHEN 1 THEN 'null' WHEN 2 THEN '{"a": 1}' WHEN 3 THEN '[["a"]]' WHEN 4 THEN '1.5' WHEN 5 THEN '{}' ELSE 'true' END;
	END IF;
	v := CASE kind
		WHEN 'uuid' THEN CASE WHEN bad THEN oracle.bad_uuid() WHEN oracle.chance(0.85) THEN oracle.spelt(sample) ELSE oracle.spelt(oracle.new_id()) END
		WHEN 'prefix' THEN CASE WHEN bad THEN '' WHEN oracle.chance(0.9) THEN oracle.any_case(left(sample::text, CASE WHEN oracle.chance(0.7) THEN oracle.int(1, 3) ELSE oracle.int(1, 36) END))
			ELSE oracle.pick('%', '_', '00000000_', '000000000', '-', ' ', '0%', sample || '0', U&'\FF10', '0' || E'\n', 'g') END
		WHEN 'text' THEN CASE WHEN bad THEN NULL WHEN oracle.chance(0.8) THEN oracle.pick('alice', 'bob', 'Alice') ELSE oracle.odd_text() END
		WHEN 'status' THEN CASE WHEN bad THEN oracle.pick('', 'pending', ' DONE', 'PENDING,DONE', 'PAUSED', 'PENDIN', 'PENDINGX', 'NULL')
			ELSE oracle.pick(VARIADIC oracle.labels('status')) END
		WHEN 'origin' THEN CASE WHEN bad THEN oracle.pick('', 'client', 'MARS', 'AZURE ') ELSE oracle.pick(VARIADIC oracle.labels('origin')) END
		WHEN 'integer' THEN CASE WHEN bad THEN oracle.pick('', '+', '-', '1.0', '1e2', '1_000', '0x10', '- 1', U&'\0661', 'NaN', 'ten', '1 0', '--1', '1-', '५')
			WHEN oracle.chance(0.9) THEN oracle.pick('0', '1', '2', '5', '10', '-1', ' 5 ', '+2', '-0', '007', U&'\2003\00A05\3000')
			ELSE oracle.pick('2147483647', '2147483648', '-2147483648', '-2147483649', '9223372036854775807', '9223372036854775808', '-9223372036854775808',
				'-9223372036854775809', '99999999999999999999999999', '-99999999999999999999999999', repeat('0', 500) || '5') END
		WHEN 'boolean' THEN CASE WHEN bad THEN oracle.pick('', '2', 'tru', ' true', 'yess', 'null', '01', 'true ') ELSE
			oracle.any_case(oracle.pick('true', 't', '1', 'on', 'yes', 'y', 'false', 'f', '0', 'off', 'no', 'n')) END
		WHEN 'datetime' THEN CASE WHEN bad THEN oracle.bad_datetime() ELSE NULL END
	END;
	IF kind = 'datetime' AND NOT bad THEN
		RETURN oracle.a_datetime();
	ELSIF v IS NULL THEN
		RETURN '5';
	ELSIF kind IN ('integer', 'boolean') AND v ~ '^-?(0|[1-9][0-9]*)$' AND oracle.chance(0.5) THEN
		RETURN v::jsonb;
	ELSIF kind = 'boolean' AND lower(v) IN ('true', 'false') AND oracle.chance(0.5) THEN
		RETURN lower(v)::jsonb;
	END IF;
	RETURN to_jsonb(v);
END
$$;

CREATE FUNCTION oracle.some_filters(rel regclass, bad float8) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result jsonb := '{}';
	v jsonb;
	f oracle.filters;
	sample record;
	many bool := bad > 0 AND oracle.chance(0.01);	-- more problems than a DETAIL tells
	wanted int := (ARRAY[0, 1, 1, 1, 1, 2, 2, 2, 3, 4, 6])[oracle.int(1, 11)];
BEGIN
	IF oracle.chance(bad * 0.06) THEN
		RETURN oracle.pick(NULL, 'null', '[]', '"status"', '5', 'true', '[{"id": 1}]', '""')::jsonb;
	END IF;
	FOR f IN SELECT * FROM oracle.filters ORDER BY random() LIMIT wanted LOOP
		-- values that some job has, if there is one
		FOR n IN 1 .. CASE WHEN f.list AND (many OR oracle.chance(0.6)) THEN CASE WHEN many OR oracle.chance(0.03) THEN 150 ELSE oracle.int(1, 5) END ELSE 1 END LOOP
			EXECUTE format('SELECT * FROM (SELECT id, batch_id, project_id FROM %s ORDER BY id, batch_id) AS x ORDER BY random() LIMIT 1', rel) INTO sample;
			v := coalesce(v, '[]') || jsonb_build_array(oracle.a_value(f.kind, many OR oracle.chance(bad * 0.25),
				CASE f.key WHEN 'batch_id' THEN coalesce(sample.batch_id, oracle.a_batch()) WHEN 'project_id' THEN coalesce(sample.project_id, oracle.a_project())
						   ELSE coalesce(sample.id, oracle.new_id()) END));
		END LOOP;
		IF NOT f.list AND oracle.chance(1 - bad * 0.03) OR jsonb_array_length(v) = 1 AND oracle.chance(0.6) THEN
			v := v->0;
		ELSIF oracle.chance(bad * 0.05) THEN
			v := '[]';
		END IF;
		result := jsonb_set(result, ARRAY[f.key], v);
		v := NULL;
	END LOOP;
	FOR n IN 1 .. CASE WHEN oracle.chance(bad * 0.08) THEN oracle.int(1, 3) ELSE 0 END LOOP
		result := jsonb_set(result, ARRAY[oracle.pick('statsu', 'ID', 'id_', '', 'job_id', 'errors ', 'limit', 'user', 'a "b" \', U&'\00E9\+01F600', repeat('é', 70), repeat('x', 300))],
			oracle.pick('null', '1', '"x"', '[]', '{"id": []}')::jsonb);
	END LOOP;
	RETURN result;
END
$$;

-- A text as part of a URL, more or less encoded, sometimes badly
CREATE FUNCTION oracle.encoded(t text, bad bool) RETURNS text LANGUAGE sql AS $$
SELECT coalesce(string_agg(CASE
	WHEN c IN ('&', '=', '%', '+', '#') OR random() < 0.1 OR (ascii(c) > 126 AND random() < 0.5) THEN
		(SELECT string_agg(CASE WHEN random() < 0.5 THEN '%' || h ELSE '%' || upper(h) END, '')
		 FROM (SELECT substr(encode(convert_to(c, 'UTF8'), 'hex'), 2 * i - 1, 2) AS h FROM generate_series(1, octet_length(convert_to(c, 'UTF8'))) AS i) AS x)
	WHEN c = ' ' THEN oracle.pick('+', '%20', ' ')
	ELSE c END, '' ORDER BY n), '')
	|| CASE WHEN bad AND random() < 0.1 THEN oracle.pick('%', '%4', '%zz', '%C3', '%c3%28', '%E2%82', '%f0%9f%98', '%ED%A0%80', '%C0%80', '%F5', '%00', '%80%80', '%FF', '%e2%28%a1', '%f4%90%80%80') ELSE '' END
FROM regexp_split_to_table(t, '') WITH ORDINALITY AS x (c, n)
$$;

-- The filters as a query string, and what else turns up in one
CREATE FUNCTION oracle.a_query(filters jsonb, bad bool) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	IF filters IS NULL THEN
		RETURN NULL;
	ELSIF jsonb_typeof(filters) <> 'object' THEN
		RETURN filters #>> '{}';
	END IF;
	SELECT string_agg(p, oracle.pick('&', '&', '&', '&&') ORDER BY random()) INTO result FROM (
		SELECT oracle.encoded(key, bad) || CASE WHEN bad AND random() < 0.03 THEN '' ELSE '=' || oracle.encoded(v #>> '{}', bad) END AS p
		FROM jsonb_each(filters) AS f, LATERAL jsonb_array_elements(CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END) AS v) AS x;
	result := coalesce(result, '');
	IF oracle.chance(0.2) THEN
		result := result || oracle.pick('&', '&id__starts_with=', '&&', '');
	END IF;
	IF bad AND oracle.chance(0.1) THEN
		result := result || oracle.pick('&=', '&=5', '&statsu=1&statsu=2', '&min_runs=1&min_runs=x', '&min_runs=x&min_runs=1', '&errors', '&user_id', '&status=', '&user_id=%00',
			'&id__starts_with=%00', '&id__starts_with=&id__starts_with=0', '&id__starts_with=0&id__starts_with=', '&user_id=a%00b', '&id=&id=', '&%69d=1', '&st%C3atus=1', '&start_date==', '&origin=CLIENT;x=1');
	END IF;
	RETURN result;
END
$$;

--
-- One call, twice
--

-- The rows of a table bit for bit, and where they lie
CREATE FUNCTION oracle.image(base text, OUT bits text, OUT places text[]) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT coalesce(string_agg(encode(record_send(t), ''hex''), E''\n'' ORDER BY record_send(t)), ''''), array_agg(concat(tableoid, ctid) ORDER BY tableoid, ctid) FROM %s AS t', base)
		INTO bits, places;
END
$$;

-- Which rows were written
CREATE FUNCTION oracle.written(base text, before text[], OUT ids text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT string_agg(concat(id, '' '', batch_id), E''\n'' ORDER BY id, batch_id) FROM (SELECT id, batch_id FROM %s AS t WHERE NOT concat(tableoid, ctid) = ANY ($1)) AS x', base)
		INTO ids USING before;
END
$$;

CREATE TYPE oracle.outcome AS (state text, message text, detail jsonb, hint text, status int, answer jsonb, bits text, written text);

-- Runs a query that gives an answer, and takes back what it did
CREATE FUNCTION oracle.try(r oracle.relations, query text, batch uuid, filters jsonb, path text, query_string text) RETURNS oracle.outcome LANGUAGE plpgsql AS $$
DECLARE
	o oracle.outcome;
	before record := oracle.image(r.base);
	detail text;
	t text;
BEGIN
	BEGIN
		PERFORM set_config('role', CASE r.kind WHEN 'policies' THEN 'oracle_tenant' ELSE 'none' END, true);
		EXECUTE query INTO o.status, o.answer USING batch, filters, path, query_string, r.rel;
		PERFORM set_config('role', 'none', true);
		o.bits := (oracle.image(r.base)).bits;
		o.written := oracle.written(r.base, before.places);
		RAISE SQLSTATE 'UNDO0';
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN
			NULL;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS o.state = RETURNED_SQLSTATE, o.message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, t = PG_EXCEPTION_HINT;
			o.detail := CASE WHEN detail ~ '^\{"detail"' THEN detail::jsonb ELSE to_jsonb(detail) END;
			o.hint := t;
	END;
	IF before IS DISTINCT FROM oracle.image(r.base) THEN
		RAISE EXCEPTION 'a call that was undone left something behind';
	END IF;
	RETURN o;
END
$$;

-- An outcome as a text that shows where two of them part
CREATE FUNCTION oracle.told(o oracle.outcome) RETURNS text LANGUAGE sql AS $$
SELECT concat_ws(' | ', o.state, o.message, o.detail, o.hint, o.status, o.answer, o.written, o.bits)
$$;

CREATE UNLOGGED TABLE oracle.counts (what text PRIMARY KEY, n int8 NOT NULL);

CREATE FUNCTION oracle.count(what text, n int8 DEFAULT 1) RETURNS void LANGUAGE sql AS $$
INSERT INTO oracle.counts VALUES (what, n) ON CONFLICT (what) DO UPDATE SET n = counts.n + excluded.n
$$;

-- Tells both sides from a little before where they part
CREATE PROCEDURE oracle.differ(what text, seed int, nr int, r oracle.relations, call text, expected text, got text) LANGUAGE plpgsql AS $$
DECLARE
	same int := 0;
	step int := 1 << 24;
BEGIN
	PERFORM oracle.count('differences');
	WHILE step > 0 LOOP
		IF same + step <= length(expected) AND left(expected, same + step) = left(got, same + step) THEN
			same := same + step;
		END IF;
		step := step / 2;
	END LOOP;
	RAISE WARNING E'difference in %, seed %, case %, % %\n%\nexpected, from %: %\ngot: %', what, seed, nr, r.kind, r.rel, call,
		same, substr(expected, greatest(same - 200, 0), 400), substr(got, greatest(same - 200, 0), 400);
END
$$;

-- A key of the caller's own making is repeated up to 64 bytes
CREATE FUNCTION oracle.cut(key text) RETURNS text LANGUAGE sql AS $$
SELECT left(key, max(i)) FROM generate_series(0, 64) AS i WHERE octet_length(left(key, i)) <= 64
$$;

-- What the error must say: the first problem in words, how many more, all in DETAIL
CREATE FUNCTION oracle.message(problems jsonb) RETURNS text LANGUAGE sql AS $$
SELECT CASE WHEN loc->>0 = 'path' THEN 'batch must not be null'
			WHEN loc->1 IS NULL THEN CASE type WHEN 'type_error.dict' THEN 'filters must be a JSON object' ELSE 'filters must not be null' END
			ELSE format(CASE type
				WHEN 'type_error.uuid' THEN 'value of filter "%s" must be a uuid'
				WHEN 'type_error.integer' THEN 'value of filter "%s" must be an integer'
				WHEN 'type_error.bool' THEN 'value of filter "%s" must be a boolean'
				WHEN 'value_error.datetime' THEN 'value of filter "%s" must be a date and time'
				WHEN 'type_error.str' THEN 'value of filter "%s" must be a text'
				WHEN 'value_error.any_str.min_length' THEN 'value of filter "%s" must not be empty'
				WHEN 'type_error.enum' THEN 'value of filter "%s" must be one of the permitted labels'
				WHEN 'type_error.none.not_allowed' THEN 'value of filter "%s" must not be null'
				WHEN 'value_error.list.min_items' THEN 'list of filter "%s" must not be empty'
				WHEN 'value_error.extra' THEN 'unrecognized filter "%s"' END, oracle.cut(loc->>1))
			|| CASE WHEN (loc->>2)::int > 0 THEN format(' (value %s of the list)', (loc->>2)::int + 1) ELSE '' END END
	|| CASE WHEN n = 1 THEN '' WHEN n = 2 THEN ' (and 1 more problem)' ELSE format(' (and %s more problems)', n - 1) END
FROM (SELECT problems->0->'loc' AS loc, problems->0->>'type' AS type, jsonb_array_length(problems) AS n) AS x
$$;

CREATE PROCEDURE oracle.compare(seed int, nr int, r oracle.relations, batch uuid, filters jsonb, path text, query_string text) LANGUAGE plpgsql AS $$
DECLARE
	by_creation bool := current_setting('pasqal_jobs.date_filter') = 'creation';
	read record;
	expected oracle.outcome;
	got oracle.outcome;
	preview jsonb;
	call text;
	job jsonb;
	i int;
BEGIN
	--
	-- cancel_jobs
	--
	call := format('SET pasqal_jobs.date_filter = %L; SET timezone = %L; SET pasqal_jobs.locked_jobs = %L; SET pasqal_jobs.running_status = %L; SELECT cancel_jobs(%L, %L)',
				   current_setting('pasqal_jobs.date_filter'), current_setting('timezone'), current_setting('pasqal_jobs.locked_jobs'),
				   current_setting('pasqal_jobs.running_status'), batch, filters);
	read := oracle.read_arguments(batch, filters);
	-- jsonb as PostgreSQL would have made it has the same size and hash
	got := oracle.try(r, 'SELECT CASE WHEN pg_column_size(a) = pg_column_size(a::text::jsonb) AND jsonb_hash_extended(a, 0) = jsonb_hash_extended(a::text::jsonb, 0)
		THEN 200 END, a FROM (SELECT public.cancel_jobs(batch => $1, filters => $2) AS a OFFSET 0) AS x', batch, filters, path, query_string);
	IF read.problems <> '[]' THEN
		PERFORM oracle.count('refused calls');
		PERFORM oracle.count('problems told', jsonb_array_length(read.problems));
		IF got.state IS DISTINCT FROM '22023' OR got.message <> oracle.message(read.problems) OR got.hint = '' OR got.detail IS DISTINCT FROM
				jsonb_build_object('detail', jsonb_path_query_array(read.problems, '$[0 to 99]')) THEN
			CALL oracle.differ('error', seed, nr, r, call, oracle.message(read.problems) || ' ' || read.problems, oracle.told(got));
		END IF;
	ELSE
		expected := oracle.try(r, format('SELECT 200, oracle.cancel($5::regclass, $1, %L, %L)', read.given, by_creation), batch, filters, path, query_string);
		IF expected.state IS NOT NULL THEN
			RAISE EXCEPTION 'the oracle fails: %', expected;
		END IF;
		PERFORM oracle.count('canceled jobs', jsonb_array_length(expected.answer->'data'->'jobs'));
		PERFORM oracle.count('not canceled jobs', (SELECT count(*) FROM jsonb_object_keys(expected.answer->'data'->'errors')));
		PERFORM oracle.count('locked jobs', (SELECT count(*) FROM jsonb_each_text(expected.answer->'data'->'errors') WHERE value LIKE '%locked%'));
		PERFORM oracle.count('answers with jobs and errors', (expected.answer->'data'->'jobs' <> '[]' AND expected.answer->'data'->'errors' <> '{}')::int);
		IF got IS DISTINCT FROM expected THEN
			CALL oracle.differ('response', seed, nr, r, call, oracle.told(expected), oracle.told(got));
		-- and each part is found by its key or number
		ELSIF EXISTS (SELECT FROM jsonb_each(expected.answer->'data'->'errors') AS e WHERE got.answer->'data'->'errors'->e.key IS DISTINCT FROM e.value)
			OR EXISTS (SELECT FROM jsonb_array_elements(expected.answer->'data'->'jobs') WITH ORDINALITY AS e, LATERAL jsonb_each(e.value) AS f
					   WHERE got.answer->'data'->'jobs'->(e.ordinality::int - 1)->f.key IS DISTINCT FROM f.value) THEN
			CALL oracle.differ('form of the jsonb', seed, nr, r, call, expected.answer::text, got.answer::text);
		END IF;

		IF to_regprocedure('public.cancel_jobs_rows(uuid,jsonb)') IS NOT NULL THEN
			got := oracle.try(r, $q$SELECT 200, jsonb_build_object('data', jsonb_build_object(
					'jobs', coalesce(jsonb_agg(job ORDER BY (job->>'creation_order')::int8 NULLS LAST, id) FILTER (WHERE error IS NULL), '[]'),
					'errors', coalesce(jsonb_object_agg(id, error) FILTER (WHERE error IS NOT NULL AND job IS NULL), '{}')))
				FROM public.cancel_jobs_rows($1, $2)$q$, batch, filters, path, query_string);
			IF (got.state, got.answer, got.bits, got.written) IS DISTINCT FROM (expected.state, expected.answer, expected.bits, expected.written) THEN
				CALL oracle.differ('cancel_jobs_rows', seed, nr, r, call, oracle.told(expected), oracle.told(got));
			END IF;
		END IF;
		IF to_regprocedure('public.cancel_jobs_preview(uuid,jsonb)') IS NOT NULL THEN
			preview := (oracle.try(r, format($q$SELECT 200, (a->'data'->'errors') || coalesce((SELECT jsonb_object_agg(j->>'id', 'canceled') FROM jsonb_array_elements(a->'data'->'jobs') AS j), '{}')
				FROM oracle.cancel($5::regclass, $1, %L, %L, true) AS a$q$, read.given, by_creation), batch, filters, path, query_string)).answer;
			got := oracle.try(r, 'SELECT 200, coalesce(jsonb_object_agg(id, coalesce(error, ''canceled'')), ''{}'') FROM public.cancel_jobs_preview($1, $2)', batch, filters, path, query_string);
			IF got.state IS NOT NULL OR got.answer IS DISTINCT FROM preview OR got.written IS NOT NULL THEN
				CALL oracle.differ('cancel_jobs_preview', seed, nr, r, call, preview::text, oracle.told(got));
			END IF;
		END IF;
	END IF;

	--
	-- cancel_jobs_http
	--
	call := format('SET pasqal_jobs.date_filter = %L; SET timezone = %L; SELECT * FROM cancel_jobs_http(%L, %L)', current_setting('pasqal_jobs.date_filter'),
				   current_setting('timezone'), path, query_string);
	read := oracle.read_request(path, query_string);
	got := oracle.try(r, $q$SELECT status_code, replace(body::text, '\u0000', '\u0001')::jsonb FROM public.cancel_jobs_http(batch__id => $3, query_string => $4)$q$,
						batch, filters, path, query_string);
	IF read.problems <> '[]' THEN
		PERFORM oracle.count('422 of HTTP');
		IF got.state IS NOT NULL OR got.status <> 422 OR got.answer IS DISTINCT FROM jsonb_build_object('detail', read.problems) THEN
			CALL oracle.differ('422', seed, nr, r, call, read.problems::text, oracle.told(got));
		END IF;
	ELSE
		PERFORM oracle.count('200 of HTTP');
		expected := oracle.try(r, format('SELECT 200, oracle.cancel($5::regclass, %L, %L, %L)', read.batch, read.given, by_creation), batch, filters, path, query_string);
		IF expected.state IS NOT NULL THEN
			RAISE EXCEPTION 'the oracle fails: %', expected;
		END IF;
		IF got IS DISTINCT FROM expected THEN
			CALL oracle.differ('response of HTTP', seed, nr, r, call, oracle.told(expected), oracle.told(got));
		END IF;
	END IF;
END
$$;

CREATE PROCEDURE oracle.run(seed int, cases int) LANGUAGE plpgsql AS $$
DECLARE
	r oracle.relations;
	filters jsonb;
	batch uuid;
	bad float8;
	done int := 0;
	expected jsonb;
	good int8;
	failed int8;
	before jsonb;
	after jsonb;
BEGIN
	-- enable_seqscan = off makes every plan dear enough for it
	PERFORM set_config('jit', 'off', false), set_config('client_min_messages', 'warning', false);
	PERFORM setseed(seed % 1000003 / 1000003.0);
	TRUNCATE oracle.counts;
	PERFORM oracle.dblink_connect('holder', format('dbname=%s port=%s host=%s', current_database(), current_setting('port'),
		split_part(current_setting('unix_socket_directories'), ',', 1)));
	WHILE done < cases LOOP
		SELECT * INTO r FROM oracle.relations ORDER BY random() LIMIT 1;
		CALL oracle.fill(r);
		PERFORM set_config('pasqal_jobs.jobs_table', r.rel, false);
		COMMIT;
		CALL oracle.hold(r);
		FOR n IN 1 .. 20 LOOP
			EXIT WHEN done >= cases;
			done := done + 1;
			bad := CASE WHEN oracle.chance(0.6) THEN 0 ELSE 1 END;
			PERFORM set_config('timezone', oracle.pick('UTC', 'Europe/Paris', 'America/St_Johns', 'Pacific/Kiritimati'), false),
					set_config('datestyle', oracle.pick('ISO', 'German', 'SQL, DMY', 'Postgres'), false),
					set_config('intervalstyle', oracle.pick('postgres', 'iso_8601'), false),
					set_config('enable_seqscan', oracle.pick('on', 'off'), false),
					set_config('enable_bitmapscan', oracle.pick('on', 'off'), false),
					set_config('plan_cache_mode', oracle.pick('auto', 'force_generic_plan', 'force_custom_plan'), false),
					set_config('pasqal_jobs.date_filter', oracle.pick('execution', 'execution', 'creation'), false);
			batch := CASE WHEN oracle.chance(bad * 0.03) THEN NULL WHEN oracle.chance(0.02) THEN md5('none')::uuid ELSE oracle.a_batch() END;
			filters := oracle.some_filters(r.rel::regclass, bad);
			CALL oracle.compare(seed, done, r, batch, filters,
				CASE WHEN oracle.chance(bad * 0.05) THEN oracle.bad_uuid() ELSE oracle.encoded(oracle.spelt(batch), false) END,
				oracle.a_query(filters, bad > 0));
			IF (SELECT counts.n FROM oracle.counts WHERE what = 'differences') >= coalesce(current_setting('oracle.enough', true), '10')::int THEN
				RAISE EXCEPTION 'these are enough differences';
			END IF;
			COMMIT;
		END LOOP;

		-- once a table the same in chunks, which commits as it goes
		IF to_regprocedure('public.cancel_jobs_in_chunks(uuid,jsonb,integer,bigint,bigint)') IS NULL OR r.kind = 'policies' THEN
			PERFORM oracle.dblink_exec('holder', 'COMMIT');
			CONTINUE;
		END IF;
		batch := oracle.a_batch();
		filters := oracle.some_filters(r.rel::regclass, 0);
		expected := (oracle.try(r, format('SELECT 200, oracle.cancel($5::regclass, $1, %L, %L)', (oracle.read_arguments(batch, filters)).given,
			current_setting('pasqal_jobs.date_filter') = 'creation'), batch, filters, NULL, NULL)).answer->'data';
		good := 0;
		failed := 0;
		EXECUTE format('SELECT jsonb_object_agg(concat(id, batch_id), status) FROM %s', r.base) INTO before;
		CALL cancel_jobs_in_chunks(batch, filters, oracle.int(1, 7), good, failed);
		EXECUTE format('SELECT jsonb_object_agg(concat(id, batch_id), status) FROM %s', r.base) INTO after;
		PERFORM oracle.count('calls in chunks');
		IF good <> jsonb_array_length(expected->'jobs')
			OR failed <> (SELECT count(*) FROM jsonb_object_keys(expected->'errors'))
			OR (r.kind <> 'trigger' AND EXISTS (SELECT FROM jsonb_each(after) AS a WHERE before->a.key <> a.value
					   AND NOT EXISTS (SELECT FROM jsonb_array_elements(expected->'jobs') AS j WHERE concat(j->>'id', batch) = a.key))) THEN
			CALL oracle.differ('cancel_jobs_in_chunks', seed, done, r, format('CALL cancel_jobs_in_chunks(%L, %L)', batch, filters), expected::text, format('%s canceled, %s failed', good, failed));
		END IF;
		PERFORM oracle.dblink_exec('holder', 'COMMIT');
		COMMIT;
	END LOOP;
	PERFORM oracle.dblink_disconnect('holder');
	PERFORM oracle.count('cases', done);
	PERFORM oracle.count('differences', 0);
END
$$;

--
-- test/long/oracle.sql: the contract of pasqal_jobs a second time
--
-- Written from the contract alone, row by row, in plain PL/pgSQL and without
-- a thought to speed; oracle_run.sql compares the extension with it.
--
CREATE SCHEMA oracle;
GRANT USAGE ON SCHEMA oracle TO public;

-- What Python strips from around a number
CREATE FUNCTION oracle.strip(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT btrim(t, E' \t\n\u000B\f\r\u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000')
$$;

--
-- Filters: the table of section 3, the problems of section 4
--
CREATE TABLE oracle.filters (place int PRIMARY KEY, key text, kind text, list bool);
INSERT INTO oracle.filters VALUES
	(1, 'id', 'uuid', true), (2, 'id__starts_with', 'prefix', false), (3, 'batch_id', 'uuid', true),
	(4, 'project_id', 'uuid', true), (5, 'user_id', 'text', true), (6, 'status', 'status', true),
	(7, 'min_runs', 'integer', false), (8, 'max_runs', 'integer', false), (9, 'errors', 'boolean', false),
	(10, 'origin', 'origin', true), (11, 'start_date', 'datetime', false), (12, 'end_date', 'datetime', false);

CREATE TABLE oracle.problems (problem text PRIMARY KEY, msg text, type text, ctx jsonb);
INSERT INTO oracle.problems VALUES
	('uuid', 'value is not a valid uuid', 'type_error.uuid', NULL),
	('status', 'value is not a valid enumeration member; permitted: ', 'type_error.enum', NULL),
	('origin', 'value is not a valid enumeration member; permitted: ', 'type_error.enum', NULL),
	('integer', 'value is not a valid integer', 'type_error.integer', NULL),
	('boolean', 'value could not be parsed to a boolean', 'type_error.bool', NULL),
	('datetime', 'invalid datetime format', 'value_error.datetime', NULL),
	('null', 'none is not an allowed value', 'type_error.none.not_allowed', NULL),
	('empty list', 'ensure this value has at least 1 items', 'value_error.list.min_items', '{"limit_value": 1}'),
	('unknown', 'extra fields not permitted', 'value_error.extra', NULL),
	('no object', 'value is not a valid dict', 'type_error.dict', NULL),
	('text', 'str type expected', 'type_error.str', NULL),
	('prefix', 'str type expected', 'type_error.str', NULL),
	('empty prefix', 'ensure this value has at least 1 characters', 'value_error.any_str.min_length', '{"limit_value": 1}');

-- The labels that a filter takes (section 2): all of an enum, or the documented ones
CREATE FUNCTION oracle.labels(what text) RETURNS text[] LANGUAGE sql STABLE AS $$
SELECT coalesce((SELECT array_agg(enumlabel ORDER BY enumsortorder)
	FROM pg_attribute JOIN pg_enum ON enumtypid = atttypid
	WHERE attrelid = current_setting('pasqal_jobs.jobs_table')::regclass AND attname = what),
	CASE what WHEN 'status' THEN '{PENDING,RUNNING,DONE,ERROR,CANCELED}'::text[] WHEN 'origin' THEN '{CLIENT,AZURE,UNKNOWN}' END)
$$;

CREATE FUNCTION oracle.entry(what text, VARIADIC loc text[]) RETURNS jsonb LANGUAGE sql STABLE AS $$
SELECT jsonb_build_object('loc', to_jsonb(loc[1:2]) || CASE WHEN loc[3] IS NULL THEN '[]' ELSE to_jsonb(loc[3]::int) END,
						  'msg', msg || coalesce((SELECT string_agg(quote_literal(l), ', ') FROM unnest(labels) AS l), ''), 'type', type)
	|| CASE WHEN labels IS NOT NULL THEN jsonb_build_object('ctx', jsonb_build_object('enum_values', labels))
			WHEN ctx IS NULL THEN '{}' ELSE jsonb_build_object('ctx', ctx) END
FROM oracle.problems, oracle.labels(what) AS labels WHERE problem = what
$$;

CREATE FUNCTION oracle.read_uuid(t text) RETURNS uuid LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	digits text := replace(regexp_replace(regexp_replace(t, '^urn:uuid:', ''), '^\{(.*)\}$', '\1'), '-', '');
BEGIN
	IF digits ~ '^[0-9a-fA-F]{32}$' THEN
		RETURN digits::uuid;
	END IF;
	RETURN NULL;
END
$$;

CREATE FUNCTION oracle.read_integer(t text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF oracle.strip(t) ~ '^[-+]?[0-9]+$' AND length(t) <= 4300 THEN
		RETURN oracle.strip(t)::numeric;
	END IF;
	RETURN NULL;
END
$$;

CREATE FUNCTION oracle.read_boolean(t text) RETURNS bool LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN lower(t COLLATE "C") IN ('true', 't', '1', 'on', 'yes', 'y') THEN true
			WHEN lower(t COLLATE "C") IN ('false', 'f', '0', 'off', 'no', 'n') THEN false END
$$;

CREATE FUNCTION oracle.read_datetime(t text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE SET timezone = 'UTC' AS $$
DECLARE
	part text[];
	number text := oracle.strip(t);
	x float8;
	offs int := 0;
	result timestamp;
BEGIN
	IF number ~ '^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$' THEN
		BEGIN
			x := number::float8;
		EXCEPTION WHEN numeric_value_out_of_range THEN
			IF number !~ '[eE]-' THEN
				RETURN NULL;
			END IF;
			x := 0;
		END;
		IF abs(x) > 3e20 THEN	-- pydantic's MAX_NUMBER
			RETURN CASE WHEN x > 0 THEN '9999-12-31 23:59:59.999999+00' ELSE '0001-01-01 00:00:00+00' END;
		END IF;
		WHILE abs(x) > 2e10 LOOP
			x := x / 1000;
		END LOOP;
		RETURN (timestamp '1970-01-01' + trunc(x)::int8 / 86400 * interval '1 day' + trunc(x)::int8 % 86400 * interval '1 second'
				+ round((x - trunc(x)) * 1e6) * interval '1 microsecond') AT TIME ZONE 'UTC';
	END IF;

	part := regexp_match(t, '^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[T ]([0-9]{1,2}):([0-9]{1,2})(?::([0-9]{1,2})(?:\.([0-9]{1,6})[0-9]{0,6})?)?'
		'(?:Z|([-+])([0-9]{2}):?([0-9]{2})?)?\n?$');
	-- "+02:" has the colon without its minutes
	IF part IS NULL OR t ~ ':\n?$' OR part[4]::int > 23 OR part[5]::int > 59 OR part[6]::int > 59 THEN
		RETURN NULL;
	END IF;
	BEGIN
		result := make_timestamp(part[1]::int, part[2]::int, part[3]::int, part[4]::int, part[5]::int, coalesce(part[6], '0')::int);
	EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
		RETURN NULL;
	END;
	result := result + rpad(coalesce(part[7], ''), 6, '0')::int * interval '1 microsecond';
	IF part[8] IS NOT NULL THEN
		offs := part[9]::int * 60 + coalesce(part[10], '0')::int;
		IF offs >= 1440 THEN
			RETURN NULL;
		END IF;
		result := result - (part[8] || offs)::int * interval '1 minute';
	END IF;
	RETURN result AT TIME ZONE 'UTC';
END
$$;

-- One value of one kind: what it is, or which problem it is
CREATE FUNCTION oracle.read_value(kind text, v jsonb, OUT value jsonb, OUT problem text) LANGUAGE plpgsql STABLE
SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
	type text := jsonb_typeof(v);
	t text := v #>> '{}';
BEGIN
	IF type = 'null' THEN
		problem := 'null';
		RETURN;
	END IF;
	IF kind = 'prefix' AND type = 'string' AND t = '' THEN
		problem := 'empty prefix';
		RETURN;
	END IF;
	IF type = 'string' OR (type = 'number' AND kind IN ('integer', 'boolean', 'datetime')) OR (type = 'boolean' AND kind = 'boolean') THEN
		value := CASE kind
			WHEN 'uuid' THEN to_jsonb(oracle.read_uuid(t))
			WHEN 'prefix' THEN to_jsonb(t)
			WHEN 'text' THEN to_jsonb(t)
			WHEN 'status' THEN CASE WHEN t = ANY (oracle.labels(kind)) THEN to_jsonb(t) END
			WHEN 'origin' THEN CASE WHEN t = ANY (oracle.labels(kind)) THEN to_jsonb(t) END
			WHEN 'integer' THEN to_jsonb(oracle.read_integer(t))
			WHEN 'boolean' THEN to_jsonb(oracle.read_boolean(t))
			WHEN 'datetime' THEN to_jsonb(oracle.read_datetime(t)::text) END;
	END IF;
	IF value IS NULL THEN
		problem := kind;
	END IF;
END
$$;

-- The known filters of an object: what they hold, and the problems with them
CREATE FUNCTION oracle.read_known(filters jsonb, INOUT given jsonb, INOUT problems jsonb) LANGUAGE plpgsql STABLE AS $$
DECLARE
	f oracle.filters;
	v jsonb;
	n int;
	r record;
	good jsonb;
BEGIN
	FOR f IN SELECT * FROM oracle.filters ORDER BY place LOOP
		CONTINUE WHEN NOT filters ? f.key;
		v := filters->f.key;
		IF NOT f.list THEN
			r := oracle.read_value(f.kind, v);
			IF r.problem IS NULL THEN
				given := jsonb_set(given, ARRAY[f.key], r.value);
			ELSE
				problems := problems || oracle.entry(r.problem, 'query', f.key);
			END IF;
			CONTINUE;
		END IF;
		IF v = '[]' THEN
			problems := problems || oracle.entry('empty list', 'query', f.key);
			CONTINUE;
		END IF;
		IF jsonb_typeof(v) <> 'array' THEN
			v := jsonb_build_array(v);
		END IF;
		good := '[]';
		FOR n IN 0 .. jsonb_array_length(v) - 1 LOOP
			r := oracle.read_value(f.kind, v->n);
			IF r.problem IS NULL THEN
				good := good || jsonb_build_array(r.value);
			ELSE
				problems := problems || oracle.entry(r.problem, 'query', f.key, n::text);
			END IF;
		END LOOP;
		given := jsonb_set(given, ARRAY[f.key], good);
	END LOOP;
END
$$;

CREATE FUNCTION oracle.read_arguments(batch uuid, filters jsonb, OUT given jsonb, OUT problems jsonb) LANGUAGE plpgsql STABLE AS $$
DECLARE
	key text;
	r record;
BEGIN
	given := '{}';
	problems := '[]';
	IF batch IS NULL THEN
		problems := problems || oracle.entry('null', 'path', 'batch__id');
	END IF;
	IF filters IS NULL OR filters = 'null' THEN
		problems := problems || oracle.entry('null', 'query');
	ELSIF jsonb_typeof(filters) <> 'object' THEN
		problems := problems || oracle.entry('no object', 'query');
	ELSE
		r := oracle.read_known(filters, given, problems);
		given := r.given;
		problems := r.problems;
		FOR key IN SELECT * FROM jsonb_object_keys(filters) LOOP
			IF key NOT IN (SELECT f.key FROM oracle.filters AS f) THEN
				-- a log must not be flooded: 256 bytes of a key, whole characters
				WHILE octet_length(key) > 256 LOOP
					key := left(key, -1);
				END LOOP;
				problems := problems || oracle.entry('unknown', 'query', key);
			END IF;
		END LOOP;
	END IF;
END
$$;

--
-- Query strings (section 6)
--

-- Is it UTF-8? (U+0000 is, though no text can hold it)
CREATE FUNCTION oracle.is_utf8(b bytea) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF b = '\x00' THEN
		RETURN true;
	END IF;
	PERFORM convert_from(b, 'UTF8');
	RETURN true;
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
	RETURN false;
END
$$;

-- Can more bytes make one character of it?
CREATE FUNCTION oracle.begins_utf8(b bytea, more int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	next bytea;
BEGIN
	FOREACH next IN ARRAY ARRAY['\x80', '\x8f', '\x90', '\x9f', '\xa0', '\xbf']::bytea[] LOOP
		IF oracle.is_utf8(b || next) OR (more > 1 AND oracle.begins_utf8(b || next, more - 1)) THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;

-- %XX decoded; U+0000 becomes U+0001, and nul tells
CREATE FUNCTION oracle.decode(t text, plus bool, OUT decoded text, OUT nul bool) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	bytes bytea := '';
	sent bytea;
	i int := 1;
	n int;
BEGIN
	IF plus THEN
		t := replace(t, '+', ' ');
	END IF;
	WHILE i <= length(t) LOOP
		IF substr(t, i, 3) ~ '^%[0-9a-fA-F]{2}$' THEN
			bytes := bytes || decode(substr(t, i + 1, 2), 'hex');
			i := i + 3;
		ELSE
			bytes := bytes || convert_to(substr(t, i, 1), 'UTF8');
			i := i + 1;
		END IF;
	END LOOP;

	decoded := '';
	nul := false;
	i := 1;
	WHILE i <= length(bytes) LOOP
		-- a character?
		IF get_byte(bytes, i - 1) BETWEEN 1 AND 127 THEN
			decoded := decoded || chr(get_byte(bytes, i - 1));
			i := i + 1;
			CONTINUE;
		END IF;
		FOR n IN 1 .. 4 LOOP
			sent := substr(bytes, i, n);
			EXIT WHEN length(sent) = n AND oracle.is_utf8(sent);
			sent := NULL;
		END LOOP;
		IF sent IS NULL THEN
			-- as many bytes as could have begun one, at least one
			n := 1;
			WHILE n < 3 AND i + n <= length(bytes) AND oracle.begins_utf8(substr(bytes, i, n + 1), 3 - n) LOOP
				n := n + 1;
			END LOOP;
			decoded := decoded || U&'\FFFD';
			i := i + n;
		ELSIF sent = '\x00' THEN
			nul := true;
			decoded := decoded || E'\x01';
			i := i + 1;
		ELSE
			decoded := decoded || convert_from(sent, 'UTF8');
			i := i + length(sent);
		END IF;
	END LOOP;
END
$$;

CREATE FUNCTION oracle.read_request(path text, query text, OUT batch uuid, OUT given jsonb, OUT problems jsonb) LANGUAGE plpgsql STABLE AS $$
DECLARE
	piece text;
	name record;
	value record;
	filters jsonb := '{}';
	f oracle.filters;
	unknown text[] := '{}';
	v jsonb;
	r record;
	key text;
BEGIN
	given := '{}';
	problems := '[]';
	IF path IS NULL THEN
		problems := problems || oracle.entry('null', 'path', 'batch__id');
	ELSE
		value := oracle.decode(path, false);
		batch := oracle.read_uuid(value.decoded);
		IF batch IS NULL THEN
			problems := problems || oracle.entry('uuid', 'path', 'batch__id');
		END IF;
	END IF;
	IF query IS NULL THEN
		problems := problems || oracle.entry('null', 'query');
		RETURN;
	END IF;

	FOREACH piece IN ARRAY string_to_array(query, '&') LOOP
		CONTINUE WHEN piece = '';
		name := oracle.decode(split_part(piece, '=', 1), true);
		value := oracle.decode(CASE WHEN strpos(piece, '=') > 0 THEN substr(piece, strpos(piece, '=') + 1) ELSE '' END, true);
		SELECT * INTO f FROM oracle.filters WHERE filters.key = name.decoded;
		IF NOT FOUND OR name.nul THEN
			IF NOT name.decoded = ANY (unknown) THEN
				unknown := unknown || name.decoded;
			END IF;
			CONTINUE;
		END IF;
		-- an object is a bad value of every kind, as U+0000 is
		v := CASE WHEN value.nul THEN '{"nul": 0}' ELSE to_jsonb(value.decoded) END;
		IF f.list THEN
			v := coalesce(filters->f.key, '[]') || jsonb_build_array(v);
		END IF;
		filters := jsonb_set(filters, ARRAY[f.key], v);
	END LOOP;
	IF filters->>'id__starts_with' = '' THEN
		filters := filters - 'id__starts_with';
	END IF;

	r := oracle.read_known(filters, given, problems);
	given := r.given;
	problems := r.problems;
	FOREACH key IN ARRAY unknown LOOP
		problems := problems || oracle.entry('unknown', 'query', key);
	END LOOP;
END
$$;

--
-- The cancel (section 5), job by job
--
CREATE TYPE oracle.job AS (id uuid, parent_id uuid, status text, runs int, batch_id uuid, project_id uuid,
	user_id text, origin text, created_at timestamptz, updated_at timestamptz, start_timestamp timestamptz,
	end_timestamp timestamptz, variables jsonb, errors text[], progress int, sequence text, creation_order int8, slurm_job_id text);

CREATE FUNCTION oracle.select_from(rel regclass) RETURNS text LANGUAGE sql AS $$
SELECT format('SELECT id, parent_id, status::text, runs, batch_id, project_id, user_id, origin::text, created_at, updated_at,
			   start_timestamp, end_timestamp, variables, errors, progress, sequence, creation_order, slurm_job_id FROM %s', rel)
$$;

CREATE FUNCTION oracle.matches(j oracle.job, given jsonb, by_creation bool) RETURNS bool LANGUAGE plpgsql STABLE
SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
	since timestamptz := CASE WHEN by_creation THEN j.created_at ELSE j.start_timestamp END;
	until timestamptz := CASE WHEN by_creation THEN j.created_at ELSE j.end_timestamp END;
BEGIN
	IF given ? 'id' AND (j.id IS NULL OR NOT given->'id' ? j.id::text) THEN
		RETURN false;
	END IF;
	IF given ? 'id__starts_with' AND left(j.id::text, length(given->>'id__starts_with')) <> lower(given->>'id__starts_with' COLLATE "C") THEN
		RETURN false;
	END IF;
	IF given ? 'batch_id' AND NOT given->'batch_id' ? j.batch_id::text THEN
		RETURN false;
	END IF;
	IF given ? 'project_id' AND (j.project_id IS NULL OR NOT given->'project_id' ? j.project_id::text) THEN
		RETURN false;
	END IF;
	IF given ? 'user_id' AND (j.user_id IS NULL OR NOT given->'user_id' ? j.user_id) THEN
		RETURN false;
	END IF;
	IF given ? 'status' AND (j.status IS NULL OR NOT given->'status' ? j.status) THEN
		RETURN false;
	END IF;
	IF given ? 'min_runs' AND (j.runs IS NULL OR j.runs < (given->>'min_runs')::numeric) THEN
		RETURN false;
	END IF;
	IF given ? 'max_runs' AND (j.runs IS NULL OR j.runs > (given->>'max_runs')::numeric) THEN
		RETURN false;
	END IF;
	IF given ? 'errors' AND (j.errors IS NOT NULL AND cardinality(j.errors) > 0) <> (given->>'errors')::bool THEN
		RETURN false;
	END IF;
	IF given ? 'origin' AND (j.origin IS NULL OR NOT given->'origin' ? j.origin) THEN
		RETURN false;
	END IF;
	IF given ? 'start_date' AND (since IS NULL OR since < (given->>'start_date')::timestamptz) THEN
		RETURN false;
	END IF;
	IF given ? 'end_date' AND (until IS NULL OR until > (given->>'end_date')::timestamptz) THEN
		RETURN false;
	END IF;
	RETURN true;
END
$$;

-- As PostgreSQL writes it into JSON, but with six digits of a fraction or none
CREATE FUNCTION oracle.datetime(t timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE SET timezone = 'UTC' AS $$
DECLARE
	iso text := to_jsonb(t) #>> '{}';
	fraction text := substring(iso FROM '\.[0-9]+');
BEGIN
	RETURN to_jsonb(CASE WHEN fraction IS NULL THEN iso ELSE replace(iso, fraction, rpad(fraction, 7, '0')) END);
END
$$;

CREATE FUNCTION oracle.partial_job(j oracle.job) RETURNS jsonb LANGUAGE sql STABLE AS $$
SELECT jsonb_build_object('id', j.id, 'parent_id', j.parent_id, 'status', j.status, 'runs', j.runs, 'batch_id', j.batch_id,
	'project_id', j.project_id, 'created_at', oracle.datetime(j.created_at), 'updated_at', oracle.datetime(j.updated_at),
	'start_timestamp', oracle.datetime(j.start_timestamp), 'end_timestamp', oracle.datetime(j.end_timestamp),
	'variables', j.variables, 'errors', j.errors, 'progress', j.progress, 'sequence', j.sequence,
	'creation_order', j.creation_order, 'slurm_job_id', j.slurm_job_id)
$$;

-- Jobs that another session has locked, so that no cancel can have them; see oracle_run.sql
CREATE TABLE oracle.held (id uuid, batch_id uuid);
GRANT SELECT ON oracle.held TO public;

-- What a cancel makes of a job: times stay in order, and a running_status leaves the end of the job to its worker
CREATE FUNCTION oracle.assignments(status text, running_status text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN status = 'RUNNING' AND running_status <> 'CANCELED' THEN format('status = %L', running_status)
			ELSE 'status = ''CANCELED'', end_timestamp = greatest(start_timestamp, now())' END || ', updated_at = greatest(updated_at, now())'
$$;

-- The response; with preview nothing is changed, and jobs are told as they are
CREATE FUNCTION oracle.cancel(rel regclass, batch uuid, given jsonb, by_creation bool, preview bool DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	j oracle.job;
	jobs oracle.job[] := '{}';
	errors jsonb := '{}';
	seen uuid[] := '{}';
	named bool := given ? 'id';
	running_status text := coalesce(current_setting('pasqal_jobs.running_status', true), 'CANCELED');
	id text;
BEGIN
	FOR j IN EXECUTE oracle.select_from(rel) LOOP
		CONTINUE WHEN j.batch_id IS DISTINCT FROM batch;
		seen := seen || j.id;
		IF oracle.matches(j, given, by_creation) AND j.status IN ('PENDING', 'RUNNING') THEN
			IF preview THEN
				jobs := jobs || j;
				CONTINUE;
			END IF;
			IF EXISTS (SELECT FROM oracle.held AS h WHERE h.id = j.id AND h.batch_id = j.batch_id) THEN
				errors := errors || jsonb_build_object(j.id, 'Job is locked by another transaction');
				CONTINUE;
			END IF;
			EXECUTE format('UPDATE %s SET %s WHERE id = $1 AND batch_id = $2', rel, oracle.assignments(j.status, running_status))
				USING j.id, j.batch_id;
			EXECUTE oracle.select_from(rel) || ' WHERE id = $1 AND batch_id = $2' INTO j USING j.id, j.batch_id;
			IF j.status IN ('CANCELED', running_status) THEN
				jobs := jobs || j;
			ELSIF j.status IN ('PENDING', 'RUNNING') AND oracle.matches(j, given, by_creation) THEN
				errors := errors || jsonb_build_object(j.id, 'Job was not canceled: a trigger or a row-level security policy kept it');
			ELSIF j.status IN ('PENDING', 'RUNNING') THEN
				CONTINUE WHEN NOT named;	-- not meant any more
				errors := errors || jsonb_build_object(j.id, 'Job does not match the other filters');
			ELSE
				errors := errors || jsonb_build_object(j.id, 'Job cannot be canceled: its status is ' || j.status);
			END IF;
		ELSIF oracle.matches(j, given, by_creation) OR (named AND given->'id' ? j.id::text) THEN
			errors := errors || jsonb_build_object(j.id, CASE WHEN j.status IN ('PENDING', 'RUNNING') THEN 'Job does not match the other filters'
				ELSE 'Job cannot be canceled: its status is ' || coalesce(j.status, 'null') END);
		END IF;
	END LOOP;
	IF named THEN
		FOR id IN SELECT * FROM jsonb_array_elements_text(given->'id') LOOP
			IF NOT id::uuid = ANY (seen) THEN
				errors := errors || jsonb_build_object(id, 'Job was not found in this batch');
			END IF;
		END LOOP;
	END IF;
	RETURN jsonb_build_object('data', jsonb_build_object('errors', errors, 'jobs',
		(SELECT coalesce(jsonb_agg(oracle.partial_job(u) ORDER BY u.creation_order NULLS LAST, u.id), '[]') FROM unnest(jobs) AS u)));
END
$$;

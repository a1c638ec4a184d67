# The library among others: what it lets them see, and what it keeps in memory.
# In TAP because it looks at the file and needs a session of many calls.

use strict;
use warnings;

use PasqalJobs;

# Before PostgreSQL 16 every library's functions were visible to all
my ($libdir) = run_command([ 'pg_config', '--pkglibdir' ]);
my ($symbols) = run_command([ 'nm', '--dynamic', '--defined-only', '--format=posix', "$libdir/pasqal_jobs.so" ]);
my @names = sort grep { !/^pg_finfo_/ } $symbols =~ /^(\S+)/mg;
is("@names", 'Pg_magic_func _PG_init cancel_jobs cancel_jobs_http cancel_jobs_in_chunks cancel_jobs_preview cancel_jobs_rows',
	'only what the server looks up is visible');

my $node = start_server('library');
$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs) SELECT md5('batch')::uuid, md5('project')::uuid, 1 FROM generate_series(1, 10)});

# What a thousand calls add to the memory of the session, in kB. (PL/pgSQL
# itself keeps the plan of a CALL that fails; and the view takes room for what it
# shows of each.)
sub added_by
{
	my ($call) = @_;
	return $node->safe_psql('postgres', qq{
		CREATE TEMP TABLE memory AS SELECT 0::int8 AS bytes;
		DO \$\$
		DECLARE
			a int8;
			b int8;
			used int8;
		BEGIN
			FOR i IN 1 .. 1200 LOOP
				BEGIN
					$call
				EXCEPTION WHEN OTHERS THEN
					NULL;
				END;
				IF i IN (200, 1200) THEN
					SELECT sum(used_bytes) FROM pg_backend_memory_contexts
					WHERE name NOT IN ('CachedPlan', 'ExprContext', 'tuplestore tuples') INTO used;
					UPDATE memory SET bytes = used - bytes;
				END IF;
			END LOOP;
		END \$\$;
		SELECT bytes / 1024 FROM memory});
}
cmp_ok(added_by(q{PERFORM cancel_jobs(md5('batch')::uuid);}), '<', 100, 'a thousand calls leave nothing in memory');
cmp_ok(added_by(q{PERFORM cancel_jobs(md5('batch')::uuid, '{"x": 1}');}), '<', 100, '... nor do errors');
cmp_ok(added_by(q{CALL cancel_jobs_in_chunks(md5('batch')::uuid, '{}', 10, a, b);}), '<', 100, '... nor do chunks that are refused');

# The plan of a statement follows from how many values a filter has, and a value
# that is there twice is one
is($node->safe_psql('postgres', q{
	SELECT count(cancel_jobs(md5('batch')::uuid, jsonb_build_object('status', array_fill('PENDING'::text, ARRAY[n]))) || cancel_jobs(md5('batch')::uuid, jsonb_build_object('user_id', array_fill('x'::text, ARRAY[n]))))
	FROM generate_series(1, 20) AS n;
	SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource' AND ident LIKE 'UPDATE%'}), "20\n2", 'repeated values take no plan of their own');

# ... and a call of the endpoint nothing in that of the statement
cmp_ok($node->safe_psql('postgres', q{
	SELECT max((SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts WHERE code = 200 AND n = 2000))
	FROM generate_series(1, 2000) AS n, LATERAL (SELECT status_code FROM cancel_jobs_http(md5('batch'), 'user_id=' || repeat('x', 20000) || n)) AS c (code)}),
	'<', 10000, 'calls of one statement take the memory of one');

my $chunks = q{
	CREATE PROCEDURE many(n int) LANGUAGE plpgsql AS $$
	DECLARE
		a int8;
		b int8;
		first int8;
		used int8;
	BEGIN
		FOR i IN 1 .. n LOOP
			UPDATE jobs SET status = 'PENDING';
			CALL cancel_jobs_in_chunks(md5('batch')::uuid, '{}', 5, a, b);
			IF i IN (n / 5, n) THEN
				first := used;
				SELECT sum(used_bytes) FROM pg_backend_memory_contexts INTO used;
			END IF;
		END LOOP;
		RAISE NOTICE 'added % kB', (used - first) / 1024;
	END $$;
	CALL many(500)};
my $added = error_of($node, $chunks);
my ($kb) = $added =~ /added (-?\d+) kB/;
ok(defined $kb && $kb < 20, '... nor chunks') or diag $added;

# Of many different statements so many plans stay
my $plans = $node->safe_psql('postgres', q{
	SET jit = off;
	DO $$
	DECLARE
		labels text[] := '{PENDING,RUNNING,DONE,ERROR,CANCELED}';
	BEGIN
		FOR i IN 0 .. 1499 LOOP
			PERFORM cancel_jobs_preview(md5('batch')::uuid, jsonb_build_object('status', labels[1 : 1 + i % 5])
				|| (ARRAY['{}', '{"user_id": "x"}', '{"user_id": ["x", "y"]}'])[1 + i / 5 % 3]::jsonb
				|| (ARRAY['{}', '{"origin": "AZURE"}', '{"origin": ["AZURE", "CLIENT"]}'])[1 + i / 15 % 3]::jsonb
				|| (ARRAY['{}', '{"min_runs": 1}', '{"max_runs": 1}', '{"min_runs": 1, "max_runs": 1}'])[1 + i / 45 % 4]::jsonb
				|| (ARRAY['{}', '{"id__starts_with": "0"}', '{"errors": true}', '{"id__starts_with": "0", "errors": true}'])[1 + i / 180 % 4]::jsonb
				|| (ARRAY['{}', '{"start_date": 1}', '{"end_date": 1}'])[1 + i / 720 % 3]::jsonb);
		END LOOP;
	END $$;
	SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource' AND ident LIKE 'SELECT j.id%'});
cmp_ok($plans, '>', 200, 'plans of many statements are kept');
cmp_ok($plans, '<=', 512, '... and the others are freed');

# What is made for one job or one chunk goes with it: in kB, or how many there
# are, as the statement's trigger sees it
sub memory_of
{
	my ($what, $context, $call) = @_;
	$node->safe_psql('postgres', qq{
		CREATE TABLE seen (n int8);
		CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			INSERT INTO seen SELECT $what FROM pg_backend_memory_contexts WHERE name = '$context';
			RETURN NULL;
		END \$\$;
		CREATE TRIGGER look AFTER UPDATE ON jobs EXECUTE FUNCTION look();
		UPDATE jobs SET status = 'PENDING';
		TRUNCATE seen});
	$node->safe_psql('postgres', $call);
	my $seen = $node->safe_psql('postgres', 'SELECT max(n) FROM seen');
	$node->safe_psql('postgres', 'DROP FUNCTION look CASCADE; DROP TABLE seen');
	return $seen;
}
$node->safe_psql('postgres', q{
	INSERT INTO jobs (batch_id, project_id, runs, sequence)
	SELECT md5('large')::uuid, md5('project')::uuid, 1, repeat(md5(n::text), 1000) FROM generate_series(1, 200) AS n});
my $row = "sum(total_bytes) / 1024";
cmp_ok(memory_of($row, 'pasqal_jobs row', q{SELECT count(job) FROM cancel_jobs_rows(md5('large')::uuid)}), '<', 1000, 'rows take the memory of one');
cmp_ok(memory_of($row, 'pasqal_jobs row', q{SELECT length(cancel_jobs(md5('large')::uuid)::text)}), '<', 1000, '... and so do the jobs of a response');
is(memory_of('count(*)', 'pasqal_jobs chunk', q{CALL cancel_jobs_in_chunks(md5('batch')::uuid, '{}', 1)}), '1', 'chunks take the memory of one');
$node->safe_psql('postgres', q{DELETE FROM jobs WHERE batch_id = md5('large')::uuid});

# Nor is the memory of an answer given back to the system after each call, and
# taken anew, which costs a page fault for each page
SKIP:
{
	skip 'the memory of a process is counted by Linux', 1 unless -r '/proc/self/stat';
	$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs, user_id, variables) SELECT md5('many')::uuid, md5('project')::uuid, 1, 'me', '{"omega_max": 1.5}' FROM generate_series(1, 500)});
	my $faults = q{(regexp_match(pg_read_file('/proc/' || pg_backend_pid() || '/stat'), '.*\) \w( -?\d+){6} (\d+)'))[2]::int8};
	my $calls = q{BEGIN; SELECT count(body) FROM cancel_jobs_http(md5('many')::text); ROLLBACK;};
	my @counts = split /\n/, $node->safe_psql('postgres', join "\n", ($calls) x 10, "SELECT 'faults', $faults;", ($calls) x 20, "SELECT 'faults', $faults;");
	my ($before, $after) = map { /^faults\|(\d+)/ ? $1 : () } @counts;
	note "page faults of a call: ", ($after - $before) / 20;
	cmp_ok(($after - $before) / 20, '<', 50, 'a call of 500 jobs takes its memory where the last one left it');

	# a status of type text may be as long as it likes
	$node->safe_psql('postgres', q{
		ALTER TABLE jobs ALTER status DROP DEFAULT, ALTER status TYPE text;
		INSERT INTO jobs (batch_id, project_id, runs, status)
		SELECT md5('long')::uuid, md5('project')::uuid, 1, n || repeat('x', 1000000) FROM generate_series(1, 20) AS n});
	my $peak = q{(regexp_match(pg_read_file('/proc/' || pg_backend_pid() || '/status'), 'VmHWM:\s+(\d+)'))[1]::int8};
	my $call = q{SELECT count(*) FROM cancel_jobs_rows(md5('%s')::uuid);};
	(undef, $before, undef, $after) = split /\n/, $node->safe_psql('postgres', join "\n", sprintf($call, 'batch'), "SELECT $peak;", sprintf($call, 'long'), "SELECT $peak;");
	cmp_ok($after - $before, '<', 10000, 'long texts of a status take no memory') or diag "$before kB, $after kB";
}

# It is not loaded where it could not take over what the session has set: in the
# worker of a query that a false claim makes parallel
$node->safe_psql('postgres', q{CREATE FUNCTION calls_it() RETURNS jsonb PARALLEL SAFE LANGUAGE plpgsql AS $$ BEGIN RETURN cancel_jobs(md5('batch')::uuid); END $$});
like(error_of($node, q{
	SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
	SELECT calls_it()}),
	qr/ERROR:  25000: cannot load pasqal_jobs during a parallel operation\nHINT:  Label functions that call it PARALLEL UNSAFE/,
	'no parallel worker loads the library');

done_testing();

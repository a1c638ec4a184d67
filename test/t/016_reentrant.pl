# Code inside a call, while a plan is made and while it runs, calls us again, in
# random ways, beside the second implementation of 010_oracle.pl
# (test/long/reentrant_run.sql). And one such case that is not by chance.
#
# TRUST_CASES and TRUST_SEED make it longer and other.

use strict;
use warnings;

use PasqalJobs;

my $cases = $ENV{TRUST_CASES} || 30;
my $node = start_server('reentrant', bare => 1);
my %count = run_cases($node, 'oracle.run_reentrant', $cases, [qw(oracle.sql oracle_run.sql reentrant_run.sql)], 'every call answers as if it were alone');
cmp_ok($count{$_} || 0, '>', $cases / 5, "of substance: $_") for ('calls answered', 'calls inside', 'calls while a plan is made', 'changes inside', 'many calls inside');

# What any role that may connect can do: its policy calls us while the plan of {}
# is made, until all other plans are forgotten. The numbers are those with which
# the place of that plan goes to another one at once, if 256 or 512 are kept; and
# the filters have but DONE jobs of AZURE.
my $forgotten = q{
	SET jit = off;
	SET enable_seqscan = off;
	SET client_min_messages = warning;
	DO $$ BEGIN
		EXECUTE format('CREATE TYPE pg_temp.state AS ENUM (''PENDING'', ''RUNNING'', %s)', (SELECT string_agg(quote_literal(l), ', ') FROM unnest(ARRAY['DONE', 'ERROR', 'CANCELED']
			|| (SELECT array_agg('label ' || n) FROM generate_series(1, 60) AS n)) AS l));
		EXECUTE format('CREATE TYPE pg_temp.place AS ENUM (''CLIENT'', ''AZURE'', ''UNKNOWN'', %s)', (SELECT string_agg(quote_literal('place ' || n), ', ') FROM generate_series(1, 20) AS n));
	END $$;
	SELECT create_jobs_table('pg_temp.jobs') IS NULL;
	ALTER TABLE pg_temp.jobs ALTER status DROP DEFAULT, ALTER status TYPE pg_temp.state USING status::text::pg_temp.state,
		ALTER origin DROP DEFAULT, ALTER origin TYPE pg_temp.place USING origin::text::pg_temp.place;
	INSERT INTO pg_temp.jobs (batch_id, project_id, runs, user_id, status, origin) VALUES (md5('batch')::uuid, md5('project')::uuid, 1, 'me', 'PENDING', 'CLIENT');
	SET pasqal_jobs.jobs_table = 'pg_temp.jobs';
	CREATE FUNCTION pg_temp.filters(n int) RETURNS jsonb STABLE LANGUAGE sql AS
	$$ SELECT jsonb_build_object('status', (enum_range('DONE'::pg_temp.state, NULL))[1 : 1 + n % 60], 'origin', (enum_range('AZURE'::pg_temp.place, NULL))[1 : 1 + n / 60]) $$;
	CREATE FUNCTION pg_temp.f() RETURNS text STABLE LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('my.armed', true) = 'on' THEN
			PERFORM set_config('my.armed', 'off', false);
			FOR i IN 1 .. current_setting('my.many')::int LOOP
				PERFORM cancel_jobs(md5('empty')::uuid, pg_temp.filters(i));
			END LOOP;
		END IF;
		RETURN 'me';
	END $$;
	ALTER TABLE pg_temp.jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON pg_temp.jobs USING (user_id = pg_temp.f());
	DO $$ BEGIN
		PERFORM count(*) FROM cancel_jobs_preview(md5('empty')::uuid, '{}');
		FOR i IN 600 .. 597 + 2 * current_setting('my.many')::int LOOP
			PERFORM count(*) FROM cancel_jobs_preview(md5('empty')::uuid, pg_temp.filters(i));
		END LOOP;
	END $$;
	SET my.armed = 'on';
	SELECT cancel_jobs(md5('empty')::uuid)->'data'->'jobs', current_setting('my.armed');
	SELECT bool_and(cancel_jobs(md5('batch')::uuid, pg_temp.filters(i)) = '{"data": {"jobs": [], "errors": {}}}'), min(status) FROM generate_series(1, current_setting('my.many')::int) AS i, pg_temp.jobs;
};
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');
for my $many (128, 256) { for my $try (1 .. 3)
{
	my (undef, $stdout, $stderr) = $node->psql('postgres', "SET my.many = $many; $forgotten", extra_params => [ '-U', 'mallory' ]);
	is($stderr . $stdout, "f\n[]|off\nt|PENDING", "$many statements inside, session $try: filters mean what they meant");
} }

done_testing();

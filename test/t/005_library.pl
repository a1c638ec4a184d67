# The library among others: what it lets them see, and what it keeps in memory.
# In TAP because it looks at the file and needs a session of many calls.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Before PostgreSQL 16 every library's functions were visible to all
my ($libdir) = run_command([ 'pg_config', '--pkglibdir' ]);
my ($symbols) = run_command([ 'nm', '--dynamic', '--defined-only', '--format=posix', "$libdir/pasqal_jobs.so" ]);
my @names = sort grep { !/^pg_finfo_/ } $symbols =~ /^(\S+)/mg;
is("@names", 'Pg_magic_func _PG_init cancel_jobs cancel_jobs_http cancel_jobs_in_chunks cancel_jobs_preview cancel_jobs_rows',
	'only what the server looks up is visible');

my $node = PostgreSQL::Test::Cluster->new('library');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table();
	INSERT INTO jobs (batch_id, project_id, runs) SELECT md5('batch')::uuid, md5('project')::uuid, 1 FROM generate_series(1, 10)});

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
my ($stdout, $stderr);
$node->psql('postgres', $chunks, stdout => \$stdout, stderr => \$stderr);
my ($kb) = $stderr =~ /added (-?\d+) kB/;
ok(defined $kb && $kb < 20, '... nor chunks') or diag "$stderr";

$node->stop;
done_testing();

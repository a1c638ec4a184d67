# Foreign tables. In TAP because a server of its own must accept connections
# from itself.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('foreign', bare => 1);
my ($host, $port) = ($node->host, $node->port);

$node->safe_psql('postgres', 'CREATE DATABASE remote');
$node->safe_psql('remote', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table();
	INSERT INTO jobs (id, batch_id, project_id, runs, status, user_id, origin, errors, creation_order, start_timestamp)
	SELECT md5('job ' || n)::uuid, md5('batch ' || n % 3)::uuid, md5('project')::uuid, n,
		   (enum_range(NULL::jobstatus))[1 + n % 5], 'user ' || n % 2, 'CLIENT', CASE n % 2 WHEN 0 THEN ARRAY['e'] END, n, '2023-03-20 13:00+00'
	FROM generate_series(1, 30) AS n});
my $columns = $node->safe_psql('remote', q{
	SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
	FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0});
$node->safe_psql('postgres', qq{
	CREATE EXTENSION pasqal_jobs;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw
		OPTIONS (host '$host', port '$port', dbname 'remote', extensions 'pasqal_jobs');
	CREATE USER MAPPING FOR CURRENT_USER SERVER remote;
	CREATE FOREIGN TABLE jobs ($columns) SERVER remote;
	-- without the option, no condition on an enum is sent
	CREATE SERVER plain FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'remote');
	CREATE USER MAPPING FOR CURRENT_USER SERVER plain;
	CREATE FOREIGN TABLE plain_jobs ($columns) SERVER plain OPTIONS (table_name 'jobs');
});

my $batch = "md5('batch 1')::uuid";
my $filters = q{jsonb_build_object('user_id', '["user 0", "user 1", "x"]'::jsonb, 'status', '["RUNNING", "PENDING", "DONE"]'::jsonb,
	'origin', '["CLIENT", "AZURE"]'::jsonb, 'min_runs', 2, 'errors', true, 'start_date', '2023-03-20T13:00:00Z', 'id__starts_with', '')
	- 'id__starts_with'};

# The answer of the same call where the table is, as it would be
sub answer
{
	my ($db, $table, $filter) = @_;
	return $node->safe_psql($db, qq{
		SET pasqal_jobs.jobs_table = '$table';
		BEGIN;
		SELECT jsonb_path_query_array(a, '\$.data.jobs[*].creation_order'), a->'data'->'errors',
			   jsonb_path_query_array(a, '\$.data.jobs[*].status')
		FROM (SELECT cancel_jobs($batch, $filter) AS a) AS x;
		ROLLBACK});
}

for my $filter ("'{}'", $filters, q{jsonb_build_object('id', jsonb_build_array(md5('job 1')::uuid, md5('job 4')::uuid, md5('job 2')::uuid), 'errors', false)})
{
	my $local = answer('remote', 'jobs', $filter);
	like($local, qr/\d/, 'the batch has jobs that match');
	is(answer('postgres', 'jobs', $filter), $local, 'the foreign table answers the same');
	is(answer('postgres', 'plain_jobs', $filter), $local, '... also where conditions cannot be sent');
}

# The UPDATE is sent whole: the remote server sees one UPDATE and no row is
# fetched to be locked
$node->append_conf('postgresql.conf', 'log_statement = all');
$node->reload;
my $log = -s $node->logfile;
answer('postgres', 'jobs', $filters);
ok($node->log_contains('UPDATE public.jobs SET status = .*WHERE.*RETURNING', $log), 'the UPDATE is sent whole');
ok(!$node->log_contains('FOR UPDATE', $log), 'no row is fetched to be locked');

$log = -s $node->logfile;
my $states = q{'{"status": ["PENDING", "RUNNING", "DONE", "ERROR"]}'};
is(answer('postgres', 'jobs', $states), answer('remote', 'jobs', $states), 'several labels');
ok($node->log_contains('UPDATE public.jobs SET status = .*WHERE.*DONE.*RETURNING', $log), '... are sent one by one, the UPDATE whole');
ok(!$node->log_contains('FOR UPDATE', $log), '... and no row is fetched to be locked');

# It arrives, and a remote race is a serialization failure
$node->safe_psql('postgres', "SELECT cancel_jobs($batch)");
is($node->safe_psql('remote', "SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND end_timestamp = updated_at AND batch_id = $batch"),
	'4', 'jobs of the remote table are canceled');

my $worker = open_session($node, "BEGIN; UPDATE jobs SET status = 'DONE' WHERE id = md5('job 30')::uuid", db => 'remote');
my $cancel = start_psql($node, '\set VERBOSITY verbose', "SELECT cancel_jobs(md5('batch 0')::uuid)");
wait_for_lock($node);
$worker->query_safe('COMMIT');
like(finish($cancel)->{err}, qr/ERROR:  40001:/, 'a race on a foreign table is a serialization failure');
is($node->safe_psql('remote', "SELECT count(*) FROM jobs WHERE end_timestamp IS NOT NULL AND batch_id = md5('batch 0')::uuid"), '0', '... and nothing is canceled');
like($node->safe_psql('postgres', "SELECT cancel_jobs(md5('batch 0')::uuid)"), qr/its status is DONE/, 'once more, and it is told');
$worker->quit;

done_testing();

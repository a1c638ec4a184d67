# Partitioned tables: a cancel locks and touches one partition, however many
# there are. In TAP because plans are counted and many partitions are made.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('partitions');
$node->init;
$node->append_conf('postgresql.conf', 'max_locks_per_transaction = 256');
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table('jobs', 64);
	INSERT INTO jobs (id, batch_id, project_id, runs, status)
	SELECT md5('job ' || n)::uuid, md5('batch ' || n % 50)::uuid, md5('project')::uuid, 1, CASE WHEN n % 10 = 0 THEN 'DONE' ELSE 'PENDING' END::jobstatus
	FROM generate_series(1, 5000) AS n;
	VACUUM ANALYZE jobs;
});

# Partitions of jobs and their indexes that the transaction has locked
my $locked = q{
	SELECT count(DISTINCT c.oid) FILTER (WHERE c.relkind = 'r'), count(DISTINCT c.oid) FILTER (WHERE c.relkind = 'i')
	FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation WHERE l.pid = pg_backend_pid() AND c.relname LIKE 'jobs\_p%'
		AND c.relname <> 'jobs_pkey'};

foreach my $call (
	[ 'a batch', "count(cancel_jobs(b))" ],
	[ 'one job', "count(cancel_jobs(b, jsonb_build_object('id', md5('job 51')::uuid)))" ],
	[ 'jobs that ended', "count(cancel_jobs(b, jsonb_build_object('id', jsonb_build_array(md5('job 51')::uuid, md5('job 101')::uuid, md5('none')::uuid))))" ],
	[ 'http', '(SELECT count(body) FROM cancel_jobs_http(b::text))' ],
	[ 'a preview', '(SELECT count(*) FROM cancel_jobs_preview(b))' ])
{
	my ($what, $expression) = @$call;
	# eight times, so that a plan for all values would have come to be used
	my $out = $node->safe_psql('postgres', join(';', map {
		"BEGIN; SELECT $expression FROM (SELECT md5('batch 1')::uuid AS b) AS x; $locked; ROLLBACK" } 1 .. 8));
	my %seen = map { $_ => 1 } grep { /\|/ } split /\n/, $out;
	is_deeply([ sort keys %seen ], ['1|1'], "$what: one partition and its index are locked");
}

# Through a view the plan cache chooses; before it does, no more is locked than the batch's partition
is($node->safe_psql('postgres', "CREATE VIEW seen AS SELECT * FROM jobs; SET pasqal_jobs.jobs_table = 'seen';"
	  . "BEGIN; SELECT count(cancel_jobs(md5('batch 1')::uuid)); $locked; ROLLBACK") =~ s/.*\n//r, '1|1', 'a view: one partition and its index are locked');

# Answers are those of a table without partitions
is($node->safe_psql('postgres', q{
	SELECT create_jobs_table('plain');
	INSERT INTO plain SELECT * FROM jobs;
	CREATE FUNCTION answer(name text, b uuid) RETURNS jsonb LANGUAGE sql AS $$
		SELECT set_config('pasqal_jobs.jobs_table', name, true);
		SELECT cancel_jobs(b) $$;
	SELECT bool_and(answer('plain', b) = answer('jobs', b)), count(*) FROM (SELECT DISTINCT batch_id AS b FROM jobs) AS x}) =~ s/^(jobs|plain)\n//mgr,
	't|50', 'answers are the same');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM jobs JOIN plain USING (id, batch_id, status, updated_at) WHERE jobs.end_timestamp IS NOT DISTINCT FROM plain.end_timestamp}),
	'5000', '... and so are the tables');

$node->stop;
done_testing();

# Partitioned tables: a cancel locks and touches one partition, however many
# there are. In TAP because plans are counted and many partitions are made.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('partitions', bare => 1, conf => 'max_locks_per_transaction = 256');
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

# Partitions by age: both dates of creation leave those of other ages alone
$node->safe_psql('postgres', q{
	CREATE TABLE ages (LIKE jobs INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (batch_id, id, created_at)) PARTITION BY RANGE (created_at);
	SELECT format('CREATE TABLE jobs_p_age_%s PARTITION OF ages FOR VALUES FROM (%L) TO (%L)', month, day, day + interval '1 month')
	FROM generate_series(1, 12) AS month, make_timestamptz(2026, month, 1, 0, 0, 0) AS day \gexec
	INSERT INTO ages (batch_id, project_id, runs, created_at) SELECT md5('aged')::uuid, md5('project')::uuid, n, '2026-05-05Z' FROM generate_series(1, 3) AS n});
sub ages_locked
{
	my ($date_filter) = @_;
	return $node->safe_psql('postgres', "SET pasqal_jobs.jobs_table = 'ages'; SET pasqal_jobs.date_filter = '$date_filter';"
		  . join(';', map { qq{BEGIN; SELECT jsonb_array_length(cancel_jobs(md5('aged')::uuid, '{"start_date": "2026-05-05T00:00Z", "end_date": "2026-05-06T00:00Z"}') #> '{data,jobs}'); $locked; ROLLBACK} } 1 .. 8)) =~ s/\A\n+//r;
}
is(ages_locked('creation'), join("\n", ("3\n1|1") x 8), 'partitions by age: with both dates of creation one partition and its index are locked');
is(ages_locked('execution'), join("\n", ("0\n12|12") x 8), '... with those of execution all of them');

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

done_testing();

# What makes a cancel fast: saved plans, an index, HOT updates, no temporary
# file. In TAP because pg_stat_statements must be preloaded to count plannings.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('plans', conf => q{
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = all
pg_stat_statements.track_planning = on
log_temp_files = 0
autovacuum = off
});

$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_stat_statements;
	INSERT INTO jobs (id, batch_id, project_id, runs, status)
	SELECT md5('job ' || n)::uuid, md5('batch ' || n % 100)::uuid, md5('project')::uuid, 1,
		   CASE WHEN n % 10 = 1 THEN 'DONE' ELSE 'PENDING' END::jobstatus
	FROM generate_series(1, 100000) AS n;
	-- a batch that is larger than the others: the plan cache would plan for each
	INSERT INTO jobs (batch_id, project_id, runs)
	SELECT md5('large')::uuid, md5('project')::uuid, 1 FROM generate_series(1, 20000);
	VACUUM ANALYZE jobs;
});

# Calls and plannings of the statements that match, in one line
sub statements
{
	my ($pattern) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT sum(calls), sum(plans) FROM pg_stat_statements WHERE query LIKE '$pattern'});
}

sub cancel_one
{
	my ($n) = @_;
	return qq{SELECT jsonb_array_length(cancel_jobs(md5('batch ' || $n % 100)::uuid,
		jsonb_build_object('id', md5('job $n')::uuid))->'data'->'jobs');\n};
}

# One session, twenty cancels of one job by id: planned once
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
my $out = $node->safe_psql('postgres', join('', map { cancel_one($_ * 10 + 2) } 1 .. 20));
is($out, join("\n", (1) x 20), 'each call canceled its job');
is(statements('UPDATE%jobs AS j SET%'), '20|1', 'twenty cancels by id, one planning');
is(statements('SELECT j.id%'), '|', 'named jobs that were canceled need no other statement');

# A change of the table makes a new plan, once
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
$node->safe_psql('postgres', cancel_one(12) . "ALTER TABLE jobs SET (fillfactor = 50);\n"
	  . join('', map { cancel_one($_ * 10 + 3) } 1 .. 5));
is(statements('UPDATE%jobs AS j SET%'), '6|2', 'ALTER TABLE is followed by one planning');

# A cancel that failed does not keep its plan from being replaced
my $error = error_of($node, qq{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'refused'; END \$\$;
	CREATE TRIGGER refuse BEFORE UPDATE ON jobs EXECUTE FUNCTION refuse();
	@{[cancel_one(14)]}
	DROP TRIGGER refuse ON jobs;
	SELECT pg_stat_statements_reset();\n} . join('', map { cancel_one($_ * 10 + 4) } 1 .. 5), on_error_stop => 0);
like($error, qr/ERROR:  P0001: refused/, 'a cancel fails');
is(statements('UPDATE%jobs AS j SET%'), '5|1', '... and is followed by one planning');

# Whole batches, of whatever size
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
$node->safe_psql('postgres', join('', map {
	"SELECT count(cancel_jobs(md5('batch $_')::uuid));\n" } 50 .. 79));
my ($calls, $plans) = split /\|/, statements('UPDATE%jobs AS j SET%');
is($calls, 30, 'thirty batches');
is($plans, 1, 'whole batches share a plan');
is(statements('SELECT j.id%'), '30|1', '... and one for the first read');
is($node->safe_psql('postgres', 'SET plan_cache_mode = force_custom_plan; SELECT pg_stat_statements_reset();'
	  . join('', map { "SELECT count(cancel_jobs(md5('batch $_')::uuid));\n" } 1 .. 3)
	  . "SELECT plans FROM pg_stat_statements WHERE query LIKE 'UPDATE%jobs AS j SET%'") =~ s/.*\n//sr, '4', 'plan_cache_mode is heeded');

# What three batches read and update without the index of batches, or with
# another in its place: planned for each of them, after the one plan for all
sub three_batches
{
	my ($indexes) = @_;
	$node->safe_psql('postgres', "BEGIN; DROP INDEX jobs_batch_id_idx; $indexes; SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SELECT pg_stat_statements_reset();"
		  . join('', map { "SELECT count(cancel_jobs(md5('batch $_')::uuid));\n" } 10 .. 12) . 'ROLLBACK');
	return statements('SELECT j.id%') . ' ' . statements('UPDATE%jobs AS j SET%');
}
is(three_batches('SELECT'), '3|4 3|4', 'no index');
is(three_batches('CREATE INDEX ON jobs (project_id, batch_id)'), '3|4 3|4', 'an index that begins with another column');
is(three_batches("CREATE INDEX ON jobs ((project_id::text), batch_id)"), '3|4 3|4', 'an index that begins with an expression');
# 18 reads it for the UPDATE, too, although that is disabled
like(three_batches('CREATE INDEX ON jobs (batch_id, id, status); SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexscan = off'),
	qr/^3\|1 3\|[14]$/, 'an index that the first read needs no table for');

# A plan for all values that PostgreSQL would compile is not used: a small batch
# beside a large one. By hand, planned for the batch, nothing is compiled, either
$node->safe_psql('postgres', q{
	SELECT create_jobs_table('skewed');
	INSERT INTO skewed (batch_id, project_id, runs, status) SELECT md5('large')::uuid, md5('project')::uuid, 1, 'DONE' FROM generate_series(1, 20000);
	INSERT INTO skewed (batch_id, project_id, runs) SELECT md5('small')::uuid, md5('project')::uuid, 1 FROM generate_series(1, 3);
	VACUUM ANALYZE skewed});
my $compiled = sub {
	my ($calls) = @_;
	return $node->safe_psql('postgres', "SET jit_above_cost = 200; SET pasqal_jobs.jobs_table = 'skewed'; SELECT pg_stat_statements_reset(); $calls;
		SELECT sum(jit_functions) > 0 FROM pg_stat_statements WHERE query ~ 'skewed'") =~ s/.*\n//sr;
};
SKIP:
{
	skip 'this PostgreSQL cannot compile', 4 if $node->safe_psql('postgres', 'SELECT pg_jit_available()') eq 'f';
	my $by_hand = q{PREPARE hand AS UPDATE skewed SET status = 'CANCELED', updated_at = now(), end_timestamp = now() WHERE batch_id = $1 AND status IN ('PENDING', 'RUNNING');
			EXECUTE hand(md5('small')::uuid)};
	is($compiled->("SET plan_cache_mode = force_generic_plan; $by_hand"), 't', 'jit: PostgreSQL would compile a plan for all batches');
	is($compiled->($by_hand), 'f', '... and not one for a small batch');
	is($compiled->(q{SELECT count(cancel_jobs(md5('small')::uuid)) FROM generate_series(1, 10)}), 'f', '... nor does cancel_jobs');
	is($compiled->(q{SELECT count(*) FROM cancel_jobs_preview(md5('small')::uuid);} x 10), 'f', '... nor a preview');
}
$node->safe_psql('postgres', 'DROP TABLE skewed');

# Many tables in turn: their plans stay
$node->safe_psql('postgres', q{SET client_min_messages = warning; SELECT create_jobs_table('turn' || n) FROM generate_series(1, 120) AS n});
my $turn = join '', map { "SET pasqal_jobs.jobs_table = 'turn$_'; SELECT count(cancel_jobs(md5('batch 1')::uuid));\n" } 1 .. 120;
$node->safe_psql('postgres', "${turn}SELECT pg_stat_statements_reset();$turn$turn");
is(statements('UPDATE%turn%'), '240|0', '120 tables in turn are planned once');
$node->safe_psql('postgres', 'DROP TABLE ' . join(', ', map { "turn$_" } 1 .. 120));

# Reading and updating a batch use the index
$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
$node->safe_psql('postgres', "SELECT count(cancel_jobs(md5('batch 90')::uuid)); SELECT pg_stat_force_next_flush()");
is($node->safe_psql('postgres', "SELECT seq_scan, idx_scan > 0, n_tup_upd, n_tup_hot_upd = n_tup_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"),
	'0|t|1000|t', 'no sequential scan, every update is HOT');

# Chunks find jobs where they were, without the index of their ids; a trigger
# that may keep a job would run twice for it
sub chunks_use_ids
{
	$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
	$node->safe_psql('postgres', "CALL cancel_jobs_in_chunks(md5('large')::uuid); SELECT pg_stat_force_next_flush()");
	is($node->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE batch_id = md5('large')::uuid AND status = 'PENDING'"), '0', 'chunks cancel all');
	return $node->safe_psql('postgres', "SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelname = 'jobs_pkey'");
}
is(chunks_use_ids(), 'f', 'chunks need no index of ids');
$node->safe_psql('postgres', q{
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
	UPDATE jobs SET status = 'PENDING' WHERE batch_id = md5('large')::uuid;
	CREATE TRIGGER pass BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION pass()});
is(chunks_use_ids(), 't', '... but with a trigger that may keep jobs');
$node->safe_psql('postgres', 'DROP TRIGGER pass ON jobs');
# (with Citus, the condition on the batch must not be hidden)
for my $setting ('plan_cache_mode = force_generic_plan', 'enable_tidscan = off', 'citus.shard_count = 1')
{
	$node->safe_psql('postgres', "UPDATE jobs SET status = 'PENDING' WHERE batch_id = md5('large')::uuid; ALTER DATABASE postgres SET $setting");
	is(chunks_use_ids(), 't', "... and with $setting");
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET ALL');
}

# A batch that came after ANALYZE: the planner takes it for one of ten jobs, so
# that it would find the jobs of each chunk by the index of batches
$node->safe_psql('postgres', q{
	SELECT create_jobs_table('few');
	INSERT INTO few (batch_id, project_id, runs) SELECT md5('batch ' || n / 10)::uuid, gen_random_uuid(), 1 FROM generate_series(1, 20000) AS n;
	ANALYZE few;
	INSERT INTO few (batch_id, project_id, runs) SELECT md5('new')::uuid, gen_random_uuid(), 1 FROM generate_series(1, 3000)});
$node->safe_psql('postgres', "SET pasqal_jobs.jobs_table = 'few'; CALL cancel_jobs_in_chunks(md5('new')::uuid, '{}', 500)");
is($node->safe_psql('postgres', "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'few'"), '3000',
	'chunks of a batch that is new to the planner read an index once');

# Half of the jobs at once: no temporary file
my $log = -s $node->logfile;
$node->safe_psql('postgres', q{
	UPDATE jobs SET batch_id = md5('big')::uuid WHERE id < '80000000-0000-0000-0000-000000000000';
	VACUUM ANALYZE jobs;
	SET work_mem = '64kB';
	SELECT count(cancel_jobs(md5('big')::uuid))});
ok(!$node->log_contains('temporary file', $log), 'a large cancel writes no temporary file');

done_testing();

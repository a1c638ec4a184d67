# A chunked cancel: progress, interruption and resumption, snapshots and locks
# no longer than a chunk, notifications; a preview on a standby. In TAP because
# it takes several sessions and servers. Runs alone: it tests the pause between
# chunks, and the time that is said to be left.

use strict;
use warnings;

use PasqalJobs;

my $jobs = $ENV{CHUNK_JOBS} // 60_000;
my $batch = "'b0000000-0000-4000-8000-000000000001'";

my $node = start_server('chunks', allows_streaming => 1,
	conf => "autovacuum = off\nmax_wal_size = 4GB\nshared_buffers = 256MB\nshared_preload_libraries = 'pg_stat_statements'");
$node->safe_psql('postgres', qq{
	SELECT create_jobs_table('reference');
	INSERT INTO jobs (batch_id, project_id, runs, status)
	SELECT $batch, gen_random_uuid(), 1, CASE WHEN n % 10 = 0 THEN 'DONE' WHEN n % 3 = 0 THEN 'RUNNING' ELSE 'PENDING' END::jobstatus
	FROM generate_series(1, $jobs) AS n;
	INSERT INTO reference SELECT * FROM jobs;
	VACUUM ANALYZE jobs;
});
my $cancelable = $jobs * 9 / 10;

# A trigger that slows each statement down, and a pause, so that seconds pass
$node->safe_psql('postgres', q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
	CREATE TRIGGER slow AFTER UPDATE ON jobs FOR EACH STATEMENT EXECUTE FUNCTION slow()});

my $call = start_psql($node, "SET pasqal_jobs.chunk_pause = '50ms'", "CALL cancel_jobs_in_chunks($batch, '{}', 1000)");
wait_until($node, "SELECT count(*) >= 5000 FROM jobs WHERE status = 'CANCELED'");

# While it runs: the oldest snapshot moves on, and rows of other chunks are free
my $horizon = "SELECT backend_xmin FROM pg_stat_activity WHERE query LIKE 'CALL cancel%' AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()";
wait_until($node, "SELECT EXISTS ($horizon)");
my $first = $node->safe_psql('postgres', "$horizon UNION ALL SELECT '0' LIMIT 1");
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM ($horizon) AS x WHERE backend_xmin::text::bigint > $first)"), 'no snapshot is held longer than a chunk');
is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM (SELECT FROM jobs WHERE status = 'RUNNING' FOR UPDATE SKIP LOCKED LIMIT 10) AS x"), 't', 'rows of later chunks are not locked');
wait_until($node, "SELECT count(*) >= 15000 FROM jobs WHERE status = 'CANCELED'");

# How far it is, seen from another session
my $activity = "SELECT query FROM pg_stat_activity WHERE query LIKE 'CALL cancel%' AND pid <> pg_backend_pid()";
like($node->safe_psql('postgres', $activity), qr/^CALL cancel_jobs_in_chunks\($batch, \.\.\.\) -- tried (\d+)000 of $cancelable jobs, canceled \g{1}000, failed \d+$/,
	'pg_stat_activity.query shows the batch, and jobs tried, canceled and failed');

# Interrupted: what is committed stays
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL cancel%' AND pid <> pg_backend_pid()");
my $stderr = finish($call)->{err};
like($stderr, qr/NOTICE:  canceled \d+000 of $cancelable jobs \(\d+ %\), about \d+ s left/, 'progress is told');
like($stderr, qr/ERROR:  canceling statement due to user request/, 'it can be interrupted');
like($stderr, qr/CONTEXT:.*chunks with \d+000 of $cancelable jobs were committed, \d+000 of these canceled/s, '... and its context says what stays');
my $done = $node->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE status = 'CANCELED'");
cmp_ok($done, '>=', 15000, 'what was committed stays');
is($done % 1000, 0, 'whole chunks');
is($node->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE status = 'RUNNING' OR (status = 'CANCELED' AND creation_order % 10 <> 0 AND creation_order % 3 = 0)"), $cancelable / 3,
	'jobs that run come after those that wait');

# ... and called again it ends as one call would have
$node->safe_psql('postgres', 'DROP TRIGGER slow ON jobs');
is($node->safe_psql('postgres', "CALL cancel_jobs_in_chunks($batch, '{}', 1000)"), ($cancelable - $done) . '|' . ($jobs - $cancelable + $done), 'the rest is canceled');
$node->safe_psql('postgres', "SET pasqal_jobs.jobs_table = 'reference'; SELECT count(*) FROM cancel_jobs_rows($batch)");
is($node->safe_psql('postgres', "SELECT count(*) FROM jobs JOIN reference USING (id) WHERE jobs.status = reference.status AND (jobs.end_timestamp IS NULL) = (reference.end_timestamp IS NULL)"),
	$jobs, 'the table is as one call leaves it');

# A pause between chunks: no snapshot, no lock, and it can be interrupted
$node->safe_psql('postgres', "UPDATE jobs SET status = 'PENDING' WHERE creation_order <= 30");
my $pausing = open_session($node, "SET pasqal_jobs.chunk_pause = '1h'", on_error_stop => 0);
send_query($pausing, "CALL cancel_jobs_in_chunks($batch, '{\"status\": \"PENDING\"}', 10)");
my $event = $node->safe_psql('postgres', 'SHOW server_version_num') >= 170000 ? 'PasqalJobsChunkPause' : 'Extension';
wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND wait_event = '$event'");
is($node->safe_psql('postgres', qq{SELECT backend_xid IS NULL, backend_xmin IS NULL, query LIKE '% -- tried 10 of 30 jobs, canceled 10, failed 0',
	(SELECT count(*) FROM pg_locks AS l WHERE l.pid = a.pid AND locktype <> 'virtualxid')
	FROM pg_stat_activity AS a WHERE wait_event_type = 'Extension'}), 't|t|t|0', 'a pause holds no snapshot and no lock');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Extension'");
is($pausing->query(q{SELECT 'alive'}), 'alive', 'a pause can be interrupted');
like($pausing->{stderr}, qr/canceling statement due to user request/, '... with its error');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%tried%' AND pid <> pg_backend_pid()"), '0', 'nothing of its progress is left in pg_stat_activity');
$pausing->quit;
like($node->safe_psql('postgres', qq{
	CREATE TABLE began AS SELECT clock_timestamp() AS at;
	SET pasqal_jobs.chunk_pause = '100ms';
	CALL cancel_jobs_in_chunks($batch, '{"status": "PENDING"}', 10);
	SELECT CASE WHEN clock_timestamp() - at BETWEEN '0.1 s' AND '10 s' THEN 'paused' END FROM began;
	DROP TABLE began}), qr/^20\|\d+\npaused$/, 'the pause is as long as it says');

# The query_id is the CALL's in each chunk
is($node->safe_psql('postgres', qq{
	CREATE EXTENSION pg_stat_statements;
	CREATE TABLE seen (query_id bigint);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO seen SELECT query_id FROM pg_stat_activity WHERE pid = pg_backend_pid();
		RETURN NULL;
	END \$\$;
	CREATE TRIGGER see AFTER UPDATE ON jobs EXECUTE FUNCTION see();
	UPDATE jobs SET status = 'PENDING' WHERE creation_order <= 30;
	TRUNCATE seen;
	CALL cancel_jobs_in_chunks($batch, '{"status": "PENDING"}', 10);
	SELECT count(*), string_agg(DISTINCT left(query, 26), ' ') FROM seen JOIN pg_stat_statements ON query_id = queryid;
	DROP FUNCTION see CASCADE;
	DROP TABLE seen}), "30|0\n3|CALL cancel_jobs_in_chunks", 'query_id stays that of the CALL');

# What is left is estimated by the chunks, not by the time that the list took
my $notices = error_of($node, qq{
	CREATE FUNCTION slow_list() RETURNS bool LANGUAGE plpgsql AS \$\$ BEGIN
		PERFORM pg_sleep(4) WHERE current_setting('test.slow', true) = 'yes';
		PERFORM set_config('test.slow', 'no', false);
		RETURN true;
	END \$\$;
	CREATE VIEW slow_jobs AS SELECT * FROM jobs WHERE slow_list();
	CREATE FUNCTION slow_chunk() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(1.1); RETURN NULL; END \$\$;
	UPDATE jobs SET status = 'PENDING' WHERE creation_order <= 20;
	CREATE TRIGGER slow_chunk AFTER UPDATE ON jobs EXECUTE FUNCTION slow_chunk();
	SET test.slow = 'yes';
	SET pasqal_jobs.jobs_table = 'slow_jobs';
	CALL cancel_jobs_in_chunks($batch, '{"status": "PENDING"}', 10);
	DROP FUNCTION slow_chunk CASCADE;
	DROP VIEW slow_jobs});
like($notices, qr/NOTICE:  00000: canceled 10 of 20 jobs \(50 %\), about [1-4] s left/, 'the time of the list is not part of the estimate');
unlike($notices, qr/canceled 20 of 20 jobs \(/, 'nor is there an estimate once nothing is left');

# The places of jobs that are gone may be those of jobs that are not in the list
$node->safe_psql('postgres', qq{
	CREATE TABLE places AS SELECT ctid AS place FROM jobs WHERE false;
	CREATE TABLE moving (LIKE jobs INCLUDING ALL);
	INSERT INTO moving (batch_id, project_id, runs) SELECT $batch, gen_random_uuid(), 1 FROM generate_series(1, 40);
	INSERT INTO places SELECT ctid FROM moving});
my $slowly = open_session($node, "SET pasqal_jobs.jobs_table = 'moving'; SET pasqal_jobs.chunk_pause = '3s'");
send_query($slowly, "CALL cancel_jobs_in_chunks($batch, '{}', 20)");
wait_until($node, "SELECT count(*) = 20 FROM moving WHERE status = 'CANCELED'");
$node->safe_psql('postgres', "DELETE FROM moving WHERE status = 'PENDING' AND creation_order % 2 = 0");
$node->safe_psql('postgres', 'VACUUM moving');
$node->safe_psql('postgres', "INSERT INTO moving (batch_id, project_id, runs) SELECT $batch, gen_random_uuid(), 2 FROM generate_series(1, 100)");
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM moving JOIN places ON moving.ctid = place WHERE runs = 2'), '>=', 10,
	'new jobs are where jobs of the list were');
like($slowly->query('SELECT 1'), qr/^30\|0$/m, 'what is left of the list is canceled');
is($node->safe_psql('postgres', 'SELECT runs, status, count(*) FROM moving GROUP BY 1, 2 ORDER BY 1'), "1|CANCELED|30\n2|PENDING|100", '... and nothing else');
$slowly->quit;
$node->safe_psql('postgres', 'DROP TABLE moving, places');

# Does something to a table at the end of the first of two chunks, for which the
# lock of the batch holds that one up until its lock of the table waits; what the
# call prints
sub between_chunks
{
	my ($table, $size, $deed) = @_;
	my ($holder, $caller, $other) = map { open_session($node, "SET pasqal_jobs.jobs_table = '$table'; SET client_min_messages = $_", on_error_stop => 0) } qw(notice notice error);
	$holder->query_safe("BEGIN; SELECT cancel_jobs($batch, '{\"user_id\": \"nobody\"}')");
	send_query($caller, "CALL cancel_jobs_in_chunks($batch, '{}', $size)");
	wait_until($node, 'SELECT count(*) = 1 FROM pg_locks WHERE NOT granted');
	send_query($other, "BEGIN;\n$deed;\nCOMMIT");
	wait_until($node, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'");
	$holder->query_safe('COMMIT');
	my $printed = $caller->query('SELECT 1') . $caller->{stderr};
	$_->quit for $holder, $other, $caller;
	return $printed;
}

# ... also if no job of a long list is left
$node->safe_psql('postgres', qq{
	CREATE TABLE emptied (LIKE jobs INCLUDING ALL);
	INSERT INTO emptied (batch_id, project_id, runs) SELECT $batch, gen_random_uuid(), 1 FROM generate_series(1, 100002)});
like(between_chunks('emptied', 50001, "TRUNCATE emptied; INSERT INTO emptied (batch_id, project_id, runs) SELECT $batch, gen_random_uuid(), 2 FROM generate_series(1, 60000)"),
	qr/^50001\|0$/m, 'a long list of which nothing is left');
is($node->safe_psql('postgres', 'SELECT runs, status, count(*) FROM emptied GROUP BY 1, 2'), '2|PENDING|60000', '... and nothing else is canceled');

# A table that is a view by the second chunk is another one
SKIP: {
	skip 'since PostgreSQL 16 no table becomes a view', 2 if $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000;

	$node->safe_psql('postgres', q{
		TRUNCATE emptied;
		INSERT INTO emptied (batch_id, project_id, runs) SELECT batch_id, project_id, 1 FROM jobs LIMIT 4;
		CREATE TABLE turning (LIKE jobs);
		INSERT INTO turning SELECT * FROM emptied});
	like(between_chunks('turning', 2, 'TRUNCATE turning; CREATE RULE "_RETURN" AS ON SELECT TO turning DO INSTEAD SELECT * FROM emptied'),
		qr/ERROR:  jobs relation "turning" was replaced or altered between two chunks/, 'a table that becomes a view');
	is($node->safe_psql('postgres', 'SELECT status, count(*) FROM turning GROUP BY 1'), 'PENDING|4', '... is left alone');
	$node->safe_psql('postgres', 'DROP VIEW turning');
}
$node->safe_psql('postgres', 'DROP TABLE emptied');

# A job that a worker holds delays no other; what the worker did counts
$node->safe_psql('postgres', "UPDATE jobs SET status = 'PENDING' WHERE creation_order <= 30");
my $worker = open_session($node, "BEGIN; UPDATE jobs SET status = 'DONE' WHERE creation_order = 15");
$call = start_psql($node, "CALL cancel_jobs_in_chunks($batch, '{\"status\": \"PENDING\"}', 10)");
wait_for_lock($node);
is($node->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE creation_order <= 30 AND status = 'CANCELED'"), '29', 'all other jobs are canceled and committed');
$worker->query_safe('COMMIT');
$worker->quit;
is(finish($call)->{out}, '29|1', 'the job that was done meanwhile is counted as failed');

# One notification a chunk, one a call, none if nothing was canceled
$node->safe_psql('postgres', "UPDATE jobs SET status = 'PENDING' WHERE creation_order <= 25");
(my $out = $node->safe_psql('postgres', qq{
	LISTEN pasqal;
	SET pasqal_jobs.notify_channel = 'pasqal';
	CALL cancel_jobs_in_chunks($batch, '{"status": "PENDING"}', 10);
	SELECT count(cancel_jobs($batch, '{"status": "PENDING"}'));
	UPDATE jobs SET status = 'RUNNING' WHERE creation_order <= 3;
	SELECT count(*) FROM cancel_jobs_rows($batch, '{"status": "RUNNING"}');
	UPDATE jobs SET status = 'RUNNING' WHERE creation_order <= 2;
	SELECT status_code FROM cancel_jobs_http($batch, 'status=RUNNING')})) =~ s/ received from.*//g;
my @heard = $out =~ /payload "(.*)"/g;
is_deeply(\@heard, [ map { qq({"batch_id": "b0000000-0000-4000-8000-000000000001", "canceled": $_}) } 10, 10, 5, 3, 2 ], 'notifications');

# ... on the channel of the call's beginning
$out = $node->safe_psql('postgres', qq{
	CREATE FUNCTION divert() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM set_config('pasqal_jobs.notify_channel', 'other', true); RETURN NULL; END \$\$;
	CREATE TRIGGER divert BEFORE UPDATE ON jobs EXECUTE FUNCTION divert();
	LISTEN pasqal;
	LISTEN other;
	SET pasqal_jobs.notify_channel = 'pasqal';
	UPDATE jobs SET status = 'PENDING' WHERE creation_order = 1;
	SELECT count(cancel_jobs($batch, '{"status": "PENDING"}'));
	DROP FUNCTION divert CASCADE});
is(join(' ', $out =~ /notification "(\w+)"/g), 'pasqal', 'a trigger does not divert them');

# A preview works on a standby, and a cancel there says why not
$node->safe_psql('postgres', "UPDATE jobs SET status = 'PENDING' WHERE creation_order <= 4");
my $standby = start_standby($node);
is($standby->safe_psql('postgres', "SELECT count(*) FILTER (WHERE error IS NULL), count(*) FROM cancel_jobs_preview($batch)"), "4|$jobs", 'preview on a standby');
is($standby->safe_psql('postgres', "SELECT count(*) FROM cancel_jobs_preview($batch, jsonb_build_object('id', gen_random_uuid())) WHERE error = 'Job was not found in this batch'"), '1', '... of named jobs');
like(error_of($standby, "SELECT cancel_jobs($batch)"), qr/cannot (execute UPDATE in a read-only transaction|acquire lock mode|.*during recovery)/, 'no cancel on a standby');

# Settings are placeholders before the library is loaded
for my $setting ([ 'date_filter', 'typo', 'execution, creation' ], [ 'max_jobs', '1oo', '0 .no limit.' ], [ 'max_jobs', '-1', '0 .no limit.' ], [ 'chunk_pause', '1 fortnight', '0 to' ])
{
	my ($name, $bad, $hint) = @$setting;
	like(error_of($node, "SET pasqal_jobs.$name = '$bad'; SELECT cancel_jobs($batch, '{\"user_id\": \"nobody\"}')"), qr/ERROR:  \w+: invalid value for parameter "pasqal_jobs.$name": "$bad".*HINT:  .*Available values: $hint/s, "a bad placeholder of $name is an error at use");
	like(error_of($node, "LOAD 'pasqal_jobs'; SET pasqal_jobs.$name = '$bad'"), qr/ERROR:  .*(invalid value for parameter "pasqal_jobs.$name"|outside the valid range for parameter "pasqal_jobs.$name")/, '... and is refused at once where the library is loaded');
}
$node->safe_psql('postgres', "CREATE ROLE operator; CREATE ROLE api LOGIN; ALTER ROLE api SET pasqal_jobs.jobs_table = 'reference'; GRANT SELECT, UPDATE ON reference TO api");
is($node->safe_psql('postgres', "SELECT count(*) FROM cancel_jobs_preview($batch)", extra_params => [ '-U', 'api' ]), $jobs, 'ALTER ROLE … SET is heeded');
$node->append_conf('postgresql.conf', "session_preload_libraries = 'pasqal_jobs'");
$node->reload;
like(error_of($node, "SET pasqal_jobs.date_filter = 'typo'"), qr/ERROR:  22023: invalid value for parameter.*HINT:  Available values: execution, creation/s, 'with session_preload_libraries it is refused at once');

done_testing();

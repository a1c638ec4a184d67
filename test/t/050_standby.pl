# A standby: what it reads after a cancel, which is stale until it has applied the
# cancel, and the two ways of doc/api.md to wait for that; and that it refuses to
# cancel at once. TAP, since it takes a standby.

use strict;
use warnings;

use PasqalJobs;

my $primary = start_server('primary', allows_streaming => 1);
$primary->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs) SELECT md5(b::text)::uuid, md5('p')::uuid, 1 FROM generate_series(1, 2) AS b});
my $standby = start_standby($primary);

my $status = sub { $standby->safe_psql('postgres', "SELECT status FROM jobs WHERE batch_id = md5('$_[0]')::uuid") };
my $preview = sub { $standby->safe_psql('postgres', "SELECT status, error FROM cancel_jobs_preview(md5('$_[0]')::uuid)") };

# The reader waits
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
wait_until($standby, q{SELECT pg_get_wal_replay_pause_state() = 'paused'});
$primary->safe_psql('postgres', q{SELECT cancel_jobs(md5('1')::uuid)});
my $position = $primary->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
my $there = "SELECT pg_last_wal_replay_lsn() >= '$position'::pg_lsn";
is($standby->safe_psql('postgres', $there), 'f', 'a standby that lags has not reached the position');
is($status->(1), 'PENDING', 'and shows the job as it was');
is($preview->(1), 'PENDING|', 'as cancel_jobs_preview does');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
ok($standby->poll_query_until('postgres', $there), 'the standby reaches the position');
is($status->(1), 'CANCELED', 'and then shows the cancel');
is($preview->(1), 'CANCELED|Job cannot be canceled: its status is CANCELED', 'as cancel_jobs_preview does');

# The cancel waits
$primary->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$primary->reload;
wait_until($primary, q{SELECT sync_state = 'sync' FROM pg_stat_replication});
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
wait_until($standby, q{SELECT pg_get_wal_replay_pause_state() = 'paused'});
my $cancel = start_psql($primary, q{BEGIN; SET LOCAL synchronous_commit = remote_apply; SELECT cancel_jobs(md5('2')::uuid) IS NOT NULL; COMMIT; SELECT 'answered'});
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}),
	'with remote_apply COMMIT waits for the standby');
is($status->(2), 'PENDING', 'which does not show the cancel yet');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is(finish($cancel)->{out} . $cancel->{err}, "t\nanswered", 'it is answered once the standby has applied it');
is($status->(2), 'CANCELED', 'so that the next read there shows the cancel');

# What cannot write is refused before anything is waited for or read: the table is locked
$primary->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names});
$primary->reload;
my $locker = open_session($primary, 'BEGIN; LOCK TABLE jobs');
wait_until($standby, q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'jobs'::regclass AND mode = 'AccessExclusiveLock'});
my $many = q{(SELECT jsonb_build_object('id', jsonb_agg(md5(n::text)::uuid)) FROM generate_series(1, 50001) AS n)};
my %calls = (
	'cancel_jobs' => q{SELECT cancel_jobs(md5('2')::uuid)},
	'cancel_jobs, labels' => q{SELECT cancel_jobs(md5('2')::uuid, '{"status": "PENDING"}')},
	'cancel_jobs, one id' => q{SELECT cancel_jobs(md5('2')::uuid, jsonb_build_object('id', md5('2')::uuid))},
	'cancel_jobs, 50,001 ids' => qq{SELECT cancel_jobs(md5('2')::uuid, $many)},
	'cancel_jobs, another batch_id' => q{SELECT cancel_jobs(md5('2')::uuid, jsonb_build_object('batch_id', md5('1')::uuid))},
	'cancel_jobs_rows' => q{SELECT * FROM cancel_jobs_rows(md5('2')::uuid)},
	'cancel_jobs_http' => q{SELECT * FROM cancel_jobs_http(md5('2')::uuid::text)},
	'cancel_jobs_http, labels' => q{SELECT * FROM cancel_jobs_http(md5('2')::uuid::text, 'origin=AZURE')},
	'cancel_jobs_in_chunks' => q{CALL cancel_jobs_in_chunks(md5('2')::uuid)},
	'cancel_jobs_in_chunks, labels' => q{CALL cancel_jobs_in_chunks(md5('2')::uuid, '{"status": "PENDING"}')},
	'cancel_jobs_in_chunks, no such table' => q{SET pasqal_jobs.jobs_table = 'nowhere'; CALL cancel_jobs_in_chunks(md5('2')::uuid)},
	'cancel_jobs_in_chunks, 50,001 ids' => qq{DO \$\$ DECLARE f jsonb := $many; a int8; b int8; BEGIN CALL cancel_jobs_in_chunks(md5('2')::uuid, f, 1000, a, b); END \$\$});
for my $call (sort keys %calls)
{
	for my $place ([ $standby, '', 'during recovery' ], [ $primary, 'SET default_transaction_read_only = on;', 'in a read-only transaction' ])
	{
		my ($node, $setting, $why) = @$place;
		like(error_of($node, "SET lock_timeout = '5s'; $setting $calls{$call}"), qr/ERROR:  25006: cannot execute cancel_jobs\w*(\(\))? \Q$why\E/, "$call is refused $why");
	}
}
$locker->query_safe('COMMIT');
$locker->quit;
$primary->wait_for_catchup($standby);
is($preview->(1), 'CANCELED|Job cannot be canceled: its status is CANCELED', 'cancel_jobs_preview is not');

# Replay waits for a query that sees old versions: how doc/cookbook.md finds it
my ($waits) = slurp_file('doc/cookbook.md') =~ /`(SELECT wait_event FROM [^`]*)`/ or die;
my $reader = $standby->background_psql('postgres');
my $pid = $reader->query_safe('SELECT pg_backend_pid()');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs');
$primary->safe_psql('postgres', q{UPDATE jobs SET status = 'PENDING', end_timestamp = NULL});
$primary->safe_psql('postgres', $_) foreach q{SELECT cancel_jobs(md5('1')::uuid)}, 'VACUUM jobs';
ok($standby->poll_query_until('postgres', $waits, 'RecoveryConflictSnapshot'), 'a standby waits for a query that sees old versions');
is($standby->safe_psql('postgres', 'SELECT pg_get_wal_replay_pause_state()'), 'not paused', '... and is not paused');
$standby->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$primary->wait_for_catchup($standby);
is($status->(1), 'CANCELED', '... until that is ended');
$reader->quit;

done_testing();

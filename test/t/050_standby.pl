# Reads on a standby after a cancel: stale until it has applied the cancel, and
# the two ways of doc/api.md to wait for that. TAP, since it takes a standby.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table();
	INSERT INTO jobs (batch_id, project_id, runs) SELECT md5(b::text)::uuid, md5('p')::uuid, 1 FROM generate_series(1, 2) AS b;
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my $status = sub { $standby->safe_psql('postgres', "SELECT status FROM jobs WHERE batch_id = md5('$_[0]')::uuid") };
my $preview = sub { $standby->safe_psql('postgres', "SELECT status, error FROM cancel_jobs_preview(md5('$_[0]')::uuid)") };

# The reader waits
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}) or die 'replay does not pause';
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
$primary->poll_query_until('postgres', q{SELECT sync_state = 'sync' FROM pg_stat_replication}) or die 'the standby is not synchronous';
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}) or die 'replay does not pause';
my ($out, $err) = ('', '');
my $cancel = IPC::Run::start([ 'psql', '-XqAt', '-d', $primary->connstr('postgres'), '-c',
		q{BEGIN; SET LOCAL synchronous_commit = remote_apply; SELECT cancel_jobs(md5('2')::uuid) IS NOT NULL; COMMIT; SELECT 'answered'} ],
	'<', \undef, '>', \$out, '2>', \$err);
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}),
	'with remote_apply COMMIT waits for the standby');
is($status->(2), 'PENDING', 'which does not show the cancel yet');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$cancel->finish;
is("$out$err", "t\nanswered\n", 'it is answered once the standby has applied it');
is($status->(2), 'CANCELED', 'so that the next read there shows the cancel');

done_testing();

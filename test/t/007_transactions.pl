# Transactions that psql alone does not have: with another session's snapshot,
# prepared for two-phase commit, of a subscriber's apply worker. In TAP because
# they take settings of the server and a second session.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('transactions', allows_streaming => 'logical', conf => "max_prepared_transactions = 5\nautovacuum = off");
$node->safe_psql('postgres', q{
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5('batch ' || n)::uuid $$;
	INSERT INTO jobs (batch_id, project_id, runs) SELECT batch(b), md5('project')::uuid, n FROM generate_series(1, 3) AS b, generate_series(1, 3) AS n});

# Which jobs of a batch a cancel answers for, by their number of runs
my $cancel = sub { "SELECT string_agg(j->>'runs', ' ' ORDER BY j->>'runs') FROM jsonb_array_elements(cancel_jobs(batch($_[0])) #> '{data,jobs}') AS j" };
my $state = sub { $node->safe_psql('postgres', "SELECT string_agg(runs || ' ' || status, ', ' ORDER BY runs) FROM jobs WHERE batch_id = batch($_[0])") };

#
# Another session's snapshot
#
my $exporter = open_session($node, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $exporter->query_safe('SELECT pg_export_snapshot()');
my $imported = "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; SET LOCAL pasqal_jobs.max_jobs = 3";
$node->safe_psql('postgres', 'INSERT INTO jobs (batch_id, project_id, runs) VALUES (batch(1), batch(1), 4)');
is($node->safe_psql('postgres', "$imported; " . $cancel->(1) . '; COMMIT'), '1 2 3', 'in an imported snapshot a cancel answers for the jobs of that');
is($state->(1), '1 CANCELED, 2 CANCELED, 3 CANCELED, 4 PENDING', '... and leaves a later one as it is');
$node->safe_psql('postgres', q{UPDATE jobs SET status = 'DONE' WHERE batch_id = batch(2) AND runs = 2});
like(error_of($node, "$imported; " . $cancel->(2)), qr/ERROR:  40001/, 'a job that was changed since is a serialization failure');
is($state->(2), '1 PENDING, 2 DONE, 3 PENDING', '... and nothing is canceled');
$exporter->quit;

#
# Two-phase commit
#
is($node->safe_psql('postgres', 'BEGIN; ' . $cancel->(2) . q{; PREPARE TRANSACTION 'cancel'}), '1 3', 'a cancel is prepared');
my $other = q{SET lock_timeout = '100ms'; SELECT cancel_jobs(batch(2), '{"min_runs": 4}')};
like(error_of($node, $other), qr/lock timeout/, 'other cancels of the batch wait for its end');
$node->stop('immediate');
$node->start;
like(error_of($node, $other), qr/lock timeout/, '... also after a crash');
is($state->(2), '1 PENDING, 2 DONE, 3 PENDING', 'nobody sees the cancel yet');
$node->safe_psql('postgres', q{COMMIT PREPARED 'cancel'});
is($state->(2), '1 CANCELED, 2 DONE, 3 CANCELED', 'committed, everybody does');
is(error_of($node, $other), '', '... and its lock is free');
$node->safe_psql('postgres', 'BEGIN; ' . $cancel->(3) . q{; PREPARE TRANSACTION 'cancel'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'cancel'});
is($state->(3), '1 PENDING, 2 PENDING, 3 PENDING', 'rolled back, it has not happened');
like(error_of($node, "SET pasqal_jobs.notify_channel = 'pasqal'; BEGIN; " . $cancel->(3) . q{; PREPARE TRANSACTION 'cancel'}),
	qr/cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY/, 'with a notification it cannot be prepared, by a rule of PostgreSQL');
is($state->(3), '1 PENDING, 2 PENDING, 3 PENDING', '... and is undone');

#
# Logical replication: an apply worker is no client, and has no settings of one
#
$node->safe_psql('postgres', q{
	CREATE TABLE closed_batches (batch uuid PRIMARY KEY);
	CREATE PUBLICATION closing FOR TABLE closed_batches, jobs;
	SELECT pg_create_logical_replication_slot('closing', 'pgoutput');
	CREATE DATABASE subscriber});
my $connection = $node->connstr . ' dbname=postgres';
$node->safe_psql('subscriber', qq{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table(), create_jobs_table('local_jobs');
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS \$\$ SELECT md5('batch ' || n)::uuid \$\$;
	INSERT INTO local_jobs (batch_id, project_id, runs) SELECT batch(b), md5('project')::uuid, n FROM generate_series(3, 4) AS b, generate_series(1, 3) AS n;
	CREATE TABLE closed_batches (batch uuid PRIMARY KEY);
	CREATE TABLE answers (n serial, answer text);
	-- cancels the jobs of the batch here when it is closed there
	CREATE FUNCTION close_batch() RETURNS trigger LANGUAGE plpgsql SET search_path = public SET pasqal_jobs.jobs_table = 'public.local_jobs' AS \$\$
	BEGIN
		INSERT INTO answers (answer) SELECT string_agg(concat(j->>'runs', ' ', j->>'status'), ', ' ORDER BY j->>'runs')
			FROM jsonb_array_elements(cancel_jobs(NEW.batch) #> '{data,jobs}') AS j;
		RETURN NULL;
	END
	\$\$;
	CREATE TRIGGER close_batch AFTER INSERT ON closed_batches FOR EACH ROW EXECUTE FUNCTION close_batch();
	ALTER TABLE closed_batches ENABLE ALWAYS TRIGGER close_batch;
	CREATE SUBSCRIPTION closing CONNECTION '$connection' PUBLICATION closing WITH (create_slot = false, slot_name = 'closing', copy_data = false)});
$node->safe_psql('postgres', 'INSERT INTO jobs (batch_id, project_id, runs) VALUES (batch(4), batch(4), 4)');
$node->safe_psql('postgres', 'INSERT INTO closed_batches VALUES (batch(4))');
$node->wait_for_catchup('closing');
is($node->safe_psql('subscriber', 'SELECT answer FROM answers'), '1 CANCELED, 2 CANCELED, 3 CANCELED', 'a trigger of the subscriber cancels in the apply worker');
is($node->safe_psql('subscriber', q{SELECT string_agg(DISTINCT batch_id || ' ' || status, ', ') FROM local_jobs}),
	$node->safe_psql('postgres', q{SELECT batch(3) || ' PENDING, ' || batch(4) || ' CANCELED'}), '... the jobs of that batch');
# what is canceled here is applied there
is($node->safe_psql('postgres', $cancel->(4)), '4', 'a cancel of the publisher');
$node->wait_for_catchup('closing');
is($node->safe_psql('subscriber', 'SELECT runs, status, updated_at = end_timestamp FROM jobs'), '4|CANCELED|t', '... reaches the subscriber');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION closing');

done_testing();

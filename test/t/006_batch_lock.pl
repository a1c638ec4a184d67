# Cancels of one batch never deadlock with each other, whatever indexes, views
# or partitions they find their jobs by. In TAP because it needs many sessions
# at once and a second server. What waits for what is in
# isolation/specs/batch-lock.spec.
#
# TRUST_SECONDS is how long each pair of cancels is tried.

use strict;
use warnings;

use PasqalJobs;

my $seconds = $ENV{TRUST_SECONDS} || 0.4;

my $node = start_server('batch_lock', bare => 1, conf => q{
deadlock_timeout = 20ms
max_connections = 40
max_locks_per_transaction = 64
max_prepared_transactions = 1
unix_socket_permissions = 0777
});
$node->safe_psql('postgres', q{
	CREATE EXTENSION pasqal_jobs;
	CREATE EXTENSION postgres_fdw;
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5('batch ' || n)::uuid $$;

	-- A batch of 2,000 jobs among others, two thirds of which have a second version elsewhere in the table
	CREATE PROCEDURE fill(name text) LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('INSERT INTO %1$I (batch_id, project_id, runs, user_id, created_at, start_timestamp)
			SELECT batch(CASE WHEN n %% 11 = 0 THEN n ELSE 0 END), md5(%2$L)::uuid, n, %3$L || n %% 3, now() - n * interval %4$L, now() - n * interval %5$L
			FROM generate_series(1, 2200) AS n', name, 'project', 'user ', '1 s', '7919 s');
		EXECUTE format('UPDATE %I SET status = %L WHERE runs %% 3 = 0', name, 'RUNNING');
		EXECUTE format('UPDATE %I SET progress = 1 WHERE runs %% 5 = 0', name);
	END $$;
	SELECT create_jobs_table(n) FROM unnest('{jobs,queue,by_status,by_dates,brin,unindexed,batch_status}'::text[]) AS n;
	SELECT create_jobs_table('parted', 4), create_jobs_table('remote');
	CREATE INDEX ON queue (creation_order DESC) WHERE status = 'PENDING';
	CREATE INDEX ON by_status (status, id);
	CREATE INDEX ON by_dates (created_at);
	CREATE INDEX ON by_dates (start_timestamp DESC);
	CREATE INDEX ON brin USING brin (creation_order);
	DROP INDEX brin_batch_id_idx, unindexed_batch_id_idx, batch_status_batch_id_idx;
	CREATE INDEX ON brin USING brin (batch_id);
	CREATE INDEX ON batch_status (batch_id, status, creation_order DESC);
	SELECT count(*) FROM unnest('{jobs,queue,by_status,by_dates,brin,unindexed,batch_status,parted,remote}'::text[]) AS n;
	CREATE VIEW seen AS SELECT * FROM jobs WHERE runs > 0;
	CREATE VIEW seen_twice AS SELECT * FROM seen;
	ALTER TABLE brin SET (autovacuum_enabled = off)});
$node->safe_psql('postgres', "CALL fill('$_')") for qw(jobs queue by_status by_dates brin unindexed batch_status parted remote);
my ($host, $port) = ($node->host, $node->port);
my $user = $node->safe_psql('postgres', 'SELECT current_user');
$node->safe_psql('postgres', qq{
	CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres', extensions 'pasqal_jobs');
	CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user '$user');
	CREATE SCHEMA away;
	IMPORT FOREIGN SCHEMA public LIMIT TO (remote) FROM SERVER loop INTO away;
	ANALYZE});

#
# How many locks there are
#
is($node->safe_psql('postgres', q{
	BEGIN;
	SELECT count(cancel_jobs(batch(n))) FROM generate_series(1, 5000) AS n;
	SELECT count(*) > 4990, count(DISTINCT objid) = count(*), bool_and(database = (SELECT oid FROM pg_database WHERE datname = 'postgres') AND classid = 'jobs'::regclass AND objsubid = 20554 AND mode = 'ExclusiveLock')
	FROM pg_locks WHERE locktype = 'advisory';
	ROLLBACK}), "5000\nt|t|t", 'a transaction that cancels 5,000 batches takes a lock for each');
is($node->safe_psql('postgres', q{
	BEGIN;
	SELECT count(cancel_jobs(batch(0), jsonb_build_object('id', (SELECT id FROM jobs WHERE batch_id = batch(0) LIMIT 1))));
	SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
	ROLLBACK}), "1\n0", 'a cancel of one job takes none');
# advisory locks of SQL with the same numbers are others, and SQL cannot release ours
is($node->safe_psql('postgres', q{
	BEGIN;
	SELECT count(cancel_jobs(batch(0)));
	SELECT count(*) FROM pg_locks AS l, LATERAL pg_advisory_unlock(classid::int, objid::int), LATERAL pg_advisory_xact_lock(classid::int, objid::int) WHERE locktype = 'advisory' AND objsubid > 2;
	SELECT pg_advisory_unlock_all();
	SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid > 2;
	ROLLBACK}), "1\n1\n\n1", 'no function of SQL takes or releases it');

my $holder = open_session($node, 'BEGIN; SELECT count(cancel_jobs(batch(0)))');
my $holder_pid = $holder->query_safe('SELECT pg_backend_pid()');
my $refusal = sub { error_of($node, "SET lock_timeout = '200ms'; SELECT count(cancel_jobs(batch($_[0])))") };
like($refusal->(0), qr/canceling statement due to lock timeout\nCONTEXT:  while waiting for other cancels of batch [-0-9a-f]+, of which process $holder_pid has the lock$/m, 'the batch is waited for, and who has its lock is named');
is($node->safe_psql('postgres', "SET lock_timeout = '200ms'; SELECT count(cancel_jobs(batch(n))) FROM generate_series(1, 4000) AS n"), '4000', 'no other batch waits');

# A prepared transaction has no process; that of the session that prepared it does something else by now
my $preparer = open_session($node, 'BEGIN; SELECT count(cancel_jobs(batch(1)))');
$preparer->query_safe("PREPARE TRANSACTION 'cancel'");
like($refusal->(1), qr/canceling statement due to lock timeout\nCONTEXT:  while waiting for other cancels of batch [-0-9a-f]+$/m, 'a prepared transaction has the lock, and no process is named');
$preparer->query_safe("ROLLBACK PREPARED 'cancel'");
$preparer->quit;

# A wait can be interrupted, and the session goes on
my $waiter = open_session($node, '', on_error_stop => 0);
my $pid = $waiter->query_safe('SELECT pg_backend_pid()');
send_query($waiter, 'SELECT count(cancel_jobs(batch(0)))');
wait_for_lock($node, "wait_event = 'advisory' AND pid = $pid");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
is($waiter->query("SELECT 'alive'"), 'alive', 'a wait is interrupted by pg_cancel_backend');
like($waiter->{stderr}, qr/canceling statement due to user request/, '... with its error');
$waiter->quit;
$holder->quit;

#
# Pairs
#
my $all = q{'{}'::jsonb};
my $ids = sub { my ($table, $n) = @_; "(SELECT jsonb_build_object('id', jsonb_agg(id)) FROM (SELECT id FROM $table WHERE batch_id = batch(0) ORDER BY random() LIMIT $n) AS x)"; };
my $prefix = q{(SELECT jsonb_build_object('id__starts_with', (random() * 9)::int::text))};
my $user_id = q{(SELECT jsonb_build_object('user_id', 'user ' || (random() * 2)::int))};
my $dates = q{'{"start_date": "2001-01-01T00:00Z"}'::jsonb};
my $pending = q{'{"status": "PENDING"}'::jsonb};
my $running = q{'{"status": "RUNNING"}'::jsonb};
my $likes_indexes = 'SET random_page_cost = 0.01; SET enable_seqscan = off; SET enable_bitmapscan = off;';
my $likes_scans = 'SET enable_indexscan = off; SET enable_bitmapscan = off;';
my $lossy = q{SET work_mem = '64kB'; SET enable_seqscan = off; SET enable_indexscan = off;};
my @pairs = (
	[ 'batch and batch', [ 'jobs', $all ], [ 'jobs', $all ] ],
	[ 'list and list', [ 'jobs', $ids->('jobs', 1000) ], [ 'jobs', $ids->('jobs', 1000) ] ],
	[ 'short list and long list', [ 'jobs', $ids->('jobs', 60) ], [ 'jobs', $ids->('jobs', 1000) ] ],
	[ 'prefix and prefix', [ 'jobs', $prefix ], [ 'jobs', $prefix ] ],
	[ 'batch and list', [ 'jobs', $all ], [ 'jobs', $ids->('jobs', 1000) ] ],
	[ 'batch and prefix', [ 'jobs', $all ], [ 'jobs', $prefix ] ],
	[ 'user and dates', [ 'jobs', $user_id ], [ 'jobs', $dates ] ],
	[ 'one job and batch', [ 'jobs', $ids->('jobs', 1) ], [ 'jobs', $all ] ],
	[ 'a queue by its partial index', [ 'queue', $pending, $likes_indexes ], [ 'queue', $all, $likes_scans ] ],
	[ 'an index on status', [ 'by_status', $all, $likes_indexes ], [ 'by_status', $all, $likes_scans ] ],
	[ 'an index on status, by two labels', [ 'by_status', $running, $likes_indexes ], [ 'by_status', $all, $lossy ] ],
	[ 'indexes on dates', [ 'by_dates', $dates, $likes_indexes ], [ 'by_dates', $all, $likes_scans ] ],
	[ 'BRIN', [ 'brin', $all, $lossy ], [ 'brin', $ids->('brin', 500), $likes_indexes ] ],
	[ 'no index', [ 'unindexed', $all ], [ 'unindexed', $ids->('unindexed', 500), $likes_indexes ] ],
	[ 'an index on batch and status', [ 'batch_status', $all, $likes_indexes ], [ 'batch_status', $all, $likes_scans ] ],
	[ 'lossy bitmaps', [ 'jobs', $all, $lossy ], [ 'jobs', $all, $likes_scans ] ],
	[ 'partitions', [ 'parted', $all, $likes_indexes ], [ 'parted', $ids->('parted', 500), $likes_scans ] ],
	[ 'a view and its table', [ 'seen', $all, $likes_scans ], [ 'jobs', $ids->('jobs', 500), $likes_indexes ] ],
	[ 'a view of a view', [ 'seen_twice', $all, $likes_scans ], [ 'seen', $ids->('jobs', 500), $likes_indexes ] ],
	[ 'a foreign table', [ 'away.remote', $all ], [ 'away.remote', $ids->('remote', 200) ] ]);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $connstr = $node->connstr('postgres');
foreach my $pair (@pairs)
{
	my ($name, @sides) = @$pair;
	my @running;
	for my $s (0 .. 3)
	{
		my ($table, $filters, $settings) = @{ $sides[ $s % 2 ] };
		$settings //= '';
		open(my $psql, '|-', "psql -XAtq -d '$connstr' >$dir/out$s 2>$dir/err$s") or die;
		$psql->autoflush(1);
		print $psql "$settings SET pasqal_jobs.jobs_table = '$table';\n"
		  . "DO \$\$ DECLARE till timestamptz := clock_timestamp() + interval '$seconds s'; n int := 0; dead int := 0; f jsonb; BEGIN
			WHILE clock_timestamp() < till LOOP
				f := $filters;
				BEGIN PERFORM cancel_jobs(batch(0), f); n := n + 1; RAISE SQLSTATE 'UNDO0';
				EXCEPTION WHEN SQLSTATE 'UNDO0' OR serialization_failure THEN NULL; WHEN deadlock_detected THEN dead := dead + 1; END;
				COMMIT;
			END LOOP; RAISE NOTICE 'calls % dead %', n, dead; END \$\$;\n";
		push @running, $psql;
	}
	print { $_ } "\\q\n" for @running;
	close($_) for @running;
	my ($calls, $dead, @silent) = (0, 0);
	for my $s (0 .. 3)
	{
		my $said = slurp_file("$dir/err$s");
		if ($said =~ /calls (\d+) dead (\d+)/) { $calls += $1; $dead += $2; }
		else { push @silent, "session $s: $said"; }
	}
	note "deadlocks of two cancels, $name: $dead in $calls calls";
	ok(!@silent && $calls > 0, "$name: all calls end") or diag(@silent);
	is($dead, 0, "$name: without a deadlock");
}

#
# Strangers: transactions that have no batch in common, each in ascending order
#
my @strangers;
for my $who (0 .. 3)
{
	open(my $psql, '|-', "psql -XAtq -d '$connstr' >$dir/out$who 2>$dir/err$who") or die;
	$psql->autoflush(1);
	print $psql "DO \$\$ DECLARE till timestamptz := clock_timestamp() + interval '@{[$seconds * 5]} s'; n int := 0; dead int := 0; b uuid; BEGIN
		WHILE clock_timestamp() < till LOOP
			BEGIN
				FOR b IN SELECT gen_random_uuid() FROM generate_series(1, 100) ORDER BY 1 LOOP
					PERFORM cancel_jobs(b);
				END LOOP;
				n := n + 1;
			EXCEPTION WHEN deadlock_detected THEN dead := dead + 1; END;
			COMMIT;
		END LOOP; RAISE NOTICE 'transactions % dead %', n, dead; END \$\$;\n\\q\n";
	push @strangers, $psql;
}
close($_) for @strangers;
my ($transactions, $dead) = (0, 0);
for my $who (0 .. 3)
{
	my $said = slurp_file("$dir/err$who");
	like($said, qr/^NOTICE:  transactions [1-9]\d* dead 0$/m, "stranger $who meets nobody");
	if ($said =~ /transactions (\d+) dead (\d+)/) { $transactions += $1; $dead += $2; }
}
note "deadlocks of strangers with 100 batches each: $dead in $transactions transactions";

done_testing();

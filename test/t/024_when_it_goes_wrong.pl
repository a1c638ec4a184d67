# "When it goes wrong" of doc/troubleshooting.md: each trouble is brought about,
# found by the page's queries, and mended by its remedy. In TAP because it takes
# several sessions and pg_restore.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('trouble', conf => "max_prepared_transactions = 2\nautovacuum = off");

sub sql { return $node->safe_psql('postgres', @_) }

sql('CREATE ROLE worker LOGIN; GRANT SELECT, UPDATE ON jobs TO worker');

my $batch = '5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3';    # as on the page
sub blocks { return sql_blocks('doc/troubleshooting.md', @_) }

# Ten jobs that wait
sub fill
{
	sql("TRUNCATE jobs; INSERT INTO jobs (batch_id, project_id, runs, creation_order) SELECT '$batch', gen_random_uuid(), 1, n FROM generate_series(1, 10) AS n");
}

sub lock_job { return "UPDATE jobs SET progress = 50 WHERE batch_id = '$batch' AND creation_order = $_[0]" }

# A cancel of the batch beside this test; ends by itself
my $cancel_batch = "SELECT error, count(*) FROM cancel_jobs_rows('$batch') GROUP BY error";
sub start_cancel
{
	my $cancel = start_psql($node, @_, $cancel_batch);
	wait_for_lock($node, q{query LIKE '%cancel_jobs_rows%'});
	return $cancel;
}

sub start_worker
{
	my ($statement) = @_;
	my $worker = open_session($node, '', on_error_stop => 0, extra_params => [ '-U', 'worker' ]);
	my $pid = $worker->query_safe('SELECT pg_backend_pid()');
	$worker->query_safe("BEGIN; $statement");
	return ($worker, $pid);
}

#
# A worker is stuck
#
my ($find) = blocks('A worker is stuck');

fill();
my ($worker, $pid) = start_worker(lock_job(1));
my $cancel = start_cancel();
my $second = start_psql($node, "SELECT count(cancel_jobs('$batch'))");
wait_until($node, q{SELECT count(*) = 1 FROM pg_locks WHERE objsubid = 20554 AND NOT granted});
like(sql($find), qr/^$pid\|worker\|[^|]*\|\|idle in transaction\|[^\n]*\|UPDATE jobs SET progress[^\n]*\z/, 'of three sessions the one that all wait for is found');
is(sql("SELECT pg_cancel_backend($pid)"), 't', 'pg_cancel_backend says true');
sleep 1;
is(sql("SELECT state FROM pg_stat_activity WHERE pid = $pid"), 'idle in transaction', '... and ends nothing');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%cancel_jobs%' AND wait_event_type = 'Lock'}), 2, '... so that all wait on');
is(sql("SELECT pg_terminate_backend($pid)"), 't', 'pg_terminate_backend says true');
finish($second);
is(finish($cancel)->{out}, '|10', '... and the cancel takes the job of the worker, too');
is(sql($find), '', '... and nobody waits');
$worker->quit;

# A statement that runs
fill();
my $active = start_psql($node, { user => 'worker' }, 'BEGIN; ' . lock_job(1) . '; SELECT pg_sleep(600)');
wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'worker' AND wait_event = 'PgSleep'});
$cancel = start_cancel();
($pid) = sql($find) =~ /^(\d+)\|worker\|[^|]*\|\|active\|/;
ok($pid, 'a worker that is active is found');
sql("SELECT pg_cancel_backend($pid)");
is(finish($cancel)->{out}, '|10', '... and pg_cancel_backend frees its job');
finish($active);

# A prepared transaction
fill();
sql('BEGIN; ' . lock_job(1) . "; PREPARE TRANSACTION 'held'");
$cancel = start_cancel();
is(sql($find), '', 'a prepared transaction has no row');
is(sql('SELECT gid FROM pg_prepared_xacts'), 'held', '... but one in pg_prepared_xacts');
sql("ROLLBACK PREPARED 'held'");
is(finish($cancel)->{out}, '|10', '... whose end frees the job');

# By itself
fill();
sql("ALTER ROLE worker SET idle_in_transaction_session_timeout = '2s'");
($worker, $pid) = start_worker(lock_job(1));
is(finish(start_psql($node, $cancel_batch))->{out}, '|10', 'idle_in_transaction_session_timeout frees the job');
$worker->quit;
sql('ALTER ROLE worker RESET ALL');

#
# Deadlocks come back
#
fill();
sql("ALTER ROLE worker SET deadlock_timeout = '60s'");    # the cancel notices it
foreach my $n (1, 2)
{
	($worker, $pid) = start_worker(lock_job(1));
	$cancel = start_cancel("SET deadlock_timeout = '3s'");
	$worker->query(lock_job(5));
	like(finish($cancel)->{err}, qr/ERROR:  deadlock detected/, "call $n ends with a deadlock");
	$worker->query_safe('ROLLBACK');
	$worker->quit;
}
my ($skip) = blocks('Deadlocks come back');
($worker, $pid) = start_worker(lock_job(1) . '; ' . lock_job(5));
is(sql($skip), "|8\nJob is locked by another transaction|2", 'with skip the call is answered at once');
$worker->query_safe(lock_job(7) . '; COMMIT');
$worker->quit;
is(sql($skip), "|2\nJob cannot be canceled: its status is CANCELED|8", '... and the next one does the rest');

#
# A restored table is empty
#
sql("ALTER TYPE jobstatus ADD VALUE 'CANCELING'");
fill();
sql(q{UPDATE jobs SET status = 'CANCELING' WHERE creation_order = 1; SELECT setval('jobs_creation_order_seq', 10);
	CREATE TABLE results (job uuid REFERENCES jobs); INSERT INTO results SELECT id FROM jobs});
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'a dump');
sql('CREATE DATABASE restored');
my ($status, $stderr);
my @restore = ('pg_restore', '--no-password', '-d', $node->connstr('restored'));
IPC::Run::run([ @restore, $dump ], '2>', \$stderr);
like($stderr, qr/COPY failed for table "jobs": ERROR:  invalid input value for enum public\.jobstatus: "CANCELING"/, 'a label that was added is not in the dump');
is($node->safe_psql('restored', 'SELECT count(*) FROM jobs'), 0, '... and the table is empty');
$node->safe_psql('restored', "ALTER TYPE jobstatus ADD VALUE 'CANCELING'");
ok(IPC::Run::run([ @restore, '--data-only', '-t', 'jobs', $dump ]), '... until the label is there');
my $references = q{SELECT count(*) FROM pg_constraint WHERE confrelid = 'jobs'::regclass};
is($node->safe_psql('restored', $references), 0, '... without the foreign key');
IPC::Run::run([ @restore, '--section=post-data', $dump ], '2>', \$stderr);
is($node->safe_psql('restored', $references), 1, '... until that is made');
is($node->safe_psql('restored', "SELECT count(*) FROM jobs; INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch', gen_random_uuid(), 1; SELECT count(*) FROM cancel_jobs_rows('$batch') WHERE error IS NULL"),
	"10\n10", '... and all works');
is($node->safe_psql('restored', 'SELECT max(creation_order) FROM jobs'), 11, '... with numbers that go on');

sql('CREATE DATABASE anew');
$node->safe_psql('anew', "CREATE EXTENSION pasqal_jobs; ALTER TYPE jobstatus ADD VALUE 'CANCELING'");
ok(IPC::Run::run([ 'pg_restore', '-d', $node->connstr('anew'), $dump ], '2>', \$stderr), 'a restore after the label has no error') or diag $stderr;
is($node->safe_psql('anew', "SELECT count(*) FROM jobs; $references"), "10\n1", '... and all is there');

$node->command_ok([ 'pg_dump', '-f', "$dump.sql", 'postgres' ], 'a dump in plain SQL');
my ($sed) = slurp_file("doc/troubleshooting.md") =~ /`(sed -n [^`]*) FILE \| psql -d NEW`/ or die;
$node->safe_psql('anew', 'TRUNCATE jobs, results');
is(system("$sed '$dump.sql' | psql -qX -d '" . $node->connstr('anew') . "'"), 0, '... of which sed takes the rows');
is($node->safe_psql('anew', 'SELECT count(*) FROM jobs'), 10, '... all of them');
sql('DROP TABLE results');

sql('CREATE DATABASE table_only');
$node->command_ok([ 'pg_dump', '-Fc', '-t', 'jobs', '-f', "$dump.t", 'postgres' ], 'a dump of the table alone');
IPC::Run::run([ 'pg_restore', '-d', $node->connstr('table_only'), "$dump.t" ], '2>', \$stderr);
like($stderr, qr/ERROR:  type "public\.jobstatus" does not exist/, '... lacks the extension');
$node->safe_psql('table_only', "CREATE EXTENSION pasqal_jobs; ALTER TYPE jobstatus ADD VALUE 'CANCELING'");
ok(IPC::Run::run([ 'pg_restore', '-d', $node->connstr('table_only'), "$dump.t" ]), '... which comes first');

#
# A cancel does nothing
#
fill();
my $save = q{UPDATE jobs SET (status, progress, end_timestamp, updated_at) = ('RUNNING', 60, NULL, now()) WHERE creation_order = 1};
sql("SELECT cancel_jobs('$batch')");
sql($save);
is(sql('SELECT status FROM jobs WHERE creation_order = 1'), 'RUNNING', 'a worker that writes back all columns resurrects a job');
sql(sql_block('doc/api.md', 'CREATE FUNCTION keep_ended'));
sql("SELECT cancel_jobs('$batch')");
sql($save);
is(sql('SELECT status FROM jobs WHERE creation_order = 1'), 'CANCELED', '... which keep_ended refuses');
sql('DROP TRIGGER keep_ended ON jobs');

#
# The table has grown
#
my ($grown, $holders) = map { "$_;" } split /;\n\n/, (blocks('The table has grown'))[0];
sql("TRUNCATE jobs; INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch', gen_random_uuid(), 1 FROM generate_series(1, 5000)");
my $again = "UPDATE jobs SET status = 'PENDING', end_timestamp = NULL";
my $size = q{SELECT pg_relation_size('jobs')};
my $elsewhere = open_session($node, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1', db => 'restored');    # older, but of no harm
$worker = open_session($node, '', extra_params => [ '-U', 'worker' ]);
$pid = $worker->query_safe('SELECT pg_backend_pid()');
$worker->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs');
my $before = sql($size);
foreach (1 .. 5) { sql("SELECT count(*) FROM cancel_jobs_rows('$batch')"); sql($again); }
cmp_ok(sql($size), '>', 3 * $before, 'ten updates of all jobs beside an old snapshot make the table grow');
my $vacuum = sub { $node->psql('postgres', 'VACUUM (VERBOSE) jobs', stderr => \my $said); return $said };
like($vacuum->(), qr/\b50000 are dead but not yet removable/, 'VACUUM cannot remove what is dead');
like(sql($holders), qr/^session $pid\|idle in transaction\|\d+\|/, 'the session that holds it is the first');
sql("SELECT pg_terminate_backend($pid)");
$worker->quit;
wait_until($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
like($vacuum->(), qr/ finished vacuuming "[^"]*\.jobs".*\b0 are dead but not yet removable/s, '... and once that is ended it can');
$before = sql($size);
foreach (1 .. 5) { sql("SELECT count(*) FROM cancel_jobs_rows('$batch')"); sql($again); $vacuum->(); }
is(sql($size), $before, '... and its room is used again');
$elsewhere->quit;
like(sql($grown), qr/^\d+\|\d+\|\d+\|\S+ \S+\|\|\d+ \w+$/, 'the figures of the table');
sql("DROP TABLE jobs; SELECT create_jobs_table('jobs', 2); INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch', gen_random_uuid(), 1 FROM generate_series(1, 5000)");
sql('VACUUM ANALYZE jobs');    # another session, as the first counts its rows at its end
wait_until($node, "SELECT sum(n_live_tup) = 5000 FROM pg_stat_user_tables WHERE relname LIKE 'jobs%'");
like(sql($grown), qr/^5000\|0\|/, '... of all its partitions');

done_testing();

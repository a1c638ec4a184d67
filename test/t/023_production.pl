# doc/production.md: its SQL, and what it says of programs and settings around a
# cancel. In TAP because it takes servers with other settings, a standby that is
# lost, and programs of other packages. What is not installed is skipped.

use strict;
use warnings;

use Cwd qw(getcwd);
use PasqalJobs;
use Time::HiRes qw(usleep);

chomp(my $sharedir = qx(pg_config --sharedir));
chomp(my $libdir = qx(pg_config --pkglibdir));
chomp(my $bindir = qx(pg_config --bindir));
my $build = getcwd();

sub has_extension { return -e "$sharedir/extension/$_[0].control" }

my @preload = ('pg_stat_statements', grep { has_extension($_) } qw(pg_cron pgaudit pglogical));

my $node = start_server('production', allows_streaming => 'logical', conf => sub {
	return join "\n", "shared_preload_libraries = '" . join(',', @preload) . "'", 'pg_stat_statements.track = all', 'track_functions = all',
	  'log_lock_waits = on', 'deadlock_timeout = 200ms', 'max_connections = 40', "cron.host = '" . $_[0]->host . "'", 'cron.database_name = postgres';
});

sub sql { return $node->safe_psql('postgres', @_) }

# What a statement that fails says, with its SQLSTATE
sub refusal { return error_of($node, $_[0], on_error_stop => 0) }

my @batch = map { sprintf 'b0000000-0000-4000-8000-%012d', $_ } 0 .. 9;
my $theirs = '5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3';    # as on the page

# Ten jobs that wait, in each batch
sub fill
{
	sql("TRUNCATE jobs; INSERT INTO jobs (batch_id, project_id, runs, creation_order) SELECT b, gen_random_uuid(), 1, n FROM generate_series(1, 10) AS n, unnest('{" . join(',', $theirs, @batch) . "}'::uuid[]) AS b");
}

sub canceled { return sql("SELECT count(*) FROM jobs WHERE batch_id = '$_[0]' AND status = 'CANCELED'") }

# The blocks of SQL of a section or a part of it
sub blocks { return map { s/^-- as superuser\n//r } sql_blocks('doc/production.md', @_) }

sql('CREATE ROLE owner LOGIN; CREATE EXTENSION pg_stat_statements');

#
# Watch
#
fill();
sql("SELECT count(cancel_jobs('$batch[1]')); SELECT count(*) FROM cancel_jobs_rows('$batch[2]')");
wait_until($node, "SELECT count(*) = 2 FROM pg_stat_user_functions WHERE funcname LIKE 'cancel%'");
my ($functions, $statements) = blocks('Calls');
like(sql($functions), qr/^cancel_jobs\|1\|\d+\ncancel_jobs_rows\|1\|\d+\z/, 'calls, from pg_stat_user_functions');
like(sql($statements), qr/^2\|20\|\d+\z/, 'jobs canceled, from pg_stat_statements');
sql("CALL cancel_jobs_in_chunks('$batch[$_]')") for 3, 4;
my $entries = q{SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'CALL cancel_jobs_in_chunks(%'};
is(sql($entries), 2, 'PostgreSQL 15: an entry for each literal of a CALL') if $node->pg_version < 16;
sql('SELECT pg_stat_statements_reset()');
my $script = PostgreSQL::Test::Utils::tempdir . '/call.sql';
append_to_file($script, "CALL cancel_jobs_in_chunks(:batch)\n");
$node->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-D', "batch=$batch[$_]", '-f', $script, 'postgres' ], 'a parameter') for 5, 6;
is(sql($entries), 1, 'one entry where the batch is a parameter');

fill();
my $worker = open_session($node, "BEGIN; UPDATE jobs SET progress = 50 WHERE batch_id = '$batch[1]' AND creation_order = 1");
my @cancels;
foreach (1, 2)
{
	push @cancels, start_psql($node, "SELECT count(cancel_jobs('$batch[1]'))");
	wait_until($node, "SELECT count(*) = $_ FROM pg_stat_activity WHERE query LIKE 'SELECT count(cancel_jobs%' AND wait_event_type = 'Lock'");
}
my ($waits, $held) = blocks('Waits');
like(sql($waits), qr/^\d+\|job\|[0-9:.]+\|\{\d+\}\|SELECT count\(cancel_jobs.*\n\d+\|batch\|[0-9:.]+\|\{\d+\}\|SELECT count\(cancel_jobs/, 'one cancel waits for a job, the other for the batch');
like(sql($held), qr/^(?:\d+\|jobs\|[tf]\n?){2}\z/, 'the lock of the batch, held and waited for');
ok($node->wait_for_log(qr/still waiting for ExclusiveLock on advisory lock.*while waiting for other cancels of batch $batch[1], of which process \d+ has the lock/s), 'log_lock_waits');
$worker->query_safe('COMMIT');
$worker->quit;
finish($_) foreach @cancels;
like(sql((blocks('Failures'))[0]), qr/^\d+\|0\|0\z/, 'failures');

#
# Schedulers
#
my ($do) = blocks('Schedulers');
fill();
sql($do);
is(canceled($theirs), 10, 'the DO block cancels');
sub one_message { return IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', $_[0] ], '>', \my $out, '2>', \$_[1]) }
my $said = '';
ok(!one_message("SET pasqal_jobs.chunk_pause = '10ms'; CALL cancel_jobs_in_chunks('$batch[1]')", $said), 'SET and CALL in one message fail');
like($said, qr/cannot run inside a transaction block/, '... since they are one transaction');
fill();
ok(one_message($do, $said) && canceled($theirs) == 10, '... but not the DO block');

SKIP:
{
	skip 'pg_cron is not installed', 4 unless has_extension('pg_cron');
	sql('CREATE EXTENSION pg_cron');
	fill();
	my %job = (do => $do, call => "CALL cancel_jobs_in_chunks('$batch[1]')", both => "SET pasqal_jobs.chunk_pause = '10ms'; CALL cancel_jobs_in_chunks('$batch[2]')");
	sql("SELECT cron.schedule('$_', '* * * * *', \$c\$$job{$_}\$c\$)") foreach keys %job;
	my $done = q{SELECT count(*) = 3 FROM cron.job_run_details WHERE end_time IS NOT NULL};
	local $PostgreSQL::Test::Utils::timeout_default = 180;
	ok($node->poll_query_until('postgres', $done), 'pg_cron has run the jobs');
	is(canceled($theirs), 10, '... the DO block');
	is(canceled($batch[1]), 10, '... the CALL');
	is(canceled($batch[2]), 0, '... and not SET with CALL');
	sql('SELECT cron.unschedule(jobid) FROM cron.job');
}

#
# Poolers
#
my ($pgbouncer) = grep { -x } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer';
foreach my $mode (qw(session transaction statement))
{
  SKIP:
	{
		skip 'PgBouncer is not installed', 5 unless $pgbouncer;
		my $dir = PostgreSQL::Test::Utils::tempdir_short;
		append_to_file("$dir/users", sprintf qq{"%s" ""\n}, sql('SELECT current_user'));
		append_to_file("$dir/ini", join "\n", '[databases]', sprintf('* = host=%s port=%d', $node->host, $node->port), '[pgbouncer]', "pool_mode = $mode", 'default_pool_size = 1',
			'listen_addr =', 'listen_port = 6543', "unix_socket_dir = $dir", 'auth_type = trust', "auth_file = $dir/users", '');
		my $bouncer = IPC::Run::start([ $pgbouncer, "$dir/ini" ], '<', \undef, '>', \my $log, '2>&1');
		for (1 .. 100) { last if -S "$dir/.s.PGSQL.6543"; usleep(50_000) }
		my $through = sub { return IPC::Run::run([ 'psql', '-XqAt', '-d', "host=$dir port=6543 dbname=postgres", map { ('-c', $_) } @_ ], '>', \my $out, '2>', \$said) };
		fill();
		ok($through->("SELECT count(cancel_jobs('$batch[1]'))") && canceled($batch[1]) == 10, "$mode: SELECT") or diag $said;
		ok($through->("CALL cancel_jobs_in_chunks('$batch[2]', '{}', 2)") && canceled($batch[2]) == 10, "$mode: CALL") or diag $said;
		ok($through->($do) && canceled($theirs) == 10, "$mode: the DO block") or diag $said;
		is($through->('BEGIN', "SELECT count(cancel_jobs('$batch[3]'))", 'COMMIT') ? 'yes' : 'no', $mode eq 'statement' ? 'no' : 'yes', "$mode: BEGIN");
		$through->("SET pasqal_jobs.max_jobs = 3");
		is($through->("SELECT count(cancel_jobs('$batch[4]'))") ? 'own' : 'found by the next client', $mode eq 'session' ? 'own' : 'found by the next client', "$mode: SET");
		$bouncer->signal('INT');
		$bouncer->finish;
	}
}

#
# Read/write splitters, of which test/t/025_splitter.pl has those that take a standby
#
my ($router) = slurp_file('doc/production.md') =~ /^```python\n(.*?)^```/ms or die 'doc/production.md has no session that routes';
SKIP:
{
	skip 'SQLAlchemy is not installed', 2 if system("/usr/bin/python3 -c 'import sqlalchemy, psycopg2' 2>/dev/null");
	fill();
	my $url = sprintf 'postgresql+psycopg2:///postgres?host=%s&port=%d', $node->host, $node->port;
	my $program = sprintf <<'EOF', $url, $url, $router, $batch[1];
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import UpdateBase
primary = create_engine('%s')
standby = create_engine('%s', connect_args={'options': '-c default_transaction_read_only=on'})
%s
statement = select(func.cancel_jobs('%s'))
with RoutingSession() as session:
    try:
        session.execute(statement)
    except Exception as error:
        print(error.orig.pgcode)
with RoutingSession() as session:
    session.execute(statement, bind_arguments={'bind': primary})
    session.commit()
EOF
	IPC::Run::run([ '/usr/bin/python3', '-c', $program ], '>', \my $printed, '2>', \$said) or diag $said;
	is($printed, "25006\n", 'SQLAlchemy: a session that routes sends cancel_jobs to a standby');
	is(canceled($batch[1]), 10, '... but not if the statement has its engine');
}

#
# Dumps
#
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
sql('CREATE DATABASE source OWNER owner');
sub as_owner { my ($db, $sql) = @_; return $node->safe_psql($db, $sql, extra_params => [ '-U', 'owner' ]) }
$node->safe_psql('source', 'ALTER SCHEMA public OWNER TO owner');
as_owner('source', q{CREATE EXTENSION pasqal_jobs; SELECT create_jobs_table();
	CREATE FUNCTION cancel_batch(batch uuid) RETURNS jsonb LANGUAGE sql SECURITY DEFINER
		SET pasqal_jobs.jobs_table = 'public.jobs' SET search_path = pg_catalog, pg_temp AS 'SELECT public.cancel_jobs(batch)'});
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'source' ], 'a dump');
my $restore = sub {
	my ($db, $before) = @_;
	sql("CREATE DATABASE $db OWNER owner");
	$node->safe_psql($db, 'ALTER SCHEMA public OWNER TO owner; ' . $before);
	IPC::Run::run([ 'pg_restore', '-U', 'owner', '-d', $node->connstr($db), $dump ], '2>', \$said);
	return $node->safe_psql($db, q{SELECT count(*) FROM pg_proc WHERE proname = 'cancel_batch'});
};
is($restore->('whole', ''), 1, 'a restore that creates the extension has the function');
is($restore->('beforehand', 'CREATE EXTENSION pasqal_jobs'), 0, 'one that finds the extension has not');
like($said, qr/permission denied to set parameter "pasqal_jobs\.jobs_table"/, '... and says so');
sql((blocks('Dumps'))[0]);
is($restore->('granted', 'CREATE EXTENSION pasqal_jobs'), 1, 'with GRANT SET it has');
like($said, qr/must be owner of extension pasqal_jobs.*errors ignored on restore: 1/s, '... and one error that is harmless');
$node->command_like([ 'pg_dumpall', '--globals-only' ], qr/GRANT SET ON PARAMETER "pasqal_jobs\.jobs_table" TO owner/, '... which pg_dumpall keeps');

#
# Schema and upgrade
#
$node->safe_psql('whole', 'CREATE SCHEMA other AUTHORIZATION owner');
like(error_of($node, 'ALTER EXTENSION pasqal_jobs SET SCHEMA other', db => 'whole', extra_params => [ '-U', 'owner' ]), qr/must be owner of type jobstatus/, 'SET SCHEMA takes a superuser');
$node->safe_psql('whole', 'ALTER EXTENSION pasqal_jobs SET SCHEMA other');

SKIP:
{
	skip 'pg_upgrade runs with TRUST_LONG=1', 3 unless $ENV{TRUST_LONG};
	my $old = start_server('old');
	my $new = start_server('new', bare => 1);
	$new->stop;
	$old->safe_psql('postgres', "ALTER TYPE jobstatus ADD VALUE 'CANCELING'; ALTER DATABASE postgres SET pasqal_jobs.max_jobs = 7");
	$old->safe_psql('postgres', "INSERT INTO jobs (batch_id, project_id, runs, status) SELECT '$batch[1]', gen_random_uuid(), 1, s FROM unnest('{PENDING,CANCELING}'::jobstatus[]) AS s");
	$old->stop;
	chdir PostgreSQL::Test::Utils::tempdir;
	$old->command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir, '-p', $old->port, '-P', $new->port, '-s', $new->host ], 'pg_upgrade');
	chdir $build;
	$new->start;
	is($new->safe_psql('postgres', "SHOW pasqal_jobs.max_jobs; SELECT cancel_jobs('$batch[1]', '{\"status\": \"CANCELING\"}') #> '{data,jobs}'"), "7\n[]", '... keeps labels and settings');
	is($new->safe_psql('postgres', "SELECT count(*) FROM cancel_jobs_rows('$batch[1]') WHERE error IS NULL"), 1, '... and jobs');
	$new->stop;
}

#
# Replication
#
fill();
sql('CREATE PUBLICATION p FOR TABLE jobs WHERE (runs > 5)');
is(sql("SELECT count(*) FROM cancel_jobs_preview('$batch[1]') WHERE error IS NULL"), 10, 'the preview foresees nothing of it');
like(refusal("SELECT cancel_jobs('$batch[1]')"), qr/ERROR:  42P10: cannot update table "jobs"/, 'a row filter over another column ends a cancel');
sql('DROP PUBLICATION p; CREATE PUBLICATION p FOR TABLE jobs; ALTER TABLE jobs REPLICA IDENTITY NOTHING');
like(refusal("SELECT cancel_jobs('$batch[1]')"), qr/ERROR:  55000: cannot update table "jobs" because it does not have a replica identity/, 'REPLICA IDENTITY NOTHING, too');
sql('ALTER TABLE jobs REPLICA IDENTITY FULL; DROP PUBLICATION p; CREATE PUBLICATION p FOR TABLE jobs WHERE (runs < 5)');
is(sql("SELECT count(*) FROM cancel_jobs_rows('$batch[1]') WHERE error IS NULL"), 10, '... and FULL allows both');
sql('ALTER TABLE jobs REPLICA IDENTITY DEFAULT; DROP PUBLICATION p');
# newer minor releases have a list of what may be loaded
if (sql("SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"))
{
	sql("ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, wal2json, pglogical_output");
	sql('SELECT pg_reload_conf()');
}
foreach my $plugin (qw(test_decoding wal2json))
{
  SKIP:
	{
		skip "$plugin is not installed", 1 unless -e "$libdir/$plugin.so";
		fill();
		sql("SELECT pg_create_logical_replication_slot('s', '$plugin')");
		sql("SELECT count(cancel_jobs('$batch[2]'))");
		my $options = $plugin eq 'wal2json' ? ", 'format-version', '2'" : '';
		is(sql("SELECT count(*) FILTER (WHERE data ~ 'CANCELED') FROM pg_logical_slot_get_changes('s', NULL, NULL$options)"), 10, "$plugin sees each canceled job");
		sql("SELECT pg_drop_replication_slot('s')");
	}
}

SKIP:
{
	skip 'pglogical is not installed', 2 unless has_extension('pglogical');
	my $dsn = sub { return sprintf 'host=%s port=%d dbname=%s', $node->host, $node->port, $_[0] };
	foreach my $db (qw(provider subscriber))
	{
		sql("CREATE DATABASE $db");
		$node->safe_psql($db, "CREATE EXTENSION pasqal_jobs; CREATE EXTENSION pglogical; SELECT create_jobs_table(); SELECT pglogical.create_node('$db', '" . $dsn->($db) . "')");
	}
	$node->safe_psql('provider', "SELECT pglogical.replication_set_add_table('default', 'jobs', row_filter := 'runs > 5');
		INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch[1]', gen_random_uuid(), n FROM generate_series(1, 10) AS n");
	$node->safe_psql('subscriber', "SELECT pglogical.create_subscription('s', '" . $dsn->('provider') . "'); SELECT pglogical.wait_for_subscription_sync_complete('s')");
	is($node->safe_psql('provider', "SELECT count(*) FROM cancel_jobs_rows('$batch[1]') WHERE error IS NULL"), 10, 'pglogical: a row filter over another column ends no cancel');
	ok($node->poll_query_until('subscriber', q{SELECT count(*) = 5 AND bool_and(status = 'CANCELED') FROM jobs}), '... which arrives');
	$node->safe_psql('subscriber', q{SELECT pglogical.drop_subscription('s')});
}

# A synchronous standby that is lost
fill();
sql("ALTER SYSTEM SET synchronous_standby_names = 'lost'; SELECT pg_reload_conf()");
wait_until($node, q{SELECT current_setting('synchronous_standby_names') = 'lost'});
my $call = start_psql($node, "CALL cancel_jobs_in_chunks('$batch[1]', '{}', 2)");
my $in_wait = q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL cancel_jobs_in_chunks%' AND wait_event = 'SyncRep'};
wait_until($node, "SELECT count(*) = 1 FROM ($in_wait) AS x");
my $pid = sql($in_wait);
is(canceled($batch[1]), 0, 'a chunk waits for the standby, and nobody sees it');
sql("SELECT pg_cancel_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM jobs WHERE batch_id = '$batch[1]' AND status = 'CANCELED' AND EXISTS ($in_wait)"), '... after pg_cancel_backend it is there, and the next one waits');
sql("SELECT pg_terminate_backend($pid)");
like(finish($call)->{err}, qr/canceling wait for synchronous replication due to user request/, '... with a warning');
is(canceled($batch[1]), 4, '... and pg_terminate_backend ends it; what was committed stays');
sql('ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()');

#
# Maintenance
#
sub beside_chunks
{
	my ($what, @command) = @_;
	fill();
	my $chunks = start_psql($node, "SET pasqal_jobs.chunk_pause = '200ms'", "CALL cancel_jobs_in_chunks('$batch[1]', '{}', 1)");
	wait_until($node, "SELECT count(*) > 0 FROM jobs WHERE batch_id = '$batch[1]' AND status = 'CANCELED'");
	my $output;
	ok(IPC::Run::run([@command], '>', \$output, '2>&1'), "$what runs beside a chunked cancel") or diag $output;
	is(finish($chunks)->{out}, '10|0', '... which cancels all');
}
my @psql = ('psql', '-Xq', '-d', $node->connstr('postgres'), '-c');
beside_chunks($_, @psql, $_) foreach 'VACUUM jobs', 'REINDEX TABLE CONCURRENTLY jobs', 'VACUUM FULL jobs';
SKIP:
{
	my ($repack) = grep { -x } map { "$_/pg_repack" } split(/:/, $ENV{PATH}), '/usr/bin';
	skip 'pg_repack is not installed', 2 unless $repack && has_extension('pg_repack');
	sql('CREATE EXTENSION pg_repack');
	beside_chunks('pg_repack', $repack, '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-t', 'jobs');
}

SKIP:
{
	skip 'pg_partman is not installed', 4 unless has_extension('pg_partman');
	sql(q{CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
		CREATE TABLE aged (LIKE jobs INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (batch_id, id, created_at)) PARTITION BY RANGE (created_at);
		SELECT partman.create_parent('public.aged', 'created_at', 'native', 'daily', p_start_partition => (now() - interval '3 days')::text)});
	sql("INSERT INTO aged (batch_id, project_id, runs, created_at) SELECT '$batch[1]', gen_random_uuid(), 1, now() - n % 2 * interval '2 days' FROM generate_series(1, 10) AS n");
	sql("SET pasqal_jobs.jobs_table = 'aged'; SELECT count(*) FROM cancel_jobs_rows('$batch[1]')");
	is(sql('SELECT count(*), count(DISTINCT tableoid), count(*) FILTER (WHERE status = \'CANCELED\') FROM aged'), '10|2|10', 'pg_partman: a cancel in its partitions');
	is(sql(q{SELECT count(*) FROM pg_class WHERE relname ~ '^aged_p' AND reloptions IS NOT NULL}), 0, '... which have no fillfactor');
	my ($fill) = grep { /fillfactor/ } blocks('Maintenance');
	sql($fill =~ s/'jobs'/'aged'/r);
	is(sql(q{SELECT count(*) FROM pg_class WHERE relname ~ '^aged_p' AND relkind = 'r' AND reloptions IS NULL}), 0, '... until they get one');
	sql(q{UPDATE aged SET status = 'PENDING', end_timestamp = NULL; UPDATE partman.part_config SET retention = '1 day', retention_keep_table = false; CALL partman.run_maintenance_proc()});
	is(sql('SELECT count(*) FROM aged'), 5, '... and retention drops open jobs');
}

#
# Audit
#
SKIP:
{
	skip 'pgaudit is not installed', 2 unless has_extension('pgaudit');
	sql('CREATE EXTENSION pgaudit');
	fill();
	sql("SET pgaudit.log = 'write, function'; SET pgaudit.log_parameter = on; SELECT count(cancel_jobs('$batch[1]', '{\"user_id\": \"niels\"}'))");
	my $log = slurp_file($node->logfile);
	like($log, qr/AUDIT: SESSION,\d+,\d+,FUNCTION,EXECUTE,FUNCTION,public\.cancel_jobs,/, 'pgaudit logs the call');
	like($log, qr/AUDIT: SESSION,\d+,\d+,WRITE,UPDATE,[^\n]*UPDATE public\.jobs AS j SET status.*niels/s, '... and the UPDATE with its parameters');
}

sql('CREATE ROLE operator; GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO operator');
SKIP:
{
	skip 'table_log is not installed', 3 unless has_extension('table_log');
	fill();
	sql(q{CREATE EXTENSION table_log; SELECT table_log_init(4, 'public', 'jobs', 'public', 'jobs_log')});
	like(refusal("SET ROLE operator; SELECT cancel_jobs('$batch[1]')"), qr/ERROR:  42501: permission denied for table jobs_log/, 'table_log writes as the caller');
	sql('GRANT INSERT ON jobs_log TO operator; GRANT USAGE ON SEQUENCE jobs_log_seq TO operator');
	sql("SET ROLE operator; SELECT count(cancel_jobs('$batch[1]'))");
	is(canceled($batch[1]), 10, '... who needs two privileges more');
	is(sql('SELECT string_agg(status || n::text, \' \' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jobs_log GROUP BY status) AS x'), 'PENDING10 CANCELED10', '... for two rows a job');
	sql('DROP TRIGGER IF EXISTS table_log_trigger ON jobs; DROP EXTENSION table_log CASCADE');
}
SKIP:
{
	skip 'periods is not installed', 2 unless has_extension('periods');
	sql(q{CREATE EXTENSION periods CASCADE; SELECT create_jobs_table('versioned'); GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON versioned TO operator;
		SELECT periods.add_system_time_period('versioned'); SELECT periods.add_system_versioning('versioned')});
	sql("INSERT INTO versioned (batch_id, project_id, runs) SELECT '$batch[1]', gen_random_uuid(), 1 FROM generate_series(1, 10)");
	is(sql("SET ROLE operator; SET pasqal_jobs.jobs_table = 'versioned'; SELECT count(*) FROM cancel_jobs_rows('$batch[1]') WHERE error IS NULL"), 10, 'periods: a cancel of a versioned table');
	is(sql('SELECT status, count(*) FROM versioned_history GROUP BY status'), 'PENDING|10', '... has a row of history for each job');
}

#
# HTTP gateways
#
sql((blocks('HTTP gateways'))[0]);
fill();
is(sql("BEGIN; SELECT count(cancel_batch_jobs('$batch[1]', 'min_runs=1')); SELECT current_setting('response.status'); COMMIT"), "1\n200", 'the wrapper sets the status');
is(canceled($batch[1]), 10, '... and cancels');
like(sql("BEGIN; SELECT cancel_batch_jobs('$batch[1]', 'min_runs=x'); SELECT current_setting('response.status'); COMMIT"), qr/value is not a valid integer.*\n422\z/, '... 422 likewise');

done_testing();

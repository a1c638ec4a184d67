# Jobs on a cluster of Citus: a coordinator and two workers, later three. In TAP
# because it takes four servers. Skipped where Citus is not installed.
#
# A plain table on the coordinator holds the same jobs. Both are canceled in one
# transaction, so that the answers must be equal to the last microsecond.

use strict;
use warnings;

use PasqalJobs;
use Time::HiRes qw(time);

chomp(my $sharedir = qx(pg_config --sharedir));
plan skip_all => 'Citus is not installed' unless -e "$sharedir/extension/citus.control";

my $conf = sub {
	return join "\n", "shared_preload_libraries = 'citus'", "citus.node_conninfo = 'sslmode=disable'",
	  "citus.local_hostname = '" . $_[0]->host . "'", 'citus.enable_statistics_collection = off', 'citus.shard_count = 8',
	  'max_prepared_transactions = 50', 'wal_level = replica', 'max_wal_senders = 1', 'max_connections = 60', 'deadlock_timeout = 50ms';
};
my @nodes = map { start_server($_, bare => 1, conf => $conf) } qw(coordinator worker1 worker2 worker3);
my ($coordinator, @workers) = @nodes;
$_->safe_psql('postgres', 'CREATE EXTENSION citus') for @workers;
my $later = pop @workers;

# Runs SQL on the coordinator
sub sql { return $coordinator->safe_psql('postgres', @_) }

# Runs SQL that may fail; returns its output, and notices and errors with SQLSTATEs
sub try_sql
{
	my ($sql) = @_;
	my (undef, $stdout, $stderr) = $coordinator->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 0);
	return ($stdout, $stderr);
}

# A block of SQL of the page, by the line that it begins with
sub block { return sql_block('doc/growing.md', @_) }

my %node = map { $_->name => $_ } @nodes;
my $setup = block('CREATE EXTENSION citus;');
$setup =~ s/'(\w+)', 5432/sprintf("'%s', %d", $node{$1}->host, $node{$1}->port)/ge;
sql($setup);
is($_->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'pasqal_jobs'}), '1', $_->name . ' has the extension')
  for @workers;
is(sql("SELECT citus_table_type FROM citus_tables WHERE table_name = 'jobs'::regclass"), 'distributed', 'a table of create_jobs_table() is distributed');

# A table without partitions takes its place
sql('DROP TABLE jobs');
my ($status, $refusal) = try_sql("SELECT create_jobs_table('jobs'); SELECT create_distributed_table('jobs', 'batch_id')");
like($refusal, qr/cannot create constraint on "jobs"/, 'one with the key (id) is refused');
sql('DROP TABLE jobs; ' . block("SELECT create_jobs_table('jobs');"));

# ... and another one has several
sql(q{
	SELECT create_jobs_table('plain');
	SELECT create_jobs_table('parts', 2);
	SELECT create_distributed_table('parts', 'batch_id');

	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5('batch ' || n)::uuid $$;
	CREATE FUNCTION job(b int, n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5(b || ' ' || n)::uuid $$;
});

is(sql(q{SELECT string_agg(DISTINCT n::text, ' ') FROM (SELECT count(*) AS n FROM pg_dist_shard JOIN pg_inherits ON inhrelid = logicalrelid
	WHERE inhparent = 'parts'::regclass GROUP BY logicalrelid) AS x}), '8', 'each shard has partitions of its own');

# 40 batches of 20 jobs
sub fill
{
	sql(q{
		TRUNCATE plain; TRUNCATE jobs; TRUNCATE parts;
		INSERT INTO plain (id, parent_id, batch_id, project_id, runs, status, user_id, origin, errors, variables, creation_order, start_timestamp, end_timestamp)
		SELECT job(b, n), CASE WHEN n > 15 THEN job(b, n - 1) END, batch(b), md5('project ' || n % 3)::uuid, n, s, 'user ' || n % 2,
			   (enum_range(NULL::origin))[1 + n % 3], CASE n % 2 WHEN 0 THEN ARRAY['e', NULL] END, jsonb_build_object('omega', n / 7.0), n,
			   CASE WHEN s <> 'PENDING' THEN timestamptz '2023-03-20 13:00+00' + n * interval '1 minute' END,
			   CASE WHEN n % 7 = 0 THEN timestamptz '2023-03-21 13:00+00' + n * interval '1 minute' END
		FROM generate_series(1, 40) AS b, generate_series(1, 20) AS n, LATERAL (SELECT (enum_range(NULL::jobstatus))[1 + (b + n) % 5]) AS x (s);
		INSERT INTO jobs SELECT * FROM plain;
		INSERT INTO parts SELECT * FROM plain;
		ANALYZE plain; ANALYZE jobs; ANALYZE parts});
}
fill();

# Batches by the worker that holds them
my %on;
for (split /\n/, sql(q{
	SELECT n, (SELECT nodeport FROM citus_shards WHERE shardid = get_shard_id_for_distribution_column('jobs', batch(n))) FROM generate_series(1, 40) AS n}))
{
	my ($n, $port) = split /\|/;
	push @{ $on{$port} }, $n;
}
my @on = map { $on{ $_->port } } @workers;
cmp_ok(scalar @{ $on[$_] // [] }, '>', 9, $workers[$_]->name . ' holds batches') for 0, 1;

# A batch of a worker that no test has changed: its number, or as SQL
sub take { return shift @{ $on[ $_[0] ] } }
sub take_batch { return 'batch(' . take(@_) . ')' }

#
# Each filter, on each table: the answer of the plain table, from one shard
#
my $ids = sub { return 'jsonb_build_object(\'id\', jsonb_build_array(' . join(', ', @_) . '))' };
my @filters = (
	[ 'no filter', q{'{}'} ],
	[ 'id', $ids->('job(3, 2)') ],
	[ 'id of a job that has ended', $ids->('job(3, 5)') ],
	[ 'ids: open, ended, of another batch, unknown', $ids->('job(3, 2)', 'job(3, 1)', 'job(3, 5)', 'job(4, 1)', q{md5('unknown')::uuid}) ],
	[ 'ids and another filter', $ids->('job(3, 2)', 'job(3, 3)', 'job(3, 6)') . q{ || '{"max_runs": 2}'} ],
	[ '120 ids', q{(SELECT jsonb_build_object('id', jsonb_agg(job(3, n))) FROM generate_series(1, 120) AS n)} ],
	[ 'id__starts_with', q{jsonb_build_object('id__starts_with', left(job(3, 7)::text, 1))} ],
	[ 'batch_id', q{jsonb_build_object('batch_id', batch(3))} ],
	[ 'batch_ids', q{jsonb_build_object('batch_id', jsonb_build_array(batch(2), batch(3)))} ],
	[ 'project_id', q{jsonb_build_object('project_id', md5('project 1'))} ],
	[ 'project_ids', q{jsonb_build_object('project_id', jsonb_build_array(md5('project 1'), md5('project 2')))} ],
	[ 'user_id', q{'{"user_id": "user 1"}'} ],
	[ 'user_ids', q{'{"user_id": ["user 1", "nobody"]}'} ],
	[ 'status', q{'{"status": "PENDING"}'} ],
	[ 'statuses', q{'{"status": ["RUNNING", "DONE"]}'} ],
	[ 'min_runs', q{'{"min_runs": 7}'} ],
	[ 'max_runs', q{'{"max_runs": 7}'} ],
	[ 'errors', q{'{"errors": true}'} ],
	[ 'no errors', q{'{"errors": false}'} ],
	[ 'origin', q{'{"origin": ["AZURE", "UNKNOWN"]}'} ],
	[ 'start_date', q{'{"start_date": "2023-03-20T13:07:00Z"}'} ],
	[ 'end_date', q{'{"end_date": "2023-03-21T13:10:00Z"}'} ],
	[ 'several', q{'{"user_id": "user 1", "status": ["PENDING", "RUNNING"], "min_runs": 2, "errors": false, "origin": "AZURE"}'} ]);

# What is asked of a table, within one transaction that is taken back
my $batch = 'batch(3)';
my %calls = (
	cancel_jobs => sub { return "SELECT cancel_jobs($batch, $_[0])" },
	cancel_jobs_rows => sub { return "SELECT * FROM cancel_jobs_rows($batch, $_[0]) ORDER BY id" },
	cancel_jobs_preview => sub { return "SELECT * FROM cancel_jobs_preview($batch, $_[0]) ORDER BY id" });

sub compare
{
	my ($table, $what, $query, $substance, $statements) = @_;
	my ($answers, $log) = try_sql(qq{
		BEGIN;
		SET LOCAL pasqal_jobs.jobs_table = 'plain';
		$query;
		\\echo ----
		SET LOCAL pasqal_jobs.jobs_table = '$table';
		SET LOCAL citus.log_remote_commands = on;
		$query;
		ROLLBACK});
	my ($plain, $distributed) = split /^----\n?/m, "$answers\n";
	like($plain, $substance, "$what: something matches");
	is($distributed, $plain, "... and $table answers as the plain table does");
	my %shards = map { $_ => 1 } $log =~ /\b${table}_(?:p\d+_)?(\d{6,})\b/g;
	is(scalar keys %shards, 1, '... from one shard');
	is(join(' ', grep { !/^(BEGIN|ROLLBACK)$/ } $log =~ /issuing (\w+)/g), $statements, '... asked by no more statements than it takes');
}

for my $table ('jobs', 'parts')
{
	for (@filters)
	{
		my ($what, $filters) = @$_;
		compare($table, "$table, $what", $calls{cancel_jobs}->($filters), qr/"id"|"Job /, $what =~ /^id$/ ? 'UPDATE' : $what =~ /^(ids|id of|120)/ ? 'UPDATE SELECT' : 'SELECT UPDATE');
	}
	for my $call ('cancel_jobs_rows', 'cancel_jobs_preview')
	{
		for my $filters (q{'{}'}, $filters[3][1])
		{
			my $statements = $call =~ /preview/ ? 'SELECT' : $filters =~ /'id'/ ? 'UPDATE SELECT' : 'SELECT UPDATE';
			compare($table, "$table, $call", $calls{$call}->($filters), qr/Job cannot be canceled/, $statements);
		}
	}
	compare($table, "$table, cancel_jobs_http", "SELECT * FROM cancel_jobs_http(${batch}::text, 'status=PENDING&status=DONE&min_runs=2')",
		qr/^200\|.*Job cannot be canceled/, 'SELECT UPDATE');
	compare($table, "$table, by date of creation", "SET LOCAL pasqal_jobs.date_filter = 'creation'; SELECT cancel_jobs($batch, '{\"start_date\": \"2023-01-01T00:00:00Z\"}')",
		qr/"id"/, 'SELECT UPDATE');
}

# Plans are kept for the session; the next batch may be on another shard
is(sql(q{
	CREATE FUNCTION answer(name text, b uuid, f jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('pasqal_jobs.jobs_table', name, true);
		RETURN cancel_jobs(b, f);
	END $$;
	BEGIN;
	SELECT count(*), count(DISTINCT a::text), bool_and(a = j AND a = p) FROM generate_series(1, 40) AS b,
		LATERAL (SELECT jsonb_build_object('id', job(b, 2 + b % 3)) AS f) AS x,
		LATERAL (SELECT answer('plain', batch(b), f) AS a, answer('jobs', batch(b), f) AS j, answer('parts', batch(b), f) AS p) AS y;
	SELECT count(*), count(DISTINCT a::text), bool_and(a = j AND a = p) FROM generate_series(1, 40) AS b,
		LATERAL (SELECT answer('plain', batch(b), '{"min_runs": 3}') AS a, answer('jobs', batch(b), '{"min_runs": 3}') AS j, answer('parts', batch(b), '{"min_runs": 3}') AS p) AS y;
	ROLLBACK}), "40|40|t\n40|40|t", 'forty batches in one session');

# A bad call is refused as ever, and asks no shard
my (undef, $stderr) = try_sql("SET citus.log_remote_commands = on; SELECT cancel_jobs($batch, '{\"min_run\": 1}')");
like($stderr, qr/ERROR:  22023: unrecognized filter "min_run"/, 'a bad filter is refused');
unlike($stderr, qr/issuing/, '... by the coordinator alone');

# From any node
my $other = $on[1][0];
is($workers[0]->safe_psql('postgres', "BEGIN; SELECT count(*), count(job) FROM cancel_jobs_rows(batch($other)); ROLLBACK"),
	sql("BEGIN; SELECT count(*), count(job) FROM cancel_jobs_rows(batch($other)); ROLLBACK"), 'a worker cancels jobs of the other worker');

# Batches named by a query over the table
my $project = sql(q{SELECT md5('project 1')::uuid});
my $query = block('WITH open AS MATERIALIZED') =~ s/e0000000-0000-4000-8000-000000000001/$project/gr;
my @open = split /\n/, sql("BEGIN; $query; SELECT count(*) FROM jobs WHERE project_id = '$project' AND status IN ('PENDING', 'RUNNING'); ROLLBACK");
is(pop @open, '0', 'batches named by a materialized query over the table: every job of the project is canceled');
is(scalar(grep { /^[-0-9a-f]{36}\|[1-4]$/ } @open), 40, '... in forty batches');
(undef, my $pushed) = try_sql('SELECT cancel_jobs(batch_id) FROM jobs GROUP BY batch_id');
like($pushed, qr/ERROR:  0A000: cannot cancel jobs over a connection between nodes of Citus/, '... and without MATERIALIZED it is an error');

my $one_batch = sql("SELECT batch($other)");
(undef, $pushed) = try_sql("WITH open AS MATERIALIZED (SELECT DISTINCT batch_id FROM jobs WHERE batch_id = '$one_batch') SELECT cancel_jobs(batch_id) FROM open");
like($pushed, qr/ERROR:  0A000: cannot cancel jobs over a connection/, '... as it is with it if the query reads one shard');
my $two_statements = block('SELECT jsonb_build_object') =~ s/b0000000-0000-4000-8000-000000000001/$one_batch/gr;
$two_statements =~ s/cancel_jobs\(('.*?', :'filters')\)/count(job) FROM cancel_jobs_rows($1)/;
is(sql("BEGIN; $two_statements; ROLLBACK"), sql("SELECT count(*) FROM jobs WHERE batch_id = '$one_batch' AND status IN ('PENDING', 'RUNNING') AND runs <> 7"),
	'... for which there are two statements');

#
# What a call sends to its worker: one round trip a statement
#
sub issued
{
	my ($query) = @_;
	my (undef, $log) = try_sql("SET citus.log_remote_commands = on; $query");
	return join ' ', $log =~ /issuing (\w+)/g;
}
my $sent = take_batch(0);
my @open_ids = split /\n/, sql("SELECT id FROM jobs WHERE batch_id = $sent AND status IN ('PENDING', 'RUNNING') ORDER BY id LIMIT 4");
my $by_hand = sub { return "UPDATE jobs SET status = 'CANCELED' WHERE batch_id = $sent AND id = '$_[0]' AND status IN ('PENDING', 'RUNNING') RETURNING *" };
is(issued("SELECT cancel_jobs($sent, '{\"id\": \"$open_ids[0]\"}')"), 'BEGIN UPDATE COMMIT', 'a cancel of a named job takes three round trips');
is(issued("SET citus.function_opens_transaction_block = off; SELECT cancel_jobs($sent, '{\"id\": \"$open_ids[1]\"}')"), 'UPDATE', '... one without a transaction');
is(issued($by_hand->($open_ids[2])), 'UPDATE', 'an UPDATE takes one');
is(issued('BEGIN; ' . $by_hand->($open_ids[3]) . '; COMMIT'), 'BEGIN UPDATE COMMIT', '... and three in a transaction');
is(issued("SELECT cancel_jobs($sent)"), 'SELECT BEGIN UPDATE COMMIT', 'a cancel of a batch takes four');

#
# Transactions
#
my ($b1, $b2) = map { take_batch($_) } 0, 1;
my $state = 'SELECT md5(string_agg(j::text, \'|\' ORDER BY id)) FROM jobs AS j';
my $before = sql($state);
sql("BEGIN; SELECT cancel_jobs($b1), cancel_jobs($b2); ROLLBACK");
is(sql($state), $before, 'ROLLBACK undoes a cancel on two workers');
try_sql("SELECT cancel_jobs($b1), cancel_jobs($b2), 1 / (random() * 0)::int");
is(sql($state), $before, 'an error later in the statement undoes it');
my $alone = take_batch(0);
try_sql("SET citus.function_opens_transaction_block = off; SELECT cancel_jobs($alone), 1 / (random() * 0)::int");
is(sql("SELECT count(*) FROM jobs WHERE batch_id = $alone AND end_timestamp = updated_at"), '8', '... but not with citus.function_opens_transaction_block = off');
sql("BEGIN; SAVEPOINT s; SELECT cancel_jobs($b1); ROLLBACK TO s; SELECT cancel_jobs($b2); COMMIT");
is(sql("SELECT batch_id, count(*) FROM jobs WHERE end_timestamp = updated_at AND batch_id IN ($b1, $b2) GROUP BY 1"), sql("SELECT $b2, 8"), 'ROLLBACK TO undoes it on one worker, COMMIT keeps it on the other');

($b1, $b2) = map { take_batch($_) } 0, 1;
sql("BEGIN; SELECT cancel_jobs($b1), cancel_jobs($b2); COMMIT");
is(sql("SELECT count(*) FROM jobs WHERE batch_id IN ($b1, $b2) AND status = 'CANCELED' AND end_timestamp = updated_at"), '16', 'COMMIT keeps it on both');

# Chunks: the state afterwards is that of the plain table
my $chunked = take_batch(0);
my $in_chunks = "CALL cancel_jobs_in_chunks($chunked, '{\"max_runs\": 18}', 3)";
my ($counts, $of_chunks) = try_sql("SET citus.log_remote_commands = on; $in_chunks");
is($counts, sql("SET pasqal_jobs.jobs_table = 'plain'; $in_chunks"), 'cancel_jobs_in_chunks');
my %of_chunks = map { $_ => 1 } $of_chunks =~ /issuing (UPDATE public\.jobs_\d+)/g;
is(scalar keys %of_chunks, 1, '... updated one shard');
my $statuses = "SELECT string_agg(id || status::text, ' ' ORDER BY id) FROM %s WHERE batch_id = $chunked";
is(sql(sprintf $statuses, 'jobs'), sql(sprintf $statuses, 'plain'), '... canceled the same jobs');

#
# Races. A cancel that waits for a job answers with what became of it
#
sub race
{
	my ($what, $change, $filters, $expected) = @_;
	my $n = take(1);
	my $worker = open_session($coordinator, sprintf "BEGIN; $change", $n);
	my $cancel = start_psql($coordinator,
		"SELECT a->'data'->'errors', jsonb_array_length(a->'data'->'jobs') FROM cancel_jobs(batch($n), " . sprintf($filters, $n) . ') AS a');
	wait_for_lock($workers[1]);
	$worker->query_safe('COMMIT');
	$worker->quit;
	like(finish($cancel)->{out} . $cancel->{err}, $expected, $what);
	return $n;
}
# of each batch job n has status (b + n) % 5; take one that is PENDING
my $pending = "(SELECT id FROM plain WHERE batch_id = batch(%1\$d) AND status = 'PENDING' AND runs < 6)";
race('a job that ended meanwhile is answered so', "UPDATE jobs SET status = 'DONE' WHERE batch_id = batch(%1\$d) AND id = $pending", q{'{"status": ["PENDING", "RUNNING"]}'},
	qr/^\{"[^"]+": "Job cannot be canceled: its status is DONE"\}\|7$/);
race('... also by its id', "UPDATE jobs SET status = 'ERROR' WHERE batch_id = batch(%1\$d) AND id = $pending", "jsonb_build_object('id', $pending)",
	qr/^\{"[^"]+": "Job cannot be canceled: its status is ERROR"\}\|0$/);
race('a job that does not match any more is left alone', "UPDATE jobs SET runs = 99 WHERE batch_id = batch(%1\$d) AND id = $pending", q{'{"max_runs": 20, "status": "PENDING"}'},
	qr/^\{\}\|3$/);
race('a job that starts meanwhile is canceled', "UPDATE jobs SET status = 'RUNNING' WHERE batch_id = batch(%1\$d) AND id = $pending", q{'{"status": ["PENDING", "RUNNING"]}'},
	qr/^\{\}\|8$/);

#
# Row-level security: what a policy looks at must be set where the rows are
#
sql(q{
	CREATE ROLE operator LOGIN;
	GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO operator;
	GRANT SELECT ON plain TO operator;
} . block('ALTER TABLE jobs ENABLE ROW LEVEL SECURITY'));
my $as_operator = "SET ROLE operator; SET citus.propagate_set_commands = 'local'; BEGIN;";
my $held = take_batch(0);
my $count = "SELECT count(*), count(job) FROM cancel_jobs_rows($held)";
is(sql("$as_operator SET LOCAL app.project = '$project'; $count; SET LOCAL app.project = '00000000-0000-0000-0000-000000000000'; $count; ROLLBACK"), "7|3\n0|0",
	'a policy sees what SET LOCAL says, with citus.propagate_set_commands = local');
my $as_on_the_page = block("SET citus.propagate_set_commands = 'local';") =~ s/e0000000-0000-4000-8000-000000000001/$project/r;
$as_on_the_page =~ s/cancel_jobs\('[-0-9a-f]+'\)/count(job) FROM cancel_jobs_rows($held)/;
is(sql('SET ROLE operator; ' . $as_on_the_page =~ s/COMMIT/ROLLBACK/r), '3', '... as on the page');
is(sql("SET ROLE operator; BEGIN; SET LOCAL app.project = '$project'; $count; ROLLBACK"), '0|0', '... not without');
is((split /\n/, sql("$as_operator SELECT set_config('app.project', '$project', true); $count; ROLLBACK"))[-1], '0|0', '... nor what set_config() says');
is(sql("SET ROLE operator; SET citus.propagate_set_commands = 'local'; SET app.project = '$project'; $count"), '0|0', '... nor SET');
# chunks cannot be called with SET LOCAL
my $chunks_of_held = "CALL cancel_jobs_in_chunks($held, '{\"status\": \"PENDING\"}')";
is(sql("SET ROLE operator; SET app.project = '$project'; $chunks_of_held"), '0|0', '... so that chunks cancel nothing');
sql("ALTER ROLE operator SET app.project = '$project'");
(undef, my $of_role) = $coordinator->psql('postgres', $chunks_of_held, extra_params => [ '-U', 'operator' ]);
like($of_role, qr/^[1-9]\|0$/, '... until ALTER ROLE has the setting');
sql("ALTER ROLE operator RESET app.project; ALTER TABLE jobs DISABLE ROW LEVEL SECURITY; UPDATE jobs SET status = 'PENDING' WHERE batch_id = $held AND status = 'CANCELED' AND updated_at = end_timestamp");

# ... and every node must let the role in
sql('CREATE ROLE nologin_role; GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO nologin_role');
(undef, $stderr) = try_sql("SET ROLE nologin_role; SELECT cancel_jobs($held)");
like($stderr, qr/ERROR:  08006: .*role "nologin_role" is not permitted to log in/, 'a role without LOGIN is not let in by the workers');
sql('CREATE ROLE login_role LOGIN; GRANT CREATE ON SCHEMA public TO login_role; GRANT SELECT ON jobs TO login_role');
my $bound = "SET ROLE login_role; SELECT count(*) FROM cancel_jobs_preview($held, '{\"user_id\": \"nobody\"}'); " . q{CREATE FUNCTION bound() RETURNS int LANGUAGE sql SET pasqal_jobs.jobs_table = 'jobs' AS 'SELECT 1'};
(undef, $stderr) = try_sql($bound);
like($stderr, qr/ERROR:  42501: .*permission denied to set parameter "pasqal_jobs.jobs_table"/, 'a function with our settings is refused by workers that have not loaded the library');
is(sql("SET citus.enable_ddl_propagation = off; $bound; SELECT bound()"), "0\n1", '... unless it stays on the coordinator');

# lock_timeout goes the same way
my $holder = open_session($coordinator, "BEGIN; UPDATE jobs SET progress = 1 WHERE batch_id = $held");
(undef, $stderr) = try_sql("SET statement_timeout = '1s'; SET lock_timeout = '100ms'; SELECT cancel_jobs($held)");
like($stderr, qr/ERROR:  57014: .*statement timeout/, 'lock_timeout does not reach the worker, statement_timeout works');
(undef, $stderr) = try_sql("SET citus.propagate_set_commands = 'local'; SET statement_timeout = '9s'; BEGIN; SET LOCAL lock_timeout = '100ms'; SELECT cancel_jobs($held)");
like($stderr, qr/ERROR:  55P03: .*lock timeout/, '... lock_timeout of SET LOCAL does');
sql("ALTER ROLE operator SET lock_timeout = '100ms'; ALTER ROLE operator SET statement_timeout = '9s'");
like(error_of($coordinator, "SELECT cancel_jobs($held)", extra_params => [ '-U', 'operator' ]), qr/ERROR:  55P03: .*lock timeout/, '... and that of ALTER ROLE');
# who waits for a row is in a view of Citus
my $waiting = open_session($coordinator);
send_query($waiting, "SELECT count(*) FROM cancel_jobs_rows($held, '{\"status\": \"PENDING\"}')");
ok($coordinator->poll_query_until('postgres', "SELECT count(*) = 1 FROM citus_lock_waits WHERE blocked_statement LIKE '%cancel_jobs_rows%'"), 'citus_lock_waits shows who waits');
is(sql(q{SELECT wait_event_type, cardinality(pg_blocking_pids(pid)) FROM pg_stat_activity WHERE query LIKE '%cancel_jobs_rows%' AND pid <> pg_backend_pid() AND state = 'active'}),
	'Client|0', '... and pg_stat_activity does not');
$holder->query_safe('ROLLBACK');
$_->quit for $waiting, $holder;
sql("UPDATE jobs SET status = 'PENDING' WHERE batch_id = $held AND status = 'CANCELED' AND updated_at = end_timestamp");

# NOTIFY is heard on the node where the function runs
for my $listener (@nodes[0, 1])
{
	my $heard = open_session($listener, 'LISTEN job_canceled');
	sql("SET pasqal_jobs.notify_channel = 'job_canceled'; SELECT count(*) FROM cancel_jobs_rows($held, jsonb_build_object('status', 'PENDING')); UPDATE jobs SET status = 'PENDING' WHERE batch_id = $held AND status = 'CANCELED'");
	my $said = $heard->query('SELECT 1');
	($listener == $coordinator ? \&like : \&unlike)->($said, qr/"job_canceled"/, 'NOTIFY on ' . $listener->name);
	$heard->quit;
}

#
# Cancels of one batch, from one node, do not deadlock, however they find their jobs
#
sql(q{
	INSERT INTO jobs (batch_id, project_id, runs) SELECT batch(0), md5('project')::uuid, 1 FROM generate_series(1, 1500);
	UPDATE jobs SET status = 'RUNNING' WHERE batch_id = batch(0) AND id < '80000000-0000-0000-0000-000000000000';
	ANALYZE jobs});
my %forms = (
	batch => q{'{}'},
	list => q{(SELECT jsonb_build_object('id', jsonb_agg(id)) FROM (SELECT id FROM ids ORDER BY random() LIMIT 700) AS x)},
	'short list' => q{(SELECT jsonb_build_object('id', jsonb_agg(id)) FROM (SELECT id FROM ids ORDER BY random() LIMIT 60) AS x)},
	prefix => q{(SELECT jsonb_build_object('id__starts_with', (random() * 9)::int::text))});
sql('CREATE TABLE ids AS SELECT id FROM jobs WHERE batch_id = batch(0)');
for my $pair ([ 'list', 'list' ], [ 'batch', 'short list' ], [ 'prefix', 'list' ])
{
	my @running;
	for my $s (0 .. 3)
	{
		push @running, start_psql($coordinator, qq{
			DO \$\$ DECLARE till timestamptz := clock_timestamp() + interval '3 s'; n int := 0; f jsonb; BEGIN
			WHILE clock_timestamp() < till LOOP
				f := $forms{ $pair->[$s % 2] };
				PERFORM cancel_jobs(batch(0), f);
				n := n + 1;
				ROLLBACK;
			END LOOP; RAISE NOTICE 'calls: %', n; END \$\$});
	}
	my $said = join '', map { finish($_)->{err} . "\n" } @running;
	like($said, qr/^(NOTICE:  calls: [1-9]\d*\n){4}$/, "cancels of one batch do not deadlock: $pair->[0] and $pair->[1]");
	note $said;
}

# Deadlocks of several batches are found, also across nodes
for my $second ($coordinator, $workers[0])
{
	my ($x, $y) = map { take_batch($_) } 0, 1;
	my ($one, $two) = map { open_session($_, '', on_error_stop => 0) } $coordinator, $second;
	$_->query("\\set VERBOSITY verbose") for $one, $two;
	$one->query_safe("BEGIN; SELECT count(*) FROM cancel_jobs_rows($x)");
	$two->query_safe("BEGIN; SELECT count(*) FROM cancel_jobs_rows($y)");
	send_query($two, "SELECT count(*) FROM cancel_jobs_rows($x)");
	$one->query("SELECT count(*) FROM cancel_jobs_rows($y)");
	$two->query('SELECT 1');
	like($one->{stderr} . $two->{stderr}, qr/ERROR:  40P01:/, 'batches in two orders are a deadlock, the other call on ' . $second->name);
	$_->query('ROLLBACK'), $_->quit for $one, $two;
}

#
# A worker that is down
#
my ($up, $down) = map { take_batch($_) } 0, 1;
my $both = sub { return sql(qq{SELECT count(*) FROM jobs WHERE batch_id = $_[0] AND status = 'CANCELED' AND end_timestamp = updated_at}) };
$workers[1]->stop;
(undef, $stderr) = try_sql("BEGIN; SELECT count(*) FROM cancel_jobs_rows($up); SELECT cancel_jobs($down); COMMIT");
like($stderr, qr/ERROR:  08006: connection to the remote node .* failed/, 'a worker that is down is an error');
is($both->($up), '0', '... what was canceled on another worker is rolled back');
is(sql("SELECT count(job) FROM cancel_jobs_rows($up)"), '8', 'batches of the other worker can be canceled');
$workers[1]->start;
is(sql("SELECT count(job) FROM cancel_jobs_rows($down)"), '8', 'and once it is back, its own');

# ... and one that goes down between a call and COMMIT
my $session = open_session($coordinator, '', on_error_stop => 0);
$down = take_batch(1);
$session->query("\\set VERBOSITY verbose");
$session->query_safe("BEGIN; SELECT count(*) FROM cancel_jobs_rows($down)");
$workers[1]->stop('immediate');
$session->query('COMMIT');
like($session->{stderr}, qr/(ERROR|FATAL):  (XX000|08006):/, 'a worker that is lost before COMMIT is an error');
note $session->{stderr};
$session->quit;
$workers[1]->start;
is($both->($down), '0', '... and nothing is canceled');

# ... and one that has committed, but is lost before it says so
$down = take_batch(1);
$workers[1]->safe_psql('postgres', $_) for q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'}, 'SELECT pg_reload_conf()';
$session = open_session($coordinator, '', on_error_stop => 0);
send_query($session, "\\set VERBOSITY verbose\nSELECT count(*) FROM cancel_jobs_rows($down)");
wait_until($workers[1], "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
$workers[1]->stop('immediate');
$session->query('SELECT 1');
like($session->{stderr}, qr/ERROR:  (XX000|08006|57P01):/, 'a worker that is lost as it has committed is an error, too');
note $session->{stderr};
$session->quit;
$workers[1]->start;
$workers[1]->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()';
is($both->($down), '8', '... and its jobs are canceled');
is(sql("SELECT count(*), count(job) FROM cancel_jobs_rows($down)"), '20|0', '... which the same call says when it is repeated');

# A worker that comes later
push @workers, $later;
sql(sprintf "SELECT citus_add_node('%s', %d)", $later->host, $later->port);
is($later->safe_psql('postgres', "SELECT count(*), count(job) FROM cancel_jobs_rows($alone)"), '20|0', 'a worker that is added later has all that a cancel needs');

# A shard that moves away
my $moved = take_batch(0);
$session = open_session($coordinator, "BEGIN; SELECT count(*) FROM cancel_jobs_rows($moved); ROLLBACK");
sql(sprintf "SELECT citus_move_shard_placement(get_shard_id_for_distribution_column('jobs', $moved), '%s', %d, '%s', %d, 'block_writes')",
	map { $_->host, $_->port } @workers[0, 1]);
is($session->query_safe("SELECT count(*), count(job) FROM cancel_jobs_rows($moved)"), '20|8', 'a shard that moved is found by a session that knew it');
$session->quit;

# ... and one that moves during the call. The move is halted as it begins, by an
# event trigger on the worker that it goes to
$moved = take_batch(0);
my ($source, $target) = @workers;
$target->safe_psql('postgres', q{SET citus.enable_ddl_propagation = off;
	CREATE FUNCTION halt() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); END';
	CREATE EVENT TRIGGER halt ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION halt()});
my $halt = $target->background_psql('postgres');
$halt->query_safe('SELECT pg_advisory_lock(1)');
my $move = IPC::Run::start([ 'psql', '-XqAt', '-d', $coordinator->connstr('postgres'), '-c', sprintf "SELECT citus_move_shard_placement(get_shard_id_for_distribution_column('jobs', $moved), '%s', %d, '%s', %d, 'block_writes')",
		map { $_->host, $_->port } $source, $target ], '<', \undef, '>', \my $move_out, '2>&1');
$target->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory'}) or die 'the move is not halted';
my $rows = "SELECT count(*), count(job) FROM cancel_jobs_rows($moved, '{\"min_runs\": %d, \"max_runs\": %d}')";
my @during = (
	[ $later, sprintf($rows, 1, 5), "5|2", 2, 'one from a third worker is lost, though its answer is that of any cancel' ],
	[ $later, "BEGIN; SELECT count(*) FROM jobs WHERE batch_id = $moved AND runs BETWEEN 6 AND 10 AND status IN ('PENDING', 'RUNNING'); UPDATE jobs SET status = 'CANCELED' WHERE batch_id = $moved AND runs BETWEEN 6 AND 10 AND status IN ('PENDING', 'RUNNING'); COMMIT", '2', 2, '... as is an UPDATE by hand after a SELECT' ],
	[ $coordinator, sprintf($rows, 11, 15), "5|2", 0, '... but not one from the coordinator' ],
	[ $source, sprintf($rows, 16, 20), "5|2", 0, '... nor from the worker that the shard leaves' ]);
my @answers;
my @calls = map { my ($node, $query) = @$_; push @answers, \my $answer; IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', $query ], '<', \undef, '>', $answers[-1], '2>&1') } @during;
for (@during)
{
	my ($node) = @$_;
	$node->poll_query_until('postgres', sprintf q{SELECT count(*) = %d FROM pg_stat_activity WHERE query ~ 'cancel_jobs_rows|^BEGIN; SELECT' AND wait_event_type = 'Lock'}, scalar grep { $_->[0] == $node } @during) or die 'a call does not wait';
}
$halt->quit;
$_->finish for $move, @calls;
for (0 .. $#during)
{
	my (undef, undef, $answer, $open, $what) = @{ $during[$_] };
	is(${ $answers[$_] } =~ s/\n$//r, $answer, 'a cancel while a shard moves');
	is(sql(sprintf "SELECT count(*) FROM jobs WHERE batch_id = $moved AND runs BETWEEN %d AND %d AND status IN ('PENDING', 'RUNNING')", 5 * $_ + 1, 5 * $_ + 5), $open, $what);
}
$target->safe_psql('postgres', 'SET citus.enable_ddl_propagation = off; DROP EVENT TRIGGER halt');

#
# What Citus does not have, and what takes its place
#
sub refused
{
	my ($what, $sql, $error) = @_;
	my (undef, $stderr) = try_sql("BEGIN; $sql");
	like($stderr, $error, $what);
}
sql('CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; CREATE VIEW seen AS SELECT * FROM jobs');
refused('a trigger is refused', 'CREATE TRIGGER touch BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch()', qr/triggers are not supported on distributed tables/);
refused('a cancel through a view is refused', "SET LOCAL pasqal_jobs.jobs_table = 'seen'; SELECT cancel_jobs($held)", qr/ERROR:  0A000: cannot modify views/);
is(sql("SET pasqal_jobs.jobs_table = 'seen'; SELECT count(*) FROM cancel_jobs_preview($held)"), '20', '... a preview is not');
refused('a purge by ctid is refused', 'DELETE FROM jobs WHERE ctid = ANY (ARRAY(SELECT ctid FROM jobs LIMIT 10))', qr/ERROR:  0A000: .*ctid/s);
sql('CREATE TABLE noted (batch_id uuid, id uuid, PRIMARY KEY (batch_id, id))');
sql(q{SELECT create_distributed_table('noted', 'batch_id', colocate_with => 'jobs');
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.noted VALUES (NEW.batch_id, NEW.id); RETURN NULL; END';
	CREATE FUNCTION note_all() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.noted SELECT batch_id, id FROM after; RETURN NULL; END'});
my $unsafe = 'SET citus.enable_unsafe_triggers = on; CREATE TRIGGER note AFTER UPDATE ON jobs';
my $noted = take_batch(0);
sql("$unsafe REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION note_all()");
(undef, $stderr) = try_sql("SELECT cancel_jobs($noted)");
like($stderr, qr/ERROR:  .*named tuplestore "after"/, 'enable_unsafe_triggers: one by statement with a transition table ends a cancel');
sql("SET citus.enable_unsafe_triggers = on; DROP TRIGGER note ON jobs; $unsafe FOR EACH ROW EXECUTE FUNCTION note()");
is(sql("SELECT count(*) FROM cancel_jobs_rows($noted) WHERE error IS NULL; SELECT count(*) FROM noted"), "8\n8", '... one by row writes to a table beside the jobs');
sql('SET citus.enable_unsafe_triggers = on; DROP TRIGGER note ON jobs');

my $everywhere = take_batch(1);
is(sql("SELECT count(*), count(nullif(jsonb_array_length(result::jsonb #> '{data,jobs}'), 0)) FROM run_command_on_workers('SELECT cancel_jobs(' || quote_literal($everywhere) || ')')"), '3|1',
	'run_command_on_workers has each worker cancel the batch, and one of the answers has the jobs');

SKIP:
{
	skip 'citus_columnar is not installed', 3 unless -e "$sharedir/extension/citus_columnar.control";
	sql('CREATE EXTENSION citus_columnar') if sql(q{SELECT count(*) FROM pg_am WHERE amname = 'columnar'}) == 0;
	sql(q{CREATE TABLE aged (LIKE plain INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (batch_id, id, created_at)) PARTITION BY RANGE (created_at);
		CREATE TABLE aged_old PARTITION OF aged FOR VALUES FROM (MINVALUE) TO ('2023-01-01');
		CREATE TABLE aged_new PARTITION OF aged FOR VALUES FROM ('2023-01-01') TO (MAXVALUE)});
	sql(q{SELECT create_distributed_table('aged', 'batch_id', colocate_with => 'none'); INSERT INTO aged SELECT * FROM plain WHERE batch_id = batch(3)});
	sql(q{SELECT alter_table_set_access_method('aged_old', 'columnar')});
	my $aged = "SET pasqal_jobs.jobs_table = 'aged';";
	(undef, $stderr) = try_sql("$aged SELECT cancel_jobs(batch(3))");
	like($stderr, qr/ERROR:  0A000: UPDATE and CTID scans not supported for ColumnarScan/, 'a columnar partition, empty even, ends a cancel');
	is(sql("$aged SELECT count(*) FROM cancel_jobs_preview(batch(3))"), '20', '... which a preview does not foresee');
	is(sql("$aged SET pasqal_jobs.date_filter = 'creation'; SELECT count(*) FROM cancel_jobs_rows(batch(3), '{\"start_date\": \"2023-01-01T00:00:00Z\"}') WHERE error IS NULL"), '8', '... but not one by dates that leave the partition out');
}
sql('CREATE INDEX CONCURRENTLY ON jobs USING brin (created_at)');
is(sql(q{
	BEGIN;
	UPDATE jobs SET created_at = '2023-01-01 12:00+00', end_timestamp = '2023-01-02' WHERE status = 'DONE' AND runs = 3;
	DELETE FROM jobs WHERE created_at >= '2023-01-01'::timestamptz AND created_at < '2023-01-01'::timestamptz + interval '1 day'
		AND status IN ('DONE', 'ERROR', 'CANCELED') AND end_timestamp < now() - interval '90 days';
	SELECT count(*) FROM jobs WHERE status = 'DONE' AND runs = 3;
	ROLLBACK}), '0', '... a purge by days is not');

# The identity column
refused('it cannot be dropped any more', 'ALTER TABLE jobs ALTER creation_order DROP IDENTITY', qr/ERROR:  0A000: /);
refused('undistribute_table wants no identity column', "SELECT undistribute_table('jobs')", qr/ERROR:  0A000: .*identity column/);
refused('nor does another number of shards', "SELECT alter_distributed_table('jobs', shard_count => 4, cascade_to_colocated => false)", qr/ERROR:  0A000: .*identity column/);
is($workers[0]->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs) VALUES (batch(99), batch(99), 1) RETURNING creation_order}), '281474976710657',
	'numbers go up by node');
sql('ALTER TABLE jobs RENAME TO numbered; ALTER INDEX jobs_pkey RENAME TO numbered_pkey; ' . block("SELECT create_jobs_table('jobs', 1);\nALTER TABLE jobs ALTER creation_order"));
is(sql('SELECT count(*) FROM citus_tables WHERE table_name = \'jobs\'::regclass'), '0', '... a sequence in its place goes both ways');
sql('DROP TABLE jobs; ALTER TABLE numbered RENAME TO jobs');

# A schema for each tenant
is(sql(q{
	SET citus.enable_schema_based_sharding = on;
	CREATE SCHEMA noticed;
	SELECT create_jobs_table('noticed.jobs');
	SELECT count(*) FROM citus_tables WHERE table_name = 'noticed.jobs'::regclass}), "noticed.jobs\n0", 'a table that a function makes in the schema of a tenant is not distributed');
is(sql(q{SET citus.enable_schema_based_sharding = on; CREATE SCHEMA late; SELECT create_jobs_table('late.jobs'); SELECT citus_schema_distribute('late');
	SELECT count(*) FROM citus_tables WHERE table_name = 'late.jobs'::regclass}), "late.jobs\n\n0", '... nor with the schema, if that was created with the setting');
is(sql(q{SET citus.enable_schema_based_sharding = on;} . block('SET citus.enable_schema_based_sharding = off;') . q{
	SELECT citus_table_type FROM citus_tables WHERE table_name = 'tenant.jobs'::regclass;
	INSERT INTO tenant.jobs SELECT * FROM plain WHERE batch_id = batch(3);
	SELECT count(*), count(job) FROM cancel_jobs_rows(batch(3))}), "tenant.jobs\n\nschema\n20|8", '... but with the schema, afterwards');

(undef, $stderr) = try_sql(q{SET pasqal_jobs.jobs_table = 'tenant.jobs'; WITH open AS MATERIALIZED (SELECT DISTINCT batch_id FROM tenant.jobs) SELECT cancel_jobs(batch_id) FROM open});
like($stderr, qr/ERROR:  0A000: cannot cancel jobs over a connection/, 'a query over a schema of a tenant goes there whole');
is(sql(q{SELECT create_jobs_table('second'); ALTER TABLE second SET SCHEMA tenant; SELECT citus_table_type FROM citus_tables WHERE table_name = 'tenant.second'::regclass}),
	"second\nschema", 'a table that moves into the schema is distributed');

# Partitions by age
my $by_age = block("SELECT create_jobs_table('shape');");
$by_age =~ s/^(?=SET )/SELECT create_distributed_table('jobs_by_age', 'batch_id');\nINSERT INTO jobs_by_age SELECT (jsonb_populate_record(NULL::jobs_by_age, to_jsonb(p) || '{"created_at": "2026-10-05"}')).* FROM plain AS p WHERE batch_id = batch(3);\n/m;
$by_age =~ s/cancel_jobs\(.*\)/count(*), count(job) FROM cancel_jobs_rows(batch(3))/;
like($by_age, qr/DETACH PARTITION jobs_2026_10;/, 'the page detaches a partition');
refused('... which does not go CONCURRENTLY', 'ROLLBACK; ' . ($by_age =~ s/DETACH PARTITION jobs_2026_10;.*/DETACH PARTITION jobs_2026_10 CONCURRENTLY/sr), qr/CONCURRENTLY commands are currently unsupported/);
sql('DROP TABLE jobs_by_age');
is(sql("$by_age; SELECT count(*) FROM jobs_by_age"), "shape\n\n20|8\n0\n0", 'a table with partitions by age');

#
# A distributed function would run with other settings than its caller's. Last,
# as it cannot be undone
#
sql("SELECT create_distributed_function('cancel_jobs(uuid,jsonb)', 'batch', colocate_with => 'jobs')");
my $elsewhere = take_batch(0);
my $literal = sql("SELECT $elsewhere");
(undef, $stderr) = try_sql("SELECT cancel_jobs('$literal')");
like($stderr, qr/ERROR:  0A000: cannot cancel jobs over a connection between nodes of Citus/, 'a call that Citus sends to a worker is refused');
is($both->($elsewhere), '0', '... and cancels nothing');
is(sql("SELECT jsonb_array_length(cancel_jobs('$literal')::text::jsonb #> '{data,jobs}')"), '8', '... with ::text behind it Citus does not send it');
sql("CREATE FUNCTION calls_it(b uuid) RETURNS jsonb LANGUAGE sql AS 'SELECT cancel_jobs(b)'; SELECT create_distributed_function('calls_it(uuid)', 'b', colocate_with => 'jobs')");
(undef, $stderr) = try_sql("SELECT calls_it('$literal')");
like($stderr, qr/ERROR:  0A000: cannot cancel jobs over a connection/, 'nor may a function be sent that calls it');

done_testing();

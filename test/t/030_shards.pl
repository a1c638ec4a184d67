# Jobs on three servers: with core PostgreSQL, a partitioned table whose
# partitions are foreign tables of postgres_fdw; with PL/Proxy, if its package
# is there, a function that calls the function of its name where the batch is.
# In TAP because it takes three servers.
#
# SHARDS_BATCHES=20000 also measures one server against three.

use strict;
use warnings;

use PasqalJobs;

my $bench = $ENV{SHARDS_BATCHES} // 0;
my $batches = 60;
my $per_batch = 10;

# Database "postgres" of each server holds a shard, "front" and "proxy" of the
# first hold no job and know where the shards are
my @shards;
for my $n (0 .. 2)
{
	push @shards, start_server("shard$n",
		conf => "wal_level = replica\nmax_wal_senders = 1\n" . ($bench ? "fsync = on\nshared_buffers = 256MB\nmax_wal_size = 4GB" : 'log_statement = all'));
}
my $front = $shards[0];

sub sql { return $front->safe_psql('front', @_) }
sub front_error { return error_of($front, $_[0], db => 'front') }

# Where a shard is, as psql, a foreign server and PL/Proxy understand it
sub options { return sprintf("host '%s', port '%s', dbname '%s'", $_[0]->host, $_[0]->port, $_[1] // 'postgres') }

# A block of SQL of doc/growing.md, by the line that it begins with; its servers
# are called shard0 to shard2
sub block
{
	my ($line, $shard) = @_;
	my $sql = sql_block('doc/growing.md', $line);
	$sql =~ s/(shard|jobs_|REMAINDER )0/$1$shard/g if defined $shard;
	$sql =~ s/host 'shard(\d)', port '5432', dbname 'jobs'/options($shards[$1])/ge;
	$sql =~ s/host=shard(\d) port=5432 dbname=jobs/sprintf 'host=%s port=%s dbname=postgres', $shards[$1]->host, $shards[$1]->port/ge;
	return $sql;
}

$front->safe_psql('postgres', 'CREATE DATABASE front');
sql(join "\n", block("CREATE EXTENSION pasqal_jobs;\nCREATE EXTENSION postgres_fdw;"), map { block('CREATE SERVER shard0', $_) } 0 .. 2);

# Both front doors put a batch on the same shard
my ($shard_of) = block('CREATE EXTENSION plproxy;') =~ /^(CREATE FUNCTION shard_of.*?\$\$;)$/ms or die 'doc/growing.md has no shard_of';
sql($shard_of);

# Jobs 1 to 10 of each batch: two of each status
sub submit
{
	my ($count) = @_;
	sql(qq{
		INSERT INTO jobs (id, batch_id, project_id, runs, status, user_id)
		SELECT md5(b || ' ' || n)::uuid, md5('batch ' || b)::uuid, md5('project')::uuid, n,
			   (enum_range(NULL::jobstatus))[1 + n % 5], 'user ' || n % 2
		FROM generate_series(1, $count) AS b, generate_series(1, $per_batch) AS n});
}
submit($batches);

my @held = map { $_->safe_psql('postgres', 'SELECT count(DISTINCT batch_id) FROM jobs') } @shards;
cmp_ok($held[$_], '>', 5, "shard $_ has batches: $held[$_]") for 0 .. 2;
is($held[0] + $held[1] + $held[2], $batches, 'each batch is on one shard');

# Batches of one shard, as SQL
sub batches_of
{
	my ($shard) = @_;
	return map { "'$_'::uuid" } split /\n/, sql("SELECT md5('batch ' || b)::uuid FROM generate_series(1, $batches) AS b WHERE shard_of(md5('batch ' || b)::uuid) = $shard");
}
my @on = map { [ batches_of($_) ] } 0 .. 2;

my $canceled = "SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND batch_id =";
my $answer = q{SELECT jsonb_path_query_array(a, '$.data.jobs[*].id'), jsonb_path_query_array(a, '$.data.jobs[*].status'), a->'data'->'errors' FROM};

#
# postgres_fdw
#

# The front door answers as the shard does, and asks no other shard
for my $filters ("'{}'", q{'{"status": ["PENDING", "DONE"], "user_id": "user 0", "max_runs": 9}'}, q{jsonb_build_object('id', jsonb_build_array(md5('1 1'), md5('2 2'), md5('3 4')))})
{
	for my $shard (0 .. 2)
	{
		my $batch = $on[$shard][0];
		my $query = "BEGIN; $answer cancel_jobs($batch, $filters) AS a; ROLLBACK";
		my $there = $shards[$shard]->safe_psql('postgres', $query);
		my @log = map { -s $_->logfile } @shards;
		my $here = sql($query);
		like($here, qr/Job /, 'a batch with jobs that match');
		is($here, $there, "batch on shard $shard, $filters: the front door answers as the shard");
		next if $bench;

		# (the first shard's log has the front door's own statements, too)
		for my $other (grep { $_ != $shard && $_ != 0 } 0 .. 2)
		{
			ok(!$shards[$other]->log_contains('jobs', $log[$other]), "... shard $other is not asked");
		}
	}
}

# The UPDATE is sent whole, to one shard
sql(qq{
	LOAD 'auto_explain';
	SET auto_explain.log_min_duration = 0;
	SET auto_explain.log_nested_statements = on;
	SET auto_explain.log_verbose = on;
	BEGIN;
	SELECT cancel_jobs($on[1][0], '{"status": ["PENDING", "RUNNING"], "user_id": ["user 0", "user 1"]}');
	ROLLBACK});
my ($plan) = slurp_file($front->logfile) =~ /(Query Text: UPDATE public\.jobs AS j SET.*?)\n\d{4}-/s;
like($plan, qr/Foreign Update on public\.jobs_1.*\n\s+Remote SQL: UPDATE public\.jobs SET .*RETURNING/, 'the plan is a remote UPDATE');
unlike($plan, qr/Foreign Scan|FOR UPDATE/, '... with no row fetched to be locked');
like($plan, qr/Subplans Removed: 2\n/, '... of one shard, in a plan for every batch');
is(scalar(() = $plan =~ /Remote SQL: /g), 1, '... once');
note $plan;

# What a call sends to its shard, in a session that has been there: one round
# trip a statement
my $session = open_session($front, '', db => 'front');
sub sent
{
	my ($filters) = @_;
	my $query = "SELECT count(cancel_jobs($on[1][7], $filters))";
	$session->query_safe("BEGIN; $query; ROLLBACK");
	my $start = -s $shards[1]->logfile;
	$session->query_safe($query);
	return join ' ', slurp_file($shards[1]->logfile, $start) =~ /LOG:  (?:statement|execute <unnamed>): (\w+)/g;
}
my ($open, $ended) = map { sql("SELECT id FROM jobs WHERE batch_id = $on[1][7] AND status = '$_' LIMIT 1") } qw(PENDING DONE);
SKIP:
{
	skip 'statements are not logged while times are measured', 3 if $bench;
	is(sent("'{\"id\": \"$open\"}'"), 'START UPDATE COMMIT', 'a cancel of one job takes three round trips');
	is(sent("'{\"id\": \"$ended\"}'"), 'START UPDATE DECLARE FETCH CLOSE COMMIT', '... and three more to learn why it was not canceled');
	is(sent("'{}'"), 'START DECLARE FETCH CLOSE UPDATE COMMIT', 'a cancel of a batch takes six');
}
$session->quit;

# Rows, preview, HTTP and chunks take the same way
my ($batch0, $batch1, $batch2) = map { $on[$_][1] } 0 .. 2;
is(sql("SELECT count(*) FILTER (WHERE error IS NULL), count(*) FROM cancel_jobs_preview($batch0)"), '4|10', 'cancel_jobs_preview');
is(sql("SELECT count(*) FILTER (WHERE error IS NULL), count(*) FROM cancel_jobs_rows($batch0)"), '4|10', 'cancel_jobs_rows');
is(sql("SELECT status_code, json_array_length(body->'data'->'jobs') FROM cancel_jobs_http(($batch1)::text)"), '200|4', 'cancel_jobs_http');
is(sql("CALL cancel_jobs_in_chunks($batch2, '{}', 3)"), '4|6', 'cancel_jobs_in_chunks');
for my $shard (0 .. 2)
{
	is($shards[$shard]->safe_psql('postgres', "$canceled $on[$shard][1]"), '6', "... arrived on shard $shard");
}

# One transaction over two shards: ROLLBACK undoes both, COMMIT does both
($batch0, $batch1, $batch2) = map { $on[$_][2] } 0 .. 2;
sql("BEGIN; SELECT cancel_jobs($batch1), cancel_jobs($batch2); ROLLBACK");
is($shards[1]->safe_psql('postgres', "$canceled $batch1"), '2', 'ROLLBACK undoes it on one shard');
is($shards[2]->safe_psql('postgres', "$canceled $batch2"), '2', '... and on the other');

# A race is a serialization failure, nothing is half done, and a retry succeeds
my $worker = open_session($shards[1], "BEGIN; UPDATE jobs SET status = 'DONE' WHERE batch_id = $batch1 AND status = 'PENDING'");
my $cancel = start_psql($front, { db => 'front' }, '\set VERBOSITY verbose', "SELECT cancel_jobs($batch2)->'data'->'jobs'->0->'status', cancel_jobs($batch1)");
wait_for_lock($shards[1]);
$worker->query_safe('COMMIT');
$worker->quit;
like(finish($cancel)->{err}, qr/ERROR:  40001: could not serialize access/, 'a race is a serialization failure');
is($shards[1]->safe_psql('postgres', "$canceled $batch1"), '2', '... nothing is canceled on its shard');
is($shards[2]->safe_psql('postgres', "$canceled $batch2"), '2', '... nor on the other');
like(sql("SELECT cancel_jobs($batch1)"), qr/its status is DONE/, 'tried again, it succeeds');

# A plan that is kept for every batch locks all partitions
for my $mode ([ auto => 1 ], [ force_generic_plan => 3 ])
{
	my $call = "BEGIN; SELECT count(cancel_jobs($on[1][9], '{\"user_id\": \"nobody\"}'));
		SELECT count(DISTINCT relation) FROM pg_locks JOIN pg_class ON pg_class.oid = relation WHERE pid = pg_backend_pid() AND relkind = 'f'; ROLLBACK;";
	like(sql("SET plan_cache_mode = $mode->[0]; " . $call x 7), qr/\n$mode->[1]$/, "$mode->[0] locks $mode->[1] foreign tables");
}

# A wait for a row is on the shard: only what is set there, or statement_timeout, ends it
my $contended = $on[1][9];
my $holder = open_session($shards[1], "BEGIN; UPDATE jobs SET progress = 1 WHERE batch_id = $contended");
my $impatient = "SET statement_timeout = '2s'; BEGIN; SET LOCAL lock_timeout = '100ms'; SELECT cancel_jobs($contended)";
like(front_error($impatient), qr/ERROR:  57014:/, 'lock_timeout does not end a wait for a row of a shard, statement_timeout does');
sql(q{ALTER SERVER shard1 OPTIONS (ADD options '-c lock_timeout=100ms')});
like(front_error($impatient), qr/ERROR:  55P03:/, '... lock_timeout of the foreign server does');
sql('ALTER SERVER shard1 OPTIONS (DROP options)');
$holder->query_safe('ROLLBACK');
$holder->quit;

# A deadlock between the front and a shard is seen by neither: a named job
# first, then its batch
my $contended_id = sql("SELECT id FROM jobs WHERE batch_id = $contended AND status = 'PENDING' LIMIT 1");
my ($one, $two) = map { open_session($front, '', db => 'front', on_error_stop => 0) } 1, 2;
$_->query("\\set VERBOSITY verbose\nSET statement_timeout = '4s'") for $one, $two;
$one->query_safe("BEGIN; SELECT count(*) FROM cancel_jobs_rows($contended, '{\"id\": \"$contended_id\"}')");
send_query($two, "SELECT count(*) FROM cancel_jobs_rows($contended)");
wait_for_lock($shards[1]);
$one->query("SELECT count(*) FROM cancel_jobs_rows($contended)");
$one->query('ROLLBACK');
$two->query('SELECT 1');
like("$one->{stderr}$two->{stderr}", qr/ERROR:  57014:/, 'a deadlock between front and shard ends by statement_timeout');
unlike("$one->{stderr}$two->{stderr}", qr/40P01/, '... and is not detected');
$_->quit for $one, $two;

# Each role needs a mapping, and row-level security sees the role that it names
$shards[1]->safe_psql('postgres', q{
	CREATE ROLE shop LOGIN;
	GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO shop;
	ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
	CREATE POLICY few ON jobs USING (runs <= 3)});
sql('CREATE ROLE shop; GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO shop');
like(front_error("SET ROLE shop; SELECT cancel_jobs($contended)"), qr/ERROR:  42704: user mapping not found/, 'a role without a mapping is refused');
sql(q{CREATE USER MAPPING FOR shop SERVER shard1 OPTIONS (user 'shop')});
like(front_error("SET ROLE shop; SELECT cancel_jobs($contended)"), qr/ERROR:  (2F003|42501): password/, '... and one without a password');
sql(q{ALTER USER MAPPING FOR shop SERVER shard1 OPTIONS (ADD password_required 'false')});
is(sql("SET ROLE shop; SELECT count(*) FROM cancel_jobs_preview($contended)"), '3', 'row-level security sees the user of the mapping');
$shards[1]->safe_psql('postgres', 'ALTER TABLE jobs DISABLE ROW LEVEL SECURITY');

# Fronts number jobs each for itself, unless told otherwise
$front->safe_psql('postgres', 'CREATE DATABASE front2');
$front->safe_psql('front2', join("\n", block("CREATE EXTENSION pasqal_jobs;\nCREATE EXTENSION postgres_fdw;") =~ s/^ALTER DATABASE.*//mr, map { block('CREATE SERVER shard0', $_) } 0 .. 2));
my $numbered = "INSERT INTO jobs (batch_id, project_id, runs) SELECT $contended, md5('project')::uuid, 77 FROM generate_series(1, 2) RETURNING creation_order";
is($front->safe_psql('front2', $numbered), "1\n2", 'another front numbers jobs from 1');
is($front->safe_psql('front2', block('ALTER TABLE jobs ALTER creation_order SET INCREMENT') . $numbered), "1000002\n1000018", '... unless it has numbers of its own');
sql('DELETE FROM jobs WHERE runs = 77');

# A shard that is lost within a transaction, and one that is lost after it has
# committed
my ($lost1, $lost2) = @{ $on[1] }[ 10, 11 ];
$session = open_session($front, '', db => 'front', on_error_stop => 0);
$session->query("\\set VERBOSITY verbose\nBEGIN; SELECT count(*) FROM cancel_jobs_rows($lost1)");
$shards[1]->restart;
$session->query('COMMIT');
like($session->{stderr}, qr/ERROR:  08006:/, 'a shard that is lost in a transaction is 08006');
is($shards[1]->safe_psql('postgres', "$canceled $lost1"), '2', '... and nothing is canceled');
$shards[1]->safe_psql('postgres', $_) for q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'}, 'SELECT pg_reload_conf()';
$session->{stderr} = '';
send_query($session, "SELECT count(*) FROM cancel_jobs_rows($lost2)");
wait_until($shards[1], "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
$shards[1]->stop('immediate');
$session->query('SELECT 1');
like($session->{stderr}, qr/ERROR:  08006:/, 'one that is lost after it has committed is 08006, too');
$session->quit;
$shards[1]->start;
$shards[1]->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()';
is($shards[1]->safe_psql('postgres', "$canceled $lost2"), '6', '... and the jobs are canceled');
is(sql("SELECT count(*), count(job) FROM cancel_jobs_rows($lost2)"), '10|0', '... which the same call says when it is repeated');

# A shard that is down: a clear error, nothing done on the others, and their
# batches can be canceled
($batch0, $batch1, $batch2) = map { $on[$_][3] } 0 .. 2;
$shards[2]->stop;
like(front_error("BEGIN;\nSELECT 1 FROM cancel_jobs($batch1);\nSELECT cancel_jobs($batch2);\nCOMMIT"), qr/ERROR:  08001: could not connect to server "shard2"/, 'a shard that is down is named by the error');
is($shards[1]->safe_psql('postgres', "$canceled $batch1"), '2', '... what was canceled on another shard is rolled back');
is(sql("SELECT jsonb_array_length(cancel_jobs($batch1)->'data'->'jobs')"), '4', 'batches of the other shards can be canceled');
$shards[2]->start;
is(sql("SELECT jsonb_array_length(cancel_jobs($batch2)->'data'->'jobs')"), '4', 'and once it is back, its own');

# The limit: no two-phase commit. If one shard fails at COMMIT, another may have
# committed already. Which comes first is postgres_fdw's choice, so either may
# be the one to fail.
my @half_done;
for my $failing (1, 2)
{
	my $other = 3 - $failing;
	my @batch = map { $on[$_][ 3 + $failing ] } 0 .. 2;
	$shards[$failing]->safe_psql('postgres', q{
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'failed at commit'; END $$;
		CREATE CONSTRAINT TRIGGER fail AFTER UPDATE ON jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()});
	like(front_error("BEGIN;\nSELECT 1 FROM cancel_jobs($batch[1]);\nSELECT 1 FROM cancel_jobs($batch[2]);\nCOMMIT"), qr/ERROR:  P0001: failed at commit/, "COMMIT fails on shard $failing");
	is($shards[$failing]->safe_psql('postgres', "$canceled $batch[$failing]"), '2', '... nothing is canceled there');
	push @half_done, $other if $shards[$other]->safe_psql('postgres', "$canceled $batch[$other]") == 6;
	$shards[$failing]->safe_psql('postgres', 'DROP FUNCTION fail() CASCADE');
}
is(scalar @half_done, 1, 'atomicity ends at COMMIT: what one shard committed stays though the other failed');

# A partition moves to another server, and no row changes its partition. While
# it is detached a cancel finds nothing, so it is replaced in one transaction.
my $moving = $on[2][8];
is(sql("BEGIN; ALTER TABLE jobs DETACH PARTITION jobs_2; SELECT cancel_jobs($moving); ROLLBACK"), '{"data": {"jobs": [], "errors": {}}}',
	'a cancel finds nothing in a partition that is detached');
$shards[1]->safe_psql('postgres', 'SELECT create_jobs_table(\'moved\')');
my $copy = PostgreSQL::Test::Utils::tempdir() . '/jobs_2';
my $mover = open_session($shards[2], "BEGIN; LOCK TABLE jobs; COPY jobs TO '$copy'");
$shards[1]->safe_psql('postgres', "COPY moved FROM '$copy'");
$cancel = start_psql($shards[2], '\set VERBOSITY verbose', "SELECT cancel_jobs($moving)");
wait_for_lock($shards[2]);
sql(q{
	BEGIN;
	ALTER TABLE jobs DETACH PARTITION jobs_2;
	DROP FOREIGN TABLE jobs_2;
	CREATE FOREIGN TABLE jobs_2 PARTITION OF jobs FOR VALUES WITH (MODULUS 3, REMAINDER 2) SERVER shard1 OPTIONS (table_name 'moved');
	COMMIT});
$mover->query_safe('ALTER TABLE jobs RENAME TO jobs_moved; COMMIT');
$mover->quit;
like(finish($cancel)->{err}, qr/ERROR:  (42P01|55000):/, 'what waited for the old table is an error');
is(sql("SELECT jsonb_array_length(cancel_jobs($moving)->'data'->'jobs')"), '4', 'a partition that moved is canceled on its new server');
is($shards[1]->safe_psql('postgres', "$canceled $moving" =~ s/jobs/moved/r), '6', '... and arrives there');
$shards[2]->safe_psql('postgres', 'ALTER TABLE jobs_moved RENAME TO jobs');
sql('ALTER TABLE jobs DETACH PARTITION jobs_2; DROP FOREIGN TABLE jobs_2');
sql(block('CREATE SERVER shard0', 2) =~ s/.*(?=CREATE FOREIGN TABLE)//sr);

#
# PL/Proxy
#
my $proxy = $front->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'plproxy'");
sub by_proxy { return $front->safe_psql('proxy', @_) }

SKIP:
{
	skip 'PL/Proxy is not installed', 14 unless $proxy;

	$front->safe_psql('postgres', 'CREATE DATABASE proxy');
	by_proxy(block('CREATE EXTENSION plproxy;'));

	for my $shard (0 .. 2)
	{
		my $batch = $on[$shard][6];
		my $there = $shards[$shard]->safe_psql('postgres', "BEGIN; $answer cancel_jobs($batch, '{\"max_runs\": 5}') AS a; ROLLBACK");
		is(by_proxy("$answer cancel_jobs($batch, '{\"max_runs\": 5}') AS a"), $there, "PL/Proxy: a batch of shard $shard is answered by it");
		is($shards[$shard]->safe_psql('postgres', "$canceled $batch"), '4', '... and its jobs are canceled');
	}
	is(by_proxy("SELECT status_code, body->'data'->'jobs' IS NULL FROM cancel_jobs_http(($on[1][6])::text, 'min_runs=many')"), '422|t', 'PL/Proxy: cancel_jobs_http');
	like(error_of($front, "SELECT cancel_jobs($on[1][6], '{\"min_run\": 1}')", db => 'proxy'), qr/22023.*extra fields not permitted.*HINT:.*Perhaps you meant the filter "min_runs"/s, 'PL/Proxy: a shard\'s error arrives with its SQLSTATE, DETAIL and HINT');

	# What does not arrive
	$front->psql('proxy', "SET pasqal_jobs.max_jobs = 1; SET pasqal_jobs.jobs_table = 'elsewhere'; BEGIN READ ONLY; SELECT cancel_jobs($on[1][8]); ROLLBACK");
	is($shards[1]->safe_psql('postgres', "$canceled $on[1][8]"), '6', 'PL/Proxy: neither settings of the caller nor READ ONLY arrive');
	like(error_of($front, "SELECT * FROM cancel_jobs_http('urn:uuid:' || $on[1][7])", db => 'proxy'), qr/ERROR:  22P02/, 'PL/Proxy: nor does a uuid that only the endpoint would read');

	# Waits, and who ends them
	my $last = $on[1][12];
	my $holder = open_session($shards[1], "BEGIN; SELECT count(*) FROM cancel_jobs_rows($last)");
	like(error_of($front, "SET statement_timeout = '1s'; SELECT cancel_jobs($last, '{\"status\": \"PENDING\"}')", db => 'proxy'), qr/ERROR:  57014:/, 'PL/Proxy: a call waits for the lock of its batch, until statement_timeout');
	$holder->query_safe('ROLLBACK; BEGIN; UPDATE jobs SET progress = 1 WHERE batch_id = ' . $last);
	my $call = open_session($front, '', db => 'proxy', on_error_stop => 0);
	send_query($call, "SELECT cancel_jobs($last)");
	wait_for_lock($shards[1]);
	$front->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'proxy'");
	$holder->query_safe('ROLLBACK');
	$holder->quit;
	ok($shards[1]->poll_query_until('postgres', "SELECT count(*) = 6 FROM jobs WHERE status = 'CANCELED' AND batch_id = $last"), 'PL/Proxy: it goes on when the session in front is terminated');
	eval { $call->quit };

	like(error_of($front, "SELECT * FROM cancel_jobs_http('no uuid')", db => 'proxy'), qr/ERROR:  22P02/, 'PL/Proxy: without a uuid there is no shard to ask');

	# The limit: each call is a transaction of its own
	by_proxy("BEGIN; SELECT cancel_jobs($on[2][6]); ROLLBACK");
	is($shards[2]->safe_psql('postgres', "$canceled $on[2][6]"), '6', 'PL/Proxy: ROLLBACK does not undo it');
}

#
# One server against three, on demand
#
if ($bench)
{
	my $clients = $ENV{SHARDS_CLIENTS} // 8;
	my @databases = map { [ $_, 'postgres' ] } @shards;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/cancel.sql';
	append_to_file($script, qq{SELECT nextval('turn') AS turn \\gset\nSELECT cancel_jobs(batch) FROM turns WHERE turn = :turn;\n});

	# Everything on one server
	$front->safe_psql('postgres', 'CREATE DATABASE one');
	$front->safe_psql('one', 'CREATE EXTENSION pasqal_jobs; SELECT create_jobs_table()');
	my $one_server = options($front, 'one');
	$front->safe_psql('postgres', 'CREATE DATABASE front_of_one');
	$front->safe_psql('front_of_one', qq{
		CREATE EXTENSION pasqal_jobs;
		CREATE EXTENSION postgres_fdw;
		SELECT create_jobs_table('shape');
		CREATE TABLE jobs (LIKE shape INCLUDING DEFAULTS) PARTITION BY HASH (batch_id);
		CREATE SERVER one FOREIGN DATA WRAPPER postgres_fdw OPTIONS ($one_server, extensions 'pasqal_jobs');
		CREATE USER MAPPING FOR CURRENT_USER SERVER one;
		CREATE FOREIGN TABLE jobs_0 PARTITION OF jobs FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER one OPTIONS (table_name 'jobs')});

	# Ten jobs a batch, all PENDING, where a batch belongs
	my $insert = q{
		TRUNCATE jobs;
		INSERT INTO jobs (batch_id, project_id, runs) SELECT md5('turn ' || b)::uuid, md5('project')::uuid, 1
		FROM generate_series(1, %d) AS b, generate_series(1, 10) AS n WHERE %s;
		CHECKPOINT;
	};
	my $turns = q{
		DROP TABLE IF EXISTS turns; DROP SEQUENCE IF EXISTS turn;
		CREATE SEQUENCE turn CACHE 1;
		CREATE TABLE turns AS SELECT row_number() OVER () AS turn, md5('turn ' || b)::uuid AS batch FROM generate_series(1, %d) AS b WHERE %s;
		CREATE UNIQUE INDEX ON turns (turn); VACUUM ANALYZE turns;
	};
	for my $shard (0 .. 2)
	{
		$shards[$shard]->safe_psql('postgres', 'CREATE TABLE placement (batch_id uuid) PARTITION BY HASH (batch_id)');
	}

	my $measure = sub {
		my ($what, @fronts) = @_;
		$what =~ s/ 1 clients$/ 1 client/;
		$front->safe_psql('one', sprintf $insert, $bench, 'true');
		$front->safe_psql('one', 'VACUUM ANALYZE jobs');
		for my $shard (0 .. 2)
		{
			$shards[$shard]->safe_psql('postgres', sprintf $insert, $bench, "satisfies_hash_partition('placement'::regclass, 3, $shard, md5('turn ' || b)::uuid)");
			$shards[$shard]->safe_psql('postgres', 'VACUUM ANALYZE jobs');
		}
		my (@runs, $calls, $seconds, $latency);
		for my $f (@fronts)
		{
			my ($node, $db, $where, $share) = @$f;
			$node->safe_psql($db, $_) for split /;\n?\s*/, sprintf $turns, $bench, $where;
			my $n = $node->safe_psql($db, 'SELECT count(*) FROM turns');
			my $c = $share || 1;
			my $each = int($n / $c);
			my $out = '';
			push @runs, { out => \$out, calls => $each * $c, command => [ 'pgbench', '-n', '-M', 'prepared', '-c', $c, '-j', 1, '-t', $each, '-f', $script, $node->connstr($db) ] };
		}
		my $start = Time::HiRes::time();
		$_->{run} = IPC::Run::start($_->{command}, '<', \undef, '>', $_->{out}, '2>&1') for @runs;
		$_->{run}->finish for @runs;
		$seconds = Time::HiRes::time() - $start;
		$calls += $_->{calls} for @runs;
		note sprintf 'shards: %-48s %7d cancels %6.1f s %7.0f /s %6.2f ms', $what, $calls, $seconds, $calls / $seconds,
		  1000 * $seconds * ($fronts[0][3] * @fronts) / $calls;
	};
	require Time::HiRes;
	for my $c (1, $clients)
	{
		my $s = $c == 1 ? 1 : int($c / 3 + 0.5);
		$measure->("1 server, directly, $c clients", [ $front, 'one', 'true', $c ]);
		$measure->("1 server, by postgres_fdw, $c clients", [ $front, 'front_of_one', 'true', $c ]);
		$measure->("3 servers, directly, 3 x $s clients", map { [ $shards[$_], 'postgres', "satisfies_hash_partition('placement'::regclass, 3, $_, md5('turn ' || b)::uuid)", $s ] } 0 .. 2) if $c > 1;
		$measure->("3 servers, by postgres_fdw, $c clients", [ $front, 'front', 'true', $c ]);
		$measure->("3 servers, by PL/Proxy, $c clients", [ $front, 'proxy', 'true', $c ]) if $proxy;
	}
}

done_testing();

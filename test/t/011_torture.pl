# The fleet of the field: workers of four styles, a reaper, readers and cancelers
# at the same time, on a plain table, a partitioned one, and a view. What every
# session was answered, every version of every job, and what workers may have locked
# is written as lines of JSON, which test/history/check.py checks.
#
# Workers claim a job and commit, beat while it runs, and end it; keep its lock while
# it runs; write back all columns, as an ORM does; or take fifty at once and end some
# in another order. A reaper ends what beats no more. Cancelers wait for locked jobs
# or skip them, in one statement or in chunks, and call again after 40001, 40P01 and
# 55P03. Clients vanish: one kills sessions, others close their sockets. Half of the
# sessions come through PgBouncer in transaction mode; a role with row-level security
# sees a part of the jobs only; previews run here and on a standby; fsync is on,
# autovacuum never rests, some plans are generic, and some are compiled by jit.
#
# They go on until the time is over and each has done, at least once, each thing that
# it is for. TRUST_SECONDS and TRUST_SEED make it longer and other.

use strict;
use warnings;

use FindBin;
use IPC::Open3;
use PasqalJobs;
use POSIX ();
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TRUST_SECONDS} || 8;
my $seed = $ENV{TRUST_SEED} || 20230323;

my $node = start_server('torture', allows_streaming => 1, conf => q{
	fsync = on
	deadlock_timeout = 50ms
	lock_timeout = 20s
	statement_timeout = 60s
	max_connections = 60
	restart_after_crash = off
	log_statement = none
	shared_preload_libraries = 'pg_stat_statements'
	pg_stat_statements.track = all
	pg_stat_statements.track_utility = off
	jit = on
	autovacuum = on
	autovacuum_naptime = 1s
	autovacuum_vacuum_threshold = 1
	autovacuum_vacuum_insert_threshold = 1
	autovacuum_analyze_threshold = 1
	autovacuum_vacuum_scale_factor = 0
	autovacuum_vacuum_insert_scale_factor = 0
	autovacuum_analyze_scale_factor = 0
	autovacuum_vacuum_cost_delay = 0
	max_standby_streaming_delay = -1
});
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_stat_statements;
	SELECT create_jobs_table('parts', 4);
	SELECT create_jobs_table('behind');
	CREATE VIEW seen AS SELECT * FROM behind;
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5('b' || n)::uuid $$;

	CREATE TABLE batches AS SELECT b, batch(b) FROM generate_series(0, 4) AS b;

	-- A role that sees a part of the jobs, but for those of the view, whose owner sees all
	CREATE ROLE tenant;
	ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
	ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
	CREATE POLICY of_tenant ON jobs TO tenant USING (runs <= 1);
	CREATE POLICY of_tenant ON parts TO tenant USING (runs <= 1);
	GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs, parts, seen TO tenant;

	-- Every version of a job; see test/history/check.py
	CREATE TABLE history (n bigint GENERATED ALWAYS AS IDENTITY, xid xid8, session text, id uuid, there boolean, batch uuid, status text, runs int) WITH (autovacuum_enabled = off);
	CREATE FUNCTION write_history() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'DELETE' THEN
			INSERT INTO history (xid, id, there) VALUES (pg_current_xact_id(), OLD.id, false);
		ELSE
			INSERT INTO history (xid, session, id, there, batch, status, runs)
			VALUES (pg_current_xact_id(), current_setting('application_name'), NEW.id, true, NEW.batch_id, NEW.status, NEW.runs);
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER write_history AFTER INSERT OR UPDATE OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION write_history();
	CREATE TRIGGER write_history AFTER INSERT OR UPDATE OR DELETE ON parts FOR EACH ROW EXECUTE FUNCTION write_history();
	CREATE TRIGGER write_history AFTER INSERT OR UPDATE OR DELETE ON behind FOR EACH ROW EXECUTE FUNCTION write_history();

	-- half of the first jobs are never deleted
	CREATE VIEW first_jobs AS
	SELECT n, batch(n % 5) AS batch_id, md5('project')::uuid AS project_id, 1 AS runs, CASE n % 4 WHEN 0 THEN 'RUNNING' ELSE 'PENDING' END::jobstatus AS status, CASE n % 2 WHEN 0 THEN 'keep' END AS user_id
	FROM generate_series(1, 600) AS n;
	INSERT INTO jobs (batch_id, project_id, runs, status, user_id) SELECT batch_id, project_id, runs, status, user_id FROM first_jobs WHERE n % 5 IN (0, 1);
	INSERT INTO parts (batch_id, project_id, runs, status, user_id) SELECT batch_id, project_id, runs, status, user_id FROM first_jobs WHERE n % 5 IN (2, 3);
	INSERT INTO seen (batch_id, project_id, runs, status, user_id) SELECT batch_id, project_id, runs, status, user_id FROM first_jobs WHERE n % 5 = 4;

	-- An answer without what the check does not need
	CREATE FUNCTION brief(answer jsonb) RETURNS jsonb STABLE LANGUAGE sql AS $$
		SELECT jsonb_build_object('jobs', (SELECT coalesce(jsonb_agg(j->'id'), '[]') FROM jsonb_array_elements(answer->'data'->'jobs') AS j),
			'errors', (SELECT coalesce(jsonb_agg(jsonb_build_array(key, value)), '[]') FROM jsonb_each(answer->'data'->'errors'))) $$;

	-- The same by each of the functions that cancel
	CREATE FUNCTION by_rows(b uuid, f jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN (SELECT jsonb_build_object('data', jsonb_build_object('jobs', coalesce(jsonb_agg(job) FILTER (WHERE error IS NULL), '[]'),
			'errors', coalesce(jsonb_object_agg(id, error) FILTER (WHERE error IS NOT NULL), '{}'))) FROM cancel_jobs_rows(b, f));
	END $$;
	CREATE FUNCTION by_http(b uuid, f jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT body::jsonb FROM cancel_jobs_http(b::text, coalesce((SELECT string_agg(key || '=' || v, '&') FROM jsonb_each(f),
			LATERAL jsonb_array_elements_text(CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END) AS v), '')) WHERE status_code = 200 $$;
});
my @functions = qw(cancel_jobs by_rows by_http);
my $jit = $node->safe_psql('postgres', 'SELECT pg_jit_available()') eq 't';
note 'no jit: this PostgreSQL is built without it' if !$jit;

my $standby = start_standby($node);

#
# PgBouncer, which Debian has in /usr/sbin
#
my $dir = PostgreSQL::Test::Utils::tempdir();
my %connstr = (direct => $node->connstr('postgres'), standby => $standby->connstr('postgres'));
my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
my $pgbouncer_pid;
if ($pgbouncer)
{
	my $socket = PostgreSQL::Test::Utils::tempdir_short();
	my $user = getpwuid($<);
	append_to_file("$dir/users.txt", qq{"$user" ""\n});
	append_to_file("$dir/pgbouncer.ini", sprintf("[databases]\npostgres = host=%s port=%d\n[pgbouncer]\npool_mode = transaction\ndefault_pool_size = 20\nserver_login_retry = 1\n"
			  . "listen_addr =\nlisten_port = 6543\nunix_socket_dir = $socket\nauth_type = trust\nauth_file = $dir/users.txt\n", $node->host, $node->port));
	$pgbouncer_pid = fork() // die "fork: $!";
	if ($pgbouncer_pid == 0)
	{
		open(STDOUT, '>', "$dir/pgbouncer.log");
		open(STDERR, '>&', \*STDOUT);
		{ exec($pgbouncer, "$dir/pgbouncer.ini"); }
		POSIX::_exit(1);
	}
	$connstr{pooled} = "host=$socket port=6543 dbname=postgres";
	for my $attempt (1 .. 300)
	{
		last if -S "$socket/.s.PGSQL.6543";
		sleep(0.1);
	}
	-S "$socket/.s.PGSQL.6543" or die slurp_file("$dir/pgbouncer.log");
}
else
{
	note 'no PgBouncer: all sessions come directly';
	$connstr{pooled} = $connstr{direct};
}
END { local $?; kill('TERM', $pgbouncer_pid) if $pgbouncer_pid; }

#
# What the sessions say
#
my %count;
sub pick { return $_[ int(rand(@_)) ]; }

# The relation of each batch, and the batch to which a job of it may go
my @relations = qw(jobs jobs parts parts seen);
my @siblings = (1, 0, 3, 2, 4);

# How a call is planned; few compile, since that takes long
sub surroundings
{
	my ($must_compile) = @_;
	my $plans = pick('auto', 'force_custom_plan', 'force_generic_plan');
	my $compiles = $jit && ($must_compile || rand() < 0.05);
	$plans = 'force_custom_plan' if $compiles;
	return ($plans, "SET LOCAL plan_cache_mode = $plans\\; " . ($compiles ? 'SET LOCAL jit_above_cost = 0\; SET LOCAL jit_optimize_above_cost = -1\; ' : ''));
}

# A list of those that workers take first
sub first_jobs
{
	my ($n) = @_;
	return "jsonb_build_object('id', (SELECT coalesce(jsonb_agg(id), '[]') || jsonb_build_array(gen_random_uuid()) FROM (SELECT id FROM $relations[$n] "
	  . "WHERE batch_id = batch($n) AND status IN ('PENDING', 'RUNNING') ORDER BY creation_order LIMIT 30) AS x))";
}

# One cancel: a batch, a list of ids or a prefix, at some isolation level,
# committed or taken back, now and then behind a savepoint
sub cancel_sql
{
	my $n = int(rand(5));
	my $relation = $relations[$n];
	my $function = pick(@functions);
	my $mode = pick('wait', 'skip');
	my $role = pick('owner', 'owner', 'tenant');
	my $filters = pick(
		q{'{}'::jsonb},
		(map { qq{jsonb_build_object('id__starts_with', '$_')} } pick('0' .. '9', 'a' .. 'f')) x 2,
		qq{jsonb_build_object('id', (SELECT jsonb_agg(id) FROM (SELECT id FROM $relation WHERE batch_id = batch($n) ORDER BY random() LIMIT 15) AS x)
			|| jsonb_build_array(gen_random_uuid(), (SELECT id FROM $relation WHERE batch_id = batch($siblings[$n]) LIMIT 1)))},
		qq{jsonb_build_object('id', (SELECT jsonb_agg(id) FROM (SELECT id FROM $relation WHERE batch_id = batch($n) ORDER BY id LIMIT 120) AS x), 'status', 'PENDING')},
		"jsonb_build_object('id', (SELECT id FROM $relation WHERE batch_id = batch($n) ORDER BY status, random() LIMIT 1))",
		(first_jobs($n)) x 2,
		q{'{"status": "RUNNING"}'::jsonb},
		q{'{"max_runs": 1}'::jsonb});
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	my $end = pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK');
	my ($before, $after) = rand() < 0.1 ? ('SAVEPOINT s;', pick('RELEASE s;', 'RELEASE s;', 'ROLLBACK TO s;')) : ('', '');
	my $sleep = rand() < 0.3 ? sprintf('SELECT pg_sleep(%.3f);', rand(0.02)) : '';
	my ($plans, $settings) = surroundings(!$count{'compiled cancels'});
	my $impatient = rand() < 0.2;
	$settings .= "SET LOCAL lock_timeout = '5ms'\\; " if $impatient;
	$filters =~ s/\s+/ /g;
	return {
		call => 1, batch => $n, mode => $mode, level => $level, role => $role, plans => $plans, function => $function, impatient => $impatient,
		compiled => scalar($settings =~ /jit/),
		sql => "SELECT '\@begin', pg_current_snapshot();\n"
		  . "BEGIN ISOLATION LEVEL $level\\; SELECT '\@in', \@self\\; SET LOCAL pasqal_jobs.jobs_table = $relation\\; SET LOCAL pasqal_jobs.locked_jobs = $mode;\n"
		  . "SELECT $filters AS f \\gset\n$before\n"
		  . $settings . ($role eq 'tenant' ? 'SET LOCAL ROLE tenant\;' : '')
		  . " SELECT '\@before', pg_current_snapshot()\\; SELECT '\@answer', f, brief($function(batch($n), f)) FROM (SELECT :'f'::jsonb AS f) AS x\\;"
		  . " SELECT '\@after', pg_current_snapshot(), pg_current_xact_id_if_assigned();\n"
		  . "$after\n$sleep\n$end;\nSELECT '\@ended', pg_current_xact_id();\n" };
}

# The same in chunks, which cannot be in a transaction. What they cancel is known by
# the name of the session, of each attempt its own, and how they do it is set for it.
my $chunk_calls = 0;
sub chunks_sql
{
	my $n = int(rand(5));
	my $mode = $relations[$n] eq 'seen' ? 'wait' : pick('wait', 'skip');
	my $role = pick('owner', 'owner', 'tenant');
	my $filters = pick(q('{"status": "PENDING"}'), qq('{"id__starts_with": "@{[pick('0' .. '9', 'a' .. 'f')]}"}'), (first_jobs($n)) x 2);
	my ($plans, $settings) = surroundings();
	$settings =~ s/ LOCAL / SESSION /g;
	return {
		call => 1, chunks => 1, batch => $n, mode => $mode, role => $role, plans => $plans, function => 'cancel_jobs_in_chunks',
		sql => "RESET ROLE\\; RESET ALL\\; ${settings}SET application_name = '\@name'\\; SELECT '\@in', \@self\\;"
		  . " SET pasqal_jobs.jobs_table = $relations[$n]\\; SET pasqal_jobs.locked_jobs = $mode\\; SET pasqal_jobs.chunk_pause = " . pick(0, 0, 3) . ";\n"
		  . "SELECT $filters AS f \\gset\n\\echo \@filters|:f\n"
		  . ($role eq 'tenant' ? "SET ROLE tenant;\n" : '')
		  . "SELECT '\@before', pg_current_snapshot();\nCALL cancel_jobs_in_chunks(batch($n), :'f', @{[pick(3, 20, 1000)]});\n"
		  . "SELECT '\@after', pg_current_snapshot(), NULL;\nSELECT '\@ended', pg_current_xact_id();\n" };
}

# A preview beside what it must say, in one statement
sub preview_sql
{
	my $n = int(rand(5));
	my $digit = pick('0' .. '9', 'a' .. 'f');
	my ($filters, $condition) = @{ pick([ '{}', 'true' ], [ '{"max_runs": 1}', 'runs <= 1' ], [ '{"status": ["PENDING", "CANCELED"]}', "status IN ('PENDING', 'CANCELED')" ],
			[ qq({"id__starts_with": "$digit"}), "id::text LIKE '$digit%'" ]) };
	my ($plans, $settings) = surroundings();
	return {
		plans => $plans,
		sql => 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'REPEATABLE READ') . "\\; SET LOCAL pasqal_jobs.jobs_table = $relations[$n]\\; $settings"
		  . (rand() < 0.3 ? 'SET LOCAL ROLE tenant\; ' : '')
		  . "SELECT '\@preview', count(p.id), count(*) FILTER (WHERE p.status = 'CANCELED'), count(*) FILTER (WHERE j IS NULL OR p IS NULL OR j.status <> p.status OR p.error IS DISTINCT FROM "
		  . "CASE WHEN j.status NOT IN ('PENDING', 'RUNNING') THEN 'Job cannot be canceled: its status is ' || j.status END) "
		  . "FROM (SELECT id, status FROM $relations[$n] WHERE batch_id = batch($n) AND $condition) AS j FULL JOIN cancel_jobs_preview(batch($n), '$filters') AS p USING (id);\nCOMMIT;\n" };
}

# A transaction of a worker; @held names the jobs that it may lock, @all says that these are all
sub transaction
{
	my ($level, $sql, $end, %more) = @_;
	return { %more, sql => "BEGIN ISOLATION LEVEL $level\\; SELECT '\@in', \@self\\; SELECT '\@holder', pg_current_xact_id(), pg_current_snapshot();\n$sql;\nSELECT '\@all';\n$end;\n" };
}

# Sets :'job' to the id of one of these jobs; there may be none
sub one_job
{
	my ($relation, $which) = @_;
	return "SELECT coalesce((SELECT id FROM $relation WHERE $which LIMIT 1), '00000000-0000-0000-0000-000000000000') AS job \\gset\n\\echo \@held|:job\n";
}

# Claims some jobs. What has changed since the snapshot of this statement may be locked,
# too, though it is claimed no longer: up to @claimed.
sub claim
{
	my ($relation, $which, $count, $lock) = @_;
	my $claim = "SELECT id FROM $relation WHERE $which LIMIT $count FOR $lock SKIP LOCKED";
	return $count > 1
	  ? "CREATE TEMP TABLE taken ON COMMIT DROP AS $claim;\nSELECT '\@claimed', pg_current_snapshot();\nSELECT '\@held', id FROM taken;\n"
	  : "SELECT coalesce(($claim), '00000000-0000-0000-0000-000000000000') AS job \\gset\nSELECT '\@claimed', pg_current_snapshot();\n\\echo \@held|:job\n";
}

my $ends = "status = 'DONE', end_timestamp = clock_timestamp(), slurm_job_id = 'worker'";
my $is_open = "status IN ('PENDING', 'RUNNING')";

# Jobs come and go, and are edited: one or more changes in one transaction
sub change_sql
{
	my $n = int(rand(5));
	my $relation = $relations[$n];
	return transaction('READ COMMITTED', one_job($relation, "batch_id = batch($n) ORDER BY random()") . "UPDATE $relation SET batch_id = batch($siblings[$n]) WHERE id = :'job'", 'COMMIT', moves => $relation)
	  if rand() < 0.1;
	# with the id of one of the jobs that have such a status as :'job'
	my $one = sub {
		my ($status, $sql) = @_;
		return one_job($relation, "batch_id = batch($n) AND status IN ($status) ORDER BY random()") . $sql;
	};
	my $change = sub {
		return pick(
			($one->(q{'PENDING'}, "UPDATE $relation SET status = 'RUNNING', start_timestamp = clock_timestamp() WHERE id = :'job' AND status = 'PENDING'")) x 2,
			(map { $one->(q{'PENDING', 'RUNNING'}, "UPDATE $relation SET status = '$_', end_timestamp = clock_timestamp(), slurm_job_id = 'worker' WHERE id = :'job' AND $is_open") } 'DONE', 'ERROR') x 2,
			$one->(q{'PENDING', 'RUNNING', 'DONE'}, "UPDATE $relation SET runs = 3 - runs WHERE id = :'job'"),
			$one->(q{'DONE', 'ERROR', 'CANCELED'}, "UPDATE $relation SET status = 'PENDING', end_timestamp = NULL, slurm_job_id = NULL WHERE id = :'job' AND status IN ('DONE', 'ERROR', 'CANCELED')"),
			$one->(q{'PENDING', 'RUNNING', 'DONE'}, "DELETE FROM $relation WHERE id = :'job' AND user_id IS NULL"),
			# all but some, or the table would grow for as long as this runs
			"\\echo \@any\nDELETE FROM $relation WHERE id IN (SELECT id FROM $relation WHERE status IN ('DONE', 'ERROR', 'CANCELED') AND user_id IS NULL ORDER BY random() OFFSET 200 LIMIT 100)",
			("INSERT INTO $relation (batch_id, project_id, runs, status) SELECT batch($n), md5('project')::uuid, 1, (ARRAY['PENDING', 'RUNNING'])[1 + i % 2]::jobstatus FROM generate_series(1, 20) AS i") x 3);
	};
	my $sql = join(";\n", map { $change->() } 1 .. (rand() < 0.3 ? 3 : 1));
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ');
	return transaction($level, $sql, rand() < 0.9 ? 'COMMIT' : 'ROLLBACK');
}

# A worker that keeps the lock of a job while it runs, and then ends it or gives it back
sub hold_sql
{
	my $n = int(rand(5));
	my $lock = pick('UPDATE', 'UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE');
	my $savepoint = rand() < 0.3 ? 'SAVEPOINT s;' : '';
	my $sql = "$savepoint\n" . claim($relations[$n], "batch_id = batch($n) AND $is_open ORDER BY creation_order", 1, $lock)
	  . ($savepoint && pick('', 'SAVEPOINT t;', 'ROLLBACK TO s;')) . sprintf("SELECT pg_sleep(%.3f);\n", rand(0.1))
	  . pick("UPDATE $relations[$n] SET $ends WHERE id = :'job' AND $is_open", 'SELECT');
	return transaction('READ COMMITTED', $sql, pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK'));
}

# A worker that takes fifty jobs, and ends some of them in another order
sub fifty_sql
{
	my $n = int(rand(5));
	return transaction('READ COMMITTED',
		claim($relations[$n], "batch_id = batch($n) AND $is_open ORDER BY creation_order", 50, 'UPDATE')
		  . "DO \$\$ DECLARE j uuid; BEGIN FOR j IN SELECT id FROM taken ORDER BY random() LIMIT 20 LOOP\n"
		  . "UPDATE $relations[$n] SET $ends WHERE id = j; END LOOP; END \$\$;\n"
		  . sprintf('SELECT pg_sleep(%.3f)', 0.02 + rand(0.2)), pick('COMMIT', 'COMMIT', 'ROLLBACK'));
}

# A reaper ends what has not beaten for a while
sub reap_sql
{
	my $n = int(rand(5));
	return transaction('READ COMMITTED',
		claim($relations[$n], "batch_id = batch($n) AND status = 'RUNNING' AND updated_at < clock_timestamp() - interval '1 second'", 20, 'UPDATE')
		  . "UPDATE $relations[$n] AS j SET status = 'ERROR', end_timestamp = clock_timestamp(), slurm_job_id = 'worker' FROM taken WHERE j.id = taken.id", 'COMMIT');
}

# A worker that reads a job, in two of three cases with its lock, and writes back all of its columns
my @columns = qw(id parent_id status runs batch_id project_id user_id origin created_at updated_at start_timestamp
  end_timestamp variables errors progress sequence creation_order slurm_job_id);
sub orm_sql
{
	my $n = int(rand(5));
	my %new = (status => "'RUNNING'", start_timestamp => 'clock_timestamp()', progress => '50');
	my $which = "batch_id = batch($n) AND status = 'PENDING' ORDER BY random()";
	return transaction('READ COMMITTED',
		(rand() < 0.67 ? claim($relations[$n], $which, 1, 'UPDATE') : one_job($relations[$n], $which))
		  . join(' ', 'SELECT', join(', ', map { "coalesce(quote_nullable(o.$_), 'NULL') AS o_$_" } @columns), "FROM (SELECT 1) AS x LEFT JOIN $relations[$n] AS o ON o.id = :'job' \\gset\n")
		  . sprintf("SELECT pg_sleep(%.3f);\n", rand(0.01))
		  . "UPDATE $relations[$n] SET " . join(', ', map { "$_ = " . ($new{$_} // ":o_$_") } @columns) . " WHERE id = :'job'", 'COMMIT');
}

#
# How they say it: each session is a psql, which is fed a transaction and read to its end
#
my ($name, $client, @problems, $json);

# What must happen to one of the sessions
my @once = ('answers with locked jobs', 'clients that closed their socket', 'clients that were terminated');
sub happens
{
	my ($what) = @_;
	append_to_file("$dir/$what", '') if !$count{$what}++;
}

sub connect_client
{
	my ($way) = @_;
	my $pid = open3(my $in, my $out, undef, 'psql', '-XAt', '-F|', '-v', 'VERBOSITY=sqlstate', '-d', "$connstr{$way} application_name=fleet");
	$in->autoflush(1);
	# so that each is set, also where the statement that sets it fails
	print $in "\\set job 00000000-0000-0000-0000-000000000000\n\\set f {}\n", map { "\\set o_$_ NULL\n" } @columns;
	return { pid => $pid, in => $in, out => $out, way => $way };
}

# An answer of another session, which nobody kills
sub ask
{
	my ($sql) = @_;
	my ($out, $err);
	$node->psql('postgres', $sql, connstr => "$connstr{direct} application_name=observer", stdout => \$out, stderr => \$err) == 0 or push @problems, $err;
	return $out;
}

# Runs a transaction, writes down what came of it, and returns that
sub run
{
	my ($what) = @_;
	my %got = (%$what, ids => [], changed => 0);
	$got{chunks} = "chunks $$." . $chunk_calls++ if $got{chunks};
	$got{sql} =~ s/\@name/$got{chunks}/ if $got{chunks};
	my $vanishes = rand() < 0.02;
	$client //= connect_client($got{way});
	# PgBouncer gives the session to others once the transaction has ended
	my $since = $client->{way} eq 'pooled' ? 'xact_start' : 'backend_start';
	my $self = "pid, $since FROM pg_stat_activity WHERE pid = pg_backend_pid()";
	print { $client->{in} } $got{sql} =~ s/\@self/$self/r . "\\echo \@done\n";
	if ($vanishes)
	{
		sleep(rand(0.05));
		kill('KILL', $client->{pid});
	}
	while (my $line = readline($client->{out}))
	{
		chomp $line;
		if ($line =~ /^\@in\|(\d+)\|(.*)/) { @got{qw(pid since)} = ($1, $2); }
		elsif ($line =~ /^\@holder\|(\d+)\|(.*)/) { @got{qw(xid before)} = ($1, $2); }
		elsif ($line =~ /^\@claimed\|(.*)/) { $got{claimed} = $1; }
		elsif ($line =~ /^\@held\|(.*)/) { push @{ $got{ids} }, $1; }
		elsif ($line eq '@any') { $got{any} = 1; }
		elsif ($line eq '@all') { $got{all} = 1; }
		elsif ($line =~ /^\@begin\|(.*)/) { $got{begin} = $1; }
		elsif ($line =~ /^\@filters\|(.*)/) { $got{filters} = $1; }
		elsif ($line =~ /^\@before\|(.*)/) { $got{before} = $1; }
		elsif ($line =~ /^\@answer\|(.*)\|\{(.*)\}$/) { @got{qw(filters answer)} = ($1, $2); }
		elsif ($got{chunks} && $line =~ /^(\d+)\|(\d+)$/) { @got{qw(canceled failed)} = ($1, $2); }
		elsif ($line =~ /^\@after\|(.*)\|(\d*)$/) { @got{qw(after xid)} = ($1, length $2 ? $2 : 'null'); }
		elsif ($line =~ /^\@ended\|(.*)/) { $got{ended} = $1; }
		elsif ($line =~ /^\@preview\|(\d+)\|(\d+)\|(\d+)$/) { @got{qw(previewed seen_canceled wrong)} = ($1, $2, $3); }
		elsif ($line eq 'DO') { $got{changed} += @{ $got{ids} }; }
		elsif ($line =~ /^(?:UPDATE|INSERT 0|DELETE) (\d+)$/) { $got{changed} += $1; }
		elsif ($line eq 'COMMIT') { $got{committed} = 'true' unless $got{rolled_back}; $got{over} = 1; }
		# also of ROLLBACK TO the state before the call
		elsif ($line eq 'ROLLBACK') { $got{rolled_back} = 1; $got{over} = 1 if $got{sql} !~ /ROLLBACK TO/; }
		elsif ($line eq '@done') { $got{done} = 1; last; }
		elsif ($line =~ /(ERROR|FATAL|PANIC):\s+(\w{5})/) { $got{error} //= $2; $got{errors}{"$1 $2"} = 1; }
	}
	# PgBouncer may close the connection a moment after that
	$got{done} = 0 if grep { /^FATAL/ } keys %{ $got{errors} };
	if (!$got{done})
	{
		# nobody can say how it ended, but the server
		close($client->{in});
		close($client->{out});
		waitpid($client->{pid}, 0);
		happens($vanishes ? 'clients that closed their socket' : 'clients that were terminated');
		$client = undef;
		if (defined $got{pid} && !defined $got{ended})
		{
			$got{ended} = ask(qq{
				DO \$\$ BEGIN
					WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid = $got{pid} AND $since = '$got{since}') LOOP
						PERFORM pg_sleep(0.02);
						PERFORM pg_stat_clear_snapshot();
					END LOOP;
				END \$\$;
				SELECT pg_current_xact_id();});
			$got{committed} //= 'true' if defined $got{after} && !$got{over} && !$got{rolled_back} && $got{xid} ne 'null' && ask("SELECT pg_xact_status('$got{xid}')") eq 'committed';
		}
	}
	$got{committed} //= 'false';
	write_down(\%got);
	return \%got;
}

# As test/history/check.py reads it; and what was unexpected
sub write_down
{
	my ($got) = @_;
	my $kept = $got->{call} && ($relations[ $got->{batch} ] ne 'jobs' || $got->{role} eq 'tenant') ? 'true' : 'false';
	my $sees = $got->{call} && $relations[ $got->{batch} ] ne 'seen' && $got->{role} eq 'tenant' ? '{"max_runs": 1}' : '{}';
	if ($got->{chunks})
	{
		print $json qq({"event": "chunks", "session": "$got->{chunks}", "batch": $got->{batch}, "sees": $sees, "filters": $got->{filters}, "mode": "$got->{mode}", )
		  . qq("before": "$got->{before}", "after": ) . (defined $got->{after} ? qq("$got->{after}") : 'null') . qq(, "ended": $got->{ended}, "canceled": @{[$got->{canceled} // 'null']}, "failed": @{[$got->{failed} // 'null']}}\n)
		  if defined $got->{before};
	}
	elsif ($got->{call} && defined $got->{after})
	{
		print $json qq({"event": "call", "session": "$name", "batch": $got->{batch}, "sees": $sees, "may_keep": $kept, "filters": $got->{filters}, "committed": $got->{committed}, "mode": "$got->{mode}", )
		  . qq("before": "$got->{before}", "after": "$got->{after}", "ended": $got->{ended}, "xid": $got->{xid}, $got->{answer}}\n);
	}
	elsif ($got->{call} && defined $got->{ended})
	{
		print $json qq({"event": "try", "batch": $got->{batch}, "before": "$got->{begin}", "ended": $got->{ended}}\n);
	}
	elsif (defined $got->{xid})
	{
		my $ids = $got->{all} && !$got->{any} ? '[' . join(', ', map { qq("$_") } @{ $got->{ids} }) . ']' : 'null';
		my $claimed = defined $got->{claimed} ? qq(, "before": "$got->{before}", "claimed": "$got->{claimed}") : '';
		print $json qq({"event": "hold", "xid": $got->{xid}, "ids": $ids$claimed}\n);
	}

	my %expected = map { $_ => 1 } ('ERROR 25P02', 'ERROR 40001', 'ERROR 40P01');
	# on the standby a lock that is replayed may stay as long as replay waits for a reader
	$expected{'ERROR 55P03'} = 1 if $got->{impatient} || $got->{way} eq 'standby';
	$expected{'ERROR 0A000'} = 1 if $got->{call} && $got->{mode} eq 'skip' && $relations[ $got->{batch} ] eq 'seen';
	$expected{$_} = 1 for !$got->{done} ? ('FATAL 57P01', 'FATAL 08P01', 'ERROR 08P01') : ();
	for my $error (sort keys %{ $got->{errors} })
	{
		push @problems, "$name: $error in\n$got->{sql}" if !$expected{$error};
		$count{ $error . ($got->{call} ? " of $got->{mode}" : '') }++ if $error ne 'ERROR 25P02';
	}
	push @problems, "$name: $got->{wrong} of $got->{previewed} are wrong in\n$got->{sql}" if $got->{wrong};
}

# Again after what ends by itself
sub run_again
{
	my ($what) = @_;
	my $got;
	for my $attempt (1 .. 6)
	{
		$got = run($what);
		last if !defined $got->{error} || $got->{error} !~ /^(40001|40P01|55P03)$/;
		$count{'calls again'}++;
	}
	continue { $what->{again} = 1; }
	return $got;
}

#
# The sessions: what each does once, and what it must have done by the end
#
sub cancels
{
	my ($way, $what) = @_;
	$what->{way} = $way;
	my $got = run_again($what);
	$count{ $got->{call} && $got->{chunks} ? 'calls in chunks' : 'cancels' }++;
	if (defined $got->{error} && $got->{error} eq '0A000') { $count{'skip is refused for a view'}++; }
	return if !defined $got->{after} || ($got->{chunks} && !defined $got->{canceled});
	if (!$got->{chunks})
	{
		$count{'taken back'}++ if $got->{committed} eq 'false';
		happens('answers with locked jobs') if $got->{answer} =~ /Job is locked by another transaction/;
		$count{'answers with canceled jobs'}++ if $got->{answer} =~ /"jobs": \["/;
		$count{"in $got->{level}"}++;
	}
	$count{'answers after a call again'}++ if $what->{again};
	$count{'compiled cancels'}++ if $got->{compiled} && $got->{answer} =~ /"jobs": \["/;
	$count{$_}++ for "by $got->{function}", "of a $relations[$got->{batch}], $got->{mode}", "as $got->{role}", "$got->{plans}, cancel";
}

my @answers = map { "of a $_" } 'jobs, wait', 'jobs, skip', 'parts, wait', 'parts, skip', 'seen, wait';
my @as = ('as owner', 'as tenant', map { "$_, cancel" } qw(auto force_custom_plan force_generic_plan));
my @calls = (@answers, @as, (map { "by $_" } @functions), 'skip is refused for a view', 'answers with canceled jobs', 'answers after a call again', $jit ? 'compiled cancels' : ());

sub works
{
	my ($kind, $sql) = @_;
	return ([$kind], sub {
		my ($way) = @_;
		my $got = run_again({ way => $way, %{ $sql->() } });
		$count{'transactions of workers'}++;
		return if $got->{committed} eq 'false' || $got->{changed} == 0;
		$count{$kind}++;
		$count{"moves in $got->{moves}"}++ if $got->{moves};
	});
}

# Claims a job and commits; beats while the job runs; and ends it, unless somebody else has
sub commits
{
	my ($way) = @_;
	my $n = int(rand(5));
	my $change = sub {
		my ($count, $sql) = @_;
		my $got = run_again({ way => $way, %{ transaction('READ COMMITTED', $sql, 'COMMIT') } });
		$count{'transactions of workers'}++;
		$count{$count}++ if $got->{committed} eq 'true' && $got->{changed} > 0;
		return $got;
	};
	my $claimed = $change->('claimed', claim($relations[$n], "batch_id = batch($n) AND status = 'PENDING' ORDER BY creation_order", 1, 'UPDATE')
		  . "UPDATE $relations[$n] SET status = 'RUNNING', start_timestamp = clock_timestamp(), updated_at = clock_timestamp() WHERE id = :'job'");
	return if $claimed->{committed} eq 'false' || $claimed->{changed} == 0;
	my $job = $claimed->{ids}[0];
	my $running = "WHERE id = '$job' AND status = 'RUNNING'";
	for my $beat (1 .. int(rand(4)))
	{
		sleep(rand(0.03));
		$change->('beats', "\\echo \@held|$job\nUPDATE $relations[$n] SET progress = least(coalesce(progress, 0) + 10, 100), updated_at = clock_timestamp() $running");
	}
	# some workers die, and their jobs are for the reaper
	$change->('ended after a claim', "\\echo \@held|$job\nUPDATE $relations[$n] SET $ends $running") if rand() < 0.8;
}

sub previews
{
	my ($way) = @_;
	sleep(rand(0.1));
	my $got = run_again({ way => $way, %{ preview_sql() } });
	$count{previews}++;
	$count{"previews, $way"}++ if $got->{previewed};
	$count{"previews with canceled jobs, $way"}++ if $got->{seen_canceled};
}

# Ends sessions in the midst of a transaction, the pooled ones behind PgBouncer's back
sub kills
{
	my ($way) = @_;
	sleep(1 + rand(1));
	run({ way => $way, sql => q{SELECT '@in', @self;
		SELECT '@claimed', pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^(fleet|chunks)' AND xact_start IS NOT NULL AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1;} . "\n" });
}

my @sessions = (
	[ 'cancels', 'direct', [ @calls ], sub { cancels($_[0], cancel_sql()) } ],
	[ 'cancels', 'pooled', [ @answers, @as, 'answers with canceled jobs' ], sub { cancels($_[0], cancel_sql()) } ],
	[ 'cancels', 'pooled', [ @answers, @as, 'answers with canceled jobs' ], sub { cancels($_[0], cancel_sql()) } ],
	[ 'chunks', 'direct', [ @answers, @as, 'by cancel_jobs_in_chunks' ], sub { sleep(rand(0.2)); cancels($_[0], chunks_sql()) } ],
	[ 'changes', 'direct', [ 'changes', 'moves in parts' ], (works('changes', \&change_sql))[1] ],
	[ 'changes', 'pooled', works('changes', \&change_sql) ],
	[ 'commits', 'pooled', [ 'claimed', 'beats', 'ended after a claim' ], \&commits ],
	([ 'holds', 'direct', works('ended by the holder of the lock', \&hold_sql) ]) x 2,
	[ 'fifty', 'pooled', works('ended by fifty', \&fifty_sql) ],
	[ 'writes', 'pooled', works('all columns written', \&orm_sql) ],
	[ 'reaps', 'pooled', works('reaped', \&reap_sql) ],
	[ 'previews', 'pooled', [ 'previews, pooled', 'previews with canceled jobs, pooled' ], \&previews ],
	[ 'previews', 'standby', [ 'previews, standby', 'previews with canceled jobs, standby' ], \&previews ],
	[ 'kills', 'direct', [], \&kills ]);
my @pids;
$SIG{PIPE} = 'IGNORE';
for my $s (0 .. $#sessions)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my ($kind, $way, $must, $do) = @{ $sessions[$s] };
		srand($seed * 100 + $s);
		$name = "$kind $s";
		open($json, '>', "$dir/history$s") or POSIX::_exit(1);
		my $deadline = time() + $seconds;
		my $met = 0;
		while (1)
		{
			$do->($way);
			append_to_file("$dir/met$s", '') if !$met && ($met = !grep { !$count{$_} } @$must);
			# they need each other until the last one has done it
			last if time() > $deadline + 300 || (time() > $deadline && !grep { !-e "$dir/$_" } @once, map { "met$_" } 0 .. $#sessions);
		}
		close($json);
		$client and kill('TERM', $client->{pid});
		append_to_file("$dir/count$s", join('', map { "$_|$count{$_}\n" } sort keys %count));
		append_to_file("$dir/problems$s", join("\n", @problems));
		POSIX::_exit(0);
	}
	push @pids, $pid;
}
my $died = 0;
for my $pid (@pids)
{
	waitpid($pid, 0);
	$died++ if $? != 0;
}
is($died, 0, 'all sessions came to their end');

my $history = "$dir/history.json";
is(system("cat $dir/history[0-9]* >$history"), 0, 'what was answered is written down');
my @unexpected;
for my $s (0 .. $#sessions)
{
	my ($kind, $way) = @{ $sessions[$s] };
	push @unexpected, grep { length } slurp_file("$dir/problems$s");
	for my $line (split /\n/, slurp_file("$dir/count$s"))
	{
		my ($what, $times) = split /\|/, $line;
		$count{$what} += $times;
		$count{"$what, $way"} += $times if $what =~ /^answers/;
	}
}
# a transfer row by row, since a long history is larger than memory
for my $query (
	q{SELECT json_build_object('event', 'version', 'n', n, 'xid', xid::text::bigint, 'session', CASE WHEN session ~ '^chunks' THEN session END, 'id', id, 'there', there,
		'batch', b, 'status', status, 'runs', runs) FROM history LEFT JOIN batches USING (batch)},
	q{SELECT json_build_object('event', 'table', 'id', id, 'batch', b, 'status', status, 'runs', runs)
		FROM (SELECT * FROM jobs UNION ALL SELECT * FROM parts UNION ALL SELECT * FROM seen) AS j LEFT JOIN batches ON batch = batch_id})
{
	my $copy = "COPY ($query) TO STDOUT" =~ s/\s+/ /gr;
	is(system(qq{psql -XAtq -d "$connstr{direct}" -c "$copy" >>$history}), 0, 'rows written down');
}

note "seed $seed, $seconds s: $count{cancels} cancels, $count{'calls in chunks'} calls in chunks, $count{'transactions of workers'} transactions of workers, $count{previews} previews";
note join(', ', map { "$_: $count{$_}" } sort keys %count);

my $check = "$FindBin::Bin/../history/check.py";
my $checked = `python3 -B $check --self-test 2>&1`;
is($?, 0, 'the check of histories finds what is wrong in bad ones') or diag($checked);
$checked = `python3 -B $check $history 2>&1`;
is($?, 0, 'the history is right') or diag($checked);
note $checked;

is(join("\n", @unexpected), '', 'no errors but deadlocks, serialization failures and what was asked for');
is($count{'ERROR 40P01 of skip'} // 0, 0, 'no cancel that skips locked jobs meets a deadlock');
# a worker may have started a job, and another cancel may have touched it, after the transaction of its cancel began
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT * FROM jobs UNION ALL SELECT * FROM parts UNION ALL SELECT * FROM seen) AS j
	WHERE status = 'CANCELED' AND (end_timestamp > greatest(updated_at, start_timestamp) OR end_timestamp < start_timestamp OR end_timestamp IS NULL OR slurm_job_id IS NOT NULL)}),
	'0', 'canceled jobs bear the marks of a cancel');

# None of it was only meant
my %all = map { $_ => 1 } (map { @{ $_->[2] } } @sessions), @once, 'answers with canceled jobs, direct', 'answers with canceled jobs, pooled';
is(join(', ', grep { !$count{$_} } sort keys %all), '', 'each session did each thing that it is for');
ok($node->poll_query_until('postgres', q{SELECT bool_and(autovacuum_count > 0) FROM pg_stat_user_tables WHERE relname IN ('jobs', 'behind')}), 'autovacuum ran');
is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM history AS d JOIN history AS i USING (id, xid) WHERE NOT d.there AND i.there AND i.n > d.n}), 't', 'jobs went to other partitions');
SKIP:
{
	skip 'no jit', 1 if !$jit;
	is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_stat_statements WHERE NOT toplevel AND jit_functions > 0 AND query ~ 'UPDATE.*end_timestamp = CASE'}), 't', 'cancels were compiled');
}
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC|TRAP:/, 'no session crashed');

done_testing();

# Interrupts at every stage, and what is too large: a clear error, the server
# alive, the session usable, the table as it was.
#
# TRUST_LONG=1 adds what takes minutes or gigabytes.

use strict;
use warnings;

use Time::HiRes qw(time usleep);

use PasqalJobs;

my $long = $ENV{TRUST_LONG};
my $seed = $ENV{TRUST_SEED} || 20230323;
srand($seed);
note "seed $seed";

my $node = start_server('limits', conf => "log_error_verbosity = terse\nlog_min_error_statement = panic\nautovacuum = off\nmax_stack_depth = 1MB\nrestart_after_crash = off\njit = off");
my $jobs = $long ? 60000 : 12000;
$node->safe_psql('postgres', qq{
	CREATE FUNCTION batch(text) RETURNS uuid IMMUTABLE LANGUAGE sql AS \$\$ SELECT md5(\$1)::uuid \$\$;
	-- ids by chance, creation_order backwards: the answer must be put in order
	INSERT INTO jobs (id, batch_id, project_id, runs, creation_order, status, variables, sequence)
	SELECT md5('job ' || n)::uuid, batch('many'), md5('project')::uuid, 1, -n, CASE n % 10 WHEN 0 THEN 'DONE' ELSE 'PENDING' END::jobstatus,
		   '{"omega": [1, 2.5, {"x": null}]}', repeat('s', 300)
	FROM generate_series(1, $jobs) AS n;
	-- small on disk, large in an answer
	INSERT INTO jobs (id, batch_id, project_id, runs, sequence)
	SELECT md5('large ' || n)::uuid, batch('large'), md5('project')::uuid, 1, repeat('0123456789', 100000) FROM generate_series(1, 300) AS n;
	INSERT INTO jobs (id, batch_id, project_id, runs) SELECT md5('few ' || n)::uuid, batch('few'), md5('project')::uuid, 1 FROM generate_series(1, 10) AS n;
	VACUUM ANALYZE jobs;
});
my $picture = q{SELECT count(*), sum(hashtextextended(concat(id, status, updated_at, end_timestamp, xmin, ctid), 0)) FROM jobs};
my $before = $node->safe_psql('postgres', $picture);

# The table is as it was, and a cancel in a new session works (and is undone)
sub unchanged
{
	my ($what) = @_;
	is($node->safe_psql('postgres', $picture), $before, "$what: the table is as it was");
	is($node->safe_psql('postgres', q{BEGIN; SELECT jsonb_array_length(cancel_jobs(batch('few'))->'data'->'jobs'); ROLLBACK}), '10', "$what: a cancel works");
}

# SQLSTATE of what a script ends with, '' if it succeeds. A big script comes
# from standard input.
sub state_of
{
	my $error = error_of($node, @_);
	return $error =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $error;
}

# Every way to cancel the batch "many"
my %calls = (
	'cancel_jobs' => q{SELECT count(cancel_jobs(batch('many')))},
	'cancel_jobs_http' => q{SELECT count(body::text) FROM cancel_jobs_http(batch('many')::text)},
	'cancel_jobs_rows' => q{SELECT count(job) FROM cancel_jobs_rows(batch('many'))},
	'by ids' => q{SELECT count(cancel_jobs(batch('many'), (SELECT jsonb_build_object('id', jsonb_agg(id)) FROM jobs WHERE batch_id = batch('many'))))},
);

# A session in the background that does something and then sleeps; with
# "release" it is ended
sub hold
{
	my ($sql) = @_;
	my $session = start_psql($node, "SET application_name = 'holder'", "$sql; SELECT pg_sleep(1000)");
	wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'PgSleep'});
	return $session;
}

sub release
{
	my ($session) = @_;
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'holder'});
	finish($session);
}

#
# Timeouts and pg_cancel_backend by chance while a call runs. All in one
# session, whose memory must not grow by it.
#
for my $name (sort keys %calls)
{
	my $call = "BEGIN;\n$calls{$name};\nROLLBACK;\n";
	my $memory = "SELECT 'memory', sum(total_bytes) FROM pg_backend_memory_contexts;\n";
	my $attempts = $long ? 60 : 8;
	$node->safe_psql('postgres', $call);
	# how long it takes when nothing else happens
	my $ms = 1e9;
	for (1 .. 3)
	{
		my $start = time();
		$node->safe_psql('postgres', $call);
		my $took = (time() - $start) * 1000;
		$ms = $took if $took < $ms;
	}

	for my $by ('statement_timeout', 'pg_cancel_backend')
	{
		my $script = "SET application_name = 'victim';\n$call$memory";
		my $canceller;
		if ($by eq 'statement_timeout')
		{
			# the first one surely comes too early
			$script .= sprintf("SET statement_timeout = %d;\n$call", 1 + ($_ == 1 ? 0 : rand($ms * 1.1))) for 1 .. $attempts;
		}
		else
		{
			$script .= $call x $attempts;
			$canceller = start_psql($node, qq{
				DO \$\$ DECLARE n int := 0; BEGIN
					PERFORM setseed(0.25);
					FOR i IN 1 .. 100000 LOOP
						PERFORM pg_sleep(random() * $ms / 1000);
						PERFORM pg_stat_clear_snapshot();
						EXIT WHEN i > 20 AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'victim');
						PERFORM pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim' AND state = 'active' AND query ~ 'count';
					END LOOP; END \$\$});
		}
		$script .= "SET statement_timeout = 0;\nROLLBACK;\nSET statement_timeout = 0;\nSET application_name = 'done';\n$memory";
		my ($stdout, $stderr);
		$node->psql('postgres', $script, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
		finish($canceller) if $canceller;

		my @memory = $stdout =~ /^memory\|(\d+)/mg;
		my $interrupted = () = $stderr =~ /canceling statement/g;
		my %stages;
		$stages{ $_ // 'elsewhere' }++ for $stderr =~ /canceling statement.*\n(?:CONTEXT:  SQL statement "(\w+))?/g;
		is(join("\n", grep { !/canceling statement|transaction in progress|no transaction|current transaction is aborted|^CONTEXT/ } split(/\n/, $stderr)), '', "$name, $by: nothing else goes wrong");
		cmp_ok($interrupted, '>', 0, "$name, $by: some were interrupted");
		cmp_ok($memory[1] || 1e9, '<', ($memory[0] || 0) + 1_000_000, "$name, $by: the session keeps no memory");
		note "$name, $by: $interrupted interrupts in $attempts calls (", join(', ', map { "$_ $stages{$_}" } sort keys %stages), sprintf('), a call takes %.0f ms', $ms);
	}
	unchanged("$name, interrupted");
}

#
# Waiting: for a row, for the table, in a trigger
#
my $few = q{SELECT count(cancel_jobs(batch('few')))};
my $holder = hold(q{BEGIN; UPDATE jobs SET runs = 2 WHERE id = md5('few 5')::uuid});
is(state_of("SET lock_timeout = '20ms'; $few"), '55P03', 'lock_timeout while waiting for a row');
is(state_of("SET statement_timeout = '50ms'; $few"), '57014', 'statement_timeout while waiting for a row');
is(state_of("SET lock_timeout = '20ms'; SELECT cancel_jobs_http(batch('few')::text)"), '55P03', '... HTTP too raises it');
release($holder);
unchanged('waiting for a row');
$holder = hold('BEGIN; LOCK TABLE jobs');
is(state_of("SET lock_timeout = '20ms'; $few"), '55P03', 'lock_timeout while waiting for the table');
is(state_of("SET statement_timeout = '50ms'; $few"), '57014', 'statement_timeout while waiting for the table');
release($holder);
unchanged('waiting for the table');

for my $when ('BEFORE', 'AFTER')
{
	$node->safe_psql('postgres', qq{
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
		CREATE TRIGGER slow $when UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION slow()});
	is(state_of("SET statement_timeout = '20ms'; $few"), '57014', "statement_timeout in a trigger, $when");
	$node->safe_psql('postgres', 'DROP FUNCTION slow CASCADE');
}
unchanged('in a trigger');

# A trigger that calls the cancel of its own batch ends at max_stack_depth or
# at the end of the jobs, and then all is undone or all done
$node->safe_psql('postgres', q{
	CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM cancel_jobs(NEW.batch_id); RETURN NEW; END';
	CREATE TRIGGER again BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION again()});
like(state_of($few), qr/^(54001|27000)$/, 'a trigger that cancels without end');
$node->safe_psql('postgres', 'DROP FUNCTION again CASCADE');
unchanged('recursion');

# A job that goes before each UPDATE and comes back after it: three more tries
my $elsewhere = $node->connstr('postgres');
$node->safe_psql('postgres', qq{
	CREATE EXTENSION dblink;
	CREATE SEQUENCE updates;
	CREATE FUNCTION go() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		PERFORM nextval('updates'), dblink_exec(\$c\$$elsewhere\$c\$, 'DELETE FROM jobs WHERE id = md5(''back 2'')::uuid');
		RETURN NULL;
	END \$\$;
	CREATE FUNCTION come_back() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		PERFORM dblink_exec(\$c\$$elsewhere\$c\$, 'INSERT INTO jobs (id, batch_id, project_id, runs) VALUES (md5(''back 2'')::uuid, batch(''back''), batch(''back''), 2)');
		RETURN NULL;
	END \$\$;
	INSERT INTO jobs (id, batch_id, project_id, runs) SELECT md5('back ' || n)::uuid, batch('back'), batch('back'), n FROM generate_series(1, 2) AS n;
	CREATE TRIGGER go BEFORE UPDATE ON jobs EXECUTE FUNCTION go();
	CREATE TRIGGER come_back AFTER UPDATE ON jobs EXECUTE FUNCTION come_back()});
is($node->safe_psql('postgres', q{SET statement_timeout = '1min'; SELECT jsonb_path_query_array(a, '$.data.jobs[*].runs'), a->'data'->'errors'->>md5('back 2')::uuid::text FROM cancel_jobs(batch('back')) AS a}),
	'[1]|Job was not canceled: a trigger or a row-level security policy kept it', 'a job that comes back each time is given up');
is($node->safe_psql('postgres', 'SELECT last_value FROM updates'), '4', '... after four UPDATEs');
$node->safe_psql('postgres', q{DROP FUNCTION go CASCADE; DROP FUNCTION come_back CASCADE; DROP SEQUENCE updates; DELETE FROM jobs WHERE batch_id = batch('back')});
unchanged('a job that comes back');

# A session that is ended: its call is undone as a whole
$holder = hold(q{BEGIN; SELECT count(cancel_jobs(batch('many')))});
release($holder);
unchanged('a session that was ended');

# What is committed chunk by chunk stays, and it is whole chunks
{
	$node->safe_psql('postgres', q{CREATE TABLE saved AS SELECT * FROM jobs WHERE batch_id = batch('many')});
	my $pause = q{CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.0002); RETURN NEW; END';
		CREATE TRIGGER pause BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION pause()};
	$node->safe_psql('postgres', $pause);
	is(state_of("SET statement_timeout = '1s'; CALL cancel_jobs_in_chunks(batch('many'), chunk_size => 77)"), '57014', 'chunks interrupted');
	my $canceled = $node->safe_psql('postgres', q{SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND batch_id = batch('many')});
	note "$canceled were canceled in chunks of 77";
	is($canceled % 77, 0, 'whole chunks are canceled');
	cmp_ok($canceled, '<', 0.9 * $jobs, '... but not all');
	$node->safe_psql('postgres', q{DROP FUNCTION pause CASCADE; DELETE FROM jobs WHERE batch_id = batch('many'); INSERT INTO jobs SELECT * FROM saved; DROP TABLE saved; VACUUM ANALYZE jobs});
	$before = $node->safe_psql('postgres', $picture);
}

#
# Out of memory: the backend's address space ends a little above what it has.
# (a limit for a server as a whole would only stop it from starting backends)
#
SKIP:
{
	skip 'no prlimit', 2 unless system('prlimit --version >/dev/null 2>&1') == 0 && -e '/proc/self/status';
	my %got;
	for my $name (sort keys %calls)
	{
		for my $more ($long ? (1 .. 60) : (1, 2, 4, 8, 16))
		{
			my ($stdout, $stderr);
			$node->psql('postgres', "BEGIN;\n$few;\nROLLBACK;\nSELECT pg_backend_pid() AS pid\\gset\n\\setenv PID :pid\n"
				. "\\! prlimit --pid=\$PID --as=\$(( (\$(awk '/^VmSize/ { print \$2 }' /proc/\$PID/status) + $more * 1024) * 1024 ))\n"
				. "\\set VERBOSITY sqlstate\nBEGIN;\n$calls{$name};\nROLLBACK;\nSELECT 'alive';\n", stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
			my ($state) = $stderr =~ /ERROR:\s+(\w{5})/;
			$got{ $state // 'enough' }++;
			like($stdout, qr/alive$/, "$name with $more MB more: the session lives");
		}
	}
	note 'out of memory: ', join(', ', map { "$_ $got{$_} times" } sort keys %got);
	cmp_ok($got{53200} || 0, '>', 0, 'memory ran out');
	is(join(' ', grep { !/^(53200|enough)$/ } keys %got), '', '... which is all that happened');
	unchanged('out of memory');
}

#
# Too large
#
like(error_of($node, q{SELECT cancel_jobs(batch('large'))}), qr/ERROR:  54000: .*\nDETAIL:  Nothing was canceled\.\nHINT:  Narrow the filters, or use cancel_jobs_in_chunks/, 'a response beyond the limit of jsonb');
unchanged('beyond jsonb');
# one value, which is refused before it is taken from where it is stored
$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs, sequence) VALUES (batch('one'), batch('one'), 1, repeat('x', 1 << 28))});
is(state_of(q{SELECT count(cancel_jobs(batch('one')))}), '54000', 'a value beyond the limit of jsonb');
is(state_of(q{SELECT count(*) FROM cancel_jobs_rows(batch('one'))}), '54000', '... also as a row');
is($node->safe_psql('postgres', q{SELECT error IS NULL FROM cancel_jobs_preview(batch('one'))}), 't', '... for a preview it is a job like others');
$node->safe_psql('postgres', q{DELETE FROM jobs WHERE batch_id = batch('one')});
unchanged('one value');
is($node->safe_psql('postgres', q{BEGIN; SELECT octet_length(body::text) > 300000000 FROM cancel_jobs_http(batch('large')::text); ROLLBACK}), 't', 'as text there is room for it');
is($node->safe_psql('postgres', q{BEGIN; SELECT count(*) FROM cancel_jobs_rows(batch('large')) WHERE error IS NULL; ROLLBACK}), '300', '... and as rows');

# Filters: a hundred thousand ids, deep ones, large ones
my $ids = q{(SELECT jsonb_agg(md5('job ' || n)::uuid) FROM generate_series(1, 100000) AS n)};
my $left = 0.9 * $jobs;
my $start = time();
is($node->safe_psql('postgres', qq{BEGIN; SELECT jsonb_array_length(a->'jobs'), (SELECT count(*) FROM jsonb_object_keys(a->'errors')) FROM (SELECT cancel_jobs(batch('many'), jsonb_build_object('id', $ids))->'data' AS a) AS x; ROLLBACK}),
	"$left|" . (100000 - $left), sprintf('a hundred thousand ids'));
note sprintf('a hundred thousand ids: %.1f s', time() - $start);
is($node->safe_psql('postgres', qq{BEGIN; SELECT status_code, json_array_length(body->'data'->'jobs') FROM cancel_jobs_http(batch('many')::text, (SELECT string_agg('id=' || x, '&') FROM jsonb_array_elements_text($ids) AS x)); ROLLBACK}),
	"200|$left", '... in a query string');
unchanged('many ids');

for my $test (
	[ q{jsonb_build_object('id', (repeat('[', 2000) || repeat(']', 2000))::jsonb)}, '22023', 'a filter 2,000 deep' ],
	[ q{(repeat('{"id":', 2000) || '1' || repeat('}', 2000))::jsonb}, '22023', '... of objects' ],
	[ q{(repeat('[', 100000) || repeat(']', 100000))::jsonb}, '54001', 'one 100,000 deep, by jsonb itself' ],
	[ q{jsonb_build_object('user_id', repeat('x', 50000000))}, '', '50 MB of user' ],
	[ q{jsonb_build_object('id', repeat('urn:', 12500000))}, '22023', '50 MB of uuid' ],
	[ q{jsonb_build_object('id__starts_with', repeat('0', 50000000))}, '', '50 MB of prefix' ],
	[ q{jsonb_build_object('min_runs', repeat(' ', 25000000) || '1' || repeat(' ', 25000000))}, '22023', '50 MB of integer' ],
	[ q{jsonb_build_object('min_runs', repeat('9', 100000)::numeric)}, '22023', '100,000 digits' ],
	[ q{jsonb_build_object('start_date', repeat('0', 50000000))}, '22023', '50 MB of date' ],
	[ q{jsonb_build_object('errors', repeat('t', 50000000))}, '22023', '50 MB of boolean' ],
	[ q{jsonb_build_object('status', (SELECT jsonb_agg('PENDING'::text) FROM generate_series(1, 1000000)))}, '', 'a million states' ],
	[ q{jsonb_build_object('status', (SELECT jsonb_agg('pending'::text) FROM generate_series(1, 1000000)))}, '22023', 'a million bad states' ],
	[ q{(SELECT jsonb_object_agg('key ' || n, n) FROM generate_series(1, 300000) AS n)}, '22023', '300,000 unknown keys' ])
{
	my ($filters, $state, $what) = @$test;
	$start = time();
	is(state_of("BEGIN; SET LOCAL statement_timeout = '60s'; SELECT count(cancel_jobs(batch('many'), $filters)); ROLLBACK"), $state, "$what: " . ($state || 'no error'));
	note sprintf('%s: %.1f s', $what, time() - $start);
}
unchanged('large filters');
# an error must not flood the log
cmp_ok(-s $node->logfile, '<', 60_000_000, 'no error wrote megabytes to the log');
for my $test (
	[ q{'user_id=' || repeat('%78', 16000000)}, 200, '48 MB of user' ],
	[ q{repeat('&', 50000000)}, 200, '50 MB of nothing' ],
	[ q{repeat('status=PENDING&', 500000)}, 200, '500,000 states' ],
	[ q{repeat('status=x&', 200000)}, 422, '200,000 bad states' ],
	[ q{repeat('%ff', 10000000) || '=1'}, 422, '30 MB of bad UTF-8' ],
	[ q{(SELECT string_agg(n || '=1', '&') FROM generate_series(1, 200000) AS n)}, 422, '200,000 unknown keys' ])
{
	my ($query, $code, $what) = @$test;
	$start = time();
	is($node->safe_psql('postgres', "BEGIN; SET LOCAL statement_timeout = '60s'; SELECT status_code FROM cancel_jobs_http(batch('few')::text, $query); ROLLBACK"), $code, "HTTP, $what");
	note sprintf('HTTP, %s: %.1f s', $what, time() - $start);
}
unchanged('large query strings');

# Temporary files
for my $name (sort keys %calls)
{
	# rows may be more than memory holds
	my $state = $name eq 'cancel_jobs_rows' ? '53400' : '';
	is(state_of("BEGIN; SET LOCAL temp_file_limit = 0; SET LOCAL work_mem = '64kB'; SET LOCAL temp_buffers = 100; $calls{$name}; ROLLBACK"), $state,
		$state ? "$name: a temporary file" : "$name: no temporary file");
}
# a body is larger than work_mem, too
is($node->safe_psql('postgres', q{
	BEGIN;
	INSERT INTO jobs (batch_id, project_id, runs, sequence) SELECT batch('bodies'), batch('bodies'), 1, repeat('x', 100000) FROM generate_series(1, 10);
	SET LOCAL temp_file_limit = 0;
	SET LOCAL work_mem = '64kB';
	SELECT octet_length(body::text) > 1000000 FROM cancel_jobs_http(batch('bodies')::text);
	ROLLBACK}), 't', 'a large body needs no temporary file');
unchanged('temporary files');

SKIP:
{
	skip 'TRUST_LONG is not set', 1 unless $long;

	$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs, sequence) SELECT batch('huge'), md5('project')::uuid, 1, repeat('0123456789', 100000) FROM generate_series(1, 1200) AS n});
	$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs, sequence) SELECT batch('almost'), md5('project')::uuid, 1, repeat('0123456789', 100000) FROM generate_series(1, 1050) AS n});
	$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs, sequence) VALUES (batch('escaped'), md5('project')::uuid, 1, repeat(chr(1), 200000000))});
	$node->safe_psql('postgres', q{INSERT INTO jobs (batch_id, project_id, runs, sequence) SELECT batch('fits'), md5('project')::uuid, 1, repeat('0123456789', 100000) FROM generate_series(1, 266) AS n});
	$before = $node->safe_psql('postgres', $picture);
	is(state_of(q{SELECT count(body::text) FROM cancel_jobs_http(batch('huge')::text)}), '54000', 'a response beyond 1 GB of text');
	is(state_of(q{SELECT count(cancel_jobs(batch('huge')))}), '54000', '... for jsonb too');
	is(state_of(q{SELECT count(body::text) FROM cancel_jobs_http(batch('escaped')::text)}), '54000', 'one job that is beyond 1 GB once escaped');
	is(state_of(q{SELECT count(body::text) FROM cancel_jobs_http(batch('few')::text, repeat('id=x&', 20000000))}), '54000', 'a list of problems beyond 1 GB');
	is(state_of(q{SELECT status_code FROM cancel_jobs_http(batch('few')::text, 'user_id=' || repeat('a', 600000000))}), '54000', 'a value of a query string beyond 512 MB');
	unchanged('beyond 1 GB');
	is($node->safe_psql('postgres', q{BEGIN; SELECT octet_length(body::text) BETWEEN 1050000000 AND 1073741823 FROM cancel_jobs_http(batch('almost')::text); ROLLBACK}), 't', 'almost 1 GB is answered');
	is($node->safe_psql('postgres', q{BEGIN; SELECT jsonb_array_length(a->'data'->'jobs'), octet_length(a->'data'->'jobs'->265->>'sequence') FROM cancel_jobs(batch('fits')) AS a; ROLLBACK}), '266|1000000', 'almost 256 MB of jsonb are answered');
	unchanged('almost');
}

ok(!$node->log_contains('was terminated by signal|PANIC|server process .* exited'), 'no backend died');
done_testing();

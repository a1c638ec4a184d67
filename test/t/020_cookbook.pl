# Every entry of doc/cookbook.md, as it stands there, run by the roles that its
# blocks name, with its effect checked. In TAP because the SQL is taken from
# the page, and the roles log in.
#
# COOKBOOK_JOBS=1000000 also measures how far a standby falls behind a chunked
# cancel of so many jobs, with and without a pause.

use strict;
use warnings;

use FindBin;
use PasqalJobs;
use Time::HiRes qw(time usleep);

my $page = slurp_file($ENV{COOKBOOK} // 'doc/cookbook.md');
my ($grant) = slurp_file('README.md') =~ /^## Who may cancel\n.*?^```sql\n(GRANT .*?)^```/ms
  or die 'README.md does not say what an operator needs';

my $node = start_server('cookbook', bare => 1, allows_streaming => 1, conf => "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = all");
$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN; CREATE ROLE operator LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE mallory LOGIN');

# The trigger that keeps workers from jobs that have ended
my $keep_ended = sql_block('doc/api.md', 'CREATE FUNCTION keep_ended');

# The entries: heading => its blocks (role and SQL) and the index it wants
my (%entries, @headings);
my $found = 0;
while ($page =~ /^### (.*?)\n(.*?)(?=^##|\z)/msg)
{
	my ($heading, $text) = ($1, $2);
	my @blocks;
	while ($text =~ /(<!-- not run here: needs PostgreSQL (\d+) -->\n)?^```sql\n(.*?)^```/msg)
	{
		my ($needs, $sql) = ($2, $3);
		$found++;
		my ($role) = $sql =~ /^-- as (owner|operator|clerk|superuser)$/m or die "$heading: no role is named in\n$sql";
		next if defined $needs && $node->pg_version < $needs;
		push @blocks, { role => $role eq 'superuser' ? $node->safe_psql('postgres', 'SELECT current_user') : $role, sql => $sql };
	}
	my ($index) = $text =~ /Index:\s+`(CREATE INDEX [^`]*)`/;
	$entries{$heading} = { blocks => \@blocks, index => $index };
	push @headings, $heading;
}

my $db;
my @batch = map { "b0000000-0000-4000-8000-00000000000$_" } 0 .. 3;

# Runs SQL as a role; returns status, output, and errors
sub run_as
{
	my ($role, $sql, @params) = @_;
	return $node->psql($db, $sql, extra_params => [ '-U', $role, @params ]);
}

# Starts these statements as the operator
sub start_as_operator { return start_psql($node, { db => $db, user => 'operator' }, @_) }

# What the database answers to a superuser
sub answer { return $node->safe_psql($db, $_[0]) }

# Runs the blocks of an entry that are in the list (default: all)
sub run_entry
{
	my ($heading, $params, @numbers) = @_;
	my $blocks = $entries{$heading}{blocks};
	my $output = '';

	foreach my $n (@numbers ? @numbers : 0 .. $#$blocks)
	{
		my ($status, $stdout, $stderr) = run_as($blocks->[$n]{role}, $blocks->[$n]{sql}, @{ $params // [] });
		is($status, 0, "$heading: block " . ($n + 1) . " runs as $blocks->[$n]{role}") or diag $stderr;
		$output .= "$stdout\n$stderr\n";
	}
	return $output;
}

sub is_refused
{
	my ($role, $sql, $error, $name) = @_;
	my ($status, undef, $stderr) = run_as($role, $sql);
	ok($status != 0 && $stderr =~ $error, $name) or diag $stderr;
}

# A chunked cancel of many jobs with this pause: how long it takes, and how far
# the standby falls behind
sub measure_lag
{
	my ($standby, $pause) = @_;
	answer(qq{
		DELETE FROM jobs WHERE batch_id = '$batch[0]';
		VACUUM jobs;
		INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch[0]', gen_random_uuid(), 1 FROM generate_series(1, $ENV{COOKBOOK_JOBS});
		VACUUM ANALYZE jobs;
		CHECKPOINT});
	$node->wait_for_catchup($standby);
	my $session = open_session($node, '', db => $db);
	$session->set_query_timer_restart;
	my $start = time;
	my $cancel = start_psql($node, { db => $db }, "SET pasqal_jobs.chunk_pause = '$pause'", "CALL cancel_jobs_in_chunks('$batch[0]', '{}', 1000)");
	my @behind;
	while ($cancel->{run}->pumpable)
	{
		push @behind, $session->query_safe('SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint FROM pg_stat_replication');
		$cancel->{run}->pump_nb;
		usleep(20_000);
	}
	finish($cancel);
	$session->quit;
	@behind = sort { $a <=> $b } @behind;
	note sprintf('pause %s: %d jobs in %.1f s, %d times looked, standby behind by %.1f MB (median), %.1f MB (at most)', $pause, $cancel->{out} =~ /^(\d+)/,
		time - $start, scalar @behind, $behind[ $#behind / 2 ] / 1e6, $behind[-1] / 1e6);
}

# Jobs 1 to 10 of each batch wait, 11 to 14 run since two days, 15 to 20 are done
my $canceled = "SELECT count(*), string_agg(DISTINCT right(batch_id::text, 1), '' ORDER BY right(batch_id::text, 1)) FROM jobs WHERE status = 'CANCELED'";
my $open = "status IN ('PENDING', 'RUNNING')";

# What is true after an entry
my %effects = (
	'Look first, then cancel in a transaction' => sub {
		my $output = run_entry($_[0]);
		like($output, qr/^PENDING\|\|5$/m, 'the look shows what would be canceled');
		like($output, qr/^Job cannot be canceled: its status is DONE\|3$/m, 'the cancel shows what was not');
		is(answer("SELECT count(*) FILTER (WHERE $open), count(*) FILTER (WHERE status = 'CANCELED') FROM jobs WHERE user_id = 'niels' AND batch_id = '$batch[1]'"), '0|7', 'his jobs are canceled');
		is(answer($canceled), '7|1', 'and nothing else');
	},
	'What waits, not what runs' => sub {
		run_entry($_[0]);
		is(answer($canceled), '10|1', 'ten jobs waited');
		is(answer("SELECT count(*) FROM jobs WHERE status = 'RUNNING'"), '12', 'those that run go on');
	},
	'All jobs of one user' => sub {
		my $output = run_entry($_[0]);
		is($output =~ s/^(b0+-0000-4000-8000-0+\d)\|7\|0$//mgr =~ /\S/, '', 'one row a batch');
		is(answer($canceled), '21|123', 'in all batches');
		is(answer("SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND user_id <> 'niels'"), '0', 'of nobody else');
	},
	'Everything of one project' => sub {
		run_entry($_[0]);
		is(answer($canceled), '21|123', 'in all batches');
		is(answer("SELECT count(*) FROM jobs WHERE $open AND project_id = 'e0000000-0000-4000-8000-000000000001'"), '0', 'nothing of it is open');
	},
	'All that is stuck RUNNING' => sub {
		my $project = 'e0000000-0000-4000-8000-000000000001';
		my $of_project = "SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND project_id = '$project' AND creation_order = 14";
		answer("UPDATE jobs SET start_timestamp = now() WHERE creation_order = 12");
		is(run_entry($_[0], [], 0), join("\n", map { "$batch[$_]|RUNNING||1" } 1 .. 3) . "\n\n", 'the look shows one of each batch');
		is(answer($canceled), '0|', '... and cancels nothing');
		is(run_entry($_[0], [ '-v', "project=$project" ], 1), join("\n", map { "$batch[$_]||1" } 1 .. 3) . "\n\n", 'these are canceled');
		is(answer($canceled), '3|123', '... and nothing else');
		is(answer($of_project), 3, '... those of the project that started two days ago');
		answer("UPDATE jobs SET status = 'RUNNING', end_timestamp = NULL WHERE status = 'CANCELED'");
		like(run_entry($_[0], [ '-v', "project=$project" ], 2), qr/^1\|0\n1\|0\n1\|0$/m, 'or in chunks, batch by batch');
		is(answer($canceled), '3|123', '... and nothing else');
		is(answer($of_project), 3, '... the same jobs');
	},
	'All jobs of a batch but some' => sub {
		run_entry($_[0]);
		is(answer($canceled), '12|1', 'two are left');
		is(answer("SELECT string_agg(creation_order::text, ',' ORDER BY creation_order) FROM jobs WHERE batch_id = '$batch[1]' AND $open"), '2,3', '... those on the list');
		unlike(run_entry($_[0]), qr/\S/, 'nothing left to cancel is no error');
	},
	'By the beginning of an id' => sub {
		run_entry($_[0]);
		is(answer("SELECT bool_and(id::text LIKE 'a1%'), count(*) FROM jobs WHERE status = 'CANCELED'"), 't|2', 'those jobs only');
	},
	'The batches of a file' => sub {
		write_file('batches.txt', "$batch[3]\n$batch[1]\n");
		like(run_entry($_[0]), qr/^$batch[1]\|14\|6\n$batch[3]\|14\|6$/m, 'counts by batch');
		is(answer($canceled), '28|13', 'the two of the file');
	},
	'A job and its children' => sub {
		# 1 of batch 1 has a child in its batch and one in batch 3, which has one that is done; two are their own ancestors
		my $job = sub { sprintf "b2000000-0000-4000-8000-0000%02d00%04d", @_ };
		answer(sprintf("UPDATE jobs SET parent_id = CASE id WHEN '%s' THEN '%s' WHEN '%s' THEN '%s' ELSE '%s' END::uuid WHERE id IN ('%s', '%s', '%s')",
			$job->(1, 3), $job->(1, 1), $job->(3, 15), $job->(3, 4), $job->(1, 1), $job->(1, 3), $job->(3, 4), $job->(3, 15)));
		answer(sprintf("UPDATE jobs SET parent_id = '%s' WHERE id = '%s'", $job->(1, 3), $job->(1, 1)));
		my $output = run_entry($_[0]);
		is(join(',', sort $output =~ /^(\S+\|\S+)\|$/mg), join(',', map { "$batch[$_->[0]]|" . $job->(@$_) } [ 1, 1 ], [ 1, 3 ], [ 3, 4 ]), 'the job and its children, in both batches');
		like($output, qr/^$batch[3]\|@{[ $job->(3, 15) ]}\|Job cannot be canceled: its status is DONE$/m, '... and the grandchild that is done');
		is(answer($canceled), '3|13', 'and nothing else');
	},
	'Many batches without psql' => sub {
		like(run_entry($_[0]), qr/NOTICE:  batch $batch[1]: 7 canceled\n.*NOTICE:  batch $batch[3]: 7 canceled/s, 'one notice a batch');
		is(answer($canceled), '21|123', 'in all batches');
		is(answer("SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND user_id <> 'niels'"), '0', 'of nobody else');
		my $chunks = $entries{$_[0]}{blocks}[0]{sql} =~ s/SELECT count\(\*\) INTO n .*?;/CALL cancel_jobs_in_chunks(batch, '{"user_id": "lise"}', 2, n, failed);/sr =~ s/n bigint;/n bigint; failed bigint;/r;
		my ($status, undef, $stderr) = run_as('operator', $chunks =~ s/'niels'/'lise'/r);
		like($stderr, qr/NOTICE:  batch $batch[3]: 7 canceled/, 'or in chunks');
	},
	'Several batches, all or nothing' => sub {
		my $worker = open_session($node, "BEGIN; UPDATE jobs SET progress = 50 WHERE batch_id = '$batch[3]' AND creation_order = 11", db => $db);
		my (undef, undef, $stderr) = run_as('operator', $entries{$_[0]}{blocks}[0]{sql} =~ s/'5s'/'100ms'/r);
		like($stderr, qr/ERROR:  canceling statement due to lock timeout/, 'a job that is locked ends it');
		is(answer($canceled), '0|', '... and nothing is canceled');
		my $cancel = start_as_operator($entries{$_[0]}{blocks}[0]{sql} =~ s/'5s'/'0'/r);
		ok($node->poll_query_until($db, "SELECT count(*) = 2 FROM pg_locks WHERE objsubid = 20554 AND pid = (SELECT pid FROM pg_stat_activity WHERE usename = 'operator' AND wait_event_type = 'Lock')"),
			'while it waits it holds the locks of both batches');
		$worker->query_safe('COMMIT');
		$worker->quit;
		is(finish($cancel)->{out}, "$batch[1]|14|6\n$batch[3]|14|6", 'both of them');
		is(answer($canceled), '28|13', '... and nothing else');
	},
	'A preview of many batches' => sub {
		my $output = run_entry($_[0]);
		like($output, qr/^$batch[1]\|PENDING\|\|5$/m, 'what waits');
		like($output, qr/^$batch[3]\|DONE\|Job cannot be canceled: its status is DONE\|3$/m, 'what has ended');
		is(answer($canceled), '0|', 'nothing is changed');
	},
	'The biggest batches first' => sub {
		answer("UPDATE jobs SET status = 'DONE' WHERE creation_order = 1 OR batch_id = '$batch[1]' AND creation_order < 9");
		my $output = run_entry($_[0]);
		is(answer($canceled), '26|23', 'the two biggest');
	},
	'Export what was canceled as CSV' => sub {
		run_entry($_[0]);
		is(answer($canceled), '14|1', 'canceled');
		my @lines = split /\n/, slurp_file('canceled.csv');
		is($lines[0], 'id,runs,canceled_at', 'a header');
		is(scalar(grep { /^[0-9a-f-]{36},100,\d{4}-\d\d-\d\dT[0-9:.]+\+00:00$/ } @lines), 14, 'a line a job');
	},
	'A million jobs, without hurting anyone' => sub {
		like(run_entry($_[0]), qr/^10\|0$/m, 'the two counts');
		is(answer($canceled), '10|1', 'ten jobs waited');
	},
	'Replicas that keep up' => sub {
		my $standby = start_standby($node);
		like(run_entry($_[0]), qr/^\S+\|streaming\|[0-9:.]*\|\d+ \w+$/m, 'how far the standby is behind');
		is(answer($canceled), '14|1', 'canceled');
		$node->wait_for_catchup($standby);
		is($standby->safe_psql($db, $canceled), '14|1', '... there, too');
		measure_lag($standby, $_) foreach $ENV{COOKBOOK_JOBS} ? ('0', '50ms', '200ms') : ();
		$standby->stop;
	},
	'Chunks from a scheduler' => sub {
		run_entry($_[0]);
		is(answer($canceled), '14|1', 'canceled');
		my ($set, $call) = ("SET pasqal_jobs.chunk_pause = '250ms'", "CALL cancel_jobs_in_chunks('$batch[2]')");
		like(finish(start_as_operator("$set; $call"))->{err}, qr/ERROR:  cancel_jobs_in_chunks cannot run inside a transaction block/, 'two statements in one message are refused');
		is(finish(start_as_operator($set, $call))->{out}, '14|6', '... and in two not');
	},
	'A bound for people' => sub {
		run_entry($_[0]);
		is((run_as('operator', 'SHOW pasqal_jobs.max_jobs'))[1], '10000', 'the bound holds in the next session');
		answer("INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch[0]', gen_random_uuid(), 1 FROM generate_series(1, 10001)");
		is_refused('operator', "SELECT cancel_jobs('$batch[0]')", qr/exceeds pasqal_jobs\.max_jobs \(10000\)/, 'one job more is refused');
		is(answer($canceled), '0|', '... and nothing is canceled');
		answer('ALTER ROLE operator RESET pasqal_jobs.max_jobs');
	},
	'Watch a long cancel' => sub {
		my $worker = open_session($node, "BEGIN; UPDATE jobs SET progress = 50 WHERE batch_id = '$batch[1]' AND creation_order = 11", db => $db);
		my $cancel = start_as_operator("SELECT count(cancel_jobs('$batch[1]'))");
		wait_for_lock($node, q{usename = 'operator'});
		like(run_entry($_[0]), qr/^\d+\|[0-9:.]+\|Lock\|(transactionid|tuple)\|SELECT count\(cancel_jobs/m, 'one sees it wait');
		$worker->query_safe('COMMIT');
		$worker->quit;
		is(finish($cancel)->{err}, '', 'it ends');
		$cancel = start_as_operator("SET pasqal_jobs.chunk_pause = '1h'", "CALL cancel_jobs_in_chunks('$batch[2]', '{}', 5)");
		wait_until($node, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '% tried 5 of 14 jobs%' AND pid <> pg_backend_pid())");
		my $progress = qr/CALL cancel_jobs_in_chunks\('(\S+)', \.\.\.\) -- tried (\d+) of (\d+) jobs, canceled (\d+), failed (\d+)/;
		my ($seen) = run_entry($_[0]) =~ /^\d+\|[0-9:.]+\|\w*\|\w*\|(CALL cancel_jobs_in_chunks.*)$/m;
		is_deeply([ $seen =~ /^$progress$/ ], [ $batch[2], 5, 14, 5, 6 ], 'how far chunks are') or diag $seen;
		like($page, qr/^$progress$/m, '... as the page shows it');
		answer("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL cancel_jobs_in_chunks%' AND pid <> pg_backend_pid()");
		finish($cancel);
		is(answer("SELECT count(*) FROM jobs WHERE batch_id = '$batch[2]' AND status = 'CANCELED'"), 5, 'interrupted in the pause; the chunk stays');
	},
	'Comfort in psql' => sub {
		my $output = run_entry($_[0]);
		like($output, qr/^pasqal_jobs\.chunk_pause\|0\|integer\|user\|/m, 'the settings are listed');
		like($output, qr/^\["query", "min_runs"\]\|value is not a valid integer\n\["query", "statsu"\]\|extra fields not permitted$/m, 'each problem is a row');
		my ($status, undef, $stderr) = run_as('operator', $entries{$_[0]}{blocks}[2]{sql} =~ s/min_runs=many&statsu=PENDING/status=PENDING/r);
		ok($status != 0 && $stderr =~ /cannot execute cancel_jobs_http\(\) in a read-only transaction/, '... and good filters cancel nothing') or diag $stderr;
		is(answer($canceled), '0|', '... indeed');

		append_to_file('psqlrc', $entries{$_[0]}{blocks}[0]{sql});
		local $ENV{PSQLRC} = 'psqlrc';
		my @psql = ('psql', '-At', '-U', 'operator', '-d');
		IPC::Run::run([ @psql, $node->connstr($db), '-c', "SET pasqal_jobs.job_table = 'x'", '-c', "SET pasqal_jobs.date_filter = 'created'" ], '>', \my $out, '2>', \my $err);
		like($err, qr/^ERROR:  invalid configuration parameter name "pasqal_jobs\.job_table".*^ERROR:  invalid value for parameter "pasqal_jobs\.date_filter"/ms, 'with .psqlrc a bad setting is refused at once');
		IPC::Run::run([ @psql, $node->connstr($db), '-c', '\set VERBOSITY terse', '-c', "SELECT cancel_jobs('$batch[1]', '{\"statsu\": 1}')", '-c', '\errverbose' ], '>', \$out, '2>', \$err);
		like($err, qr/\AERROR:  unrecognized filter "statsu"\nERROR:  22023: .*\nDETAIL:  .*\nHINT:  /, 'terse, and the rest on demand');
		IPC::Run::run([ @psql, $node->connstr('postgres'), '-c', 'SELECT 1' ], '>', \$out, '2>', \$err);
		is("$out$err", "1\n", '... and where there is no extension nothing is said');
	},
	'See the plan of a cancel' => sub {
		like(run_entry($_[0]), qr/Update on public\.jobs.*Scan.*actual time|Update on jobs.*\(actual time/s, 'the plan of the UPDATE');
		is(answer($canceled), '0|', 'nothing is canceled');
		run_as('operator', "EXPLAIN ANALYZE SELECT cancel_jobs('$batch[1]')");
		is(answer($canceled), '14|1', 'as EXPLAIN ANALYZE does');
	},
	'Monitor with pg_stat_statements' => sub {
		run_as('operator', "SELECT cancel_jobs('$batch[1]')");
		my $output = run_entry($_[0]);
		like($output, qr/^\d+\|\d+\|[0-9.]+\|SELECT cancel_jobs/m, 'the call');
		like($output, qr/^\d+\|\d+\|[0-9.]+\|UPDATE .* AS j SET status/m, 'the UPDATE inside');
	},
	'Log who canceled what, and why' => sub {
		like(run_entry($_[0]), qr/^\S+ \S+\|operator\|\S+\|ticket 4711: laser out of lock\|$batch[1]\|4\|0$/m, 'the operator sees the log');
		is(answer('SELECT login, role, client IS NULL, reason, canceled, restored, statement LIKE \'%cancel_jobs_rows%"RUNNING"%\', pid > 0 AND started <= canceled_at + interval \'1 s\' FROM cancel_log'),
			'operator|none|t|ticket 4711: laser out of lock|4|0|t|t', 'one entry, complete');
		answer("UPDATE jobs SET status = 'DONE' WHERE batch_id = '$batch[2]' AND status = 'RUNNING'; UPDATE jobs SET progress = 1");
		is(answer('SELECT count(*) FROM cancel_log'), 1, 'other updates are not logged');
		is_refused('operator', 'INSERT INTO cancel_log (canceled) VALUES (1)', qr/permission denied for table cancel_log/, 'nobody writes into the log');
		answer('CREATE SCHEMA mallory AUTHORIZATION mallory');
		is_refused('mallory', 'CREATE TABLE mallory.jobs (id uuid, batch_id uuid, status text);
			CREATE TRIGGER forge AFTER UPDATE ON mallory.jobs REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION public.log_cancel()',
			qr/permission denied for function (public\.)?log_cancel/, 'nor forges an entry');
		# the plan of the first call must not serve a large one
		answer("INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch[0]', gen_random_uuid(), 1 FROM generate_series(1, 20000)");
		like((run_as('operator', "SET statement_timeout = '60s'; SET app.reason = 'all';
			SELECT count(*) FROM cancel_jobs_rows('$batch[3]', '{\"id\": \"b2000000-0000-4000-8000-000003000001\"}');
			SELECT count(cancel_jobs('$batch[0]')) -- " . 'x' x 2000))[1], qr/^1\n1$/, 'one job, then 20,000 in the same session');
		is(answer("SELECT string_agg(canceled::text, ',' ORDER BY entry) FROM cancel_log WHERE reason = 'all'"), '1,20000', 'both are logged');
		is(answer('SELECT max(length(statement)) FROM cancel_log'), 1000, '... with the beginning of the statement');
	},
	'Log each job, for an undo' => sub {
		run_entry($_[0]);
		like((run_as('operator', "SELECT count(*) FROM cancel_jobs_rows('$batch[1]'); CALL cancel_jobs_in_chunks('$batch[2]', '{}', 5)"))[1], qr/^20\n14\|6$/, 'a call, and one in chunks');
		is(answer("SELECT batch_id, old_status, count(*), count(DISTINCT (started, pid)), count(DISTINCT end_timestamp) FROM canceled_jobs GROUP BY 1, 2 ORDER BY 1, 2"),
			"$batch[1]|PENDING|10|1|1\n$batch[1]|RUNNING|4|1|1\n$batch[2]|PENDING|10|1|2\n$batch[2]|RUNNING|4|1|1", 'each job once, chunks under their statement');
	},
	'Undo a cancel' => sub {
		my @logs = ('Log who canceled what, and why', 'Log each job, for an undo');
		my @last = ($#{ $entries{'Undo a cancel'}{blocks} }) x ($node->pg_version >= 18);
		run_entry($_, [], 0) foreach @logs, "Settle the batch's own row";
		my $open_jobs = "SELECT string_agg(open_jobs::text, ',' ORDER BY id) FROM batch_counts";
		# a cancel that was meant, and the mistake: in chunks, over jobs that wait and jobs that run
		run_as('operator', "SELECT cancel_jobs('$batch[1]', '{\"user_id\": \"lise\"}')");
		run_as('operator', "SELECT cancel_jobs('$batch[2]')");
		answer('CREATE TABLE as_it_was AS TABLE jobs');
		my $open_before = answer($open_jobs);
		run_as('operator', "CALL cancel_jobs_in_chunks('$batch[1]', '{}', 2)");
		run_as('operator', "SELECT cancel_jobs('$batch[3]')");
		my $entry = answer("SELECT max(entry) FROM cancel_log WHERE batch_id = '$batch[1]'");
		like(run_entry($_[0], [], 0), qr/^$entry\|[^|]*\|operator\|\|$batch[1]\|7\|0\|CALL cancel_jobs_in_chunks/m, 'the mistake is found, one row for all of its chunks');
		# meanwhile a worker ended one of its jobs after all
		answer("UPDATE jobs SET status = 'DONE', updated_at = clock_timestamp() WHERE batch_id = '$batch[1]' AND creation_order = 12");
		answer($keep_ended);
		like(run_entry($_[0], [ '-v', "entries={$entry}" ], 1), qr/^PENDING\|t\|5\nRUNNING\|f\|1\nRUNNING\|t\|1$/m, 'the answer');
		answer('DROP TRIGGER keep_ended ON jobs');
		is(answer("SELECT login, batch_id, canceled, restored FROM cancel_log ORDER BY entry DESC LIMIT 1"), "operator|$batch[1]|0|6", 'the log has the undo');
		is(answer("SELECT count(*) FROM jobs AS j JOIN as_it_was AS w USING (id) WHERE j.batch_id = '$batch[1]' AND (j.status, j.end_timestamp) IS DISTINCT FROM (w.status, w.end_timestamp)"),
			1, 'that batch is as it was, but for the job of the worker');
		is(answer("SELECT status FROM jobs WHERE batch_id = '$batch[1]' AND creation_order = 12"), 'DONE', '... which is left alone');
		is(answer("SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND batch_id IN ('$batch[2]', '$batch[3]')"), 28, 'other cancels stay');
		like(run_entry($_[0], [ '-v', "entries={$entry}" ], 1), qr/^PENDING\|f\|5\nRUNNING\|f\|2$/m, 'once more: nothing');
		# statements of their own
		$entry = answer("SELECT max(entry) FROM cancel_log WHERE batch_id = '$batch[3]'");
		run_as('operator', "SELECT cancel_jobs('$batch[1]', '{\"status\": \"PENDING\"}')");
		my $other = answer('SELECT max(entry) FROM cancel_log');
		like(run_entry($_[0], [ '-v', "entries={$entry,$other}" ], 1), qr/^PENDING\|t\|15\nRUNNING\|t\|4$/m, 'two mistakes at once');
		is(answer($open_jobs), answer("SELECT string_agg((open - (batch_id = '$batch[1]')::int)::text, ',' ORDER BY batch_id)
			FROM (SELECT batch_id, count(*) FILTER (WHERE $open) AS open FROM as_it_was GROUP BY 1) AS w"), "the batches' own rows are as they were, less the job of the worker");
		is($open_before, '7,0,14', '... which counted the open jobs');
		# one statement over two batches, which have an id in common
		answer(qq{
			ALTER TABLE jobs DROP CONSTRAINT jobs_pkey, ADD PRIMARY KEY (batch_id, id);
			UPDATE jobs SET status = 'PENDING', end_timestamp = NULL WHERE batch_id IN ('$batch[2]', '$batch[3]') AND status <> 'DONE';
			UPDATE jobs AS j SET id = o.id FROM jobs AS o WHERE j.batch_id = '$batch[3]' AND o.batch_id = '$batch[2]' AND o.creation_order = j.creation_order});
		run_as('operator', "SELECT cancel_jobs(batch) FROM unnest('{$batch[2],$batch[3]}'::uuid[]) AS batch");
		answer("UPDATE jobs SET status = 'DONE', updated_at = clock_timestamp() WHERE batch_id = '$batch[3]' AND creation_order = 1");
		like(run_entry($_[0], [ '-v', 'entries={' . answer('SELECT max(entry) FROM cancel_log') . '}' ], 1), qr/^PENDING\|f\|1\nPENDING\|t\|27$/m, 'a mistake in two batches that have the same ids');
		if (@last)
		{
			answer('DROP TRIGGER log_canceled_jobs ON jobs');
			run_entry($_[0], [], @last);
			is(answer("SELECT count(*) FROM canceled_jobs WHERE batch_id = '$batch[1]' AND end_timestamp = (SELECT max(end_timestamp) FROM jobs)"), 6, 'PostgreSQL 18: recorded by RETURNING');
		}
	},
	'Undo without a log' => sub {
		run_as('operator', "SELECT cancel_jobs('$batch[1]', '{\"user_id\": \"lise\"}')");
		run_as('operator', "SELECT cancel_jobs('$batch[1]')");
		my $output = run_entry($_[0], [], 0);
		like($output, qr/^(\S+ \S+)\|7\|2\n\S+ \S+\|7\|2$/m, 'two calls, the last one first');
		my ($mistake) = $output =~ /^(\S+ \S+)\|7/m;
		answer($keep_ended);
		run_entry($_[0], [ '-v', "mistake=$mistake" ], 1);
		is(answer("SELECT status, user_id, count(*), count(end_timestamp) FROM jobs WHERE batch_id = '$batch[1]' AND status <> 'DONE' GROUP BY 1, 2 ORDER BY 1, 2"),
			"PENDING|niels|5|0\nRUNNING|niels|2|0\nCANCELED|lise|7|7", 'all of that call, and the other one stays');
	},
	'Let a role cancel through a function only' => sub {
		like(run_entry($_[0]), qr/^14$/m, 'the clerk cancels');
		is(answer($canceled), '14|1', 'a whole batch');
		is_refused('clerk', "SELECT cancel_jobs('$batch[2]')", qr/permission denied for table jobs/, 'through the function only');
		answer("CREATE TABLE payroll AS TABLE jobs");
		run_as('clerk', "SET pasqal_jobs.jobs_table = 'public.payroll'; SET pasqal_jobs.running_status = 'ERROR'; SELECT app.cancel_batch('$batch[2]')");
		is(answer("SELECT count(*) FROM payroll WHERE batch_id = '$batch[2]' AND status = 'CANCELED'"), 0, 'on its own table only');
		is(answer("SELECT count(*) FROM jobs WHERE batch_id = '$batch[2]' AND start_timestamp IS NOT NULL AND end_timestamp IS NULL"), 0, 'and nothing but CANCELED');
		answer('GRANT USAGE ON SCHEMA app TO mallory');
		is_refused('mallory', "SELECT app.cancel_batch('$batch[3]')", qr/permission denied for function cancel_batch/, 'nobody else');
	},
	"Settle the batch's own row" => sub {
		run_entry($_[0]);
		is(answer('SELECT string_agg(open_jobs::text, \',\' ORDER BY id) FROM batch_counts'), '14,0,14', 'settled in the transaction of the cancel');
		answer("UPDATE jobs SET status = 'DONE' WHERE creation_order = 11; UPDATE jobs SET progress = 1");
		is(answer('SELECT string_agg(open_jobs::text, \',\' ORDER BY id) FROM batch_counts'), '13,0,13', '... and in that of a worker');
		is_refused('operator', 'SELECT * FROM batch_counts', qr/permission denied for table batch_counts/, 'the operator needs no privilege on it');
	},
	'A table with other column names' => sub {
		run_entry($_[0]);
		is(answer("SELECT count(*) FILTER (WHERE state = 'CANCELED' AND ended = changed), count(*) FILTER (WHERE state = 'CANCELED') FROM tasks WHERE batch = '$batch[3]'"), '10|10', 'canceled in the table beneath');
		is(answer($canceled), '0|', '... and nowhere else');
	},
	'Labels of your own' => sub {
		run_entry($_[0]);
		run_as('owner', "UPDATE jobs SET status = 'CANCELING', origin = 'OVH' WHERE batch_id = '$batch[1]' AND status = 'RUNNING'");
		like((run_as('operator', "SELECT error, count(*) FROM cancel_jobs_rows('$batch[1]', '{\"status\": [\"PENDING\", \"CANCELING\"]}') GROUP BY 1 ORDER BY 1"))[1],
			qr/^Job cannot be canceled: its status is CANCELING\|4\n\|10$/, 'the new label is a value of the filter');
		# what a dump has of it, and of a label that was added to the extension's type
		answer("SELECT create_jobs_table('others')");
		answer("ALTER TYPE jobstatus ADD VALUE 'CANCELING'");
		answer("INSERT INTO others (batch_id, project_id, runs, status) SELECT batch_id, project_id, runs, 'CANCELING' FROM jobs");
		answer('CREATE DATABASE restored');
		IPC::Run::run([ 'pg_dump', '-d', $node->connstr($db) ], '|', [ 'psql', '-Xq', '-d', $node->connstr('restored') ], '>', \my $out, '2>', \my $err);
		like($err, qr/ERROR:  invalid input value for enum public\.jobstatus: "CANCELING"$/m, 'a label that was added to the extension is not dumped');
		is($node->safe_psql('restored', "SELECT count(*), count(*) FILTER (WHERE status = 'CANCELING'), (SELECT count(*) FROM others) FROM jobs"), '60|4|0',
			'... nor is a table with it, but one with an enum of its own');
	},
	'Purge old jobs' => sub {
		answer("UPDATE jobs SET created_at = '2023-01-01 12:00', end_timestamp = now() - interval '100 days' WHERE status = 'DONE' AND creation_order < 20;
			UPDATE jobs SET created_at = '2023-01-01 12:00' WHERE status = 'PENDING';
			UPDATE jobs SET created_at = '2023-01-02 12:00' WHERE batch_id = '$batch[3]' AND creation_order < 20");
		run_entry($_[0]);
		is(answer("SELECT batch_id, count(*) FILTER (WHERE status = 'DONE'), count(*) FILTER (WHERE $open) FROM jobs GROUP BY 1 ORDER BY 1"),
			"$batch[1]|1|14\n$batch[2]|1|14\n$batch[3]|6|14", 'ended jobs of that day are gone');
	},
	'Upgrade' => sub {
		my ($version) = slurp_file("$FindBin::Bin/../../pasqal_jobs.control") =~ /^default_version = '(.*)'/m;
		like(run_entry($_[0]), qr/^\Q$version\E$/m, 'the version that is installed');
	},
	'Uninstall' => sub {
		is_refused('owner', 'DROP EXTENSION pasqal_jobs', qr/cannot drop extension pasqal_jobs because other objects depend on it/, 'before, it refuses');
		run_entry($_[0]);
		is(answer("SELECT count(*), count(*) FILTER (WHERE status = 'PENDING') FROM jobs"), '60|30', 'the table and its rows are there');
		run_as('owner', "CREATE EXTENSION pasqal_jobs; INSERT INTO jobs (batch_id, project_id, runs) VALUES ('$batch[1]', gen_random_uuid(), 1)");
		like((run_as('operator', "SELECT count(*) FROM cancel_jobs_rows('$batch[1]') WHERE error IS NULL"))[1], qr/^15$/, 'installed again, it works on');
	},
);

is_deeply([ sort @headings ], [ sort keys %effects ], 'every entry has a test');
is($found, scalar(() = $page =~ /^\s*```sql/mg), 'every block of SQL belongs to an entry');
chdir PostgreSQL::Test::Utils::tempdir;

# Those that cancel in several batches, one transaction each: how to run them
my %by_batch = (
	'All jobs of one user' => [0],
	'Everything of one project' => [0],
	'All that is stuck RUNNING' => [ 1, '-v', 'project=e0000000-0000-4000-8000-000000000001' ],
	'The batches of a file' => [0],
	'Many batches without psql' => [0],
);

# A worker that holds a job of the second batch holds up that batch alone
sub is_by_batch
{
	my ($heading, $block, @params) = @_;
	write_file('batches.txt', "$batch[2]\n$batch[1]\n");
	my $worker = open_session($node, "BEGIN; SELECT FROM jobs WHERE batch_id = '$batch[2]' AND $open FOR UPDATE", db => $db);
	write_file('entry.sql', $entries{$heading}{blocks}[$block]{sql});
	my $cancel = start_psql($node, { db => $db, user => 'operator', options => [ @params, '-f', 'entry.sql' ] });
	my $waits = "SELECT pid FROM pg_stat_activity WHERE usename = 'operator' AND wait_event_type = 'Lock'";
	wait_until($node, "SELECT EXISTS ($waits)");
	is(answer("SELECT string_agg(DISTINCT right(batch_id::text, 1), '') FROM jobs WHERE status = 'CANCELED'"), '1', "$heading: the first batch is committed while the second one waits");
	is(answer("SELECT count(*) FROM pg_locks WHERE objsubid = 20554 AND pid = ($waits)"), 1, "$heading: ... and its lock is free");
	$worker->query_safe('COMMIT');
	$worker->quit;
	finish($cancel);
	answer("UPDATE jobs SET status = CASE WHEN start_timestamp IS NULL THEN 'PENDING' ELSE 'RUNNING' END::jobstatus, end_timestamp = NULL WHERE status = 'CANCELED'");
}

sub write_file
{
	my ($name, $text) = @_;
	unlink $name;
	append_to_file($name, $text);
}

my $n = 0;
foreach my $heading (grep { $effects{$_} } @headings)
{
	$db = 'cookbook' . ++$n;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER owner");
	answer('ALTER SCHEMA public OWNER TO owner');
	my ($status, undef, $stderr) = run_as('owner', qq{
		CREATE EXTENSION pasqal_jobs;
		SELECT create_jobs_table();
		$grant
		INSERT INTO jobs (id, batch_id, project_id, user_id, runs, status, creation_order, start_timestamp, end_timestamp)
		SELECT format('%s000000-0000-4000-8000-0000%s00%s', CASE WHEN n % 7 = 2 THEN 'a1' ELSE 'b2' END, lpad(b::text, 2, '0'), lpad(n::text, 4, '0'))::uuid,
			   ('b0000000-0000-4000-8000-00000000000' || b)::uuid, ('e0000000-0000-4000-8000-00000000000' || 1 + n % 2)::uuid,
			   (ARRAY['niels', 'lise'])[1 + n % 2], 100, s::jobstatus, n,
			   CASE WHEN s <> 'PENDING' THEN now() - interval '2 days' END, CASE WHEN s = 'DONE' THEN now() - interval '1 day' END
		FROM generate_series(1, 3) AS b, generate_series(1, 20) AS n,
			 LATERAL (SELECT CASE WHEN n <= 10 THEN 'PENDING' WHEN n <= 14 THEN 'RUNNING' ELSE 'DONE' END) AS x (s)});
	die $stderr if $status;

	# the index that it wants serves it, where a table is too large to be read
	my $index = $entries{$heading}{index};
	if ($index)
	{
		run_as('owner', $index);
		answer("ALTER DATABASE $db SET enable_$_ = off") for qw(seqscan hashjoin mergejoin);
		answer('VACUUM ANALYZE jobs');
	}
	is_by_batch($heading, @{ $by_batch{$heading} }) if $by_batch{$heading};
	$effects{$heading}->($heading);
	if ($index)
	{
		my $name = answer("SELECT max(indexrelid)::regclass FROM pg_index WHERE indrelid = 'jobs'::regclass");
		ok($node->poll_query_until($db, "SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelname = '$name'"), "$heading: the index serves it");
	}
}

done_testing();

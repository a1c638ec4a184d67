# Fleets of workers that keep the row lock of a job for as long as it runs: a
# cancel overtakes them, or skips what they have. One job that is held costs a
# chunked cancel nothing but that job. In TAP because it takes many sessions and
# time; what happens step by step is in isolation/specs/overtake.spec and
# skip-worker.spec. Runs alone: it tests how long a cancel takes.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('held', conf => "max_connections = 100\nautovacuum = off");
$node->safe_psql('postgres', q{
	CREATE FUNCTION batch(name text) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5(name)::uuid $$;
	CREATE PROCEDURE submit(name text, jobs int) LANGUAGE sql AS $$
		INSERT INTO jobs (batch_id, project_id, runs) SELECT batch(name), batch('project'), 1 FROM generate_series(1, jobs) $$;

	-- A worker: claims a job, works while it holds the lock, ends the job, until there is none
	CREATE PROCEDURE work(name text, seconds float) LANGUAGE plpgsql AS $$
	DECLARE
		j uuid;
	BEGIN
		LOOP
			SELECT id INTO j FROM jobs WHERE batch_id = batch(name) AND status = 'PENDING'
			ORDER BY creation_order LIMIT 1 FOR UPDATE SKIP LOCKED;
			EXIT WHEN j IS NULL;
			PERFORM pg_sleep(seconds);
			UPDATE jobs SET status = 'DONE', end_timestamp = now(), updated_at = now() WHERE id = j;
			COMMIT;
		END LOOP;
	END $$;

	-- Waits until so many workers hold a job, since the machine may be slow to begin them
	CREATE PROCEDURE await_workers(name text, workers int) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE (SELECT count(*) < workers FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE format('CALL work(%L,%%', name)) LOOP
			PERFORM pg_sleep(0.001), pg_stat_clear_snapshot();
		END LOOP;
	END $$;

	-- The ways to cancel: how many jobs were canceled, how many were answered as locked, how many answers there were
	CREATE FUNCTION by_rows(name text, OUT canceled int, OUT locked int, OUT answers int) LANGUAGE sql AS $$
		SELECT count(*) FILTER (WHERE error IS NULL), count(*) FILTER (WHERE error = 'Job is locked by another transaction'), count(DISTINCT id)
		FROM cancel_jobs_rows(batch(name)) $$;
	CREATE FUNCTION by_http(name text, OUT canceled int, OUT locked int, OUT answers int) LANGUAGE sql AS $$
		SELECT json_array_length(jobs), (SELECT count(*) FROM json_each_text(errors) WHERE value = 'Job is locked by another transaction'),
			json_array_length(jobs) + (SELECT count(*) FROM json_object_keys(errors))
		FROM cancel_jobs_http(batch(name)::text), LATERAL (SELECT body->'data'->'jobs' AS jobs, body->'data'->'errors' AS errors) AS x $$;
});

#
# Fleets, each with a batch of its own; those of a group work at the same time.
# The fast ones leave a machine no idle time.
#
sub fleets
{
	my ($modes, $workers, $seconds, $jobs, $wanted) = @_;
	return map {
		my ($mode, $way) = @$_;
		{ mode => $mode, way => $way, name => "$mode $way $seconds", workers => $workers, seconds => $seconds, jobs => $jobs, wanted => $wanted }
	} map { my $mode = $_; map { [ $mode, $_ ] } qw(rows http chunks) } @$modes;
}

my $gate = open_session($node);
my $now = 'SELECT extract(epoch FROM clock_timestamp())';
for my $group (
	[ fleets([ 'wait', 'skip' ], 8, 0.5, 100, 70), fleets([ 'wait', 'skip' ], 4, 2, 100, 93) ],
	[ fleets(['wait'], 4, 0.02, 2000, 1500) ],
	[ fleets(['skip'], 4, 0.02, 2000, 1500) ])
{
	$node->safe_psql('postgres', join(';', map { "CALL submit('$_->{name}', $_->{jobs})" } @$group) . '; ANALYZE jobs');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $sessions = 0;
	for my $f (@$group)
	{
		my $begin = 'SELECT FROM pg_advisory_lock_shared(1); SELECT FROM pg_sleep';
		$f->{fleet} = [ map { start_psql($node, "$begin(" . $_ * $f->{seconds} / $f->{workers} . ')', "CALL work('$f->{name}', $f->{seconds})") } 1 .. $f->{workers} ];
		$f->{cancel} = start_psql($node, "SET pasqal_jobs.locked_jobs = $f->{mode}", "$begin(" . ($f->{seconds} * 1.1 + 0.05) . ')', "CALL await_workers('$f->{name}', $f->{workers} / 2)", $now,
			$f->{way} eq 'chunks' ? "CALL cancel_jobs_in_chunks(batch('$f->{name}'), chunk_size => 20)" : "SELECT * FROM by_$f->{way}('$f->{name}')", $now);
		$sessions += $f->{workers} + 1;
	}
	wait_until($node, "SELECT count(*) = $sessions FROM pg_stat_activity WHERE wait_event = 'advisory'");
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	finish($_) for map { $_->{cancel}, @{ $_->{fleet} } } @$group;

	for my $f (@$group)
	{
		my ($start, $answer, $end) = grep { length } split /\n/, $f->{cancel}{out};
		my $time = sprintf '%.2f', $end - $start;
		my ($canceled, $locked, $answers) = split /\|/, $answer;
		($locked, $answers) = ($f->{cancel}{err} =~ /Job is locked by another transaction \((\d+)\)/ ? $1 : 0, $canceled + $locked) if $f->{way} eq 'chunks';
		my $what = "$f->{mode}, $f->{way}: $f->{workers} workers of $f->{seconds} s";
		note "$what: $canceled of $f->{jobs} canceled, $locked locked, $time s";
		cmp_ok($canceled, '>=', $f->{wanted}, "$what: most jobs are canceled");
		is($answers, $f->{jobs}, '... each has one answer');
		is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE status = 'CANCELED') || ' ' || count(*) FILTER (WHERE status = 'DONE') FROM jobs WHERE batch_id = batch('$f->{name}')"),
			$canceled . ' ' . ($f->{jobs} - $canceled), '... which is true, and the workers have ended theirs');
		is($locked, 0, '... none is answered as locked') if $f->{mode} eq 'wait';
		if ($f->{seconds} == 2)
		{
			like($locked, qr/^[34]$/, '... and those that workers have are answered as locked') if $f->{mode} eq 'skip';
			cmp_ok($time, '<', $f->{mode} eq 'skip' ? 1 : 5, '... in time');
		}
		is(join('', map { $_->{err} } @{ $f->{fleet} }), '', '... no worker fails');
	}
}

#
# One of 5,000 jobs is held, the first one of the list
#
my $holder = open_session($node);
my $first = "(SELECT id FROM jobs WHERE batch_id = batch('one') ORDER BY creation_order LIMIT 1)";
my $counts = "SELECT status, count(*) FROM jobs WHERE batch_id = batch('one') GROUP BY 1 ORDER BY 1";
for my $case (
	[ 'chunks', "SET lock_timeout = '300ms'", "CALL cancel_jobs_in_chunks(batch('one'), '{}', 500)", '',
		qr/ERROR:  55P03: canceling statement due to lock timeout\nCONTEXT:.*of which chunks with 4999 of 5000 jobs were committed, 4999 of these canceled/s ],
	[ 'chunks, one big', "SET lock_timeout = '300ms'", "CALL cancel_jobs_in_chunks(batch('one'), '{}', 10000)", '', qr/ERROR:  55P03.*4999 of these canceled/s ],
	[ 'chunks that skip', "SET pasqal_jobs.locked_jobs = skip", "CALL cancel_jobs_in_chunks(batch('one'), '{}', 500)", '4999|1', qr/DETAIL:  Job is locked by another transaction \(1\)\.$/m ],
	[ 'rows that skip', "SET pasqal_jobs.locked_jobs = skip", "SELECT * FROM by_rows('one')", '4999|1|5000', qr/^$/ ])
{
	my ($what, $set, $cancel, $out, $err) = @$case;
	$node->safe_psql('postgres', "DELETE FROM jobs; CALL submit('one', 5000)");
	$holder->query_safe("BEGIN; SELECT FROM jobs WHERE id = $first FOR UPDATE");
	my $run = finish(start_psql($node, '\set VERBOSITY verbose', $set, $cancel));
	is($run->{out}, $out, "one of 5,000 is held, $what: the answer");
	like($run->{err}, $err, '... with what stopped it');
	is($node->safe_psql('postgres', $counts), "PENDING|1\nCANCELED|4999", '... all others are canceled');
	$holder->query_safe('COMMIT');
}

# The first of the jobs that were put off is held; others that were held, too, end meanwhile
my $second = open_session($node);
$node->safe_psql('postgres', "DELETE FROM jobs; CALL submit('one', 100)");
$holder->query_safe("BEGIN; SELECT FROM jobs WHERE id = $first FOR UPDATE");
$second->query_safe("BEGIN; SELECT FROM (SELECT id FROM jobs WHERE batch_id = batch('one') ORDER BY creation_order OFFSET 1 LIMIT 10) AS x JOIN jobs USING (id) FOR UPDATE OF jobs");
my $chunks = start_psql($node, "CALL cancel_jobs_in_chunks(batch('one'), '{}', 30)");
wait_for_lock($node, "query LIKE 'CALL cancel%tried 89 of 100 jobs, canceled 89, failed 0'");
$second->query_safe("UPDATE jobs SET status = 'DONE' WHERE id IN (SELECT id FROM jobs WHERE batch_id = batch('one') ORDER BY creation_order OFFSET 1 LIMIT 3); COMMIT");
$holder->query_safe('COMMIT');
finish($chunks);
is($chunks->{out}, '97|3', 'jobs that were put off: those that are free by then are canceled, the others counted');
like($chunks->{err}, qr/^DETAIL:  Job cannot be canceled: its status is DONE \(3\)\.$/m, '... with the reason');
is($node->safe_psql('postgres', $counts), "DONE|3\nCANCELED|97", '... which is true');

# The first one stays held; another one that was put off is free by the time that the list ends
$node->safe_psql('postgres', "DELETE FROM jobs; CALL submit('one', 100)");
$holder->query_safe("BEGIN; SELECT FROM jobs WHERE id = $first FOR UPDATE");
$second->query_safe("BEGIN; SELECT FROM (SELECT id FROM jobs WHERE batch_id = batch('one') ORDER BY creation_order OFFSET 1 LIMIT 1) AS x JOIN jobs USING (id) FOR UPDATE OF jobs");
$chunks = start_psql($node, "SET lock_timeout = '300ms'", "SET pasqal_jobs.chunk_pause = '1s'", "CALL cancel_jobs_in_chunks(batch('one'), '{}', 50)");
wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL cancel%tried 48 of 100 jobs, canceled 48, failed 0'");
$second->query_safe('COMMIT');
like(finish($chunks)->{err}, qr/ERROR:.*lock timeout/, 'a job that stays held ends the call');
is($node->safe_psql('postgres', $counts), "PENDING|1\nCANCELED|99", '... and one that was put off and is free again is canceled before');
$holder->query_safe('COMMIT');
$second->quit;

#
# The number of our own transaction is that of a MultiXact of others: in a young
# cluster both are small. Then xmax alone does not tell whose lock it is.
#
$_->quit for $gate, $holder;
my $next = $node->safe_psql('postgres', "DELETE FROM jobs; CALL submit('one', 3); CALL submit('two', 3); SELECT pg_current_xact_id()");
$node->stop;
my $multi = $next + 40;
command_ok([ 'pg_resetwal', '-D', $node->data_dir, '-m', "$multi,1" ], 'MultiXacts begin a little ahead of transactions');
# pg_resetwal does not make the page that these begin in
truncate($node->data_dir . '/pg_multixact/offsets/0000', 32 * 8192) or die $!;
$node->start;
my @sharers = map { open_session($node) } 1 .. 2;
my $share = sub { my ($name) = @_; return "SELECT FROM jobs WHERE batch_id = batch('$name') ORDER BY creation_order LIMIT 1 FOR SHARE"; };
$sharers[0]->query_safe("BEGIN; @{[$share->('one')]}; @{[$share->('two')]}");
$sharers[1]->query_safe("BEGIN; @{[$share->('one')]}; SAVEPOINT s; @{[$share->('two')]}");
my $xmax = "SELECT string_agg(DISTINCT xmax::text, ' ' ORDER BY xmax::text) FROM jobs WHERE xmax <> 0";
is($node->safe_psql('postgres', $xmax), "$multi " . ($multi + 1), 'two jobs are locked by MultiXacts');
my $canceler = open_session($node);
$canceler->query_safe("DO \$\$ BEGIN WHILE pg_current_xact_id()::text <> '" . ($multi - 1) . "' LOOP COMMIT; END LOOP; END \$\$");
$canceler->query_safe("SET lock_timeout = '1s'; BEGIN; SET LOCAL pasqal_jobs.locked_jobs = skip");
is($canceler->query_safe('SELECT pg_current_xact_id()'), $multi, 'a transaction has the number of the one');
is($canceler->query_safe("SELECT * FROM by_rows('one')"), '2|1|3', '... and skips the job that is locked');
$canceler->query_safe('COMMIT');
my $waiting = start_psql($node, 'BEGIN', 'SELECT pg_current_xact_id()', "SELECT * FROM by_rows('two')", 'COMMIT');
wait_for_lock($node, "query LIKE '%by_rows%'");
is($canceler->query_safe("SELECT count(*) FROM (SELECT FROM jobs WHERE batch_id = batch('two') FOR UPDATE SKIP LOCKED) AS x"), '0',
	'while another one waits, all other jobs are its own');
$_->query_safe('COMMIT') for @sharers;
is(finish($waiting)->{out}, $multi + 1 . "\n3|0|3", '... which has the number of the other');
$_->quit for @sharers, $canceler;

done_testing();

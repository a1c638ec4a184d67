# Workers and cancelers at the same time. What every session was answered, every
# version of every job, and what workers may have locked is written as lines of
# JSON, which test/history/check.py checks.
#
# Half of the cancelers wait for locked jobs, the others skip them. Workers claim
# a job and commit; keep its lock while it runs; take fifty at once and end them in
# another order; or write back all columns, as an ORM does.
#
# TRUST_SECONDS and TRUST_SEED make it longer and other. Runs alone: it counts
# what they manage in that time.

use strict;
use warnings;

use FindBin;
use PasqalJobs;

my $seconds = $ENV{TRUST_SECONDS} || 8;
my $seed = $ENV{TRUST_SEED} || 20230323;

my $node = start_server('torture', conf => "deadlock_timeout = 50ms\nlock_timeout = 20s\nmax_connections = 40");
$node->safe_psql('postgres', q{
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5('batch ' || n)::uuid $$;

	CREATE TABLE batches AS SELECT b, batch(b) FROM generate_series(0, 2) AS b;

	-- Every version of a job; see test/history/check.py
	CREATE TABLE history (n bigint GENERATED ALWAYS AS IDENTITY, xid xid8, id uuid, there boolean, batch uuid, status text, runs int);
	CREATE FUNCTION write_history() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'DELETE' THEN
			INSERT INTO history (xid, id, there) VALUES (pg_current_xact_id(), OLD.id, false);
		ELSE
			INSERT INTO history (xid, id, there, batch, status, runs) VALUES (pg_current_xact_id(), NEW.id, true, NEW.batch_id, NEW.status, NEW.runs);
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER write_history AFTER INSERT OR UPDATE OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION write_history();

	-- half of the first jobs are never deleted
	INSERT INTO jobs (batch_id, project_id, runs, status, user_id)
	SELECT batch(n % 3), md5('project')::uuid, 1, CASE n % 4 WHEN 0 THEN 'RUNNING' ELSE 'PENDING' END::jobstatus, CASE n % 2 WHEN 0 THEN 'keep' END
	FROM generate_series(1, 600) AS n;

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
my @functions = ('cancel_jobs', 'cancel_jobs', 'by_http', 'by_rows');

sub pick { return $_[ int(rand(@_)) ]; }

# One cancel: a batch, a list of ids or a prefix, at some isolation level,
# committed or taken back, now and then behind a savepoint
sub cancel_sql
{
	my ($mode) = @_;
	my $n = int(rand(3));
	my $function = pick(@functions);
	my $filters = pick(
		q{'{}'::jsonb},
		(map { qq{jsonb_build_object('id__starts_with', '$_')} } pick('0' .. '9', 'a' .. 'f')) x 2,
		qq{jsonb_build_object('id', (SELECT jsonb_agg(id) FROM (SELECT id FROM jobs WHERE batch_id = batch($n) ORDER BY random() LIMIT 15) AS x)
			|| jsonb_build_array(gen_random_uuid(), (SELECT id FROM jobs WHERE batch_id = batch(($n + 1) % 3) LIMIT 1)))} x 1,
		qq{jsonb_build_object('id', (SELECT jsonb_agg(id) FROM (SELECT id FROM jobs WHERE batch_id = batch($n) ORDER BY id LIMIT 120) AS x), 'status', 'PENDING')},
		"jsonb_build_object('id', (SELECT id FROM jobs WHERE batch_id = batch($n) ORDER BY status, random() LIMIT 1))",
		q{'{"status": "RUNNING"}'::jsonb},
		q{'{"max_runs": 1}'::jsonb});
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	my $end = pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK');
	my ($before, $after) = rand() < 0.1 ? ('SAVEPOINT s;', pick('RELEASE s;', 'RELEASE s;', 'ROLLBACK TO s;')) : ('', '');
	my $sleep = rand() < 0.3 ? sprintf('SELECT pg_sleep(%.3f);', rand(0.02)) : '';
	$filters =~ s/\s+/ /g;
	return "\\echo \@call $n $mode $level\nSELECT '\@begin', pg_current_snapshot();\nBEGIN ISOLATION LEVEL $level; SET LOCAL pasqal_jobs.locked_jobs = $mode; $before\n"
	  . "SELECT '\@before', pg_current_snapshot();\n"
	  . "SELECT '\@answer', f, brief(a) FROM (SELECT f, $function(batch($n), f) AS a FROM (SELECT $filters AS f OFFSET 0) AS x OFFSET 0) AS y;\n"
	  . "SELECT '\@after', pg_current_snapshot(), pg_current_xact_id_if_assigned();\n"
	  . "$after\n$sleep\n$end;\nSELECT '\@ended', pg_current_xact_id();\n\\echo \@done\n";
}

# A transaction of a worker; \@held names the jobs that it may lock, \@all says that these are all
sub transaction
{
	my ($level, $sql, $end) = @_;
	return "\\echo \@work\nBEGIN ISOLATION LEVEL $level;\nSELECT '\@holder', pg_current_xact_id();\n$sql;\nSELECT '\@all';\n$end;\n\\echo \@done\n";
}

# Sets :'job' to the id of one of these jobs; there may be none
sub one_job
{
	my ($which, $lock) = @_;
	return "SELECT coalesce((SELECT id FROM jobs WHERE $which LIMIT 1 $lock), '00000000-0000-0000-0000-000000000000') AS job \\gset\n";
}

# What a worker does that claims jobs: one or more changes in one transaction
sub work_sql
{
	my $n = int(rand(3));
	# with the id of one of the jobs that have such a status as :'job'
	my $one = sub {
		my ($status, $sql) = @_;
		return one_job("batch_id = batch($n) AND status IN ($status) ORDER BY random()", '') . "\\echo \@held|:job\n$sql";
	};
	my $change = sub {
		return pick(
			($one->(q{'PENDING'}, "UPDATE jobs SET status = 'RUNNING', start_timestamp = clock_timestamp() WHERE id = :'job' AND status = 'PENDING'")) x 2,
			(map { $one->(q{'PENDING', 'RUNNING'}, "UPDATE jobs SET status = '$_', end_timestamp = clock_timestamp(), slurm_job_id = 'worker' WHERE id = :'job' AND status IN ('PENDING', 'RUNNING')") } 'DONE', 'ERROR') x 2,
			$one->(q{'PENDING', 'RUNNING', 'DONE'}, "UPDATE jobs SET runs = 3 - runs WHERE id = :'job'"),
			$one->(q{'PENDING', 'RUNNING', 'DONE'}, "UPDATE jobs SET batch_id = batch(@{[($n + 1) % 3]}) WHERE id = :'job'"),
			$one->(q{'DONE', 'ERROR', 'CANCELED'}, "UPDATE jobs SET status = 'PENDING', end_timestamp = NULL, slurm_job_id = NULL WHERE id = :'job' AND status IN ('DONE', 'ERROR', 'CANCELED')"),
			$one->(q{'PENDING', 'RUNNING', 'DONE'}, "DELETE FROM jobs WHERE id = :'job' AND user_id IS NULL"),
			# all but some, or the table would grow for as long as this runs
			"\\echo \@any\nDELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status IN ('DONE', 'ERROR', 'CANCELED') AND user_id IS NULL ORDER BY random() OFFSET 500 LIMIT 100)",
			("INSERT INTO jobs (batch_id, project_id, runs, status) SELECT batch($n), md5('project')::uuid, 1, (ARRAY['PENDING', 'RUNNING'])[1 + i % 2]::jobstatus FROM generate_series(1, 10) AS i") x 3);
	};
	my $sql = join(";\n", map { $change->() } 1 .. (rand() < 0.3 ? 3 : 1));
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ');
	return transaction($level, $sql, rand() < 0.9 ? 'COMMIT' : 'ROLLBACK');
}

# A worker that keeps the lock of a job while it runs, and then ends it or gives it back
sub hold_sql
{
	my $n = int(rand(3));
	my $lock = pick('UPDATE', 'UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE');
	my $savepoint = rand() < 0.3 ? 'SAVEPOINT s;' : '';
	my $sql = "$savepoint " . one_job("batch_id = batch($n) AND status IN ('PENDING', 'RUNNING') ORDER BY creation_order", "FOR $lock SKIP LOCKED")
	  . "\\echo \@held|:job\n" . ($savepoint && pick('', 'SAVEPOINT t;', 'ROLLBACK TO s;'))
	  . sprintf('SELECT pg_sleep(%.3f);', rand(0.05))
	  . pick("UPDATE jobs SET status = 'DONE', end_timestamp = clock_timestamp(), slurm_job_id = 'worker' WHERE id = :'job' AND status IN ('PENDING', 'RUNNING')", 'SELECT');
	return transaction('READ COMMITTED', $sql, pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK'));
}

# A worker that takes fifty jobs, and ends some of them in another order
sub fifty_sql
{
	my $n = int(rand(3));
	return transaction('READ COMMITTED',
		"CREATE TEMP TABLE taken ON COMMIT DROP AS SELECT id FROM jobs WHERE batch_id = batch($n) AND status IN ('PENDING', 'RUNNING') ORDER BY creation_order LIMIT 50 FOR UPDATE SKIP LOCKED;\n"
		  . "SELECT '\@held', id FROM taken;\n"
		  . "DO \$\$ DECLARE j uuid; BEGIN FOR j IN SELECT id FROM taken ORDER BY random() LIMIT 20 LOOP\n"
		  . "UPDATE jobs SET status = 'DONE', end_timestamp = clock_timestamp(), slurm_job_id = 'worker' WHERE id = j; END LOOP; END \$\$;\n"
		  . sprintf('SELECT pg_sleep(%.3f)', 0.02 + rand(0.2)), pick('COMMIT', 'COMMIT', 'ROLLBACK'));
}

# A worker that locks a job, and writes back all of its columns
sub orm_sql
{
	my $n = int(rand(3));
	my @columns = qw(id parent_id status runs batch_id project_id user_id origin created_at updated_at start_timestamp
	  end_timestamp variables errors progress sequence creation_order slurm_job_id);
	my %new = (status => "'RUNNING'", start_timestamp => 'clock_timestamp()', progress => '50');
	return transaction('READ COMMITTED',
		one_job("batch_id = batch($n) AND status = 'PENDING' ORDER BY random()", 'FOR UPDATE SKIP LOCKED')
		  . "\\echo \@held|:job\n" . sprintf('SELECT pg_sleep(%.3f);', rand(0.01))
		  . 'UPDATE jobs AS j SET ' . join(', ', map { "$_ = " . ($new{$_} // "o.$_") } @columns) . " FROM (SELECT * FROM jobs WHERE id = :'job') AS o WHERE j.id = o.id",
		'COMMIT');
}

# Sessions: each a psql that is fed until the time is over
my $dir = PostgreSQL::Test::Utils::tempdir();
my @sessions = (([ 'wait', \&cancel_sql ]) x 2, ([ 'skip', \&cancel_sql ]) x 2, ([ 'work', \&work_sql ]) x 3, [ 'hold', \&hold_sql ], [ 'fifty', \&fifty_sql ], [ 'orm', \&orm_sql ]);
my $connstr = $node->connstr('postgres');
my @pids;
for my $s (0 .. $#sessions)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		srand($seed * 100 + $s);
		my $deadline = time() + $seconds;
		open(my $psql, '|-', "psql -XAt -F'|' -v VERBOSITY=sqlstate -d '$connstr' >$dir/out$s 2>$dir/err$s") or POSIX::_exit(1);
		$psql->autoflush(1);
		fcntl($psql, 1031, 4096);	# F_SETPIPE_SZ: feed it only as fast as it eats
		print $psql "SET statement_timeout = '60s';\n";
		print $psql $sessions[$s][1]->($sessions[$s][0]) while time() < $deadline;
		close($psql);
		require POSIX;
		POSIX::_exit(0);
	}
	push @pids, $pid;
}
waitpid($_, 0) for @pids;

#
# Write down what was answered
#
my (%count, @unexpected);
my $history = "$dir/history.json";
open(my $json, '>', $history) or die "$history: $!";
for my $s (0 .. $#sessions)
{
	my (%call, %work);
	open(my $out, '<', "$dir/out$s") or die;
	while (my $line = <$out>)
	{
		chomp $line;
		if ($line =~ /^\@call (\d) (\w+) (.*)/) { %call = (batch => $1, mode => $2, level => $3); }
		elsif ($line eq '@work') { %call = (); %work = (ids => []); }
		elsif ($line =~ /^\@holder\|(.*)/) { $work{xid} = $1; }
		elsif ($line =~ /^\@held\|(.*)/) { push @{ $work{ids} }, $1; }
		elsif ($line eq '@any') { $work{any} = 1; }
		elsif ($line eq '@all') { $work{all} = 1; }
		elsif ($line =~ /^\@begin\|(.*)/) { $call{begin} = $1; }
		elsif ($line =~ /^\@ended\|(.*)/) { $call{next} = $1; }
		elsif ($line =~ /^\@before\|(.*)/) { $call{before} = $1; }
		elsif ($line =~ /^\@answer\|(.*)\|\{(.*)\}$/) { @call{qw(filters answer)} = ($1, $2); }
		elsif ($line =~ /^\@after\|(.*)\|(\d*)$/) { @call{qw(after xid)} = ($1, length $2 ? $2 : 'null'); }
		elsif ($line eq 'COMMIT') { $call{committed} = 'true' unless $call{ended}; }
		elsif ($line eq 'ROLLBACK') { $call{ended} = 1; }	# also of ROLLBACK TO the state before the call
		elsif ($line eq '@done')
		{
			my $kind = defined $call{level} ? 'cancel' : 'work';
			if ($kind eq 'work')
			{
				my $ids = $work{all} && !$work{any} ? '[' . join(', ', map { qq("$_") } @{ $work{ids} }) . ']' : 'null';
				print $json qq({"event": "hold", "xid": $work{xid}, "ids": $ids}\n);
			}
			elsif (!defined $call{after})
			{
				print $json qq({"event": "try", "batch": $call{batch}, "before": "$call{begin}", "ended": $call{next}}\n);
			}
			$call{committed} //= 'false';
			$count{"$kind transactions"}++;
			$count{"$kind aborted"}++ if $call{committed} eq 'false';
			next unless defined $call{after};
			$count{answers}++ if $call{committed} eq 'true';
			$count{'answers with locked jobs'}++ if $call{answer} =~ /Job is locked by another transaction/;
			print $json qq({"event": "call", "session": $s, "batch": $call{batch}, "level": "$call{level}", "filters": $call{filters}, )
			  . qq("committed": $call{committed}, "mode": "$call{mode}", "before": "$call{before}", "after": "$call{after}", "ended": $call{next}, "xid": $call{xid}, $call{answer}}\n);
		}
	}
	close $out;
	for my $error (split /\n/, slurp_file("$dir/err$s"))
	{
		my ($code) = $error =~ /ERROR:\s+(\w{5})/;
		if (!defined $code || $code !~ /^(25P02|40001|40P01)$/) { push @unexpected, "session $s: $error"; }
		elsif ($code ne '25P02') { $count{"error $code of $sessions[$s][0]"}++; }
	}
}
close $json;
# a transfer row by row, since a long history is larger than memory
for my $query (
	q{SELECT json_build_object('event', 'version', 'n', n, 'xid', xid::text::bigint, 'id', id, 'there', there,
		'batch', b, 'status', status, 'runs', runs) FROM history LEFT JOIN batches USING (batch)},
	q{SELECT json_build_object('event', 'table', 'id', id, 'batch', b, 'status', status, 'runs', runs)
		FROM jobs LEFT JOIN batches ON batch = batch_id})
{
	my $copy = "COPY ($query) TO STDOUT" =~ s/\s+/ /gr;
	is(system(qq{psql -XAtq -d '$connstr' -c "$copy" >>$history}), 0, 'rows written down');
}

note "seed $seed, $seconds s: ", join(', ', map { "$_ $count{$_}" } sort keys %count);

my $check = "$FindBin::Bin/../history/check.py";
my $checked = `python3 -B $check --self-test 2>&1`;
is($?, 0, 'the check of histories finds what is wrong in bad ones') or diag($checked);
$checked = `python3 -B $check $history 2>&1`;
is($?, 0, 'the history is right') or diag($checked);
note $checked;

is(join("\n", @unexpected), '', 'no errors but deadlocks and serialization failures');
is($count{'error 40P01 of skip'} // 0, 0, 'no cancel that skips locked jobs meets a deadlock');
cmp_ok($count{'answers with locked jobs'}, '>', $seconds, 'many answers had locked jobs');
# a worker may have started a job, and another cancel may have touched it, after the transaction of its cancel began
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND (end_timestamp > greatest(updated_at, start_timestamp) OR end_timestamp < start_timestamp OR end_timestamp IS NULL OR slurm_job_id IS NOT NULL)}),
	'0', 'canceled jobs bear the marks of a cancel');
cmp_ok($count{answers}, '>', 5 * $seconds, 'there were many answers');
for my $status ([ 'CANCELED', 10 ], [ 'DONE', 2 ], [ 'ERROR', 2 ])
{
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM history WHERE status = '$status->[0]'"), '>', $status->[1] * $seconds,
		"many jobs were $status->[0]");
}

done_testing();

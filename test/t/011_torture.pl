# Workers and cancellers at the same time. What every session was told is
# written down, and afterwards checked against each other and the table.
#
# TRUST_SECONDS and TRUST_SEED make it longer and other.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{TRUST_SECONDS} || 8;
my $seed = $ENV{TRUST_SEED} || 20230323;

my $node = PostgreSQL::Test::Cluster->new('torture');
$node->init;
$node->append_conf('postgresql.conf', "deadlock_timeout = 50ms\nmax_connections = 40\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table();
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5('batch ' || n)::uuid $$;
	-- half of the first jobs are never deleted
	INSERT INTO jobs (batch_id, project_id, runs, status, user_id)
	SELECT batch(n % 3), md5('project')::uuid, 1, CASE n % 4 WHEN 0 THEN 'RUNNING' ELSE 'PENDING' END::jobstatus, CASE n % 2 WHEN 0 THEN 'keep' END
	FROM generate_series(1, 600) AS n;

	-- An answer in a few bytes: canceled ids, and for the others a letter
	CREATE FUNCTION brief(answer jsonb) RETURNS text STABLE LANGUAGE sql AS $$
		SELECT coalesce((SELECT string_agg(j->>'id', ',') FROM jsonb_array_elements(answer->'data'->'jobs') AS j), '') || '|' ||
			coalesce((SELECT string_agg(key || CASE value WHEN 'Job cannot be canceled: its status is DONE' THEN 'D'
				WHEN 'Job cannot be canceled: its status is ERROR' THEN 'E' WHEN 'Job cannot be canceled: its status is CANCELED' THEN 'C'
				WHEN 'Job was not found in this batch' THEN 'N' WHEN 'Job does not match the other filters' THEN 'M' ELSE '?' END, ',')
				FROM jsonb_each_text(answer->'data'->'errors')), '') $$;

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
my @functions = ('cancel_jobs', 'cancel_jobs', 'by_http');
push @functions, 'by_rows'
  if $node->safe_psql('postgres', q{SELECT to_regprocedure('cancel_jobs_rows(uuid,jsonb)') IS NOT NULL}) eq 't';

sub pick { return $_[ int(rand(@_)) ]; }

# One cancel: a batch, a list of ids or a prefix, at some isolation level,
# committed or taken back, now and then behind a savepoint
sub cancel_sql
{
	my $n = int(rand(3));
	my $function = pick(@functions);
	my $filters = pick(
		q{'{}'::jsonb},
		(map { qq{jsonb_build_object('id__starts_with', '$_')} } pick('0' .. '9', 'a' .. 'f')) x 2,
		qq{jsonb_build_object('id', (SELECT jsonb_agg(id) FROM (SELECT id FROM jobs WHERE batch_id = batch($n) ORDER BY random() LIMIT 15) AS x)
			|| jsonb_build_array(gen_random_uuid(), (SELECT id FROM jobs WHERE batch_id = batch(($n + 1) % 3) LIMIT 1)))} x 1,
		qq{jsonb_build_object('id', (SELECT jsonb_agg(id) FROM (SELECT id FROM jobs WHERE batch_id = batch($n) ORDER BY id LIMIT 120) AS x), 'status', 'PENDING')},
		q{'{"status": "RUNNING"}'::jsonb});
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	my $end = pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK');
	my ($before, $after) = rand() < 0.1 ? ('SAVEPOINT s;', pick('RELEASE s;', 'RELEASE s;', 'ROLLBACK TO s;')) : ('', '');
	my $sleep = rand() < 0.3 ? sprintf('SELECT pg_sleep(%.3f);', rand(0.02)) : '';
	$filters =~ s/\s+/ /g;
	return "\\echo \@cancel $n $level\nSELECT '\@at', extract(epoch FROM clock_timestamp());\nBEGIN ISOLATION LEVEL $level; $before\n"
	  . "SELECT '\@answer', f, brief(a) FROM (SELECT f, $function(batch($n), f) AS a FROM (SELECT $filters AS f OFFSET 0) AS x OFFSET 0) AS y;\n"
	  . "$after\n$sleep\n$end;\nSELECT '\@at', extract(epoch FROM clock_timestamp());\n\\echo \@done\n";
}

# What a worker does: one or two changes in one transaction
sub work_sql
{
	my $n = int(rand(3));
	my $some = sub { my ($status) = @_; return "(SELECT id FROM jobs WHERE batch_id = batch($n) AND status IN ($status) ORDER BY random() LIMIT 1)"; };
	my $change = sub {
		return pick(
			("UPDATE jobs SET status = 'RUNNING', start_timestamp = clock_timestamp() WHERE id = @{[$some->(q{'PENDING'})]} AND status = 'PENDING' RETURNING '\@started', id") x 2,
			(map { "UPDATE jobs SET status = '$_', end_timestamp = clock_timestamp(), slurm_job_id = 'worker' WHERE id = @{[$some->(q{'PENDING', 'RUNNING'})]} AND status IN ('PENDING', 'RUNNING') RETURNING '\@finished', id, '$_'" } 'DONE', 'ERROR') x 2,
			"UPDATE jobs SET runs = runs + 1 WHERE id = @{[$some->(q{'PENDING', 'RUNNING'})]} RETURNING '\@edited', id",
			"DELETE FROM jobs WHERE id = @{[$some->(q{'PENDING', 'RUNNING', 'DONE'})]} AND user_id IS NULL RETURNING '\@deleted', id, status",
			"DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status IN ('DONE', 'ERROR', 'CANCELED') AND user_id IS NULL ORDER BY random() LIMIT 25) RETURNING '\@deleted', id, status",
			("INSERT INTO jobs (batch_id, project_id, runs, status) SELECT batch($n), md5('project')::uuid, 1, (ARRAY['PENDING', 'RUNNING'])[1 + i % 2]::jobstatus FROM generate_series(1, 10) AS i RETURNING '\@inserted', id, '$n'") x 3);
	};
	my $sql = join(";\n", map { $change->() } 1 .. (rand() < 0.3 ? 3 : 1));
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ');
	my $end = rand() < 0.9 ? 'COMMIT' : 'ROLLBACK';
	return "\\echo \@work\nSELECT '\@at', extract(epoch FROM clock_timestamp());\nBEGIN ISOLATION LEVEL $level;\n$sql;\n$end;\nSELECT '\@at', extract(epoch FROM clock_timestamp());\n\\echo \@done\n";
}

# Sessions: each a psql that is fed until the time is over
my $dir = PostgreSQL::Test::Utils::tempdir();
my @sessions = (([ 'cancel', \&cancel_sql ]) x 4, ([ 'work', \&work_sql ]) x 4);
my $connstr = $node->connstr('postgres');
my %initial = map { split /\|/ } split /\n/, $node->safe_psql('postgres', q{SELECT id, n FROM jobs, generate_series(0, 2) AS n WHERE batch_id = batch(n)});
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
		print $psql $sessions[$s][1]->() while time() < $deadline;
		close($psql);
		require POSIX;
		POSIX::_exit(0);
	}
	push @pids, $pid;
}
waitpid($_, 0) for @pids;

#
# Read what was said
#
my (%job, %canceled, %finished, %deleted, @answers, %count, @wrong);
$job{$_} = { batch => $initial{$_}, since => 0 } for keys %initial;

for my $s (0 .. $#sessions)
{
	my (%call, @pending, $committed, $saved);
	open(my $out, '<', "$dir/out$s") or die;
	while (my $line = <$out>)
	{
		chomp $line;
		if ($line =~ /^\@(cancel|work) ?(\d*) ?(.*)/)
		{
			%call = (kind => $1, batch => $2, level => $3);
			@pending = ();
			$committed = 0;
		}
		elsif ($line =~ /^\@at\|(.*)/) { $call{ defined $call{begin} ? 'end' : 'begin' } = $1; }
		elsif ($line eq 'COMMIT') { $committed = 1; }
		elsif ($line eq 'ROLLBACK')
		{
			# also what psql says of ROLLBACK TO, after which nothing is left
			@pending = ();
		}
		elsif ($line =~ /^\@(answer|started|finished|edited|deleted|inserted)\|(.*)/) { push @pending, [ $1, split(/\|/, $2, -1) ]; }
		elsif ($line eq '@done')
		{
			$count{"$call{kind} transactions"}++;
			if (!$committed) { $count{"$call{kind} aborted"}++; next; }
			for my $event (@pending)
			{
				my ($what, $id, @rest) = @$event;
				$count{$what}++;
				if ($what eq 'answer') { push @answers, { %call, filters => $id, canceled => [ split /,/, $rest[0] ], errors => [ split /,/, $rest[1] ] }; }
				elsif ($what eq 'finished') { push @wrong, "$id finished twice" if $finished{$id}; $finished{$id} = $rest[0]; }
				elsif ($what eq 'deleted') { $deleted{$id} = { status => $rest[0], before => $call{begin} }; }
				elsif ($what eq 'inserted') { $job{$id} = { batch => $rest[0], since => $call{end} }; }
			}
		}
	}
	close $out;
	for my $error (split /\n/, slurp_file("$dir/err$s"))
	{
		if ($error =~ /ERROR:\s+(\w{5})/) { $count{"error $1"}++ unless $1 eq '25P02'; }
		else { push @wrong, "session $s: $error"; }
	}
}

#
# The invariants
#
for my $i (0 .. $#answers)
{
	for my $id (@{ $answers[$i]{canceled} })
	{
		push @wrong, "$id canceled by two calls" if exists $canceled{$id};
		push @wrong, "$id canceled, though a worker finished it" if $finished{$id};
		$canceled{$id} = $i;
	}
}
my $checked = 0;
my %of;		# jobs by batch and first digit, as they came
push @{ $of{ $job{$_}{batch} . substr($_, 0, 1) } }, $_ for sort { $job{$a}{since} <=> $job{$b}{since} } keys %job;
for my $answer (@answers)
{
	my (%told, @named);
	@named = $1 =~ /"([^"]+)"/g if $answer->{filters} =~ /"id": \[([^]]*)\]/;
	my ($prefix) = $answer->{filters} =~ /"id__starts_with": "(.)"/;
	my $status = $answer->{filters} =~ /"status"/;

	for my $id (@{ $answer->{canceled} }) { push @wrong, "$id told twice" if $told{$id}; $told{$id} = 'canceled'; }
	for my $error (@{ $answer->{errors} })
	{
		my ($id, $why) = $error =~ /^(.{36})(.)$/;
		push @wrong, "$id told twice" if $told{$id};
		$told{$id} = $why;
		$count{"told $why"}++;
		push @wrong, "$id is not DONE" if $why eq 'D' && ($finished{$id} || '') ne 'DONE';
		push @wrong, "$id is not ERROR" if $why eq 'E' && ($finished{$id} || '') ne 'ERROR';
		push @wrong, "$id is not CANCELED" if $why eq 'C' && !exists $canceled{$id};
		push @wrong, "$id was kept by nobody" if $why eq '?';
		push @wrong, "$id does not match?" if $why eq 'M' && !(@named && $status);
		push @wrong, "$id was there" if $why eq 'N' && $job{$id} && $job{$id}{batch} == $answer->{batch}
		  && !$deleted{$id} && $job{$id}{since} < $answer->{begin};
		push @wrong, "$id was not named" if $why eq 'N' && !@named;
	}
	for my $id (keys %told)
	{
		next if $told{$id} eq 'N';
		push @wrong, "$id is of another batch" if !$job{$id} || $job{$id}{batch} != $answer->{batch};
		push @wrong, "$id has not the prefix" if defined $prefix && substr($id, 0, 1) ne $prefix;
	}
	if (@named)
	{
		my %named = map { $_ => 1 } @named;
		push @wrong, map { "$_ was named, nothing told" } grep { !$told{$_} } keys %named;
		push @wrong, map { "$_ was not named" } grep { !$named{$_} } keys %told;
		$checked += keys %named;
	}
	elsif (!$status)
	{
		# whoever was there for as long as the call ran must be told of
		for my $id (map { @{ $of{ $answer->{batch} . $_ } || [] } } defined $prefix ? $prefix : (0 .. 9, 'a' .. 'f'))
		{
			last if $job{$id}{since} >= $answer->{begin};
			next if $deleted{$id} && $deleted{$id}{before} <= $answer->{end};
			push @wrong, "$id is not accounted for" unless $told{$id};
			$checked++;
		}
	}
}
# No answer without its effect, no effect without its answer
my %status = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT id, status FROM jobs');
for my $id (keys %job)
{
	my $last = $deleted{$id} ? $deleted{$id}{status} : $status{$id};
	if (!defined $last) { push @wrong, "$id is lost"; next; }
	push @wrong, "$id is CANCELED, but no committed call told so" if $last eq 'CANCELED' && !exists $canceled{$id};
	push @wrong, "$id was told to be canceled, but is $last" if $last ne 'CANCELED' && exists $canceled{$id};
	push @wrong, "$id was finished as $finished{$id}, but is $last" if $finished{$id} && $last ne $finished{$id};
}
push @wrong, map { "$_ came from nowhere" } grep { !$job{$_} } keys %status;

note "seed $seed, $seconds s: ", join(', ', map { "$_ $count{$_}" } sort keys %count),
  ", jobs ", scalar(keys %job), ", canceled ", scalar(keys %canceled), ", accounts checked $checked";
is(scalar(@wrong), 0, 'every invariant holds') or diag(join("\n", splice(@wrong, 0, 20)));
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobs WHERE status = 'CANCELED' AND (end_timestamp <> updated_at OR end_timestamp IS NULL OR slurm_job_id IS NOT NULL)}),
	'0', 'canceled jobs bear the marks of a cancel');
is(join(' ', grep { !/^error (40P01|40001)$/ } grep { /^error/ } keys %count), '', 'no errors but deadlocks and serialization failures');
cmp_ok(scalar(@answers), '>', 5 * $seconds, 'there were many answers');
cmp_ok(scalar(keys %canceled), '>', 10 * $seconds, '... many canceled jobs');
cmp_ok(scalar(keys %finished), '>', 3 * $seconds, '... and many finished ones');

$node->stop;
done_testing();

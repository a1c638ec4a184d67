# Crashes in the midst of cancels: afterwards each cancel is there wholly or
# not at all, on a standby too; and a dump is restored into a new cluster.
#
# TRUST_ROUNDS and TRUST_SEED make it longer and other.

use strict;
use warnings;

use Time::HiRes qw(time usleep);

use PasqalJobs;

my $rounds = $ENV{TRUST_ROUNDS} || 6;
my $seed = $ENV{TRUST_SEED} || 20230323;
srand($seed);
note "seed $seed";

my $node = start_server('primary', allows_streaming => 1, conf => "restart_after_crash = on\nautovacuum = off\nwal_keep_size = 1GB\ncheckpoint_timeout = 30s");
my $size = 3000;
$node->safe_psql('postgres', qq{
	CREATE FUNCTION batch(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS \$\$ SELECT md5('batch ' || n)::uuid \$\$;
	-- of each batch a tenth has ended
	INSERT INTO jobs (batch_id, project_id, runs, status, sequence)
	SELECT batch(b), md5('project')::uuid, n, CASE n % 10 WHEN 0 THEN 'DONE' ELSE 'PENDING' END::jobstatus, repeat('s', 200)
	FROM generate_series(0, 3 * $rounds) AS b, generate_series(1, $size) AS n;
	VACUUM ANALYZE jobs;
	-- so that there is time to crash in
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.runs % 8 = 0 THEN PERFORM pg_sleep(0.0005); END IF; RETURN NEW; END';
	CREATE TRIGGER slow BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION slow();
});
my $cancelable = $size * 0.9;
my $standby = start_standby($node);

# One call in the background; "answered" once the client has its answer
sub start_call { return start_psql($node, "SET application_name = 'victim'", @_) }

# After a crash: until it runs again
sub wait_for_server
{
	for my $attempt (1 .. 1800)
	{
		return if $node->psql('postgres', 'SELECT 1', timeout => 30) == 0;
		usleep(100_000);
	}
	die 'the server does not come back';
}

my $canceled_of = sub {
	my ($server, $batch) = @_;
	return $server->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE batch_id = batch($batch) AND status = 'CANCELED' AND end_timestamp = updated_at");
};

my $start = time();
$node->safe_psql('postgres', "SELECT count(cancel_jobs(batch(0)))");
my $duration = time() - $start;
note sprintf('a cancel of %d jobs takes %.0f ms', $cancelable, $duration * 1000);

my %count = (whole => 0, none => 0, 'answered' => 0);
for my $round (1 .. $rounds)
{
	my ($first, $second, $third) = map { 3 * ($round - 1) + $_ } 1 .. 3;
	# the first one surely comes in the midst: a job of the first batch is locked
	my @worker = $round == 1 ? start_psql($node, "BEGIN; SELECT FROM jobs WHERE batch_id = batch($first) AND runs = 5 FOR UPDATE; SELECT pg_sleep(600)") : ();
	wait_until($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) if @worker;
	my @calls = map { start_call($_) } "SELECT 'answered', count(cancel_jobs(batch($first)))",
	  "SELECT 'answered', count(body::text) FROM cancel_jobs_http(batch($second)::text)", "CALL cancel_jobs_in_chunks(batch($third), chunk_size => 70)";
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'victim' AND query ~ 'cancel' OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'victim')});
	$round == 1 ? wait_for_lock($node, q{application_name = 'victim'}) : usleep(rand($duration * 2.5) * 1e6);

	my $how = ('kill -9 of a backend', 'kill -9 of the postmaster', 'immediate shutdown')[ $round % 3 ];
	if ($how eq 'kill -9 of a backend')
	{
		my $pid = $node->safe_psql('postgres', q{SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE application_name = 'victim'});
		kill('KILL', $pid) if $pid > 0;
		$count{'too late'}++ if $pid == 0;
	}
	elsif ($how eq 'kill -9 of the postmaster') { $node->kill9; }
	else { $node->stop('immediate'); }
	finish($_) for @calls, @worker;
	if ($how ne 'kill -9 of a backend')
	{
		# children may take a moment to notice that the postmaster is gone
		for my $attempt (1 .. 300) 
		{
			last if $node->start(fail_ok => 1);
			usleep(100_000);
			$node->stop('fast', fail_ok => 1);
		}
	}
	wait_for_server();

	my @after = map { $canceled_of->($node, $_) } ($first, $second, $third);
	for my $i (0, 1)
	{
		my $answered = $calls[$i]{out} =~ /answered/;
		like($after[$i], $answered ? qr/^$cancelable$/ : qr/^(0|$cancelable)$/, "round $round, $how: " . ($answered ? 'a cancel that was answered is there' : 'a cancel is there wholly or not at all'));
		$count{ $after[$i] ? 'whole' : 'none' }++;
		$count{answered}++ if $answered;
	}
	# the last chunk is smaller
	ok($after[2] == $cancelable || $after[2] % 70 == 0, "round $round, $how: whole chunks are there ($after[2])");
}
note join(', ', map { "$_: $count{$_}" } sort keys %count);
cmp_ok($count{none}, '>', 0, 'some crashes came in the midst of a cancel');

# The primary is gone in the midst of one more; the standby takes over
my $last = $standby->safe_psql('postgres', 'SELECT count(DISTINCT batch_id) FROM jobs') - 1;
$node->safe_psql('postgres', "UPDATE jobs SET status = 'PENDING', end_timestamp = NULL WHERE batch_id = batch($last) AND status = 'CANCELED'");
$node->wait_for_catchup($standby);
my $call = start_call("SELECT 'answered', count(cancel_jobs(batch($last)))");
usleep($duration * 0.5e6);
$node->stop('immediate');
finish($call);
$standby->promote;
my @promoted = map { $canceled_of->($standby, $_) } 0 .. $last;
is(join(' ', grep { $_ % 70 != 0 && $_ != $cancelable } @promoted), '', 'on the promoted standby each cancel is there wholly or not at all');
$node->start;
my @primary = map { $canceled_of->($node, $_) } 0 .. $last;
is("@promoted[0 .. $last - 1]", "@primary[0 .. $last - 1]", '... and it agrees with the primary on all that had been answered');
cmp_ok($promoted[$last], '<=', $primary[$last], '... and has nothing that the primary has not');
like($standby->safe_psql('postgres', "SELECT jsonb_array_length(cancel_jobs(batch($last))->'data'->'jobs')"), qr/^(0|$cancelable)$/, 'it cancels as the primary did');
is($canceled_of->($standby, $last), $cancelable, '... all of it');
$standby->stop;

#
# Dump and restore
#
$node->safe_psql('postgres', 'DROP FUNCTION slow CASCADE');
my $digest = q{SELECT count(*), sum(hashtextextended(j::text, 0)) FROM jobs AS j};
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->safe_psql('postgres', "UPDATE jobs SET status = 'RUNNING', end_timestamp = NULL WHERE batch_id = batch(0) AND status = 'CANCELED'; SET TimeZone = 'Asia/Tokyo'");
my $before = $node->safe_psql('postgres', $digest);

my $restored = start_server('restored', bare => 1);
for my $format ('plain', 'custom')
{
	my $db = "from_$format";
	$node->command_ok([ 'pg_dump', "--format=$format", "--file=$dump.$format", '--dbname=' . $node->connstr('postgres') ], "pg_dump, $format");
	$restored->safe_psql('postgres', "CREATE DATABASE $db");
	$restored->command_ok($format eq 'plain' ? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.plain", '-d', $restored->connstr($db) ]
		: [ 'pg_restore', '--exit-on-error', '--jobs=2', '-d', $restored->connstr($db), "$dump.custom" ], "restore, $format");
	is($restored->safe_psql($db, $digest), $before, "$format: the jobs are what they were");
	is($restored->safe_psql($db, "SELECT jsonb_array_length(cancel_jobs(batch(0))->'data'->'jobs')"), $cancelable, "$format: and are canceled");
}

# The extension goes, the table stays
like(error_of($restored, 'DROP EXTENSION pasqal_jobs', db => 'from_plain'), qr/ERROR:  2BP01: cannot drop extension pasqal_jobs because other objects depend on it.*column status of table jobs depends on type jobstatus/s, 'DROP EXTENSION is refused while a table has its types');
is($restored->safe_psql('from_plain', 'SELECT count(*) FROM jobs'), (3 * $rounds + 1) * $size, '... and the table is there');
$before = $restored->safe_psql('from_plain', $digest);
$restored->safe_psql('from_plain', q{
	ALTER TABLE jobs ALTER status DROP DEFAULT, ALTER status TYPE text, ALTER origin DROP DEFAULT, ALTER origin TYPE text, ALTER progress TYPE int;
	DROP EXTENSION pasqal_jobs});
is($restored->safe_psql('from_plain', $digest), $before, 'without its types the table outlives DROP EXTENSION, every job as it was');
is($restored->safe_psql('from_plain', q{CREATE EXTENSION pasqal_jobs;
	UPDATE jobs SET status = 'PENDING' WHERE batch_id = batch(0) AND status = 'CANCELED';
	SELECT jsonb_array_length(cancel_jobs(batch(0))->'data'->'jobs')}), $cancelable, '... and the extension made anew cancels them');

done_testing();

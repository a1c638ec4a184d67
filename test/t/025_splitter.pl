# Behind pgpool, which sends reads to a standby: what doc/production.md says of
# its lists of functions and of its cache. In TAP because it takes a standby and
# pgpool; skipped where that is not installed.

use strict;
use warnings;

use PasqalJobs;
use Time::HiRes qw(usleep);

my ($pgpool) = grep { -x } '/usr/sbin/pgpool', '/usr/bin/pgpool';
plan skip_all => 'pgpool is not installed' unless $pgpool;

my ($list) = slurp_file('doc/production.md') =~ /^  `(write_function_list = '[^']*cancel_jobs[^']*')`/m or die 'doc/production.md has no list for pgpool';

my $primary = start_server('primary', allows_streaming => 1);
my $standby = start_standby($primary);

my $batch = '5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3';
my $user = $primary->safe_psql('postgres', 'SELECT current_user');
my $port = 9999;
my ($dir, $pool);

sub fill
{
	$primary->safe_psql('postgres', "TRUNCATE jobs; INSERT INTO jobs (batch_id, project_id, runs) SELECT '$batch', gen_random_uuid(), 1 FROM generate_series(1, 10)");
	$primary->wait_for_catchup($standby);
}

# A statement through pgpool: its answer, or its error
sub through
{
	my ($sql) = @_;
	IPC::Run::run([ 'psql', '-XqAt', '-U', $user, '-d', "host=$dir port=$port dbname=postgres", '-c', $sql ], '>', \my $out, '2>', \my $err);
	chomp $out;
	return $err =~ /(ERROR:.*)/ ? $1 : $out;
}

sub start_pool
{
	my (@settings) = @_;
	$dir = PostgreSQL::Test::Utils::tempdir_short;
	mkdir "$dir/oid";
	append_to_file("$dir/$_", '') foreach qw(pcp.conf pool_hba.conf);
	append_to_file("$dir/pgpool.conf", join "\n", "backend_clustering_mode = 'streaming_replication'", "listen_addresses = ''", "port = $port", "pcp_listen_addresses = ''",
		(map { "$_ = '$dir'" } qw(socket_dir pcp_socket_dir logdir work_dir)), "pid_file_name = '$dir/pid'", "memqcache_oiddir = '$dir/oid'",
		(map { my ($n, $node) = @$_; ("backend_hostname$n = '" . $node->host . "'", "backend_port$n = " . $node->port, "backend_weight$n = $n") } [ 0, $primary ], [ 1, $standby ]),
		'enable_pool_hba = off', 'load_balance_mode = on', 'num_init_children = 4', 'sr_check_period = 1', "sr_check_user = '$user'", "sr_check_database = 'postgres'", @settings, '');
	$pool = IPC::Run::start([ $pgpool, '-n', '-f', "$dir/pgpool.conf", '-F', "$dir/pcp.conf", '-a', "$dir/pool_hba.conf" ], '<', \undef, '>', "$dir/log", '2>&1');
	for (1 .. 600)    # until it knows that the second one is a standby
	{
		last if through('SHOW pool_nodes') =~ /^1\|.*\|standby\|/m;
		usleep(50_000);
	}
}

sub stop_pool { $pool->signal('INT'); $pool->finish; }

sub is_canceled
{
	my ($sql, $name) = @_;
	fill();
	my $answer = through($sql);
	is($primary->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE status = 'CANCELED'"), 10, $name) or diag $answer;
}

my %call = (
	cancel_jobs => "SELECT count(cancel_jobs('$batch'))",
	cancel_jobs_http => "SELECT status_code FROM cancel_jobs_http('$batch', '')",
	cancel_jobs_rows => "SELECT count(*) FROM cancel_jobs_rows('$batch')",
);

start_pool();
is_canceled($call{$_}, "no list: $_ goes to the primary") foreach sort keys %call;
stop_pool();

start_pool("write_function_list = 'nextval,setval'");
fill();
is(through($call{$_}), "ERROR:  cannot execute $_() during recovery", "a list without it: $_ goes to a standby") foreach sort keys %call;
is_canceled("/*NO LOAD BALANCE*/ $call{cancel_jobs}", '... but not with the comment in front');
is_canceled("CALL cancel_jobs_in_chunks('$batch')", '... nor does a CALL');
stop_pool();

start_pool($list, 'memory_cache_enabled = on', 'memqcache_total_size = 1MB', 'memqcache_max_num_cache = 1000');
is_canceled($call{$_}, "the list of the page: $_ goes to the primary") foreach sort keys %call;
fill();
is(through("SELECT count(*) FROM jobs WHERE status = 'CANCELED' "), 0, 'what the cache has');
is_canceled($call{cancel_jobs}, '... before a cancel');
$primary->wait_for_catchup($standby);
is(through("SELECT count(*) FROM jobs WHERE status = 'CANCELED' "), 0, '... it has after it, too');
is(through("SELECT count(*) FROM jobs WHERE 'CANCELED' = status"), 10, '... unlike the table');
stop_pool();

done_testing();

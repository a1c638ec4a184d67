# What doc/production.md says of pgpool, which sends reads to a standby, and of
# pgjdbc, which looks for a primary or a standby. In TAP because it takes a
# standby; what is not installed is skipped.

use strict;
use warnings;

use PasqalJobs;
use Time::HiRes qw(usleep);

my ($pgpool) = grep { -x } map { "$_/pgpool" } split(/:/, $ENV{PATH}), '/usr/sbin';
my $pgjdbc = '/usr/share/java/postgresql.jar';
my $has_pgjdbc = -e $pgjdbc && !system('javac -version >/dev/null 2>&1');
plan skip_all => 'neither pgpool nor pgjdbc is installed' unless $pgpool || $has_pgjdbc;

my ($list) = slurp_file('doc/production.md') =~ /^  `(write_function_list = '[^']*cancel_jobs[^']*')`/m or die 'doc/production.md has no list for pgpool';

my $primary = start_server('primary', allows_streaming => 1, conf => $has_pgjdbc ? "listen_addresses = '127.0.0.1'" : '');
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

SKIP:
{
	skip 'pgpool is not installed', 16 unless $pgpool;

	start_pool();
	is_canceled($call{$_}, "no list: $_ goes to the primary") foreach sort keys %call;
	stop_pool();

	start_pool("write_function_list = 'nextval,setval'");
	fill();
	is(through($call{$_}), "ERROR:  cannot execute $_() during recovery", "a list without it: $_ goes to a standby") foreach sort keys %call;
	is_canceled("/*NO LOAD BALANCE*/ $call{cancel_jobs}", '... but not with the comment in front');
	is_canceled("CALL cancel_jobs_in_chunks('$batch')", '... nor does a CALL');
	append_to_file("$dir/pgpool.conf", "$list\n");
	system_or_bail($pgpool, '-f', "$dir/pgpool.conf", 'reload');
	for (1 .. 100)
	{
		last if through('SHOW pgpool_status') =~ /^write_function_list\|.*cancel_jobs/m;
		usleep(50_000);
	}
	is_canceled($call{cancel_jobs}, '... nor does anything once the list has it, and is reloaded');
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
}

SKIP:
{
	skip 'pgjdbc is not installed, or no JDK', 6 unless $has_pgjdbc;

	# pgjdbc speaks TCP only, where nobody else is let in
	unlink $_->data_dir . '/pg_hba.conf' foreach $primary, $standby;
	append_to_file($_->data_dir . '/pg_hba.conf', "local all,replication all trust\nhost all clerk 127.0.0.1/32 scram-sha-256\n") foreach $primary, $standby;
	$_->reload foreach $primary, $standby;
	$primary->safe_psql('postgres', q{CREATE ROLE clerk LOGIN PASSWORD 'a password'; GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO clerk});
	$primary->wait_for_catchup($standby);
	my $java = PostgreSQL::Test::Utils::tempdir . '/Cancel.java';
	append_to_file($java, <<'EOF');
import java.sql.*;

public class Cancel
{
	// arguments: a URL, autocommit, read only; and again
	public static void main(String[] args)
	{
		for (int i = 0; i < args.length; i += 3)
			try (Connection c = DriverManager.getConnection(args[i]))
			{
				c.setAutoCommit(args[i + 1].equals("on"));
				c.setReadOnly(args[i + 2].equals("on"));
				ResultSet r = c.createStatement().executeQuery("SELECT count(*) FROM cancel_jobs_rows('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3')");
				r.next();
				System.out.println(r.getString(1));
			}
			catch (SQLException e)
			{
				System.out.println(e.getSQLState());
			}
	}
}
EOF
	my $url = sprintf 'jdbc:postgresql://127.0.0.1:%d,127.0.0.1:%d/postgres?user=clerk&password=a%%20password', $standby->port, $primary->port;
	my @calls = (
		[ '&targetServerType=primary', 'on', 'off', '10', 'targetServerType=primary finds the primary' ],
		[ '&targetServerType=preferSecondary', 'on', 'off', '25006', 'preferSecondary finds a standby' ],
		[ '&targetServerType=primary', 'off', 'on', '25006', 'setReadOnly(true) in a transaction' ],
		[ '&targetServerType=primary', 'on', 'on', '10', '... and with autocommit' ],
		[ '&targetServerType=primary&readOnlyMode=always', 'on', 'on', '25006', '... and with readOnlyMode=always, too' ]);
	fill();
	my $err;
	IPC::Run::run([ 'java', '-cp', $pgjdbc, $java, map { ($url . $_->[0], $_->[1], $_->[2]) } @calls ], '>', \my $out, '2>', \$err) or diag $err;
	my @said = split /\n/, $out;
	is($said[$_], $calls[$_][3], "pgjdbc: $calls[$_][4]") foreach 0 .. $#calls;
	is($primary->safe_psql('postgres', "SELECT count(*) FROM jobs WHERE status = 'CANCELED'"), 10, '... and the jobs are canceled');
}

done_testing();

# What several tests of this directory need: a server with the extension,
# sessions beside the test's own, and the SQL of the pages. It also exports what
# Test::More and PostgreSQL's own modules do, so that this one is enough.

package PasqalJobs;

use strict;
use warnings;

use Exporter qw(import);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = (
	@Test::More::EXPORT, @PostgreSQL::Test::Utils::EXPORT,
	qw(start_server start_standby open_session send_query start_psql finish wait_until wait_for_lock error_of
	  run_cases sql_blocks sql_block));

#
# Servers
#

# A server that runs. Its database postgres has the extension and a table of
# jobs, unless it is to be "bare"; "conf" has lines of postgresql.conf, or makes
# them of the node; all else is for init()
sub start_server
{
	my ($name, %params) = @_;
	my ($bare, $conf) = delete @params{qw(bare conf)};
	my $node = PostgreSQL::Test::Cluster->new($name);
	init_from_template($node, %params);
	$node->append_conf('postgresql.conf', ref $conf ? $conf->($node) : $conf) if $conf;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pasqal_jobs; SELECT create_jobs_table()') unless $bare;
	return $node;
}

# init() of PostgreSQL 17 copies INITDB_TEMPLATE in place of calling initdb; here
# older ones do, too
sub init_from_template
{
	my ($node, %params) = @_;
	my $run = \&PostgreSQL::Test::Utils::system_or_bail;
	no warnings 'redefine';
	local *PostgreSQL::Test::Utils::system_or_bail = sub {
		my ($command, undef, $directory) = @_;
		$run->($command eq 'initdb' && $ENV{INITDB_TEMPLATE} ? ('cp', '-RPp', $ENV{INITDB_TEMPLATE}, $directory) : @_);
	};
	$node->init(%params);
}

# A standby that has caught up
sub start_standby
{
	my ($primary) = @_;
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	$primary->wait_for_catchup($standby);
	return $standby;
}

#
# Sessions. Those of the next three take the database "db" in place of postgres,
# and else what background_psql() and psql() do
#

# A session that stays, and has run this SQL
sub open_session
{
	my ($node, $sql, %params) = @_;
	my $session = $node->background_psql(delete $params{db} // 'postgres', %params);
	$session->query_safe($sql) if $sql;
	return $session;
}

# Has such a session run a statement whose end is not waited for
sub send_query
{
	my ($session, $sql) = @_;
	$session->query_until(qr/begun/, "\\echo begun\n$sql;\n");
}

# What goes wrong as a script runs, with SQLSTATEs
sub error_of
{
	my ($node, $sql, %params) = @_;
	my (undef, undef, $stderr) = $node->psql(delete $params{db} // 'postgres', "\\set VERBOSITY verbose\n$sql", %params);
	return $stderr;
}

# Starts a psql that runs each argument by -c and ends. A hash before them may
# have another database, "db", a "user", and more "options" of psql.
sub start_psql
{
	my ($node, @commands) = @_;
	my %params = (db => 'postgres', options => [], ref $commands[0] ? %{ shift @commands } : ());
	my $psql = { out => '', err => '' };
	my @user = $params{user} ? ('-U', $params{user}) : ();
	$psql->{run} = IPC::Run::start([ 'psql', '-XqAt', @user, '-d', $node->connstr($params{db}), @{ $params{options} }, map { ('-c', $_) } @commands ],
		'<', \undef, '>', \$psql->{out}, '2>', \$psql->{err});
	return $psql;
}

# Waits until it has ended. What it has printed is "out" and "err".
sub finish
{
	my ($psql) = @_;
	$psql->{run}->finish;
	chomp(@$psql{qw(out err)});
	return $psql;
}

# Waits until a query is true
sub wait_until
{
	my ($node, $query, $db) = @_;
	$node->poll_query_until($db // 'postgres', $query) or die "waited in vain until $query";
}

# Waits until a session waits for a lock; the condition is one on pg_stat_activity
sub wait_for_lock
{
	my ($node, $condition) = @_;
	wait_until($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND } . ($condition // 'true'));
}

#
# The comparisons of test/long
#

# Has a procedure make so many calls by chance, and returns what it counted.
# Only these files of test/long, and the extension, are there before.
sub run_cases
{
	my ($node, $procedure, $cases, $files, $name, $ignore) = @_;
	my $seed = $ENV{TRUST_SEED} || 20230323;
	$node->safe_psql('postgres', join("\n", 'CREATE EXTENSION pasqal_jobs;', map { slurp_file(dirname(__FILE__) . "/../long/$_") } @$files));
	my ($status, undef, $stderr) = $node->psql('postgres', "CALL $procedure($seed, $cases)", timeout => 120 + 3 * $cases);
	$stderr =~ s/$ignore//g if $ignore;
	is($stderr, '', "seed $seed: $name") or note $stderr;
	is($status, 0, '... and every call came to its end');

	my ($schema) = $procedure =~ /^(\w+)\./;
	my %count = split /[|\n]/, $node->safe_psql('postgres', "SELECT what, n FROM $schema.counts");
	note "seed $seed: ", join(', ', map { "$_ $count{$_}" } sort keys %count);
	is($count{differences}, 0, '... without a difference');
	return %count;
}

#
# The pages
#

# The blocks of SQL in the section of a page with this heading
sub sql_blocks
{
	my ($page, $heading) = @_;
	my ($text) = slurp_file($page) =~ /^##+ \Q$heading\E\n(.*?)(?=^##|\z)/ms or die "$page has no $heading";
	return $text =~ /^```sql\n(.*?)^```/msg;
}

# The block of SQL of a page that begins so
sub sql_block
{
	my ($page, $beginning) = @_;
	my ($sql) = slurp_file($page) =~ /^```sql\n(\Q$beginning\E.*?)^```/ms or die "$page has no block that begins with $beginning";
	return $sql;
}

1;

# A second implementation of the contract, naive, in PL/pgSQL, answers the same
# calls by chance on the same tables (test/long/oracle.sql, oracle_run.sql).
#
# TRUST_CASES and TRUST_SEED make it longer and other.

use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cases = $ENV{TRUST_CASES} || 500;
my $seed = $ENV{TRUST_SEED} || 20230323;
my $long = dirname(__FILE__) . '/../long';

my $node = PostgreSQL::Test::Cluster->new('oracle');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = on');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pasqal_jobs');
$node->safe_psql('postgres', slurp_file("$long/$_")) for qw(oracle.sql oracle_run.sql);

my ($stdout, $stderr);
my $status = $node->psql('postgres', "CALL oracle.run($seed, $cases)",
	stdout => \$stdout, stderr => \$stderr, timeout => 60 + $cases);
is($stderr, '', "seed $seed: extension and oracle agree") or note $stderr;
is($status, 0, 'the comparison came to its end');

my %count = split /[|\n]/, $node->safe_psql('postgres', 'SELECT what, n FROM oracle.counts');
note "seed $seed: ", join(', ', map { "$_ $count{$_}" } sort keys %count);
is($count{cases}, $cases, "$cases cases");
is($count{differences}, 0, 'no difference');

# A comparison of nothing would find nothing
for my $what ('canceled jobs', 'not canceled jobs', 'locked jobs', 'answers with jobs and errors', 'refused calls', 'problems told', '200 of HTTP', '422 of HTTP')
{
	cmp_ok($count{$what} || 0, '>', $cases / 30, "of substance: $what");
}

$node->stop;
done_testing();

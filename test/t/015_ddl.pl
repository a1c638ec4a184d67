# Random DDL from triggers and functions in the middle of random calls, beside
# the second implementation of 010_oracle.pl (test/long/ddl_run.sql).
#
# TRUST_CASES and TRUST_SEED make it longer and other.

use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cases = $ENV{TRUST_CASES} || 300;
my $seed = $ENV{TRUST_SEED} || 20230323;
my $long = dirname(__FILE__) . '/../long';

my $node = PostgreSQL::Test::Cluster->new('ddl');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pasqal_jobs');
$node->safe_psql('postgres', slurp_file("$long/$_")) for qw(oracle.sql oracle_run.sql ddl_run.sql);

my ($stdout, $stderr);
my $status = $node->psql('postgres', "CALL oracle.run_ddl($seed, $cases)",
	stdout => \$stdout, stderr => \$stderr, timeout => 120 + $cases);
# what was a table may be a view by the time of ANALYZE
$stderr =~ s/^.*WARNING:  skipping "\w+" --- cannot analyze .*\n?//mg;
is($stderr, '', "seed $seed: an answer amid DDL is a right one");
is($status, 0, 'every call came to its end');

my %count = split /[|\n]/, $node->safe_psql('postgres', 'SELECT what, n FROM oracle.counts');
note "seed $seed: ", join(', ', map { "$_ $count{$_}" } sort keys %count);
cmp_ok($count{cases}, '>=', $cases, "$cases cases");
is($count{differences}, 0, 'no difference');
cmp_ok($count{"ended in $_"} || 0, '>', $cases / 50, "of substance: calls that end in $_") for ('an answer', '55000', '55006');

$node->stop;
done_testing();

# Four roles call in one session, while policies, privileges and owners of views
# change: each call does and answers what that role comes to by hand
# (test/long/rights_run.sql).
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

my $node = PostgreSQL::Test::Cluster->new('rights');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pasqal_jobs');
$node->safe_psql('postgres', slurp_file(dirname(__FILE__) . '/../long/rights_run.sql'));

my ($stdout, $stderr);
my $status = $node->psql('postgres', "CALL rights.run($seed, $cases)",
	stdout => \$stdout, stderr => \$stderr, timeout => 120 + $cases);
is($stderr, '', "seed $seed: calls and UPDATEs by hand agree") or note $stderr;
is($status, 0, 'the comparison came to its end');

my %count = split /[|\n]/, $node->safe_psql('postgres', 'SELECT what, n FROM rights.counts');
note "seed $seed: ", join(', ', map { "$_ $count{$_}" } sort keys %count);
is($count{cases}, $cases, "$cases cases");
is($count{differences}, 0, 'no difference');
cmp_ok($count{$_} || 0, '>', $cases / 100, "of substance: $_") for ('ended in an answer', 'ended in 42501', 'canceled jobs', 'kept jobs');

$node->stop;
done_testing();

# A second implementation of the contract, naive, in PL/pgSQL, answers the same
# calls by chance on the same tables (test/long/oracle.sql, oracle_run.sql).
#
# TRUST_CASES and TRUST_SEED make it longer and other.

use strict;
use warnings;

use PasqalJobs;

my $cases = $ENV{TRUST_CASES} || 500;
my $node = start_server('oracle', bare => 1, conf => 'autovacuum = on');
my %count = run_cases($node, 'oracle.run', $cases, [qw(oracle.sql oracle_run.sql)], 'extension and oracle agree');
is($count{cases}, $cases, "$cases cases");

# A comparison of nothing would find nothing
for my $what ('canceled jobs', 'not canceled jobs', 'locked jobs', 'answers with jobs and errors', 'refused calls', 'problems told', '200 of HTTP', '422 of HTTP')
{
	cmp_ok($count{$what} || 0, '>', $cases / 30, "of substance: $what");
}

done_testing();

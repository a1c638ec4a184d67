# Random DDL from triggers and functions in the middle of random calls, beside
# the second implementation of 010_oracle.pl (test/long/ddl_run.sql).
#
# TRUST_CASES and TRUST_SEED make it longer and other.

use strict;
use warnings;

use PasqalJobs;

my $cases = $ENV{TRUST_CASES} || 300;
my $node = start_server('ddl', bare => 1);
# what was a table may be a view by the time of ANALYZE
my %count = run_cases($node, 'oracle.run_ddl', $cases, [qw(oracle.sql oracle_run.sql ddl_run.sql)], 'an answer amid DDL is a right one',
	qr/^.*WARNING:  skipping "\w+" --- cannot analyze .*\n?/m);
cmp_ok($count{cases}, '>=', $cases, "$cases cases");
cmp_ok($count{"ended in $_"} || 0, '>', $cases / 50, "of substance: calls that end in $_") for ('an answer', '55000', '55006');

done_testing();

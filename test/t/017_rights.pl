# Four roles call in one session, while policies, privileges and owners of views
# change: each call does and answers what that role comes to by hand
# (test/long/rights_run.sql).
#
# TRUST_CASES and TRUST_SEED make it longer and other.

use strict;
use warnings;

use PasqalJobs;

my $cases = $ENV{TRUST_CASES} || 300;
my $node = start_server('rights', bare => 1);
my %count = run_cases($node, 'rights.run', $cases, ['rights_run.sql'], 'calls and UPDATEs by hand agree');
is($count{cases}, $cases, "$cases cases");
cmp_ok($count{$_} || 0, '>', $cases / 100, "of substance: $_") for ('ended in an answer', 'ended in 42501', 'canceled jobs', 'kept jobs');

done_testing();

# examples/demo.sh, with a terminal and without. In TAP because it needs a
# database of its own and somebody who presses keys.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('demo', bare => 1);
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;

sub new_database
{
	$ENV{PGDATABASE} = 'postgres';
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS demo');
	$node->safe_psql('postgres', 'CREATE DATABASE demo');
	$ENV{PGDATABASE} = 'demo';
}

# What the last table says, and the database
sub is_whole
{
	my ($output, $name) = @_;
	my @errors = $output =~ /ERROR:  (.*?)\r?$/mg;
	is("@errors", 'unrecognized filter "statsu"', "$name: the misspelt filter is the only error");
	like($output, qr/^ a cancel by filters +\| 2 jobs canceled, and why 1 was not.*^ 90,000 jobs, cancel_jobs +\| \d+ ms, every job in the answer/ms,
		"$name: ends with a table of what was seen");
	is($node->safe_psql('demo', 'SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1'), "PENDING|3\nDONE|10001\nERROR|1\nCANCELED|90004",
		"$name: what was canceled");
}

new_database();
my $output = '';
IPC::Run::run([ 'bash', 'examples/demo.sh' ], '<', \undef, '>', \$output, '2>&1') or die $output;
is_whole($output, 'without a terminal');
like($output, qr/^INSERT INTO jobs/m, '... and shows all statements');
unlike($output, qr/any key|\e/, '... and waits for nobody');

# A key for each time that it waits, and what the screens were
sub with_keys
{
	my ($key_at) = @_;
	my ($keys, $typescript, $pressed) = ('', '', 0);
	my $timer = IPC::Run::timeout(180);
	my $demo = IPC::Run::start([ 'script', '-qec', 'bash examples/demo.sh', '/dev/null' ], '<', \$keys, '>', \$typescript, '2>&1', $timer);
	while ($demo->pumpable)
	{
		$demo->pump;
		my $waits = () = $typescript =~ /-- any key: next step/g;
		$keys .= $key_at->(++$pressed) if $waits > $pressed;
	}
	$demo->finish;
	return split /\e\[H\e\[2J/, $typescript;
}

new_database();
my @screens = with_keys(sub { 'x' });
is_whole(join('', @screens), 'at a terminal');
is(scalar(grep { (() = /^(?:SELECT|UPDATE|CREATE|BEGIN)\b.*?;/msg) > 5 } @screens), 0, '... one step a screen');
unlike(join('', @screens), qr/INSERT INTO|\\gset|\\pset/, '... without the sample data');
is(scalar(grep { (() = /\n/g) > 28 } @screens), 0, '... each of which fits a terminal of 30 lines');

new_database();
@screens = with_keys(sub { $_[0] == 3 ? 'q' : 'x' });
is($node->safe_psql('demo', 'SELECT count(*) FROM jobs'), 9, 'q ends it');
unlike(join('', @screens), qr/90,000/, '... indeed');

done_testing();

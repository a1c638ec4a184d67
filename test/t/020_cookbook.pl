# Every entry of the README's cookbook for DBAs, as it stands there. In TAP
# because the SQL is taken from the README.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('cookbook');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = all");
$node->start;

# The entries: heading => its SQL
my (%entries, @headings);
my ($section) = slurp_file($ENV{COOKBOOK} // 'README.md') =~ /^## DBA cookbook\n(.*?)^## /ms
  or die 'the README has no cookbook';
while ($section =~ /^### (.*?)\n(.*?)(?=^### |\z)/msg)
{
	my ($heading, $text) = ($1, $2);
	$entries{$heading} = join("\n", $text =~ /^```sql\n(.*?)^```/msg);
	push @headings, $heading;
}

# What is true after an entry, of a table of three batches of 20 jobs: half of
# them PENDING, a fifth RUNNING since two days, the rest DONE
my $open = "status IN ('PENDING', 'RUNNING')";
my %afterwards = (
	'Look first, then cancel in a transaction' =>
	  "SELECT count(*) FILTER (WHERE $open AND user_id = 'niels' AND batch_id::text LIKE '%1') = 0, count(*) FILTER (WHERE status = 'CANCELED') FROM jobs",
	'Everything of one project, across batches' =>
	  "SELECT count(*) FILTER (WHERE $open AND project_id::text LIKE '%1') = 0, count(*) FILTER (WHERE status = 'CANCELED') FROM jobs",
	'All that is stuck RUNNING since yesterday' =>
	  "SELECT count(*) FILTER (WHERE status = 'RUNNING') = 0, count(*) FILTER (WHERE status = 'CANCELED') FROM jobs",
	'By the beginning of an id, from a ticket' =>
	  "SELECT bool_and(id::text LIKE 'a1%'), count(*) FROM jobs WHERE status = 'CANCELED'",
	'Export what was canceled as CSV' =>
	  "SELECT count(*) = 14, count(*) FROM jobs WHERE status = 'CANCELED'",
	'Settle the batch\'s own row in the same transaction' =>
	  'SELECT count(*) FILTER (WHERE open_jobs = 0) = 1, sum(open_jobs) FROM batches',
	'A table with other column names: a view' =>
	  "SELECT count(*) FILTER (WHERE state = 'CANCELED' AND ended = changed) = 10, count(*) FROM tasks WHERE batch::text LIKE '%3'",
	'Undo a mistaken cancel' =>
	  "SELECT count(*) FILTER (WHERE status = 'PENDING') = 10, count(*) FILTER (WHERE status = 'CANCELED') FROM jobs WHERE batch_id::text LIKE '%1'",
	'A million jobs, without hurting anyone' =>
	  "SELECT count(*) FILTER (WHERE status = 'PENDING') = 0, count(*) FILTER (WHERE status = 'CANCELED') FROM jobs WHERE batch_id::text LIKE '%1'",
	'Watch a long cancel' => "SELECT true, count(*) FROM jobs WHERE status = 'CANCELED'",
	'Monitor with pg_stat_statements' => "SELECT true, count(*) FROM jobs WHERE status = 'CANCELED'",
	'Let an audit log it' => 'SELECT count(*) = 1, sum(canceled) FROM cancel_log',
);
my %counts = (
	'Look first, then cancel in a transaction' => 7,
	'Everything of one project, across batches' => 21,
	'All that is stuck RUNNING since yesterday' => 12,
	'By the beginning of an id, from a ticket' => 2,
	'Export what was canceled as CSV' => 14,
	'Settle the batch\'s own row in the same transaction' => 28,
	'A table with other column names: a view' => 20,
	'Undo a mistaken cancel' => 4,
	'A million jobs, without hurting anyone' => 10,
	'Watch a long cancel' => 0,
	'Monitor with pg_stat_statements' => 0,
	'Let an audit log it' => 4,
);

is_deeply([ sort @headings ], [ sort keys %afterwards ], 'every entry has a test');

my $n = 0;
foreach my $heading (@headings)
{
	my $db = 'cookbook' . ++$n;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, q{
		CREATE EXTENSION pasqal_jobs;
		SELECT create_jobs_table();
		INSERT INTO jobs (id, batch_id, project_id, user_id, runs, status, start_timestamp, end_timestamp)
		SELECT overlay(md5(b || ' ' || n)::uuid::text placing CASE WHEN n % 7 = 2 THEN 'a1' ELSE 'b2' END from 1 for 2)::uuid,
			   ('b0000000-0000-4000-8000-00000000000' || b)::uuid, ('e0000000-0000-4000-8000-00000000000' || 1 + n % 2)::uuid,
			   (ARRAY['niels', 'lise'])[1 + n % 2], 100, s::jobstatus,
			   CASE WHEN s <> 'PENDING' THEN now() - interval '2 days' END, CASE WHEN s = 'DONE' THEN now() - interval '1 day' END
		FROM generate_series(1, 3) AS b, generate_series(1, 20) AS n,
			 LATERAL (SELECT CASE WHEN n <= 10 THEN 'PENDING' WHEN n <= 14 THEN 'RUNNING' ELSE 'DONE' END) AS x (s)});

	my ($status, $stdout, $stderr) = $node->psql($db, $entries{$heading});
	is($status, 0, "$heading: runs") or diag $stderr;
	is($node->safe_psql($db, $afterwards{$heading}), "t|$counts{$heading}", "$heading: does what it says");
}

$node->stop;
unlink 'canceled.csv';
done_testing();

# The types of the default table, which are the extension's, where a table goes:
# to a subscriber, behind postgres_fdw, into a copy, a dump. In TAP because it
# takes servers that talk to each other, and pg_restore.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('publisher', allows_streaming => 'logical');
$node->safe_psql('postgres', q{
	INSERT INTO jobs (batch_id, project_id, runs, progress)
	SELECT md5('batch')::uuid, md5('project')::uuid, n, n FROM generate_series(0, 100, 25) AS n;
	CREATE PUBLICATION jobs FOR TABLE jobs});
my $jobs = 'SELECT runs, status, progress FROM jobs ORDER BY runs';
my $canceled = join("\n", map { "$_|CANCELED|" . ($_ || 1) } 0, 25, 50, 75, 100);

#
# Logical replication: to a table of the same types, binary, and to one of plain types
#
my $subscriber = start_server('subscriber', conf => "max_logical_replication_workers = 8\nmax_worker_processes = 16");
$subscriber->safe_psql('postgres', 'CREATE DATABASE plain');
$subscriber->safe_psql('plain', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table();
	ALTER TABLE jobs ALTER status DROP DEFAULT, ALTER status TYPE text, ALTER origin DROP DEFAULT, ALTER origin TYPE text, ALTER progress TYPE int;
	DROP EXTENSION pasqal_jobs});
my $connection = $node->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION same CONNECTION '$connection' PUBLICATION jobs WITH (binary = true)");
$subscriber->safe_psql('plain', "CREATE SUBSCRIPTION plain CONNECTION '$connection' PUBLICATION jobs");
$subscriber->wait_for_subscription_sync($node, $_->[0], $_->[1]) foreach [ 'same', 'postgres' ], [ 'plain', 'plain' ];
$node->safe_psql('postgres', q{UPDATE jobs SET progress = 1 WHERE runs = 0; SELECT count(cancel_jobs(md5('batch')::uuid))});
$node->wait_for_catchup($_) foreach 'same', 'plain';
is($subscriber->safe_psql('postgres', $jobs), $canceled, 'a subscriber with the types of the extension');
is($subscriber->safe_psql('plain', $jobs), $canceled, 'a subscriber without the extension');

#
# Behind postgres_fdw: both sides refuse a value beyond the range
#
$node->safe_psql('postgres', 'CREATE DATABASE front');
my ($port, $host) = ($node->port, $node->host);
$node->safe_psql('front', qq{
	CREATE EXTENSION pasqal_jobs;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres', extensions 'pasqal_jobs');
	CREATE USER MAPPING FOR CURRENT_USER SERVER back;
	IMPORT FOREIGN SCHEMA public LIMIT TO (jobs) FROM SERVER back INTO public});
is($node->safe_psql('front', q{SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attname = 'progress'}), 'jobprogress', 'IMPORT FOREIGN SCHEMA takes the type');
is($node->safe_psql('front', $jobs), $canceled, '... and the jobs are seen through it');
like($node->safe_psql('front', 'EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM jobs WHERE progress > 50'), qr/Remote SQL: SELECT id FROM public.jobs WHERE \(\(progress > 50\)\)/, '... and a condition is sent');
like(error_of($node, 'UPDATE jobs SET progress = 101', db => 'front'), qr/ERROR:  23514:/, '... and a value beyond the range is refused');

#
# A copy of the table has the type, whatever is included
#
$node->safe_psql('postgres', 'CREATE TABLE copy (LIKE jobs)');
like(error_of($node, 'INSERT INTO copy (progress) VALUES (101)'), qr/ERROR:  23514:/, 'CREATE TABLE (LIKE): a value beyond the range is refused');

#
# What is changed of the extension's types is not in its dump: a table with it is
# restored without a row. Of types of one's own it is.
#
my $tempdir = PostgreSQL::Test::Utils::tempdir;
sub restored
{
	my ($name, $table) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tempdir/$name", '-d', $node->connstr('postgres') ], "pg_dump, $name");
	IPC::Run::run([ 'pg_restore', '--no-publications', '-d', $node->connstr($name), "$tempdir/$name" ], '2>', \my $err);
	return ($node->safe_psql($name, "SELECT count(*) FROM $table"), $err);
}
my $label_error = 'invalid input value for enum public.jobstatus: "CANCELING"';
$node->safe_psql('postgres', q{
	SELECT create_jobs_table('labeled'), create_jobs_table('ranged');
	ALTER TYPE jobstatus ADD VALUE 'CANCELING';
	ALTER DOMAIN jobprogress DROP CONSTRAINT jobprogress_check});
$node->safe_psql('postgres', q{
	INSERT INTO labeled (batch_id, project_id, runs, status) SELECT batch_id, project_id, runs, CASE runs WHEN 25 THEN 'CANCELING' ELSE 'DONE' END::jobstatus FROM jobs;
	INSERT INTO ranged (batch_id, project_id, runs, progress) SELECT batch_id, project_id, runs, 4 * runs FROM jobs});
my ($rows, $error) = restored('label_added', 'labeled');
is($rows, 0, 'a label that was added to the type of the extension: the table is restored empty');
like($error, qr/COPY failed for table "labeled": ERROR:  \Q$label_error\E/, '... and pg_restore says so');
$node->safe_psql('label_added', q{ALTER TYPE jobstatus ADD VALUE 'CANCELING'});
$node->command_ok([ 'pg_restore', '--data-only', '--table=labeled', '-d', $node->connstr('label_added'), "$tempdir/label_added" ], '... but not once the label is there');
is($node->safe_psql('label_added', 'SELECT count(*) FROM labeled'), 5, '... with all rows');
($rows, $error) = restored('range_dropped', 'ranged');
is($rows, 0, 'the range of the domain, dropped: the table is restored empty');
like($error, qr/COPY failed for table "ranged": ERROR:  value for domain public\.jobprogress violates/, '... and pg_restore says so');

# The way out, as the pages have it
my ($to_own_labels) = sql_blocks('doc/cookbook.md', 'Labels of your own');
$node->safe_psql('postgres', $to_own_labels =~ s/\bALTER TABLE jobs\b/ALTER TABLE labeled/r);
$node->safe_psql('postgres', 'ALTER TABLE ranged ALTER progress TYPE int');
($rows, $error) = restored('own_types', 'labeled');
is($rows, 5, 'with an enum of its own the table is restored');
is($node->safe_psql('own_types', q{SET pasqal_jobs.jobs_table = 'labeled'; SELECT status, error FROM cancel_jobs_preview(md5('batch')::uuid, '{"status": "CANCELING"}')}),
	'|Job cannot be canceled: its status is CANCELING', '... and its labels are known there');
is($node->safe_psql('own_types', 'SELECT max(progress) FROM ranged'), 400, '... as is one with a progress of its own');
is($error, '', '... and pg_restore says nothing');

is($node->safe_psql('postgres', q{
	CREATE TABLE before AS SELECT pg_relation_filenode('jobs') AS filenode;
	ALTER TABLE jobs ALTER progress TYPE int;
	SELECT filenode = pg_relation_filenode('jobs') FROM before}), 't', 'the type integer for progress rewrites nothing');

done_testing();

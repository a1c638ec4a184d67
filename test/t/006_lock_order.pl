# In which order a cancel meets the jobs that it locks: that of the table, in
# whichever way it finds them. In TAP because the order depends on settings of
# the server. Deadlocks themselves are tried in isolation/specs/lock-order.spec
# and 011_torture.pl.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# With so few buffers a sequential scan joins another one midway
my $node = PostgreSQL::Test::Cluster->new('lock_order');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_buffers = 1MB
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = all
autovacuum = off
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_stat_statements;
	CREATE EXTENSION pasqal_jobs;
	CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;
	CREATE TABLE met (n int GENERATED ALWAYS AS IDENTITY, id uuid);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.met (id) VALUES (NEW.id); RETURN NEW; END';

	-- Of every table: a batch of 2,000 jobs among 200 others, each third of which has a second
	-- version, and where their first ones lie
	CREATE PROCEDURE fill(name text) LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('INSERT INTO %1$I (id, batch_id, project_id, runs)
			SELECT md5(%1$L || n)::uuid, md5(CASE WHEN n %% 11 = 0 THEN n::text ELSE %2$L END)::uuid, md5(%3$L)::uuid, n
			FROM generate_series(1, 2200) AS n', name, 'batch', 'project');
		EXECUTE format('CREATE TABLE %I AS SELECT id, ctid AS place FROM %I', name || '_first', name);
		EXECUTE format('UPDATE %I SET progress = 1 WHERE runs %% 3 = 0', name);
		EXECUTE format('CREATE TRIGGER note BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION note()', name);
	END $$;
	SELECT create_jobs_table(), create_jobs_table('parted', 1), create_jobs_table('unindexed');
	DROP INDEX unindexed_batch_id_idx;
	SET default_table_access_method = other;
	SELECT create_jobs_table('elsewhere');
	RESET default_table_access_method;
	CALL fill('jobs');
	CALL fill('parted');
	CALL fill('unindexed');
	CALL fill('elsewhere');
	ANALYZE;
});

# The order in which a cancel meets jobs: by their first versions, by their last
# ones, by their ids, or none of these
sub order_of
{
	my ($table, $filters, $before) = @_;
	my $out = $node->safe_psql('postgres', ($before // '') . qq{;
		SET pasqal_jobs.jobs_table = '$table';
		BEGIN;
		CREATE TEMP TABLE last AS SELECT id, ctid AS place FROM $table;
		SELECT count(cancel_jobs(md5('batch')::uuid, $filters));
		SELECT count(*) > 4,
			string_agg(m.id::text, '' ORDER BY n) = string_agg(m.id::text, '' ORDER BY f.place),
			string_agg(m.id::text, '' ORDER BY n) = string_agg(m.id::text, '' ORDER BY l.place),
			string_agg(m.id::text, '' ORDER BY n) = string_agg(m.id::text, '' ORDER BY m.id)
		FROM met AS m JOIN ${table}_first AS f USING (id) JOIN last AS l USING (id);
		ROLLBACK});
	my ($several, %by);
	($several, @by{qw(first last id)}) = split /\|/, (split /\n/, $out)[-1];
	return join(' ', $several eq 't' ? () : 'too few', grep { $by{$_} eq 't' } qw(first last id));
}

my $prefix = q{'{"id__starts_with": "7"}'};
my $list = q{(SELECT jsonb_build_object('id', jsonb_agg(id)) FROM (SELECT id FROM %s ORDER BY md5(id::text) LIMIT %d) AS x)};
my $liking_indexes = 'SET random_page_cost = 0.01';
foreach my $table ('jobs', 'parted')
{
	is(order_of($table, q{'{}'}), 'first', "$table: a batch");
	is(order_of($table, q{'{}'}, $liking_indexes), 'first', "$table: a batch, by an index");
	is(order_of($table, $prefix, $liking_indexes), 'first', "$table: a prefix");
	is(order_of($table, sprintf($list, $table, $_), $liking_indexes), 'first', "$table: $_ ids") for 100, 500;
}

# Where the planner decides alone
is(order_of('elsewhere', q{'{}'}), 'last', 'another access method: as the planner likes');
is(order_of('jobs', q{'{}'}, 'SET enable_bitmapscan = off'), 'last', 'without bitmaps: as the planner likes');

# Where no index serves: from the beginning, though another scan is midway, and not compiled for its cost
$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
is(order_of('unindexed', q{'{}'}, 'SELECT count(*) FROM (SELECT FROM unindexed LIMIT 1500) AS x'), 'last', 'a sequential scan begins at the beginning');
is($node->safe_psql('postgres', q{SELECT count(*), sum(jit_functions) FROM pg_stat_statements WHERE query LIKE 'UPDATE%unindexed AS j SET%'}),
	'1|0', '... and is not compiled');

$node->stop;
done_testing();

# The documentation: its form, its links, its tables against the code, its SQL,
# and the messages of doc/troubleshooting.md. In TAP because all of this is
# read from the pages.

use strict;
use warnings;

use Encode qw(decode);
use File::Basename qw(dirname);
use PasqalJobs;

my @pages = ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'test/README.md', sort glob('doc/*.md'), glob('test/*/README.md'));
my %text = map { $_ => slurp_file($_) } @pages;

# Pages whose SQL a test of their own runs
my %run_by = ('doc/cookbook.md' => 'test/t/020_cookbook.pl', 'doc/production.md' => 'test/t/023_production.pl', 'doc/api.md' => 'test/http/doc.py');

#
# Form and links
#

cmp_ok(-s 'README.md', '<=', 16 * 1024, 'README.md is short');

# The name by which a link finds a heading
sub anchor
{
	my $heading = lc shift;
	$heading =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
	$heading =~ s/[^\w\- ]//g;
	return $heading =~ tr/ /-/r;
}

my (%anchors, %prose);
foreach my $page (@pages)
{
	my @lines = split /\n/, decode('UTF-8', $text{$page});
	is(join(' ', map { $_ + 1 } grep { length $lines[$_] > 120 } 0 .. $#lines), '', "$page: no line over 120 characters");

	$prose{$page} = $text{$page} =~ s/^```.*?^```$//msgr;
	$anchors{$page}{ anchor($_) }++ foreach $prose{$page} =~ /^#+ (.*)$/mg;
	is(join(' ', grep { $anchors{$page}{$_} > 1 } sort keys %{ $anchors{$page} }), '', "$page: headings differ");
}

foreach my $page (@pages)
{
	my $links = 0;
	my @dead;
	(my $linked = $prose{$page}) =~ s/`[^`\n]*`/x/g;
	foreach my $link ($linked =~ /\]\(([^)\s]+)\)/g, $linked =~ /^\[[^\]]+\]: (\S+)$/mg)
	{
		next if $link =~ /^https?:/;
		my ($path, $fragment) = $link =~ /^([^#]*)(?:#(.*))?$/;
		my $target = $path eq '' ? $page : dirname($page) . "/$path";
		$target =~ s,^\./,,;
		1 while $target =~ s,[^/]+/\.\./,,;
		$links++;
		push @dead, $link if !-e $target || defined $fragment && !$anchors{$target}{$fragment};
	}
	is("@dead", '', "$page: $links links lead somewhere");
}

# The pages that a table of contents must name are all there
foreach my $page (grep { !m{^(README|test/.*/README)\.md$} } @pages)
{
	like($prose{'README.md'}, qr/\(\Q$page\E[#)]/, "README.md leads to $page");
}

#
# Tables against the code
#

my $node = start_server('docs', bare => 1, conf => 'max_prepared_transactions = 2');
$node->safe_psql('postgres', q{
	CREATE ROLE operator LOGIN;
	CREATE ROLE mallory LOGIN;
	CREATE DATABASE empty;
	CREATE DATABASE prepared});
$node->safe_psql('prepared', q{
	CREATE EXTENSION pasqal_jobs;
	SELECT create_jobs_table();
	INSERT INTO jobs (batch_id, project_id, user_id, runs, status)
	SELECT '5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3', md5('project')::uuid, name, runs, status::jobstatus
	FROM (VALUES ('niels', 200, 'PENDING'), ('niels', 100, 'PENDING'), ('niels', 200, 'DONE'), ('lise', 200, 'RUNNING')) AS v (name, runs, status)});

# What examples/demo.sql has when the first statement of README.md is its turn
my ($example) = $text{'README.md'} =~ /^```sql\n(.*?)^```/ms;
my ($before, $demo_cancels) = slurp_file('examples/demo.sql') =~ /^(-- Install.*?)^-- Look first.*?^(SELECT cancel_jobs\(.*?;)$/ms;
is($demo_cancels =~ s/\s+/ /gr, $example =~ s/\s+/ /gr =~ s/ $//r, 'the example is a statement of the demo');
$node->safe_psql('postgres', 'CREATE DATABASE demo');
$node->safe_psql('demo', $before);

# The rows of the first table in a section of a page, README.md by default
sub rows_of
{
	my ($section, $page) = @_;
	$page //= 'README.md';
	my ($table) = $text{$page} =~ /^## \Q$section\E\n.*?((?:^\|[^\n]*\n)+)/ms or die "$page has no table in $section";
	my @rows = map { [ /\| ((?:[^|])*?) (?=\|)/g ] } split /\n/, $table;
	return @rows[ 2 .. $#rows ];
}

# What stands in backquotes in a cell
sub names_in { return $_[0] =~ /`([^`]+)`/g }

my @settings = map { [ (names_in($_->[0]))[0], (names_in($_->[1]))[0] // '' ] } rows_of('Settings');
my $settings = $node->safe_psql('prepared', q{
	SELECT count(*) FROM cancel_jobs_preview(gen_random_uuid());
	SELECT name, boot_val FROM pg_settings WHERE name LIKE 'pasqal_jobs.%' ORDER BY name});
is(join("\n", 0, sort map { join '|', @$_ } @settings), $settings, 'the settings and their defaults');

my (@filters, @documented);
my ($filter_table) = slurp_file('src/filters.c') =~ /^const FilterDef filter_table.*?\{\n(.*?)^\};/ms or die;
while ($filter_table =~ /"(\w+)", TAKES_(\w+), (true|false)(?:[^}]*LABELS_OF_(\w+))?/g)
{
	my ($name, $kind, $list, $labels) = ($1, $2, $3, $4);
	$kind = { UUID_PREFIX => 'text', DATETIME => 'date-time' }->{$kind} // lc($labels // $kind);
	push @filters, "$name: $kind" . ($list eq 'true' ? ', list' : '');
}
foreach my $row (rows_of('Filters'))
{
	my $takes = $row->[1] =~ /^`PENDING`/ ? 'status, list' : $row->[1] =~ /^`CLIENT`/ ? 'origin, list' : $row->[1];
	push @documented, map { "$_: $takes" } names_in($row->[0]);
}
is_deeply(\@documented, \@filters, 'the filters, in their order');
is(join(' ', map { names_in($_->[1]) } rows_of('Filters')),
	$node->safe_psql('prepared', q{SELECT array_to_string(enum_range(NULL::jobstatus)::text[] || enum_range(NULL::origin)::text[], ' ')}),
	'the labels of the enumerations');

my @columns = slurp_file('src/columns.c') =~ /\[COLUMN_\w+\] = \{("\w+", KIND_\w+)/g;
my %type = (UUID => 'uuid', TEXT => 'text', INTEGER => 'integer', BIGINT => 'bigint', TIMESTAMPTZ => 'timestamptz', JSONB => 'jsonb',
	TEXT_ARRAY => 'text[]', LABEL => 'JobStatus');
my %documented = map { my $type = (names_in($_->[1]))[0]; map { $_ => $type } names_in($_->[0]) } rows_of('Columns', 'doc/reference.md');
is_deeply(\%documented, { map { /"(\w+)", KIND_(\w+)/; $1 => $type{$2} } @columns }, 'the columns and their types');

is(join("\n", sort map { s/^CALL //r } map { names_in($_->[0]) } rows_of('Functions')), $node->safe_psql('prepared', q{
	SELECT format('%s(%s)', proname, (SELECT string_agg(a.name, ', ' ORDER BY a.n) FROM unnest(proargnames) WITH ORDINALITY AS a (name, n)
									  WHERE proargmodes IS NULL OR proargmodes[a.n] = 'i'))
	FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname COLLATE "C"}), 'the functions and their arguments');

my %arguments;
foreach my $row (split /\n/, $node->safe_psql('prepared', q{
	SELECT proname, pg_get_function_arguments(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace}))
{
	my ($function, $arguments) = split /\|/, $row, 2;
	foreach my $argument (map { s/^IN //r } grep { !/^(?:OUT|INOUT) / } split /, /, $arguments)
	{
		my ($name, $type) = split / /, $argument =~ s/::\w+//r =~ s/\binteger\b/int/r, 2;
		$arguments{$name}{$type} = 1;
	}
}
is_deeply([ map { [ (names_in($_->[0]))[0], names_in($_->[2]) ] } rows_of('Arguments', 'doc/reference.md') ],
	[ map { [ (names_in($_->[0]))[0], sort keys %{ $arguments{ (names_in($_->[0]))[0] } } ] } rows_of('Arguments', 'doc/reference.md') ],
	'the arguments, their types and defaults');
is(join(' ', sort map { names_in($_->[0]) } rows_of('Arguments', 'doc/reference.md')), join(' ', sort keys %arguments), '... all of them');

my ($fields) = $text{'README.md'} =~ /with\s+the\s+fields\s+(.*?);/s or die;
my ($columns_of_answer) = slurp_file('src/columns.h') =~ /^typedef enum JobColumn\n\{\n(.*?)^\tFIELD_COUNT,/ms or die;
my $field_count = () = $columns_of_answer =~ /\bCOLUMN_\w+/g;
is_deeply([ names_in($fields) ], [ map { /"(\w+)"/ } @columns[ 0 .. $field_count - 1 ] ], 'the fields of an answer, in their order');

my @reasons = map { /\bWHY_\w+(?:\[\] =)?\s+"(.*)"/mg } slurp_file('src/cancel.h'), slurp_file('src/cancel.c');
is_deeply([ map { names_in($_->[0]) } rows_of('Answer') ], [ map { s/%s/DONE/r } @reasons ], 'the reasons, in their order');

# Figures that have their source in another file
sub number_in
{
	my ($file, $pattern) = @_;
	my ($number) = slurp_file($file) =~ $pattern or die "$file has nothing like $pattern";
	return $number =~ tr/,_//dr;
}
my $self_test = qx(/usr/bin/python3 -B test/history/check.py --self-test);
foreach (
	[ 'README.md', qr/with the (\d+) columns of/, scalar keys %documented ],
	[ 'test/README.md', qr/^\| `oracle` \| compares ([\d,]+) /m, 2 * number_in('test/long/run.sh', qr/oracle1 .*TRUST_CASES:-(\d+)/) ],
	[ 'test/README.md', qr/^\| `rights` .* ([\d,]+) cases/m, number_in('test/long/run.sh', qr/tap rights .*TRUST_CASES:-(\d+)/) ],
	[ 'test/README.md', qr/^\| `mutants` \| plants (\d+) /m, number_in('test/long/run.sh', qr/TRUST_MUTANTS:-(\d+)/) ],
	[ 'test/README.md', qr/(\d+) small\s+bad histories/, scalar(() = $self_test =~ /^ok - .*: (?!nothing$)/mg) ],
	[ 'test/README.md', qr/check-differential` sends ([\d,]+) /, number_in('test/http/run.sh', qr/set -- --count (\d+)/) ],
	[ 'doc/api.md', qr/check-differential` compares ([\d,]+) /, number_in('test/http/run.sh', qr/set -- --count (\d+)/) ],
	[ 'doc/api.md', qr/Query strings of up to ([\d,]+) bytes/, number_in('examples/api_service.py', qr/^QUERY_LIMIT = ([\d_]+) if/m) ],
	[ 'doc/api.md', qr/the limit is ([\d,]+) bytes/, number_in('examples/api_service.py', qr/^QUERY_LIMIT = .* else ([\d_]+)$/m) ],
	[ 'doc/production.md', qr/objsubid = (\d+) /, hex(number_in('src/batch_lock.c', qr/^#define BATCH_LOCK_SPACE\s+0x(\w+)$/m)) ])
{
	my ($file, $pattern, $number) = @$_;
	is(number_in($file, $pattern), $number, "$file: $number, as in $pattern");
}

# ... or are measured: the least of three, as a checkpoint may come between
$node->safe_psql('postgres', 'CREATE DATABASE measured TEMPLATE prepared');
my ($wal) = sort { $a <=> $b } map { $node->safe_psql('measured', qq{
	INSERT INTO jobs (batch_id, project_id, runs) SELECT md5('$_')::uuid, md5('project')::uuid, 1 FROM generate_series(1, 1000);
	SELECT pg_current_wal_insert_lsn() AS before \\gset
	SELECT count(cancel_jobs(md5('$_')::uuid)) AS calls \\gset
	SELECT round((pg_current_wal_insert_lsn() - :'before') / 1000)}) } 1 .. 3;
foreach ([ 'doc/performance.md', qr/^\| WAL \| (\d+) bytes a canceled job/m ], [ 'doc/growing.md', qr/\*\*(\d+) bytes of WAL\*\*/ ],
	[ 'doc/cookbook.md', qr/is (\d+) bytes of WAL/ ], [ 'doc/faq.md', qr/writes (\d+) bytes of WAL/ ])
{
	my ($file, $pattern) = @$_;
	cmp_ok(abs(number_in($file, $pattern) - $wal), '<=', 3, "$file: bytes of WAL for a canceled job") or diag $wal;
}

# One version everywhere
my ($version) = slurp_file('pasqal_jobs.control') =~ /^default_version = '(.*)'$/m;
my %versions = map { $_ => 1 } slurp_file('META.json') =~ /"version": "([^"]*)",?\n(?!\s*"url")/g;
is_deeply([ keys %versions ], ["$version.0"], 'META.json has the version of the control file');
my ($released) = $text{'CHANGELOG.md'} =~ /\A# Changes\n\n## \Q$version.0\E \((.*)\)\n/;
like($released, qr/^(not yet released|\d{4}-\d\d-\d\d)$/, 'CHANGELOG.md begins with it');
my ($release_status) = slurp_file('META.json') =~ /"release_status": "(\w+)"/;
is($release_status eq 'stable', $released ne 'not yet released', "META.json says of it: $release_status");

#
# SQL blocks. Each section has a database of its own; what it creates is not
# there before.
#

# The blocks of a page, each with its heading, its language, and why it is not
# run here if a comment above it says so
sub blocks_of
{
	my ($page) = @_;
	my @blocks;
	my $heading = '';

	while ($text{$page} =~ /^#+ ([^\n]*)$|(?:^<!-- not run here: (needs [^\n]*) -->\n)?^```(\w*)\n(.*?)^```$/msg)
	{
		$heading = $1 // $heading;
		push @blocks, { heading => $heading, why => $2, language => $3, text => $4 } if defined $3;
	}
	return @blocks;
}

# Does a test take this SQL from the page, by its beginning?
sub taken_by
{
	my ($test, $sql) = @_;
	return grep { index($sql, s/\\n/\n/gr) == 0 } map { $_ // () } slurp_file($test) =~ /\bblock\((?:'([^']+)'|"([^"]+)")/g;
}

# The sections of a page that have SQL to run: heading, blocks
sub sections_of
{
	my ($page) = @_;
	my @sections;

	foreach my $block (grep { $_->{language} eq 'sql' } blocks_of($page))
	{
		my $heading = $block->{heading};
		if (my $why = $block->{why})
		{
			my ($test) = $why =~ m{^needs (?:other servers|Citus), see (test/t/\w+\.pl)$};
			ok($test && taken_by($test, $block->{text}), "$page: $heading: not run here, $why") or diag $block->{text};
			next;
		}
		push @sections, { heading => $heading, blocks => [] } if !@sections || $sections[-1]{heading} ne $heading;
		push @{ $sections[-1]{blocks} }, $block->{text};
	}
	return @sections;
}

# SQL hides neither in a block of another form nor in one of another name
foreach my $page (@pages)
{
	my @blocks = blocks_of($page);
	is(scalar(() = $text{$page} =~ /^\s*(?:```|~~~)/mg), 2 * @blocks, "$page: its blocks have a form that is found");
	is(join(', ', grep { !/^(sql|python|js|go|sh|)$/ } map { $_->{language} } @blocks), '', "$page: ... and a language that is known");
	is(join('', map { $_->{text} } grep { $_->{language} eq '' && $_->{text} =~ /^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|SET|WITH|BEGIN|GRANT)\b.*;/m } @blocks),
		'', "$page: ... and SQL is called so");
}

my $databases = 0;
my $db;

sub new_database
{
	my ($template) = @_;
	$db = 'docs' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE $template");
}

# What is true after a section
my %effects = (
	'README.md: pasqal_jobs' => sub {
		my ($shown) = $text{'README.md'} =~ /^```\n(\{"data": .*?)^```/ms;
		my $pattern = join '.*', map { quotemeta } split /…/, $shown =~ s/\s+/ /gr =~ s/ $//r;
		like($_[0], qr/^$pattern$/m, 'the first example has its answer, field by field');
		is($node->safe_psql($db, q{SELECT string_agg(status::text, ' ' ORDER BY creation_order) FROM jobs WHERE user_id = 'niels' AND runs >= 200}),
			'DONE CANCELED CANCELED', '... and the table says the same');
	},
	'README.md: Install' => sub {
		is($node->safe_psql($db, q{SELECT cancel_jobs(gen_random_uuid())}), '{"data": {"jobs": [], "errors": {}}}', 'installed');
	},
	'README.md: First cancel' => sub {
		like($_[0], qr/"status": "CANCELED".*"status": "CANCELED".*"status": "CANCELED"/s, 'three jobs at least');
		is($node->safe_psql($db, q{SELECT status, count(*) FROM jobs WHERE runs = 100 GROUP BY 1}), 'PENDING|4', 'it was only a look');
	},
	'doc/faq.md: My statuses are others' => sub {
		like($_[0], qr/^CANCELING\|\|$/m, 'a job that runs is left to its worker');
		is($node->safe_psql($db, q{SELECT string_agg(status || (end_timestamp IS NULL)::text, ' ' ORDER BY creation_order) FROM jobs}),
			'CANCELEDfalse CANCELEDfalse DONEtrue CANCELINGtrue', '... others are canceled');
	},
	'doc/growing.md: Fillfactor' => sub {
		is($node->safe_psql($db, q{SELECT 'fillfactor=45' = ANY (reloptions) FROM pg_class WHERE oid = 'jobs'::regclass}), 't', 'made with another fillfactor, and changed');
	},
	'doc/growing.md: Partitions' => sub {
		is($node->safe_psql($db, q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'jobs'::regclass}), 64, 'so many partitions');
	},
	'doc/growing.md: postgres_fdw' => sub {
		is($node->safe_psql($db, q{SELECT count(*) FROM jobs}), 0, 'a table for a shard');
	},
	'doc/growing.md: Retention' => sub {
		is($node->safe_psql($db, q{SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'jobs_by_age'::regclass}), 'jobs_2026_11', 'the oldest partition is gone');
	},
	'doc/workers.md: Wait or skip' => sub {
		like($_[0], qr/^\|3$/m, 'no job is locked');
	},
	'doc/workers.md: Cooperative cancel' => sub {
		like($_[0], qr/^CANCELING\|1$/m, 'a RUNNING job is asked to end');
		is($node->safe_psql($db, q{SELECT status, count(*), count(end_timestamp) FROM jobs GROUP BY 1 ORDER BY 1}), "CANCELING|1|0\nDONE|1|0\nCANCELED|2|2", 'PENDING jobs are CANCELED');
	},
	'README.md: Who may cancel' => sub {
		my $cancel = q{SELECT count(*) FROM cancel_jobs_rows('5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3') WHERE error IS NULL};
		is($node->safe_psql($db, $cancel, extra_params => [ '-U', 'operator' ]), 3, 'the operator cancels');
		my (undef, undef, $stderr) = $node->psql($db, $cancel, extra_params => [ '-U', 'mallory' ]);
		like($stderr, qr/permission denied for table jobs/, 'others do not');
	},
);

foreach my $page (@pages)
{
	if (my $test = $run_by{$page})
	{
		ok(-e $test, "$page: its SQL is run by $test");
		next;
	}
	foreach my $section (sections_of($page))
	{
		my $heading = $section->{heading};
		my @blocks = @{ $section->{blocks} };

		new_database($blocks[0] =~ /CREATE EXTENSION pasqal_jobs/ ? 'empty' : $blocks[0] eq $example ? 'demo' : 'prepared');
		$node->safe_psql($db, 'DROP TABLE jobs') if $blocks[0] =~ /create_jobs_table\((?:'jobs')?[,)]/ && $blocks[0] !~ /CREATE EXTENSION/;
		my $output = '';
		foreach my $sql (@blocks)
		{
			my ($status, $stdout, $stderr) = $node->psql($db, $sql);
			is($status, 0, "$page: $heading: runs") or diag "$sql\n$stderr";
			$output .= "$stdout\n";
		}
		my $effect = delete $effects{"$page: $heading"};
		$effect->($output) if $effect;
	}
}
is(join(', ', sort keys %effects), '', 'each section with an effect was found');

#
# Messages: what a comment below a heading of doc/troubleshooting.md does ends
# with the message of the heading
#

while ($text{'doc/troubleshooting.md'} =~ /^### `(ERROR:[^\n]*)`\n(?:<!-- (.*?) -->\n)?/msg)
{
	my ($message, $how) = ($1, $2 // '');
	if ($how =~ /^provoked by: (.*)/s)
	{
		my $sql = $1;
		new_database('prepared');
		$node->safe_psql($db, 'GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO operator');
		my ($status, undef, $stderr) = $node->psql($db, $sql, on_error_stop => 1);
		ok($status == 3 && $stderr =~ /: \Q$message\E/, $message) or diag $stderr;
	}
	elsif ($how =~ /^provoked in (\S+)/)
	{
		# names are others there
		my $file = $1;
		my $pattern = join '"[^"]*"', map { quotemeta } split /"[^"]*"/, $message =~ s/^ERROR:  //r;
		ok(slurp_file($file) =~ /$pattern/, "$message, in $file");
	}
	else
	{
		like($how, qr/^not provoked: needs /, "$message: why it is not provoked");
	}
}

# A misspelt setting, before the library is loaded and after
my ($warning) = $text{'doc/troubleshooting.md'} =~ /`(WARNING:.*?)`/s or die 'doc/troubleshooting.md has no warning';
new_database('prepared');
my ($status, $stdout, $stderr) = $node->psql($db, q{
	SET pasqal_jobs.job_table = 'x';
	SHOW pasqal_jobs.job_table;
	SELECT count(*) FROM cancel_jobs_preview(gen_random_uuid());
	SHOW pasqal_jobs.job_table});
is($stdout, "x\n0", 'a misspelt setting is taken at first');
like($stderr, qr/\Q${\($warning =~ tr,\n, ,r)}\E.*unrecognized configuration parameter/s, '... and dropped with a warning');

done_testing();

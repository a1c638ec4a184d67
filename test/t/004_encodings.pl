# Databases whose encoding is not UTF-8. In TAP because it takes a database of
# each encoding.

use strict;
use warnings;

use PasqalJobs;

my $node = start_server('encodings', bare => 1);

# The status code, and how many jobs were canceled or where the problems are
my $ask = q{
	SELECT status_code, coalesce(json_array_length(body #> '{data,jobs}')::text, (SELECT string_agg(d->>'loc' || ' ' || (d->>'type'), '; ') FROM json_array_elements(body->'detail') AS d))
	FROM cancel_jobs_http('b0000000-0000-4000-8000-000000000001', '%s')};
my %expected = (
	# the query string => in UTF8, LATIN1, EUC_JP, SQL_ASCII
	'user_id=%C3%A9' => [ '200|1', '200|1', '200|1', '200|1' ],
	"user_id=\xC3\xA9" => [ ('200|1') x 4 ],
	'user_id=%E2%82%AC' => [ '200|0', '422|["query", "user_id", 0] type_error.str', '422|["query", "user_id", 0] type_error.str', '200|0' ],
	'user_id=%C3' => [ '200|0', '422|["query", "user_id", 0] type_error.str', '422|["query", "user_id", 0] type_error.str', '200|0' ],
	'min_runs=%C2%A01' => [ ('200|2') x 4 ],
	'min_runs=%E2%82%AC' => [ ('422|["query", "min_runs"] type_error.integer') x 4 ],
	'status=%E2%82%AC' => [ ('422|["query", "status", 0] type_error.enum') x 4 ],
	'x%E2%82%AC=1' => [ qq{422|["query", "x\xE2\x82\xAC"] value_error.extra}, ('422|["query", "x???"] value_error.extra') x 2,
		qq{422|["query", "x\xE2\x82\xAC"] value_error.extra} ],
	'x%C3%A9=1' => [ (qq{422|["query", "x\xC3\xA9"] value_error.extra}) x 4 ],
);
# A filter of jsonb, and how many jobs it cancels or its error; undef: the encoding lacks the character
my %as_jsonb = (
	"1\xC2\xA0" => [ '2', '2', undef, '2' ],
	"\xE3\x80\x801" => [ '2', undef, '2', '2' ],
	"1\xC3\x82\xC2\xA0" => [ '22023', '22023', undef, '22023' ],
);

my @encodings = ('UTF8', 'LATIN1', 'EUC_JP', 'SQL_ASCII');
foreach my $i (0 .. $#encodings)
{
	my $db = lc $encodings[$i];
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 ENCODING '$encodings[$i]' LOCALE 'C'");
	my $client = $encodings[$i] eq 'SQL_ASCII' ? 'SQL_ASCII' : 'UTF8';
	$node->safe_psql($db, qq{
		SET client_encoding = '$client';
		CREATE EXTENSION pasqal_jobs;
		SELECT create_jobs_table();
		INSERT INTO jobs (batch_id, project_id, runs, user_id)
		SELECT 'b0000000-0000-4000-8000-000000000001', gen_random_uuid(), 1, u FROM unnest(ARRAY['\xC3\xA9', 'e']) AS u});
	foreach my $query (sort keys %expected)
	{
		is($node->safe_psql($db, "SET client_encoding = '$client'; BEGIN; " . sprintf($ask, $query) . '; ROLLBACK'),
			$expected{$query}[$i], "$encodings[$i]: $query");
	}
	foreach my $number (sort keys %as_jsonb)
	{
		next unless defined $as_jsonb{$number}[$i];
		my (undef, $jobs, $error) = $node->psql($db, "\\set VERBOSITY sqlstate\nSET client_encoding = '$client'; BEGIN; "
			  . "SELECT jsonb_array_length(cancel_jobs('b0000000-0000-4000-8000-000000000001', '{\"min_runs\": \"$number\"}') #> '{data,jobs}'); ROLLBACK");
		is($jobs . $error =~ s/.*ERROR:  //sr, $as_jsonb{$number}[$i], "$encodings[$i]: min_runs as jsonb: $number");
	}
	is($node->safe_psql($db, "SET client_encoding = '$client'; SELECT j->>'status' FROM jsonb_array_elements(cancel_jobs('b0000000-0000-4000-8000-000000000001', '{\"user_id\": \"\xC3\xA9\"}') #> '{data,jobs}') AS j"),
		'CANCELED', "$encodings[$i]: as jsonb");
}

# In SQL_ASCII any bytes are text, and no reason to refuse a URL
is($node->safe_psql('sql_ascii', 'BEGIN; ' . (sprintf($ask, 'user_id=\303') =~ s/'user_id/E'user_id/r) . '; ROLLBACK'), '200|0', 'SQL_ASCII: bytes that are no UTF-8');

# An encoding for which PostgreSQL has no conversion: what is not ASCII is no
# text of such a database
SKIP: {
	skip 'PostgreSQL 19 has no encoding without a conversion', 4 if $node->safe_psql('postgres', 'SHOW server_version_num') >= 190000;

	$node->safe_psql('postgres', "CREATE DATABASE mule TEMPLATE template0 ENCODING 'MULE_INTERNAL' LOCALE 'C'");
	$node->safe_psql('mule', q{
		SET client_encoding = 'SQL_ASCII';
		CREATE EXTENSION pasqal_jobs;
		SELECT create_jobs_table();
		INSERT INTO jobs (batch_id, project_id, runs, user_id) VALUES ('b0000000-0000-4000-8000-000000000001', gen_random_uuid(), 1, 'e')});
	my %in_mule = (
		'user_id=e' => '200|1',
		'user_id=%C3%A9' => '422|["query", "user_id", 0] type_error.str',
		'status=%C3%A9' => '422|["query", "status", 0] type_error.enum',
		'x%C3%A9=1' => '422|["query", "x??"] value_error.extra',
	);
	is($node->safe_psql('mule', "SET client_encoding = 'SQL_ASCII'; BEGIN; " . sprintf($ask, $_) . '; ROLLBACK'), $in_mule{$_}, "MULE_INTERNAL: $_")
	  for sort keys %in_mule;
}

done_testing();

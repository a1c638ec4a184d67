# The seed corpus of the fuzzers once more, built by gcc with AddressSanitizer
# and UndefinedBehaviorSanitizer: the parsers stay within their text and do as
# they promise. The fuzzing itself is test/long/fuzz.sh.

use strict;
use warnings;

use File::Basename;
use PasqalJobs;

my $fuzz = dirname(__FILE__) . '/../long/fuzz';
my $src = dirname(__FILE__) . '/../../src';
my $dir = PostgreSQL::Test::Utils::tempdir();
my $cc = $ENV{CC} || 'gcc';
my @flags = ('-g', '-O1', '-Wall', '-Wextra', '-Werror', '-fsanitize=address,undefined', '-fno-sanitize-recover=all');

local $ENV{ASAN_OPTIONS} = 'abort_on_error=0:exitcode=99';
for ([ 'values', 'parse_value.c' ], [ 'query', 'query_string.c' ])
{
	my ($name, $source) = @$_;
	my ($stdout, $stderr) = ('', '');

	IPC::Run::run([ $cc, @flags, "-I$src", "$fuzz/fuzz_$name.c", "$fuzz/replay.c", "$src/$source", '-lm', '-o', "$dir/$name" ], '2>', \$stderr);
	is($stderr, '', "$source builds with sanitizers, without a warning");

	my $lines = () = slurp_file("$fuzz/$name.txt") =~ /^/mg;
	IPC::Run::run([ "$dir/$name", "$fuzz/$name.txt" ], '>', \$stdout, '2>', \$stderr);
	is($stdout, "$lines inputs\n", "$lines inputs for $source");
	is($stderr, '', '... and no complaint');
}

# Sanitizers that do not see anything would be no test
my ($stdout, $stderr) = ('', '');
append_to_file("$dir/bad.c", 'int main(int argc, char **argv) { char c[1] = {0}; (void) argv; return c[argc + 1]; }');
IPC::Run::run([ $cc, @flags, "$dir/bad.c", '-o', "$dir/bad" ], '2>', \$stderr);
IPC::Run::run([ "$dir/bad" ], '>', \$stdout, '2>', \$stderr);
like($stderr, qr/AddressSanitizer|runtime error/, 'the sanitizers see a byte read past the end');

done_testing();

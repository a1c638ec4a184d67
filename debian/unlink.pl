# debian/unlink.pl FILE...: of links in Markdown whose target is not beside the
# file it leaves the words.

use strict;
use warnings;
use File::Basename;

for my $file (@ARGV)
{
	my $directory = dirname($file);
	open my $in, '<', $file or die "$file: $!";
	my $text = join '', <$in>;
	close $in;
	$text =~ s{(!?)\[([^\[\]]*)\]\(([^()\s]+)\)}{
		my ($whole, $words, $target) = ($&, $2, $3);
		(my $path = $target) =~ s/#.*//;
		$target =~ /^[a-z]+:/ || $path eq '' || -e "$directory/$path" ? $whole : $words;
	}ge;
	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
}

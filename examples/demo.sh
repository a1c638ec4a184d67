#!/bin/bash
# examples/demo.sh: shows demo.sql on the server that PGHOST and the like name.
#
# At a terminal each step has a screen of its own, and a key leads to the next
# one.  Not shown are statements that make sample data or the last table, and
# what is for psql only.  With no terminal all of it runs through, every
# statement and its answer as psql shows them.

set -eu -o pipefail

sql=$(realpath "$(dirname "$0")/demo.sql")
if [ ! -t 0 ] || [ ! -t 1 ]; then
	exec psql -X -a -f "$sql" 2>&1
fi

# Of each step a file with what its screen shows, and a program that waits for a
# key, shows it, and says whether to go on
export steps
steps=$(mktemp -d)
trap 'rm -rf "$steps"' EXIT
cat >"$steps/next" <<'END'
trap 'echo off; exit' INT
step=$1
if [ "$2" = wait ]; then
	printf '\033[2m-- any key: next step; q: end\033[0m ' >&2
	read -rsn 1 key
	[ "$key" != q ] || { echo off; exit; }
	printf '\033[H\033[2J' >&2
fi
cat "$steps/$step" >&2
echo on
END
awk -v steps="$steps" '
	BEGIN { wait = "begin" }
	NR > 1 && /^-- / && previous == "" {
		step++
		brief = /^-- (Sample data|What you saw)/
		print "\\set go `bash \"$steps/next\" " step " " wait "`\n\\if :go\n\\else\n\\q\n\\endif"
		wait = /^-- Sample data/ ? "go" : "wait"
	}
	step && /^-- / { print "\033[1m" $0 "\033[0m" >(steps "/" step) }
	step && !/^-- / && !/^\\/ && !/\\gset$/ && !(brief && $0 != "") { print >(steps "/" step) }
	{ print; previous = $0 }
' "$sql" >"$steps/demo.sql"
cd "$steps"
printf '\033[H\033[2J'
psql -X -P pager=off -f demo.sql

#!/bin/bash
# tools/format.sh: is src/ formatted as PostgreSQL's pgindent would?
#
#	tools/format.sh [--fix]
#
# Debian has the program behind pgindent, pg_bsd_indent, but not PostgreSQL's
# list of typedefs, so those are collected from its headers and from src/. The
# name "text" is left out, since it is a variable here more often than a type.

. "$(dirname "$0")/sandbox.sh"

command -v pg_bsd_indent >/dev/null || install_packages pg-bsd-indent
find_postgresql
cd "$PROJECT"
work=$(mktemp -d "${TMPDIR:-/tmp}/pasqal_jobs.XXXXXX")
trap 'rm -rf "$work"' EXIT

include=$("$PG_CONFIG" --includedir-server)
{
	grep -rhoP '^\}\s*\K\w+(?=;)' "$include" src
	grep -rhoP '^typedef\s+[^;{]*?\b\K\w+(?=;)' "$include" src
	grep -rhoP '^typedef\s+[^;(]*\(\*\s*\K\w+(?=\))' "$include" src
	printf '%s\n' bool size_t ssize_t int64_t uint64_t uint8_t
} | grep -vx text | sort -u >"$work/typedefs"

differ=0
for file in src/*.[ch]; do
	pg_bsd_indent -bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79 -lp -lpl -nip -npro \
		-sac -tpg -ts4 -U"$work/typedefs" "$file" "$work/out" >"$work/messages" 2>&1 || { cat "$work/messages"; exit 1; }
	# what pgindent mends of that program's output, and what both get wrong in
	# designated initializers
	sed -E -e 's/^([A-Za-z_][A-Za-z0-9_ ]*[A-Za-z0-9_])[[:space:]]+\*$/\1 */' -e 's/(\S),([.[])/\1, \2/g' -e 's/\btext \* /text */g' "$work/out" >"$work/wanted"
	cmp -s "$file" "$work/wanted" && continue
	if [ "${1:-}" = --fix ]; then
		cat "$work/wanted" >"$file"
	else
		diff -u "$file" "$work/wanted" || true
		differ=$((differ + 1))
	fi
done
[ "$differ" = 0 ] && echo "format: $(ls src/*.[ch] | wc -l) files as pgindent writes them"

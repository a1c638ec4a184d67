# shellcheck shell=bash
# test/long/postgresql.sh: builds a PostgreSQL that checks itself, from Debian's
# own source package. Sourced after tools/sandbox.sh by assert.sh, races.sh
# and valgrind.sh.
#
#	build_postgresql PREFIX MAJOR...
#
# Takes the first of the versions whose source this machine's sources have, or
# those of a newer suite of Debian. It gets assertions and, from 17 on,
# injection points. BUILD_CFLAGS holds more flags. It is built in $WORK, which
# goes with the sandbox.

WORK=$SANDBOX/work
# shellcheck disable=SC2034 # for those who source this
BUILD_PACKAGES=(gcc make libc6-dev dpkg-dev bison flex perl libipc-run-perl postgresql-common)

# Debian's sources put a part of what they build for any other name into the system
for kept in "${RACES_PREFIX:-}" "${ASSERT_PREFIX:-}" "${VALGRIND_PREFIX:-}"; do
	case $kept in
		"" | *postgres* | *pgsql*) ;;
		*) say "$kept: the directory of a PostgreSQL that is kept must have postgresql in its name"; exit 2 ;;
	esac
done

# Prints apt's options for lists of sources of its own
source_options() {
	printf '%s\n' -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$WORK/apt/sources" \
		-o "Dir::State::Lists=$WORK/apt/lists" -o "Dir::Cache=$WORK/apt/cache" -o "APT::Sandbox::User=root" \
		-o "Acquire::Languages=none"
}

# add_sources [SUITE]: the sources that this machine has its packages from, as
# sources of sources, or the same of another suite
add_sources() {
	local file own
	own=$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")

	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -e "$file" ] || continue
		sed -n "s/\<$own\>/${1:-$own}/g; s/^deb /deb-src /p" "$file" >"$WORK/apt/sources/${1:-own}-$(basename "$file" .list).list"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[ -e "$file" ] || continue
		sed "s/^Types:.*/Types: deb-src/; s/\<$own\>/${1:-$own}/g" "$file" >"$WORK/apt/sources/${1:-own}-$(basename "$file")"
	done
	# a source of other things may have none of its own
	apt-get -q "${options[@]}" update >>"$WORK/source.log" 2>&1 || true
}

# fetch_source MAJOR
fetch_source() {
	local version

	# the newest that can be had: an index may be ahead of what its mirror keeps
	for version in $(apt-cache "${options[@]}" showsrc "postgresql-$1" 2>/dev/null | sed -n 's/^Version: //p' | sort -ruV); do
		(cd "$WORK/source" && apt-get -q "${options[@]}" source "postgresql-$1=$version" >>"$WORK/source.log" 2>&1) && break
	done
	compgen -G "$WORK/source/postgresql-$1-*/configure" >/dev/null
}

build_postgresql() {
	local prefix=$1 options configure=() modules=() module suite major=
	shift

	mapfile -t options < <(source_options)
	mkdir -p "$WORK/apt/sources" "$WORK/apt/lists/partial" "$WORK/apt/cache/archives/partial" "$WORK/source"
	say "fetching the source of PostgreSQL"
	for suite in "" trixie forky sid; do
		add_sources ${suite:+"$suite"}
		for major in "$@"; do
			! fetch_source "$major" || break 2
		done
		major=
	done
	if [ -z "$major" ]; then
		cat "$WORK/source.log" >&2
		return 1
	fi

	if [ "$major" -ge 17 ]; then
		configure=(--enable-injection-points)
		modules=(src/test/modules/injection_points)
	fi
	say "building PostgreSQL $major with assertions${configure[0]:+ and injection points}"
	(
		cd "$WORK"/source/postgresql-"$major"-*/ &&
			./configure --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests "${configure[@]}" \
				--without-readline --without-zlib --without-icu CFLAGS="-O1 -g ${BUILD_CFLAGS:-}" &&
			make -s -j"$(nproc)" &&
			make -s install &&
			cp src/tools/valgrind.supp "$prefix" &&
			for module in contrib/{postgres_fdw,pg_stat_statements,dblink,auto_explain} "${modules[@]}"; do
				make -s -C "$module" install || exit
			done
	) >"$WORK/build.log" 2>&1 || { tail -30 "$WORK/build.log" >&2; return 1; }
}

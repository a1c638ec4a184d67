#!/bin/bash
# test/clusters.sh: make installcheck on clusters as people have them.
#
#	test/clusters.sh		all, at once; a part of test/suite.sh, in whose sandbox it runs
#	test/clusters.sh CLUSTER	one; this is what pg_virtualenv runs
#
# The sandbox has a server as tests like it: anybody may log in as anybody, databases
# are UTF-8, nothing is configured. Here Debian's own programs make the clusters as
# they make a user's, pg_virtualenv by pg_createcluster: by the socket one logs in as
# the role with the name of the system's user, by TCP/IP with a password.
#
# These programs know no PostgreSQL but the installed one. That stays as it is: its
# servers look for the extension in the sandbox, as pg_virtualenv -p has them look
# for it in a package that is being built.

set -eu

where=$PASQAL_JOBS_SANDBOX/clusters

# refused ROLE: a cluster that lets it in would show nothing here
refused() {
	if psql -Xqc '' -U "$1" 2>/dev/null; then
		echo "not ok - no login as $1"
	else
		echo "ok - no login as $1"
	fi
}

# installcheck NAME OPTIONS [ARGUMENT...]: with these options of pg_regress and arguments of make
installcheck() {
	local name=$1 options="--outputdir=$where/$1 $2"
	shift 2

	echo "== make installcheck, $name"
	if ! make -s installcheck EXTRA_REGRESS_OPTS="$options" "$@"; then
		echo "not ok - make installcheck, $name"
		cat "$where/$name/regression.diffs" || true
	fi
}

# What Debian makes where no locale is chosen, as in a container
cluster_peer() {
	export PGHOST=$where/peer
	unset PGPASSWORD
	psql -Xqc 'CREATE ROLE regress_stranger LOGIN'
	refused regress_stranger
	installcheck peer ''
	installcheck latin1 '--encoding=LATIN1 --no-locale' REGRESS="setup cancel filters problems http utf8" ISOLATION=
}

# A German's, whose superuser is not postgres, configured for a purpose of its own
configured=(
	-o search_path=app
	-o client_min_messages=error
	-o session_preload_libraries=pasqal_jobs
	-o default_transaction_isolation=serializable
	-o default_transaction_read_only=on
	-o statement_timeout=10ms
	-o lock_timeout=1ms
)
cluster_password() {
	PGPASSWORD=wrong refused "$PGUSER"
	installcheck password ''
	# pg_regress makes no such database
	PGOPTIONS='-c statement_timeout=0 -c default_transaction_read_only=off' psql -Xq \
		-c "CREATE DATABASE icu TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'" \
		-c "ALTER DATABASE icu SET lc_messages = 'C'"
	installcheck icu --use-existing CONTRIB_TESTDB=icu REGRESS="setup cancel filters relations rows install" ISOLATION=
}

if [ $# -gt 0 ]; then
	"cluster_$1" 2>&1
	exit
fi

bindir=$("$PG_CONFIG" --bindir)
major=$(basename "$(dirname "$bindir")")
if [ "$bindir" != "/usr/lib/postgresql/$major/bin" ] || ! command -v pg_virtualenv >/dev/null; then
	echo "ok - make installcheck on clusters of Debian's # skip $bindir is no PostgreSQL of Debian's"
	exit
fi

mkdir "$where"
ln -s "$PASQAL_JOBS_SANDBOX/root" debian/sandbox
localedef -i de_DE -f UTF-8 "$where/de_DE.UTF-8"
export LOCPATH=$where:/usr/lib/locale
# the environment of a server is this alone
printf "%s = '%s'\n" LOCPATH "$LOCPATH" PASQAL_JOBS_SANDBOX "$PASQAL_JOBS_SANDBOX" >"$where/environment"

# make_cluster CLUSTER [OPTION...]: has pg_virtualenv make it, with these options, and run the above in it
make_cluster() {
	local cluster=$1 port
	shift

	# two that look for a free port at once could find the same
	port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
	env -u PGHOST -u PGDATABASE PGPORT="$port" pg_virtualenv -p sandbox -v "$major" \
		-c "--socketdir=$where/$cluster --environment=$where/environment" "$@" \
		"$0" "$cluster" >"$where/$cluster.log" 2>&1 || echo "not ok - cluster $cluster" >>"$where/$cluster.log"
}

USER=$(id -un) LANG=C make_cluster peer &
USER=ann LANG=de_DE.UTF-8 make_cluster password "${configured[@]}" &
wait
cat "$where/peer.log" "$where/password.log"

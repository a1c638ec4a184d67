#!/bin/bash
# test/setup/machine.sh CASE: one case of test/setup/machines.sh, in its chroot.
#
# The system is Debian's smallest, the project is in /project, and all else may
# be changed at will. Prints "ok" and "not ok" lines.

set -u
cd /project || exit 1

# check NAME COMMAND...: whether the command succeeds
check() {
	local name=$1
	shift

	if "$@"; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		[ ! -e /tmp/output ] || tail -n 40 /tmp/output | sed 's/^/# /'
	fi
}

# run COMMAND...: sets status, and seconds and processor, how long it took and
# of that of a processor; what it says is in /tmp/output
run() {
	local TIMEFORMAT='%R %U %S'

	status=0
	{ time "$@" >/tmp/output 2>&1 || status=$?; } 2>/tmp/output.time
	read -r seconds processor < <(awk '{ print $1, int($2 + $3) }' /tmp/output.time)
}

said() {
	grep -qE -- "$1" "${2:-/tmp/output}"
}

install() {
	apt-get -q update && apt-get -q install -y --no-install-recommends "$@"
}

# The version that the suite's package postgresql stands for
major() {
	apt-cache depends postgresql | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1
}

no_cluster() {
	[ "$(pg_lsclusters -h | wc -l)" = 0 ]
}

nothing_left() {
	local left

	# systemd, which sid's postgresql-common brings, makes /tmp/.X11-unix and the like
	left=$(
		find /tmp -mindepth 1 -maxdepth 1 ! -name 'output*' ! -name '.*-unix'
		find /etc/postgresql-common/createcluster.d -mindepth 1 2>/dev/null
		find /proc/[0-9]*/exe -maxdepth 0 -printf '%p %l\n' 2>/dev/null | grep -E '/(postgres|apt|dpkg|make|perl)[^/]*$'
	)
	check "... and leaves no file, setting or process${left:+: ${left//$'\n'/, }}" [ -z "$left" ]
}

shows_the_demo() {
	check "$1: the demo comes to its end" eval '[ $status = 0 ] && said "90000" && said "^-- Next:"'
}

user() {
	setpriv --reuid=user --regid=user --init-groups env HOME=/home/user "$@"
}

# Nothing there but the system, as root
case_bare() {
	run tools/demo.sh
	shows_the_demo "a bare system, without make"
	check "what is installed is said before, with its size" \
		said '^== the packages need [0-9]+ MB of disk and stay installed'
	check "and that there will be no cluster" said '^== no database cluster is made; pg_createcluster'
	check "how far it is, is said meanwhile" said '^== apt-get: [0-9]+ of [0-9]+ (fetched|unpacked|set up)'
	check "apt's own lines are not shown" eval '! said "^(Unpacking|Setting up|Get:)"'
	check "no cluster was made" no_cluster
	check "neither clang nor LLVM's tools are installed" eval \
		'! dpkg-query -W -f "\${db:Status-Abbrev}\n" "clang-*" "llvm-*-dev" 2>/dev/null | grep -q "^i"'
	echo "# the first run took $seconds s"
	nothing_left
	run make demo
	shows_the_demo "the second run"
	check "and installs nothing" eval '! said "^== packages"'
	check "and takes less than 20 seconds of a processor ($processor, in $seconds)" [ "$processor" -lt 20 ]
	nothing_left
	run pg_createcluster "$(major)" main --start
	check "pg_createcluster, as told, makes a cluster" [ "$status" = 0 ]
}

# A file system that is too small
case_small() {
	install make >/tmp/output 2>&1
	mount -t tmpfs -o size=100m tmpfs /mnt || return
	run env TMPDIR=/mnt make demo
	check "too little room is said before anything is done" eval '[ $status = 2 ] && said "^== /mnt has [0-9]+ MB free, and this takes 150 MB"'
	check "and nothing is installed" [ ! -e /usr/bin/gcc ]
	umount /mnt
	nothing_left
}

# All tests, without LANG, and in the environments of people elsewhere
case_suite() {
	run env -u LANG test/suite.sh
	check "make test without LANG: $(tail -n 1 /tmp/output)" [ $status = 0 ]
	nothing_left
	install locales >/dev/null 2>&1 && localedef -i de_DE -f UTF-8 de_DE.UTF-8
	run env LC_ALL=de_DE.UTF-8 TZ=Europe/Paris PGDATESTYLE=German PGCLIENTENCODING=LATIN1 make test
	check "make test with LC_ALL=de_DE.UTF-8, TZ=Europe/Paris, PGDATESTYLE=German: $(tail -n 1 /tmp/output)" [ $status = 0 ]
	run env LC_ALL=C TZ=America/St_Johns make test
	check "make test with LC_ALL=C, TZ=America/St_Johns: $(tail -n 1 /tmp/output)" [ $status = 0 ]
	run env LC_ALL=C.UTF-8 TZ=Asia/Kolkata PGTZ=Asia/Kolkata make test
	check "make test with TZ=Asia/Kolkata: $(tail -n 1 /tmp/output)" [ $status = 0 ]
	nothing_left
}

# PostgreSQL with its cluster is there, the server's headers are not
case_server() {
	local before major

	install postgresql make >/tmp/output 2>&1
	major=$(major)
	pg_ctlcluster "$major" main start
	before=$(find /etc/postgresql /etc/postgresql-common -type f -exec md5sum {} +)
	check "there is pgxs.mk and no postgres.h" eval \
		'[ -e "$(/usr/lib/postgresql/$major/bin/pg_config --pgxs)" ] && [ ! -e /usr/include/postgresql/$major/server/postgres.h ]'
	run make
	check "plain make names the package that is missing" eval '[ $status = 2 ] && said "postgresql-server-dev-NN"'
	run make demo
	shows_the_demo "a server without headers"
	check "the cluster still runs" pg_ctlcluster "$major" main status
	check "its configuration is as before" [ "$before" = "$(find /etc/postgresql /etc/postgresql-common -type f -exec md5sum {} +)" ]
	pg_ctlcluster "$major" main stop -m fast
	nothing_left
}

# An ordinary user without sudo, and an administrator who does what is told
case_user() {
	local line

	install make >/tmp/output 2>&1
	useradd --create-home user
	run user make demo
	line=$(grep -E '^apt-get update && apt-get install ' /tmp/output)
	check "neither root nor sudo: a line for the administrator" eval '[ $status = 2 ] && [ -n "$line" ]'
	nothing_left
	echo "# $line"
	run bash -c "${line/ install / install -y }"
	check "the administrator's line works" [ $status = 0 ]
	run user make demo
	shows_the_demo "then the user's run"
	nothing_left
}

# An ordinary user with sudo
case_sudo() {
	install make sudo >/tmp/output 2>&1
	useradd --create-home user
	echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user
	run user make demo
	shows_the_demo "a user with sudo"
	check "no cluster was made" no_cluster
	nothing_left
	run user make demo-api
	check "make demo-api" eval '[ $status = 0 ] && said "HTTP 422"'
	nothing_left
	echo 'user ALL=(ALL) ALL' >/etc/sudoers.d/user
	run user make check-differential
	check "sudo that wants a password and gets none: a line for the administrator" eval \
		'[ $status = 2 ] && said "^apt-get update && apt-get install "'
	nothing_left
}

# The archive of make dist, where there is no git: README.md's Install, by a user
# with sudo, on a cluster as Debian makes it
case_archive() {
	if [ ! -e /archive.zip ]; then
		echo "ok - the archive of make dist # SKIP this is no clone, of which git could make one"
		return
	fi
	install gcc libc6-dev make postgresql sudo unzip >/tmp/output 2>&1
	install "postgresql-server-dev-$(major)" >/tmp/output 2>&1
	useradd --create-home user
	echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user
	pg_ctlcluster "$(major)" main start
	runuser -u postgres -- createuser --superuser user
	run user unzip -q /archive.zip -d /home/user
	check "the archive has one directory" eval '[ $status = 0 ] && cd /home/user/pasqal_jobs-[0-9]*'
	check "and there is no git" eval '! command -v git && [ ! -e .git ]'
	run user make
	check "make builds it without a warning" eval '[ $status = 0 ] && ! said "warning:"'
	run user sudo make install
	check "sudo make install" [ $status = 0 ]
	run user make installcheck
	check "make installcheck by a superuser of another name: $(grep -cE '^(test|ok) .* (ok|- ).*ms$' /tmp/output) passed" [ $status = 0 ]
	run user sudo make uninstall
	check "sudo make uninstall leaves nothing of it" eval \
		'[ $status = 0 ] && [ -z "$(find / -xdev -name "pasqal_jobs*" -not -path "/project/*" -not -path "/home/*")" ]'
	pg_ctlcluster "$(major)" main stop -m fast
	run user make demo
	shows_the_demo "the demo of the archive"
	nothing_left
}

# Two first runs at once, while somebody else installs something, too
case_two_at_once() {
	local first second other

	apt-get -q update >/dev/null
	(sleep 1; apt-get -q install -y --no-install-recommends tcl libglib2.0-0 >/tmp/output.apt 2>&1) &
	other=$!
	tools/demo.sh >/tmp/output.first 2>&1 &
	first=$!
	tools/demo.sh >/tmp/output.second 2>&1 &
	second=$!
	run wait $first
	cp /tmp/output.first /tmp/output
	shows_the_demo "the first of two"
	run wait $second
	cp /tmp/output.second /tmp/output
	shows_the_demo "the second of two"
	check "one waited for the other" eval 'cat /tmp/output.first /tmp/output.second | grep -q "^== waiting for another installation"'
	wait $other
	check "no cluster was made" no_cluster
	nothing_left
}

# Ctrl-C at a terminal while sudo installs
case_interrupted_sudo() {
	local moment

	if ! script -qec true /dev/null >/dev/null 2>&1; then
		echo "ok - Ctrl-C while sudo installs # SKIP there are no pseudo-terminals here"
		return
	fi
	install make sudo >/tmp/output 2>&1
	useradd --create-home user
	echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user
	for moment in 2 5 9 13 17; do
		status=0
		(sleep $moment; printf '\003'; sleep 1) |
			script -qec "setpriv --reuid=user --regid=user --init-groups env HOME=/home/user tools/demo.sh" /dev/null >/tmp/output 2>&1 || status=$?
		check "Ctrl-C after $moment s: status $status" [ $status = 130 ]
		nothing_left
		check "and no package is half installed" eval '[ -z "$(dpkg --audit)" ]'
	done
	check "no cluster was made" no_cluster
}

# The installation interrupted, again and again
case_interrupted() {
	local guard midst=0 moment n=0 signal expected

	for moment in 0.5 1.5 3 5 7 9 12 15 18 22; do
		n=$((n + 1))
		signal=$(cut -d' ' -f$((n % 3 + 1)) <<<"INT TERM HUP")
		expected=$((128 + $(kill -l "$signal")))
		# as a terminal does it: to the whole group of processes
		setsid env --default-signal=INT,QUIT bash tools/demo.sh >/tmp/output 2>&1 &
		guard=$!
		sleep $moment
		if kill -0 $guard 2>/dev/null; then
			case $signal in
				TERM) kill -TERM $guard ;;
				*) kill -$signal -- -$guard ;;
			esac
			status=0
			wait $guard || status=$?
			check "$signal after $moment s: status $status" [ $status = $expected ]
		else
			status=0
			wait $guard || status=$?
			shows_the_demo "a run that ended before $moment s"
		fi
		nothing_left
		check "and no package is half installed" eval '[ -z "$(dpkg --audit)" ]'
		! said "^== apt-get comes to its end first" || midst=$((midst + 1))
	done
	check "$midst of these came while apt-get was at work" [ $midst -gt 2 ]
	run tools/demo.sh
	shows_the_demo "the next run"
	check "no cluster was made" no_cluster
	nothing_left
}

"case_$1"

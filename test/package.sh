#!/bin/bash
# test/package.sh: builds the Debian package, checks and tries it.
#
#	test/package.sh [SUITE]		default: this machine's
#
# In the suite's chroot (see test/matrix.sh) it builds postgresql-NN-pasqal-jobs
# with pg_buildext, which runs make installcheck on what it built, and checks it
# with lintian. Then it installs the package in a clean chroot, that is a minimal
# system, with apt install, and runs examples/demo.sql there on a cluster as
# Debian makes it. The package ends up in dist/.

. "$(dirname "${BASH_SOURCE[0]}")/matrix.sh"

suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
trial=

remove_trial() {
	status=$?
	[ -z "$trial" ] || as_root rm -rf --one-file-system "$trial"
	exit $status
}
trap remove_trial EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

failed() {
	say "FAILED: $*"
	exit 1
}

# The version is written in the control file; META.json wants three parts
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$PROJECT/pasqal_jobs.control").0

# shellcheck disable=SC2086 # words
make_chroot "$suite" "$suite" $PACKAGES
build=$CHROOT
make_chroot "$suite" "$suite-clean" apt
clean=$CHROOT

say "building the package on $suite"
log=$CHROOTS/$suite-package.log
copy_sources "$build"
in_chroot "$build" sh -euc '
	cd /project
	# shellcheck disable=SC2016 # for perl
	perl -MJSON::PP -0ne "
		my \$m = decode_json(\$_);
		exit !(\$m->{version} eq q($1) && \$m->{provides}{pasqal_jobs}{version} eq q($1))" META.json ||
		{ echo "META.json does not say $1, as pasqal_jobs.control does"; exit 1; }
	cat >debian/changelog <<-END
		pasqal-jobs ($1-1) unstable; urgency=medium

		  * Packaged by make deb; CHANGELOG.md tells what is new.

		 -- pasqal_jobs authors <authors@pasqal-jobs.invalid>  $(date -R -d "@$2")
	END
	pg_buildext updatecontrol
	dpkg-buildpackage -b -uc -us
	mkdir dist
	mv ../*.deb ../*.changes ../*.buildinfo dist
	cd dist
	lintian --version
	lintian --allow-root --suppress-tags initial-upload-closes-no-bugs --fail-on error *.changes && echo "lintian: no errors"
' sh "$version" "$(date +%s)" 2>&1 </dev/null | as_root tee "$log" >/dev/null ||
	{ tail -40 "$log" >&2; failed "building, see $log"; }
grep -E '^(E|W|I): ' "$log" || true
tail -1 "$log"
mkdir -p "$PROJECT/dist"
cp "$build"/project/dist/postgresql-*-pasqal-jobs_*.deb "$PROJECT/dist"
packages=("$build"/project/dist/postgresql-*-pasqal-jobs_*.deb)

say "installing it in a clean chroot"
trial=$CHROOTS/$suite-trial.$$
log=$CHROOTS/$suite-install.log
as_root cp -a "$clean" "$trial"
as_root cp "${packages[@]}" "$trial/root"
as_root rm -rf "$build/project"
as_root cp /etc/resolv.conf "$trial/etc/resolv.conf"
# no service may be started by the installation: there is no init
printf '#!/bin/sh\nexit 101\n' | as_root tee "$trial/usr/sbin/policy-rc.d" >/dev/null
as_root chmod 755 "$trial/usr/sbin/policy-rc.d"
in_chroot "$trial" sh -euc '
	cd /root
	apt-get -q update
	apt install -y ./postgresql-*-pasqal-jobs_*.deb
	pg_lsclusters -h | while read -r major name rest; do
		pg_ctlcluster "$major" "$name" start
		echo "demo on $(runuser -u postgres -- psql -XAtc "SELECT version()")"
		runuser -u postgres -- psql -X -a -f "/usr/share/doc/postgresql-$major-pasqal-jobs/examples/demo.sql" 2>&1
		runuser -u postgres -- psql -XAtc "SELECT count(*), status FROM jobs GROUP BY status ORDER BY status"
		pg_ctlcluster "$major" "$name" stop -m fast
		apt-get -q purge -y "postgresql-$major-pasqal-jobs"
		! ls /usr/lib/postgresql/*/lib/pasqal_jobs.so /usr/share/postgresql/*/extension/pasqal_jobs* 2>/dev/null
		echo "demo ended"
	done
' 2>&1 </dev/null | as_root tee "$log" >/dev/null || { tail -40 "$log" >&2; failed "installing, see $log"; }
# the demo shows one error, the misspelt filter
grep -q '^demo ended' "$log" || failed "the demo did not run, see $log"
[ "$(grep -c 'ERROR:' "$log")" = 1 ] || failed "the demo met errors, see $log"
grep -q '^90003|CANCELED' "$log" || failed "the demo did not cancel what it should, see $log"
sed -n 's/^demo on \(PostgreSQL [0-9.]*\).*/apt install and the demo passed: \1/p' "$log"
for package in "${packages[@]}"; do
	echo "dist/${package##*/}"
done

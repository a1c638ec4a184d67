#!/bin/bash
# tools/package.sh: builds the Debian package, checks and tries it.
#
#	tools/package.sh [SUITE]		default: this machine's
#
# With DEB_BUILD_OPTIONS=nocheck, no test runs, neither at the build nor afterwards.
#
# In the suite's chroot (see tools/matrix.sh) it makes a source package, and of it
# postgresql-NN-pasqal-jobs with pg_buildext, which runs make installcheck on what
# it built, and checks both with lintian. Then it installs the package in a clean
# chroot, that is a minimal system, with apt install, runs examples/demo.sql there
# on a cluster as Debian makes it, looks at the documents, and has autopkgtest run
# the package's own tests. The packages end up in dist/.

. "$(dirname "${BASH_SOURCE[0]}")/matrix.sh"

suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}

failed() {
	say "FAILED: $*"
	exit 1
}

# The version is written in the control file; META.json and Debian want three parts
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$PROJECT/pasqal_jobs.control").0
name=pasqal-jobs-$version
archive=pasqal-jobs_$version.orig.tar.gz

# shellcheck disable=SC2086 # words
make_chroot "$suite" "$suite" $PACKAGES
build=$CHROOT
make_chroot "$suite" "$suite-clean" apt
clean=$CHROOT

say "building the package on $suite"
log=$CHROOTS/$suite-package.log
copy_sources "$build"
# shellcheck disable=SC2016 # for the inner shell
in_chroot "$build" env DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-}" sh -euc '
	cd /project
	cp debian/control control.before
	pg_buildext updatecontrol
	cmp -s debian/control control.before || echo "debian/control is made anew"
	rm -f control.before
	mkdir "/project/$1" dist
	tar -c --exclude="./$1" --exclude=./dist --exclude=./debian --exclude-vcs . | tar -C "$1" -x
	tar -czf "$2" "$1"
	cp -a debian "$1"
	cd "$1"
	dpkg-buildpackage -S -us -uc
	cd ..
	rm -r "$1"
	dpkg-source -x *.dsc "$1"
	cd "$1"
	dpkg-buildpackage -b -us -uc
	cd ..
	mv *.deb *.dsc *.debian.tar.* "$2" *.changes *.buildinfo dist
	cd dist
	lintian --version
	for changes in *.changes; do
		lintian --allow-root --suppress-tags initial-upload-closes-no-bugs --fail-on error "$changes" && echo "lintian: no errors in $changes"
	done
' sh "$name" "$archive" >"$log" 2>&1 </dev/null || { tail -40 "$log" >&2; failed "building, see $log"; }
grep -E '^(E|W|I): |^debian/control is made anew|^lintian: ' "$log" || true
[ "$(grep -c '^lintian: no errors' "$log")" = 2 ] || failed "lintian, see $log"
rm -rf "$PROJECT/dist"
mkdir "$PROJECT/dist"
cp "$build"/project/dist/{postgresql-*-pasqal-jobs_*.deb,*.dsc,*.tar.*} "$PROJECT/dist"
chown -R --reference="$PROJECT" "$PROJECT/dist"
rm -rf "$build/project"

say "installing it in a clean chroot"
log=$CHROOTS/$suite-install.log
trial_chroot "$clean"
cp "$PROJECT"/dist/* "$CHROOT/root"
# shellcheck disable=SC2016 # for the inner shell
in_chroot "$CHROOT" env DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-}" sh -euc '
	cd /root
	apt-get -q update
	apt install -y ./postgresql-*-pasqal-jobs_*.deb
	pg_lsclusters -h | while read -r major name rest; do
		package=postgresql-$major-pasqal-jobs
		docs=/usr/share/doc/$package
		pg_ctlcluster "$major" "$name" start
		echo "demo on $(runuser -u postgres -- psql -XAtc "SELECT version()")"
		runuser -u postgres -- psql -X -a -f "$docs/examples/demo.sql" 2>&1
		runuser -u postgres -- psql -XAtc "SELECT count(*), status FROM jobs GROUP BY status ORDER BY status"
		pg_ctlcluster "$major" "$name" stop -m fast
		echo "demo ended"

		ls "$docs/README.Debian" "$docs/examples/api_service.py"
		find "$docs" -name "*.md" | while read -r document; do
			sed "s/\[/\n[/g" "$document" | sed -n "s/^\[[^]]*\](\([^():]*\)).*/\1/p" | sed "s/#.*//" | while read -r target; do
				[ -z "$target" ] || [ -e "${document%/*}/$target" ] || echo "no such document: $target, in $document"
			done
		done
		echo "documents ended"
	done

	case $DEB_BUILD_OPTIONS in *nocheck*) ;; *)
		apt-get -q install -y --no-install-recommends autopkgtest
		autopkgtest --no-built-binaries ./*.dsc ./*.deb -- null
	esac

	for package in $(dpkg-query -W -f "\${Package}\n" "postgresql-*-pasqal-jobs"); do
		apt-get -q purge -y "$package"
	done
	! ls /usr/lib/postgresql/*/lib/pasqal_jobs.so /usr/share/postgresql/*/extension/pasqal_jobs* 2>/dev/null
' >"$log" 2>&1 </dev/null || { tail -40 "$log" >&2; failed "installing, see $log"; }
# the demo shows one error, the misspelt filter
grep -q '^demo ended' "$log" || failed "the demo did not run, see $log"
[ "$(sed '/^demo ended/q' "$log" | grep -c 'ERROR:')" = 1 ] || failed "the demo met errors, see $log"
grep -q '^90004|CANCELED' "$log" || failed "the demo did not cancel what it should, see $log"
grep -q '^documents ended' "$log" || failed "the documents were not looked at, see $log"
! grep '^no such document' "$log" || failed "the documents name what is not in the package"
tests="the demo"
case ${DEB_BUILD_OPTIONS:-} in *nocheck*) ;; *)
	grep -qE '^installcheck +PASS' "$log" || failed "autopkgtest, see $log"
	tests="the demo and autopkgtest"
esac
sed -n "s/^demo on \(PostgreSQL [0-9.]*\).*/apt install, $tests passed: \1/p" "$log"
(cd "$PROJECT" && ls dist/*)

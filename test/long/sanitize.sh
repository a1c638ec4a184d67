#!/bin/bash
# test/long/sanitize.sh: the regression suite, the comparison with the oracle
# (also amid DDL and inside other calls) and the torture, the extension built with
# AddressSanitizer and UndefinedBehaviorSanitizer.
#
#	test/long/sanitize.sh [CASES [SECONDS]]
#
# A report aborts the backend, so that a test fails, and is shown at the end.
# Leaks are no matter: PostgreSQL frees memory by the context.

. "$(dirname "$0")/../../tools/sandbox.sh"

cases=${1:-2000}
seconds=${2:-20}
SANDBOX_COPT='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g'
sandbox_create postgresql-common libipc-run-perl perl pgbouncer python3

# With the sanitizers' library first, Debian's PostgreSQL waits forever in
# bindtextdomain() for a lock of glibc's. No message is translated here.
cat >"$SANDBOX/untranslated.c" <<'C'
char *bindtextdomain(const char *d, const char *dir) { (void) d; return (char *) dir; }
char *bind_textdomain_codeset(const char *d, const char *c) { (void) d; return (char *) c; }
char *textdomain(const char *d) { return (char *) d; }
char *gettext(const char *m) { return (char *) m; }
char *dgettext(const char *d, const char *m) { (void) d; return (char *) m; }
char *dcgettext(const char *d, const char *m, int c) { (void) d; (void) c; return (char *) m; }
char *ngettext(const char *a, const char *b, unsigned long n) { return (char *) (n == 1 ? a : b); }
char *dngettext(const char *d, const char *a, const char *b, unsigned long n) { (void) d; return (char *) (n == 1 ? a : b); }
C
gcc -shared -fPIC -fno-builtin "$SANDBOX/untranslated.c" -o "$SANDBOX/untranslated.so"

# A server that loads the extension needs the sanitizers' libraries to be
# there first, whoever starts it
mkdir -m 777 "$SANDBOX/reports"
mv "$SANDBOX_BIN/postgres" "$SANDBOX_BIN/postgres.plain"
cat >"$SANDBOX_BIN/postgres" <<W
#!/bin/bash
export LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so):$SANDBOX/untranslated.so
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:log_path=$SANDBOX/reports/asan
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$SANDBOX/reports/ubsan
exec -a "\$0" "\$0.plain" "\$@"
W
chmod 755 "$SANDBOX_BIN/postgres" "$SANDBOX/untranslated.so"

sandbox_start "wal_level = logical" "shared_preload_libraries = 'pg_stat_statements'"

# Would a report be noticed?
symbols=$(nm -D pasqal_jobs.so)
if [[ $symbols != *__asan_report* || $symbols != *__ubsan_handle* ]]; then
	say "the extension was not built with the sanitizers"
	exit 1
fi

failed=0
as_server make -s PG_CONFIG="$PG_CONFIG" installcheck 2>&1 | tee "$SANDBOX/output" || failed=1
[ ! -s regression.diffs ] || cat regression.diffs
[ ! -s output_iso/regression.diffs ] || cat output_iso/regression.diffs
passed=$(grep -Ec '^(test|ok) .* (ok|- ).*ms$' "$SANDBOX/output" || true)

tap_command "$PWD"
as_server env TRUST_CASES="$cases" TRUST_SECONDS="$seconds" "${TAP[@]}" test/t/010_oracle.pl test/t/015_ddl.pl test/t/011_torture.pl || failed=1
# a case is some twenty calls
as_server env TRUST_CASES="$((cases / 10))" "${TAP[@]}" test/t/016_reentrant.pl || failed=1

reports=$(find "$SANDBOX/reports" -type f | wc -l)
if [ "$reports" -gt 0 ]; then
	head -n 60 "$SANDBOX"/reports/*
fi
# UBSan's, beside ASan, come into the server's log
reports=$((reports + $(grep -c 'runtime error' "$SANDBOX/log" || true)))
if grep -E -m 20 -A 12 'runtime error|AddressSanitizer|terminated by signal' "$SANDBOX/log"; then
	failed=1
fi
printf 'sanitizers: %d regression tests passed, %d oracle cases, %d s of torture, %d reports\n' "$passed" "$cases" "$seconds" "$reports"
[ "$failed" = 0 ] && [ "$reports" = 0 ]

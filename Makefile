# pasqal_jobs/Makefile
#
# make, make install and make installcheck are plain PGXS, for a server of
# your own. The other targets bring their own server, which is gone afterwards;
# packages that they had to install stay.

.DEFAULT_GOAL = all

EXTENSION = pasqal_jobs
MODULE_big = pasqal_jobs
OBJS = \
	src/pasqal_jobs.o \
	src/http.o \
	src/rows.o \
	src/chunks.o \
	src/progress.o \
	src/call.o \
	src/settings.o \
	src/filters.o \
	src/parse_value.o \
	src/query_string.o \
	src/problems.o \
	src/jobs_relation.o \
	src/jobs_table.o \
	src/jobs_shape.o \
	src/jobs_privileges.o \
	src/label_column.o \
	src/columns.o \
	src/cancel.o \
	src/batch_lock.o \
	src/row_locks.o \
	src/ledger.o \
	src/arrays.o \
	src/statement.o \
	src/statement_text.o \
	src/saved_plans.o \
	src/response.o \
	src/encoder.o \
	src/output.o \
	src/response_jsonb.o \
	src/response_json.o \
	src/format_value.o
DATA = pasqal_jobs--1.0.sql
PGFILEDESC = "pasqal_jobs - cancel the jobs of a batch with one SQL call"

PG_CPPFLAGS = -I$(srcdir)/src

REGRESS = setup cancel filters problems relations http rows calls security utf8 ddl chunks locked install
ISOLATION = cancel-worker cancel-filtered cancel-named new-jobs cancel-cancel \
	job-comes-back repeatable-read lock-timeout deadlock batch-lock renamed-label partitioned \
	overtake skip-worker brief-locks shared-locks late-reference
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation
EXTRA_CLEAN = output_iso

# What a cluster may be configured for is not what the tests expect
installcheck: export PGOPTIONS += -c search_path=public -c client_min_messages=notice -c session_preload_libraries= \
	-c default_transaction_isolation=read\ committed -c default_transaction_read_only=off \
	-c statement_timeout=0 -c lock_timeout=0

# These need no PostgreSQL to be there yet
SANDBOX_GOALS = demo demo-api test bench bench-api check-differential check-matrix check-setup check-trust \
	check-upgrade coverage deb dist help lint

ifneq ($(filter-out $(SANDBOX_GOALS),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error $(PG_CONFIG) is not the pg_config of a PostgreSQL with its server headers: install postgresql-server-dev-NN, \
or say make PG_CONFIG=/path/to/pg_config; make test and make demo need neither (make help))
endif
ifneq ($(filter all install,$(or $(MAKECMDGOALS),all)),)
ifeq ($(wildcard $(shell $(PG_CONFIG) --includedir-server)/postgres.h),)
$(error $(shell $(PG_CONFIG) --version) has no server headers here: install postgresql-server-dev-NN; \
make test and make demo do that themselves (make help))
endif
endif
include $(PGXS)
ifeq ($(PORTNAME),linux)
SHLIB_LINK += -Wl,--version-script=$(srcdir)/src/exports.map
endif
endif

.PHONY: $(SANDBOX_GOALS)
demo:
	@tools/demo.sh
demo-api:
	@tools/demo_api.sh
test:
	@test/suite.sh
bench:
	@test/bench/run.sh
bench-api:
	@test/bench/api.sh
check-differential:
	@test/http/run.sh
check-matrix:
	@tools/matrix.sh
	@test/setup/machines.sh
check-setup:
	@test/setup/machines.sh
	@test/setup/container.sh
check-trust:
	@test/long/run.sh
check-upgrade:
	@test/upgrade.sh
coverage:
	@tools/coverage.sh
lint:
	@tools/lint.sh
deb:
	@tools/package.sh

VERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" pasqal_jobs.control)
dist:
	git archive --format=zip --prefix=pasqal_jobs-$(VERSION).0/ -o pasqal_jobs-$(VERSION).0.zip HEAD

define HELP
For a server of your own (PG_CONFIG=/path/to/pg_config chooses which):
  make                builds; needs a compiler and postgresql-server-dev-NN
  make install        installs for that server; needs root, as a rule
  make installcheck   tests what is installed, on a running server, as superuser
  make clean          removes what make made

With a server of their own, in a temporary directory that is gone afterwards.
They install missing packages, for which they need root or sudo; these stay,
0.5 GB on a system with nothing but make. Times are those of a first run on two
cores:
  make demo           cancels jobs in sample data, at a terminal step by step:
                      2 minutes; again 15 seconds
  make demo-api       the same over HTTP, with curl: 2 minutes; again 15 seconds
  make test           all tests: 1 GB of disk, 9 minutes
  make lint           what reads sources without running them, as far as it is
                      installed: 3 minutes
  make coverage       all tests, and the lines and branches of src/ that they
                      run: 1 GB of disk, 9 minutes
  make bench          figures: 4 GB of memory, 20 GB of disk, 15 minutes;
                      leaves test/bench/results.*
  make bench-api      the same over HTTP: 5 minutes; leaves test/bench/api.*
  make check-differential  5,000 requests to us and to FastAPI: 1 minute
  make check-upgrade  an upgraded extension against a fresh one: 10 seconds
  make check-trust    the long tests: 8 GB of memory, 5 GB of disk, 3 hours;
                      TRUST_STATE=FILE lets them be stopped and go on

In chroots, for which they need root or sudo, on Debian. The chroots stay in
/var/tmp/pasqal_jobs-chroots; tools/matrix.sh --clean removes them:
  make deb            a Debian package in dist/, tried: 2 GB of disk, 10 minutes
                      (with DEB_BUILD_OPTIONS=nocheck no tests are run)
  make check-setup    first runs on new machines and, if buildah is there, in
                      containers: 3 GB of disk, 45 minutes
  make check-matrix   make test on three suites of Debian, and check-setup:
                      6 GB of disk, 70 minutes

  make dist           the archive for PGXN, of what is committed
  make help           this text
endef
help:
	@:$(info $(HELP))

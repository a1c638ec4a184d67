# pasqal_jobs/Makefile
#
# make, make install and make installcheck are plain PGXS, for a server of
# your own. The other targets bring their own server and leave nothing behind.

.DEFAULT_GOAL = all

EXTENSION = pasqal_jobs
MODULE_big = pasqal_jobs
OBJS = \
	src/pasqal_jobs.o \
	src/http.o \
	src/rows.o \
	src/chunks.o \
	src/call.o \
	src/settings.o \
	src/filters.o \
	src/parse_value.o \
	src/query_string.o \
	src/problems.o \
	src/jobs_relation.o \
	src/label_column.o \
	src/columns.o \
	src/cancel.o \
	src/batch_lock.o \
	src/ledger.o \
	src/statement.o \
	src/response.o \
	src/output.o \
	src/response_jsonb.o \
	src/response_json.o \
	src/format_value.o
DATA = pasqal_jobs--1.0.sql
PGFILEDESC = "pasqal_jobs - cancel the jobs of a batch with one SQL call"

PG_CPPFLAGS = -I$(srcdir)/src

REGRESS = setup cancel filters problems relations http rows calls security ddl chunks install
ISOLATION = cancel-worker cancel-filtered cancel-named new-jobs cancel-cancel \
	job-comes-back repeatable-read lock-timeout deadlock batch-lock partitioned
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation
EXTRA_CLEAN = output_iso

# These need no PostgreSQL to be there yet
SANDBOX_GOALS = demo demo-api test check-differential check-matrix check-upgrade check-trust bench deb dist

ifneq ($(filter-out $(SANDBOX_GOALS),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
ifeq ($(PORTNAME),linux)
SHLIB_LINK += -Wl,--version-script=$(srcdir)/src/exports.map
endif
endif

.PHONY: $(SANDBOX_GOALS)
demo:
	@test/demo.sh
demo-api:
	@test/demo_api.sh
test:
	@test/suite.sh
bench:
	@test/bench/run.sh
check-matrix:
	@test/matrix.sh
check-upgrade:
	@test/upgrade.sh
check-trust:
	@test/trust/run.sh
deb:
	@test/package.sh
check-differential:
	@test/http/run.sh

VERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" pasqal_jobs.control)
dist:
	git archive --format=zip --prefix=pasqal_jobs-$(VERSION).0/ -o pasqal_jobs-$(VERSION).0.zip HEAD

# pasqal_jobs/Makefile

EXTENSION = pasqal_jobs
MODULE_big = pasqal_jobs
OBJS = \
	src/pasqal_jobs.o \
	src/filters.o \
	src/parse_value.o \
	src/problems.o \
	src/jobs_relation.o \
	src/columns.o \
	src/cancel.o \
	src/ledger.o \
	src/statement.o \
	src/response.o \
	src/output.o \
	src/response_jsonb.o \
	src/format_value.o
DATA = pasqal_jobs--1.0.sql
PGFILEDESC = "pasqal_jobs - cancel the jobs of a batch with one SQL call"

PG_CPPFLAGS = -I$(srcdir)/src

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

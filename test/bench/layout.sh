#!/bin/bash
# test/bench/layout.sh [PART...]: what the choices of doc/growing.md cost, on a
# private server that is gone afterwards: the fillfactor, partitions by age, an
# index for workers.
#
# Parts: fillfactor, ages, claims (default: all). Shows the tables of that page.

. "$(dirname "$0")/../../tools/sandbox.sh"
sandbox_create python3 python3-psycopg
# no figure depends on how long a checkpoint is ago
sandbox_start "shared_buffers = 1GB" "checkpoint_timeout = 1d" "max_wal_size = 16GB" "full_page_writes = off" \
	"autovacuum = off" "max_locks_per_transaction = 1024"
as_server env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -u test/bench/layout.py "$@"

#!/bin/bash
# tools/demo.sh: installs the extension on a private server and cancels jobs in
# sample data, every statement and its answer shown as psql shows them.

. "$(dirname "$0")/sandbox.sh"

sandbox_create
sandbox_start "shared_buffers = 512MB" "max_wal_size = 4GB"
as_server psql -X -a -f examples/demo.sql 2>&1
cat <<END

-- You saw a cancel by filters, one by ids with a reason for each job that
-- stays, a misspelt filter refused, the API's own answer to a bad request, and
-- 90,000 jobs canceled in one call. That server was a private one, and goes
-- away now.
-- Next:
--   make demo-api    the same over HTTP, with curl
--   make test        all tests, on a private server again; make help has more
--   make && sudo make install, then CREATE EXTENSION pasqal_jobs on your own
--                    server (pg_createcluster $PG_MAJOR main --start makes one)
END

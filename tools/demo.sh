#!/bin/bash
# tools/demo.sh: installs the extension on a private server and cancels jobs in
# sample data (examples/demo.sh), which is shown step by step at a terminal.

. "$(dirname "$0")/sandbox.sh"

sandbox_needs 150
sandbox_create
sandbox_start "shared_buffers = 128MB" "max_wal_size = 48MB" "min_wal_size = 32MB" "full_page_writes = off"
as_server examples/demo.sh
cat <<END

-- That server was a private one, and goes away now.
-- Next:
--   make demo-api    the same over HTTP, with curl
--   make test        all tests, on a private server again; make help has more
--   make && sudo make install, then CREATE EXTENSION pasqal_jobs on your own
--                    server (pg_createcluster $PG_MAJOR main --start makes one)
END

#!/bin/bash
# test/demo.sh: installs the extension on a private server and cancels jobs in
# sample data, every statement and its answer shown as psql shows them.

. "$(dirname "$0")/sandbox.sh"

sandbox_create
sandbox_start "shared_buffers = 512MB" "max_wal_size = 4GB"
as_server psql -X -a -f examples/demo.sql 2>&1
say "that was a private server in $SANDBOX, which is removed now"

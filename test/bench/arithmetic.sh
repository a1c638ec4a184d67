#!/bin/bash
# test/bench/arithmetic.sh: what a job costs in bytes, WAL and time, for the
# README's arithmetic of a billion jobs: a million jobs on a private server.

. "$(dirname "$0")/../../tools/sandbox.sh"
sandbox_create
sandbox_start "shared_buffers = 512MB" "max_wal_size = 4GB" "autovacuum = off"
as_server psql -X -q -A -t <<'SQL'
CREATE EXTENSION pasqal_jobs;
SELECT create_jobs_table();
INSERT INTO jobs (batch_id, project_id, user_id, runs, variables, sequence)
SELECT md5('b' || n / 1000)::uuid, md5('p')::uuid, 'niels', 100, jsonb_build_object('omega_max', n % 15, 'delta_final', -6, 't_rise', 250), NULL
FROM generate_series(0, 999999) AS n;
VACUUM (FREEZE, ANALYZE) jobs;
CHECKPOINT;
SELECT 'bytes a row: table', pg_table_size('jobs') / 1e6, 'indexes', pg_indexes_size('jobs') / 1e6;
SELECT relname, pg_relation_size(oid)/1e6 FROM pg_class WHERE relname LIKE 'jobs%' AND relkind = 'i';
SELECT avg(pg_column_size(j)) FROM jobs j;
SELECT pg_current_wal_lsn() AS a \gset
\timing on
SELECT count(cancel_jobs(md5('b' || n)::uuid)) FROM generate_series(0, 499) AS n;
\timing off
SELECT 'WAL a job right after a checkpoint', pg_wal_lsn_diff(pg_current_wal_lsn(), :'a') / 500000.0;
VACUUM jobs;
UPDATE jobs SET status = 'PENDING' WHERE status = 'CANCELED';
VACUUM jobs;
SELECT pg_current_wal_lsn() AS a \gset
\timing on
SELECT count(cancel_jobs(md5('b' || n)::uuid)) FROM generate_series(0, 499) AS n;
\timing off
SELECT 'WAL a job without full pages', pg_wal_lsn_diff(pg_current_wal_lsn(), :'a') / 500000.0;
SELECT pg_stat_force_next_flush();
SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs';
\timing on
VACUUM jobs;
\timing off
SELECT pg_table_size('jobs') / 1e6;
SQL

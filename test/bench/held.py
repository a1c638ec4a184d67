"""A cancel beside workers that hold the locks of their jobs, and what it costs to lock jobs ahead.

A worker takes the next PENDING job with FOR UPDATE SKIP LOCKED in a transaction that lasts as long as the job.
Contenders are cancel_jobs with both values of locked_jobs, chunks, UPDATEs by hand, and the statements with which job
queues cancel many jobs, on our table. All begin a second after the workers.
"""

import threading
import time
from statistics import median

import psycopg

from common import QUICK, admin, goal, number, query, record, table

BATCH = "b0000000-0000-4000-8000-000000000001"
FLEETS = {"8 workers of 0.5 s, 100 jobs": (8, 0.5, 100, 75)}
if not QUICK:
    FLEETS["4 workers of 2 s, 100 jobs"] = (4, 2.0, 100, 93)
    FLEETS["4 workers of 20 ms, 2,000 jobs"] = (4, 0.02, 2_000, 1_700)

SET = "status = 'CANCELED', updated_at = now(), end_timestamp = now()"
OPEN = f"batch_id = '{BATCH}' AND status IN ('PENDING', 'RUNNING')"
CONTENDERS = {
    "bare UPDATE": [f"UPDATE held SET {SET} WHERE {OPEN}"],
    "SKIP LOCKED by hand": [
        f"WITH free AS (SELECT id FROM held WHERE {OPEN} FOR UPDATE SKIP LOCKED)"
        f" UPDATE held SET {SET} WHERE id IN (SELECT id FROM free)"
    ],
    "as Oban: ids, then an UPDATE by ids": [
        f"UPDATE held SET {SET} WHERE id = ANY (ARRAY(SELECT id FROM held WHERE {OPEN})) AND status IN ('PENDING', 'RUNNING')"
    ],
    "as pg-boss: UPDATE by ids in a CTE": [
        f"WITH done AS (UPDATE held SET {SET} WHERE id = ANY (ARRAY(SELECT id FROM held WHERE {OPEN}))"
        " AND status < 'DONE' RETURNING 1) SELECT count(*) FROM done"
    ],
    "cancel_jobs, wait": [f"SELECT cancel_jobs('{BATCH}')"],
    "cancel_jobs, skip": ["SET pasqal_jobs.locked_jobs = 'skip'", f"SELECT cancel_jobs('{BATCH}')"],
    "cancel_jobs_in_chunks of 10, wait": [f"CALL cancel_jobs_in_chunks('{BATCH}', '{{}}', 10)"],
    "cancel_jobs_in_chunks of 10, skip": [
        "SET pasqal_jobs.locked_jobs = 'skip'",
        f"CALL cancel_jobs_in_chunks('{BATCH}', '{{}}', 10)",
    ],
}
OURS = [name for name in CONTENDERS if name.startswith("cancel_jobs")]


def work(seconds, stop):
    """A worker: until no job is left, or it is told to stop."""
    with psycopg.connect() as conn:
        while not stop.is_set():
            job = conn.execute(
                "SELECT id FROM held WHERE status = 'PENDING' ORDER BY creation_order FOR UPDATE SKIP LOCKED LIMIT 1"
            ).fetchone()
            if job is None:
                return
            stop.wait(seconds)
            conn.execute(
                "UPDATE held SET status = 'DONE', updated_at = clock_timestamp(), end_timestamp = clock_timestamp()"
                " WHERE id = %s",
                job,
            )
            conn.commit()


def beside(fleet, statements):
    """Jobs canceled, and seconds until the answer."""
    workers, seconds, jobs, _ = fleet
    admin.execute("TRUNCATE held")
    admin.execute(
        "INSERT INTO held (batch_id, project_id, runs) SELECT %s, gen_random_uuid(), 1 FROM generate_series(1, %s)",
        [BATCH, jobs],
    )
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(seconds, stop)) for _ in range(workers)]
    with psycopg.connect(autocommit=True, options="-c pasqal_jobs.jobs_table=held") as conn:
        for thread in threads:
            thread.start()
            time.sleep(0.02)
        time.sleep(1)
        for statement in statements[:-1]:
            conn.execute(statement)
        begin = time.perf_counter()
        conn.execute(statements[-1])
        taken = time.perf_counter() - begin
    stop.set()
    for thread in threads:
        thread.join()
    return query("SELECT count(*) FROM held WHERE status = 'CANCELED'"), taken


def show_fleets():
    lines = []
    for name, statements in CONTENDERS.items():
        line = [name]
        for what, fleet in FLEETS.items():
            canceled, taken = beside(fleet, statements)
            record(f"held, {what}", fleet[2], name, canceled, "jobs", 1)
            record(f"held, {what}", fleet[2], name, taken, "s", 1)
            if name in OURS:
                goal(f"{what}: canceled by {name}", canceled, fleet[3], at_least=True)
            line.append(f"{canceled:,} in {number(taken)} s")
        lines.append(line)
    table("Beside workers that hold their locks: jobs canceled, seconds until the answer", ["", *FLEETS], lines)


def price_of_locking(jobs):
    """Time and WAL of a call that locks its jobs ahead, to those of one that does not; nothing is locked."""
    admin.execute("TRUNCATE held")
    admin.execute(
        "INSERT INTO held (batch_id, project_id, runs) SELECT %s, gen_random_uuid(), 1 FROM generate_series(1, %s)",
        [BATCH, jobs],
    )
    admin.execute("VACUUM ANALYZE held")
    times, wal = {"wait": [], "skip": []}, {}
    with psycopg.connect(autocommit=True, options="-c pasqal_jobs.jobs_table=held") as conn:
        for _ in range(2 if QUICK else 21):
            for mode in times:
                conn.execute(f"SET pasqal_jobs.locked_jobs = '{mode}'")
                lsn = query("SELECT pg_current_wal_insert_lsn()")
                begin = time.perf_counter()
                conn.execute("BEGIN")
                conn.execute(f"SELECT count(cancel_jobs('{BATCH}'))")
                times[mode].append(time.perf_counter() - begin)
                wal[mode] = query("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", lsn)
                conn.execute("ROLLBACK")
                admin.execute("VACUUM held")
    ratio = median(skip / wait for wait, skip in zip(times["wait"], times["skip"]))
    record("lock pass", jobs, "time, skip / wait", ratio, "", len(times["wait"]))
    return [f"{jobs:,}", number(ratio), *(f"{wal[mode] / jobs:,.0f}" for mode in ("wait", "skip"))]


def measure_held():
    admin.execute("SELECT create_jobs_table('held', if_not_exists => true)")
    show_fleets()
    table(
        "Price of locking jobs ahead, where none is locked (skip always does, wait only if one looks locked)",
        ["jobs", "time, skip / wait", "WAL bytes a job, wait", "skip"],
        [price_of_locking(jobs) for jobs in ([100] if QUICK else [1, 100, 1_000, 20_000])],
    )
    admin.execute("DROP TABLE held")

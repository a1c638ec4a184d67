"""Whether time stays the same as things grow: the table, the batch, the list of ids.

The jobs are narrow: without user, variables and sequence. BENCH_GROWTH=100000000
measures a table of that many jobs, too: it wants 55 GB of disk and half an hour.
"""

import os
import random
import threading

import psycopg

from common import (
    QUICK, UPDATE, Contender, Turn, admin, committed, goal, number, peak_memory, progress, query, ratio, record,
    run_rounds, sample, seconds, table,
)  # fmt: skip

BATCH = 1_000
LEVELS = [10_000, 50_000] if QUICK else [1_000_000, 10_000_000]
if os.environ.get("BENCH_GROWTH"):
    LEVELS.append(int(os.environ["BENCH_GROWTH"]))
ROUNDS = 2 if QUICK else 21
MANY = 20_000 if QUICK else 1_000_000  # one batch, in chunks and in one call
MANY_ROUNDS = 1 if QUICK else 2
LIST_ROUNDS = 1 if QUICK else 5

FLOOR = "bare UPDATE"
KEPT = "cancel_jobs (not sent)"
# of chunks only counts are answered, so one call need not send its answer, either
CHUNKS = f"cancel_jobs_in_chunks, {BATCH:,}"
ONE_ROWS = "one call, cancel_jobs_rows (counted)"
ONE_HTTP = "one call, cancel_jobs_http (not sent)"
ONE_UPDATE = "one bare UPDATE"
MANY_STATEMENTS = {
    CHUNKS: f"CALL cancel_jobs_in_chunks($1, '{{}}', {BATCH})",
    ONE_ROWS: "SELECT count(*) FROM cancel_jobs_rows($1)",
    ONE_HTTP: "SELECT status_code, pg_column_size(body) FROM cancel_jobs_http($1)",
    ONE_UPDATE: UPDATE,
}


def load(schema, batches, jobs, partitions=0):
    """A table of batches of that many jobs each; filled by two sessions, and indexed afterwards"""
    admin.execute(f"CREATE SCHEMA {schema}")
    admin.execute("SELECT create_jobs_table(%s, %s)", [f"{schema}.jobs", partitions])
    key = query("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
                f"{schema}.jobs")  # fmt: skip
    admin.execute(f"ALTER TABLE {schema}.jobs DROP CONSTRAINT jobs_pkey")
    if not partitions:
        admin.execute(f"DROP INDEX {schema}.jobs_batch_id_idx")

    def fill(low, high):
        with psycopg.connect(autocommit=True) as conn:
            conn.execute(
                # the jobs of a batch come one after the other, as a service submits them
                f"""INSERT INTO {schema}.jobs (batch_id, project_id, runs, status)
                SELECT batch, '00000000-0000-0000-0000-000000000001', 100, CASE j %% 10 WHEN 9 THEN 'DONE'::jobstatus
                    WHEN 8 THEN 'RUNNING' ELSE 'PENDING' END
                FROM (SELECT md5('batch ' || b)::uuid AS batch, generate_series(0, %s::int) AS j
                    FROM generate_series(%s::int, %s::int) AS b) AS batches""",
                [jobs - 1, low, high],
            )

    halves = [(0, batches // 2), (batches // 2 + 1, batches - 1)]
    fillers = [threading.Thread(target=fill, args=half) for half in halves]
    for filler in fillers:
        filler.start()
    for filler in fillers:
        filler.join()
    admin.execute("SET maintenance_work_mem = '1GB'")
    admin.execute(f"ALTER TABLE {schema}.jobs ADD {key}")
    if not partitions:
        admin.execute(f"CREATE INDEX jobs_batch_id_idx ON {schema}.jobs (batch_id)")
    if (count := query(f"SELECT count(*) FROM {schema}.jobs")) != batches * jobs:
        raise SystemExit(f"{schema}.jobs has {count} jobs, not {batches * jobs}")
    admin.execute(f"VACUUM (FREEZE, ANALYZE) {schema}.jobs")


def batch_id(number_):
    return query("SELECT md5('batch ' || %s::int)::uuid::text", number_).encode()


def warm(turn, check):
    """A sample of a batch whose pages were read just before."""
    turn.contender.canceled(turn.table, turn.arguments)
    return sample(turn, check)


def measure_growth():
    lines = []
    for kind, partitions in ("plain", 0), ("64 partitions", 64):
        turns = {}
        for level in LEVELS:
            progress(f"loading {level:,} jobs, {kind}")
            schema = f"growth_{level}"
            load(schema, level // BATCH, BATCH, partitions)
            for name, statement in (FLOOR, UPDATE), (KEPT, "SELECT pg_column_size(cancel_jobs($1))"):
                # a generic plan locks every partition, so it is no floor there
                contender = Contender(name, statement, schema, name == FLOOR and not partitions)
                turns[name, level] = Turn(
                    contender, f"{schema}.jobs", [batch_id(level // BATCH // 2)], BATCH - BATCH // 10, ROUNDS
                )
        progress(f"a batch of {BATCH:,} jobs in tables of {', '.join(f'{level:,}' for level in LEVELS)} jobs, {kind}")
        admin.execute("CHECKPOINT")
        samples = run_rounds(turns, warm)
        for name in FLOOR, KEPT:
            cells = []
            for level in LEVELS:
                time_, count = seconds(samples, (name, level))
                times, _ = ratio(samples, (name, level), (name, LEVELS[0]))
                record(f"{BATCH} jobs in a table of {level}, {kind}", BATCH, name, time_ * 1000, "ms", count)
                cells += [f"{number(time_ * 1000)} ms", number(times)]
                if name == KEPT and level != LEVELS[0]:
                    goal(f"{BATCH:,} jobs in a table of {level:,}, {kind} / of {LEVELS[0]:,}", times, 1.10)
            lines.append([f"{name}, {kind}", *cells])
        for turn in turns.values():
            turn.contender.conn.close()
        for level in LEVELS:
            admin.execute(f"DROP SCHEMA growth_{level} CASCADE")
    table(
        f"A batch of {BATCH:,} jobs in a growing table of narrow jobs: milliseconds, and the ratio to the smallest table",
        ["jobs in the table", *(cell for level in LEVELS for cell in (f"{level:,}", ""))],
        lines,
    )


def measure_many():
    progress(f"one batch of {MANY:,} jobs")
    load("many", 1, MANY)
    batch, canceled = batch_id(0), MANY - MANY // 10
    turns = {
        name: Turn(Contender(name, statement, "many"), "many.jobs", [batch], canceled, MANY_ROUNDS)
        for name, statement in MANY_STATEMENTS.items()
    }
    for turn in turns.values():
        turn.contender.sql("SET client_min_messages = warning")
    admin.execute("CHECKPOINT")
    samples = run_rounds(turns, committed)
    lines = []
    for name in MANY_STATEMENTS:
        time_, count = seconds(samples, name)
        record("jobs canceled a second", MANY, name, canceled / time_, "jobs", count)
        lines.append([name, number(time_), number(canceled / time_)])
    table(f"One batch of {MANY:,} narrow jobs, committed", ["", "seconds", "jobs canceled a second"], lines)
    one = min((ONE_ROWS, ONE_HTTP), key=lambda name: seconds(samples, name)[0])
    goal(f"chunks of {BATCH:,}, {MANY:,} jobs: throughput / {one}", ratio(samples, one, CHUNKS)[0], 0.90, at_least=True)
    for turn in turns.values():
        turn.contender.conn.close()
    measure_list(batch)


def measure_list(batch):
    """A list of a million ids, almost all of which are in the batch, or a thousand"""
    progress(f"{MANY:,} ids in one filter")
    few = b"00000000-0000-0000-0000-00000000000f"
    admin.execute(
        f"UPDATE many.jobs SET batch_id = %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM many.jobs LIMIT {BATCH}))", [few.decode()]
    )
    admin.execute("CREATE TABLE many.lists (name text, filters jsonb)")
    admin.execute("ALTER TABLE many.lists ALTER filters SET STORAGE EXTERNAL")
    admin.execute("INSERT INTO many.lists SELECT 'most', jsonb_build_object('id', jsonb_agg(id)) FROM many.jobs")
    admin.execute(
        f"""INSERT INTO many.lists SELECT 'few', jsonb_build_object('id', jsonb_agg(id))
        FROM (SELECT id FROM many.jobs WHERE batch_id = %s
            UNION ALL SELECT md5('other ' || i)::uuid FROM generate_series(1, {MANY - BATCH}) AS i) AS ids""",
        [few.decode()],
    )
    admin.execute("VACUUM (FREEZE, ANALYZE) many.jobs")
    ids = query("SELECT array_agg(id)::text FROM many.jobs").encode()
    most = f"{MANY - BATCH:,} of them in the batch"
    floor, rows = f"{most}, bare UPDATE", f"{most}, cancel_jobs_rows (counted)"
    contenders = {
        f"{BATCH:,} of them in the batch, {KEPT}":
            ("SELECT pg_column_size(cancel_jobs($1, filters)) FROM lists WHERE name = 'few'", [few]),
        rows: ("SELECT count(*) FROM lists, cancel_jobs_rows($1, filters) WHERE name = 'most'", [batch]),
        floor: (f"{UPDATE} AND id = ANY ($2)", [batch, ids]),
    }  # fmt: skip
    samples, peaks = [], []
    for _ in range(LIST_ROUNDS):
        samples.append({})
        peaks.append({})
        for name in random.sample(list(contenders), len(contenders)):
            statement, arguments = contenders[name]
            contender = Contender(name, statement, "many")
            contender.sql("SELECT count(status), (SELECT sum(length(filters::text)) FROM lists) FROM jobs")
            start = contender.clock()
            peaks[-1][name] = peak_memory(contender, arguments)[0]
            samples[-1][name] = contender.clock() - start
            contender.conn.close()
            admin.execute("VACUUM many.jobs")
    lines = []
    for name in contenders:
        (time_, count), (peak, _) = seconds(samples, name), seconds(peaks, name)
        record("list of ids, seconds", MANY, name, time_, "s", count)
        record("list of ids, peak memory", MANY, name, peak, "bytes", count)
        lines.append([name, number(time_), number(peak / 1e6)])
        if name != floor:
            if name == rows:
                goal(f"{MANY:,} ids in one filter, {name} / bare UPDATE by ids", ratio(samples, rows, floor)[0], 1.0)
            else:
                goal(f"{MANY:,} ids in one filter, {name}: seconds", time_, 2.0)
            goal("the same: peak memory above idle, MB", peak / 1e6, 250)
    table(f"{MANY:,} ids in one filter", ["", "seconds", "peak memory above idle, MB"], lines)
    admin.execute("DROP SCHEMA many CASCADE")

"""What a choice of the table's layout costs; see layout.sh.

Times are medians within one run, in which the contenders take turns. WAL is without full pages.
"""

import re
import sys
import time
from statistics import median

import psycopg
from psycopg.types.json import Jsonb

JOBS = """INSERT INTO {table} (batch_id, project_id, user_id, runs, variables, status, created_at)
    SELECT md5({batch})::uuid, md5('p')::uuid, 'niels', 100,
        jsonb_build_object('omega_max', n % 15, 'delta_final', -6, 't_rise', 250), '{status}', {created}
    FROM generate_series({first}, {last}) AS n"""

conn = psycopg.connect(autocommit=True)
with open("doc/api.md") as page:
    API = page.read()


def query(sql, *args):
    return conn.execute(sql, args or None).fetchone()[0]


def insert(table, first, last, batch, status="PENDING", created="now()"):
    conn.execute(JOBS.format(table=table, first=first, last=last, batch=batch, status=status, created=created))


def timed(sql, *args):
    """Milliseconds of a statement, and its first value."""
    start = time.perf_counter()
    value = query(sql, *args)
    return (time.perf_counter() - start) * 1000, value


class Updates:
    """WAL and the share of HOT among the updates of a table while the block runs."""

    def __init__(self, table):
        self.table = table

    def look(self):
        conn.execute("SELECT pg_stat_force_next_flush()")
        return conn.execute("""SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, n_tup_upd, n_tup_hot_upd
            FROM pg_stat_user_tables WHERE relid = %s::regclass""", [self.table]).fetchone()  # fmt: skip

    def __enter__(self):
        self.before = self.look()
        return self

    def __exit__(self, *_):
        wal, updates, hot = (int(after - before) for after, before in zip(self.look(), self.before))
        self.wal, self.hot = wal / updates, hot / updates

    def figures(self):
        return f"{self.hot:.2f}", f"{self.wal:.0f}"


def cancel(table, batch):
    conn.execute(f"SET pasqal_jobs.jobs_table = '{table}'")
    return timed("SELECT pg_column_size(cancel_jobs(md5(%s)::uuid))", batch)[0]


def bytes_a_job(table):
    return query("SELECT pg_table_size(%s::regclass)", table) / query(f"SELECT count(*) FROM {table}")


def print_table(*lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("   ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))))
    print(flush=True)


def single_changes(table):
    """PENDING to RUNNING to DONE, each in a transaction of its own, in the order of the jobs; a hundred run at a time."""
    change = f"UPDATE {table} SET status = %s, updated_at = now(), {{}} = now() WHERE id = %s RETURNING 1"
    running = []
    for (id,) in conn.execute(f"SELECT id FROM {table} ORDER BY creation_order").fetchall() + [(None,)] * 100:
        if id:
            query(change.format("start_timestamp"), "RUNNING", id)
        running.append(id)
        if len(running) > 100 and running[0]:
            query(change.format("end_timestamp"), "DONE", running.pop(0))


def measure_fillfactor():
    print("Fillfactor: jobs of ten typical fields; bytes and WAL are those of a job\n")
    factors = (45, 70, 85, 100)
    large, small, singly = {}, {}, {}
    for f in factors:
        for table in (f"jobs_{f}", f"singly_{f}"):
            query("SELECT create_jobs_table(%s, fillfactor => %s)", table, f)
        insert(f"jobs_{f}", 0, 99_999, "'large ' || n / 20000")
        insert(f"jobs_{f}", 0, 19_999, "'small ' || n / 10")
        insert(f"singly_{f}", 0, 19_999, "'singly ' || n")
    conn.execute("VACUUM (FREEZE, ANALYZE)")
    size = {f: bytes_a_job(f"singly_{f}") for f in factors}
    times = {f: [] for f in factors}
    for n in range(5):
        for f in factors:
            with Updates(f"jobs_{f}") as large[f]:
                times[f].append(cancel(f"jobs_{f}", f"large {n}"))
    for f in factors:
        with Updates(f"jobs_{f}") as small[f]:
            for n in range(2000):
                cancel(f"jobs_{f}", f"small {n}")
        with Updates(f"singly_{f}") as singly[f]:
            single_changes(f"singly_{f}")
    print_table(["fillfactor", "bytes", "batch of 20,000: ms", "HOT", "WAL", "of 10: HOT", "WAL", "single changes: HOT", "WAL", "bytes afterwards"],
                *([str(f), f"{size[f]:.0f}", f"{median(times[f]):.0f}", *large[f].figures(), *small[f].figures(), *singly[f].figures(),
                   f"{bytes_a_job(f'singly_{f}'):.0f}"] for f in factors))  # fmt: skip


def measure_ages():
    print("Partitions by age: 40 jobs a day for 372 days; a cancel of one named job\n")
    query("SELECT create_jobs_table('plain')")
    days = {"ages_372": 1, "ages_53": 7, "ages_12": 31}
    for table, days_each in days.items():
        conn.execute(f"""CREATE TABLE {table} (LIKE plain INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (batch_id, id, created_at))
            PARTITION BY RANGE (created_at)""")  # fmt: skip
        for first in range(0, 372, days_each):
            conn.execute(f"""CREATE TABLE {table}_{first} PARTITION OF {table} FOR VALUES
                FROM ('2026-01-01Z'::timestamptz + '{first} days') TO ('2026-01-01Z'::timestamptz + '{first + days_each} days') WITH (fillfactor = 45)""")
    insert("plain", 0, 372 * 40 - 1, "'b' || n / 10", created="'2026-01-01 12:00Z'::timestamptz + n / 40 * interval '1 day'")
    for table in days:
        conn.execute(f"INSERT INTO {table} TABLE plain")
    conn.execute("VACUUM (FREEZE, ANALYZE)")
    filters = {
        "by id": ("execution", "'{}'"),
        "and both dates of creation": ("creation", "jsonb_build_object('start_date', created_at - '1 h'::interval, 'end_date', created_at + '1 h'::interval)"),
    }
    tables = ["plain", *days]
    times = {(table, name): [] for table in tables for name in filters}
    for turn in range(25):
        for n, name in enumerate(filters):
            conn.execute(f"SET pasqal_jobs.date_filter = '{filters[name][0]}'")
            for table in tables:
                conn.execute(f"SET pasqal_jobs.jobs_table = '{table}'")
                batch, given = conn.execute(f"""SELECT batch_id, jsonb_build_object('id', id) || {filters[name][1]} FROM plain
                    WHERE creation_order = %s""", [(turn * len(filters) + n) * 251 + 1]).fetchone()  # fmt: skip
                times[table, name].append(timed("SELECT jsonb_array_length(cancel_jobs(%s, %s) #> '{data,jobs}')", batch, Jsonb(given))[0])
    print_table(["ms", "plain", *(table[5:] + " partitions" for table in days)],
                *([name, *(f"{median(times[table, name][5:]):.2f}" for table in tables)] for name in filters))  # fmt: skip


def block(beginning):
    """A statement, or a block of them, of doc/api.md."""
    return re.search(rf"^{re.escape(beginning)}.*?(?=^```$)", API, re.S | re.M)[0]


def claims(statement, args):
    """Milliseconds of a hundred claims, each a transaction; args changes from one to the next."""
    times = []
    for _ in range(100):
        start = time.perf_counter()
        job = conn.execute(statement, args or None).fetchone()
        times.append((time.perf_counter() - start) * 1000)
        assert job[0]
        if args and args[0] > 0:
            args[0] = job[2]
    return times


def range_of(times):
    return f"{median(times):.2f} (up to {max(times):,.{0 if max(times) > 100 else 1}f})"


def measure_claims():
    print("Claims: 50,000 jobs run, 50,000 wait, the worker takes 100; then a batch of 20,000 that wait is canceled\n")
    next_job = re.search(r"PREPARE next_job\(bigint\) AS\n(.*?);", API, re.S)[1].replace("$1", "%s")
    designs = {
        "no index": ("", next_job, 0),
        "index of what waits": (block("CREATE INDEX jobs_waiting"), next_job, 0),
        "index without status": (block("CREATE INDEX jobs_in_order"), next_job, 0),
        "likewise, from the last one on": (block("CREATE INDEX jobs_in_order"), next_job, 50_000),
        "small table": (block("BEGIN;\nCREATE TABLE ready_jobs").split("SELECT take_job();")[0], "SELECT take_job()", None),
    }
    lines = []
    for name, (setup, statement, start) in designs.items():
        args = [] if start is None else [start]
        conn.execute("DROP TABLE IF EXISTS jobs, ready_jobs; DROP FUNCTION IF EXISTS take_job, note_ready CASCADE")
        conn.execute("SELECT create_jobs_table()")
        if setup:
            conn.execute(setup)
        insert("jobs", 0, 49_999, "'running ' || n / 1000", "RUNNING")
        before = query("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        insert("jobs", 0, 49_999, "'waiting ' || n / 20000")
        inserted = int(query("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn") - before) / 50_000
        conn.execute("VACUUM (FREEZE, ANALYZE)")
        quiet = claims(statement, args)
        with Updates("jobs") as updates:
            taken = cancel("jobs", "waiting 0")
        after = claims(statement, args)
        lines.append([name, range_of(quiet), range_of(after), f"{taken:.0f}", *updates.figures(), f"{inserted:.0f}"])
    print_table(["", "ms a claim", "after the cancel", "ms of the cancel", "HOT", "WAL a job", "WAL of an INSERT"], *lines)


parts = {"fillfactor": measure_fillfactor, "ages": measure_ages, "claims": measure_claims}
if not set(sys.argv[1:]) <= set(parts):
    sys.exit(f"parts are {', '.join(parts)}")
conn.execute("CREATE EXTENSION pasqal_jobs")
print(query("SELECT version()") + "\n")
for part in sys.argv[1:] or parts:
    parts[part]()

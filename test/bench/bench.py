"""Measures cancel_jobs and its rivals; see run.sh, which calls this.

Every sample is one call in a transaction that is rolled back, and a VACUUM
then gives the pages back the room they had: so each contender finds the same
fresh rows. In a round each contender has its turn, in random order, each in a
session of its own; the first round warms up and is checked instead of
counted. Figures are medians, ratios are medians of the ratios within a round.
"""

import csv
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median

import psycopg
from psycopg.pq import ExecStatus

QUICK = "--quick" in sys.argv
RESULTS = sys.argv[-1]

SIZES = [1, 10, 100, 1000] if QUICK else [1, 10, 100, 1000, 10_000, 100_000]
TABLE_JOBS = 5_000 if QUICK else 150_000  # the large table has 10 times as many
OTHER_BATCH = 100  # jobs in each of the batches around
TOAST_JOBS = 50 if QUICK else 2_000
TOAST_ROUNDS = 2 if QUICK else 7
SCALE_ROUNDS = 2 if QUICK else 21
WAL_MB = 10 if QUICK else 4_000
CLIENTS = [1, 2, 4, 8]
CLIENT_ROUNDS = 1 if QUICK else 7
CLIENT_JOBS = 720 if QUICK else 18_000


def rounds_of(size, slow):
    if QUICK:
        return 2
    if size >= 10_000:
        return 5 if slow else 11
    return 11 if slow else 41


UPDATE = """UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
    WHERE batch_id = $1 AND status IN ('PENDING', 'RUNNING')"""
UPDATE_ONE = """UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
    WHERE id = $1 AND status IN ('PENDING', 'RUNNING') RETURNING *"""

FLOOR = "bare UPDATE"
RETURNING = "UPDATE ... RETURNING *"
CTE_JSON = "CTE with json_agg"
CTE_JSONB = "CTE with jsonb_agg (kept)"
CTE_UNLOCKED = "the same, not locking (kept)"
LOOP = "PL/pgSQL loop"
PIPELINE = "pipelined UPDATE a job"
KEPT = "cancel_jobs (kept)"
CANCEL = "cancel_jobs"
HTTP_KEPT = "cancel_jobs_http (kept)"
HTTP = "cancel_jobs_http"
ROWS = "cancel_jobs_rows"

# pg_column_size() only reads the length word of a result that is in memory
# anyway, so it costs nothing, and keeps the result in the server
STATEMENTS = {
    FLOOR: UPDATE,
    RETURNING: UPDATE + " RETURNING *",
    CTE_JSON: "SELECT cancel_cte_json($1)",
    CTE_JSONB: "SELECT pg_column_size(cancel_cte_jsonb($1))",
    CTE_UNLOCKED: "SELECT pg_column_size(cancel_cte_jsonb_unlocked($1))",
    LOOP: "SELECT cancel_loop($1)",
    PIPELINE: "SELECT id FROM jobs WHERE batch_id = $1 AND status IN ('PENDING', 'RUNNING')",
    KEPT: "SELECT pg_column_size(cancel_jobs($1))",
    CANCEL: "SELECT cancel_jobs($1)",
    HTTP_KEPT: "SELECT status_code, pg_column_size(body) FROM cancel_jobs_http($1)",
    HTTP: "SELECT * FROM cancel_jobs_http($1)",
    ROWS: "SELECT * FROM cancel_jobs_rows($1)",
}
SLOW = {CTE_JSONB, CTE_UNLOCKED, LOOP, PIPELINE}
RIVALS = ["cancel_cte_json", "cancel_cte_jsonb", "cancel_cte_jsonb_unlocked", "cancel_loop"]

rows = []  # of results.csv: measure, jobs, what, value, unit, samples


def record(measure, jobs, what, value, unit, samples):
    rows.append((measure, jobs, what, f"{value:.6g}", unit, samples))


def progress(text):
    print("==", text, file=sys.stderr, flush=True)


def execute(pgconn, command):
    """Runs a command through libpq alone, which is all that is timed."""
    result = command(pgconn)
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        sys.exit(result.error_message.decode())
    return result


class Contender:
    """A way to cancel a batch, with a session of its own in which its statement is prepared."""

    def __init__(self, name):
        self.name = name
        self.conn = psycopg.connect(autocommit=True, options="-c search_path=small,public")
        self.pg = self.conn.pgconn
        self.pg.nonblocking = 0  # so that libpq reads while it cannot send
        execute(self.pg, lambda pg: pg.prepare(b"batch", STATEMENTS[name].encode()))
        if name == PIPELINE:
            execute(self.pg, lambda pg: pg.prepare(b"one", UPDATE_ONE.encode()))

    def sql(self, text):
        return execute(self.pg, lambda pg: pg.exec_(text.encode()))

    def cancel(self, batch):
        result = execute(self.pg, lambda pg: pg.exec_prepared(b"batch", [batch]))
        if self.name == PIPELINE and result.ntuples:
            self.cancel_each([result.get_value(i, 0) for i in range(result.ntuples)])
        return result

    def cancel_each(self, ids):
        """All UPDATEs are sent without waiting for answers."""
        self.pg.enter_pipeline_mode()
        for job in ids:
            self.pg.send_query_prepared(b"one", [job])
        self.pg.pipeline_sync()
        for _ in ids:
            if self.pg.get_result().ntuples != 1:
                sys.exit("a pipelined UPDATE failed")
            self.pg.get_result()
        self.pg.get_result()
        self.pg.exit_pipeline_mode()


def batch_of(jobs):
    return query("SELECT md5('of ' || %s || ' batch 0')::uuid::text", jobs).encode()


NO_BATCH = b"00000000-0000-0000-0000-000000000000"


def query(sql, *args):
    return admin.execute(sql, args).fetchone()[0]


def sample(contender, schema, batch, check=None):
    """Seconds of one call on fresh rows. A call before it, on no rows, makes plans if those must be new."""
    contender.sql(f"SET search_path = {schema}, public")
    contender.cancel(NO_BATCH)
    contender.sql("BEGIN")
    start = time.perf_counter()
    contender.cancel(batch)
    taken = time.perf_counter() - start
    if check is not None:
        sql = f"SELECT count(*) FROM jobs WHERE batch_id = '{batch.decode()}' AND status = 'CANCELED'"
        if int(contender.sql(sql).get_value(0, 0)) != check:
            sys.exit(f"{contender.name} did not cancel {check} jobs")
    contender.sql("ROLLBACK")
    admin.execute(f"VACUUM {schema}.jobs")
    return taken


def run_rounds(turns):
    """turns: {name: (contender, schema, batch, jobs, how many rounds)}. Returns [{name: seconds}], a dict a round."""
    samples = []
    for number in range(max(turn[4] for turn in turns.values()) + 1):
        names = [name for name, turn in turns.items() if number <= turn[4]]
        random.shuffle(names)
        taken = {}
        for name in names:
            contender, schema, batch, jobs, _ = turns[name]
            taken[name] = sample(contender, schema, batch, None if number else cancelable(jobs))
        if number:
            samples.append(taken)
    return samples


def cancelable(jobs):
    return jobs - jobs // 10


def ratio(samples, name, base):
    ratios = [taken[name] / taken[base] for taken in samples if name in taken and base in taken]
    return median(ratios), len(ratios)


def seconds(samples, name):
    times = [taken[name] for taken in samples if name in taken]
    return median(times), len(times)


def table(title, head, lines):
    print(f"\n{title}\n")
    widths = [max(len(str(line[i])) for line in [head] + lines) for i in range(len(head))]
    for line in [head] + lines:
        first, *rest = (str(cell) for cell in line)
        print(first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:])), sep="   ")


def number(value):
    """Three digits that count."""
    return f"{value:.{max(0, 2 - int(f'{value:e}'.split('e')[1]))}f}" if value < 100 else f"{value:,.0f}"


def load():
    for schema, others in ("small", 1), ("large", 10):
        progress(f"loading {schema} table")
        batches = (TABLE_JOBS * others - sum(SIZES)) // OTHER_BATCH
        admin.execute(f"CALL load_jobs('{schema}.jobs', 'before', {batches // 2}, {OTHER_BATCH})")
        for size in SIZES:
            admin.execute(f"CALL load_jobs('{schema}.jobs', 'of {size}', 1, {size})")
        admin.execute(f"CALL load_jobs('{schema}.jobs', 'after', {batches - batches // 2}, {OTHER_BATCH})")
    progress("loading dense table")
    admin.execute(f"CALL load_jobs('dense.jobs', 'of {SIZES[-1]}', 1, {SIZES[-1]})")
    admin.execute(f"CALL load_jobs('dense.jobs', 'others', {SIZES[-1] // 4 // OTHER_BATCH}, {OTHER_BATCH})")
    progress("loading toasted table")
    admin.execute(f"CALL load_jobs('toasted.jobs', 'of {TOAST_JOBS}', 1, {TOAST_JOBS}, long_sequence())")


def compare_answers():
    """Whoever is measured must give the same answer."""
    size = SIZES[-3]
    admin.execute("SET search_path = small, public")
    for rival in RIVALS:
        # in one transaction, so that now() is the same
        with admin.transaction(force_rollback=True):
            answers = []
            for name in ("cancel_jobs", rival):
                with admin.transaction(force_rollback=True):
                    answers.append(query(f"SELECT {name}(%s)::text", batch_of(size).decode()))
        if json.loads(answers[0]) != json.loads(answers[1]):
            sys.exit(f"{rival} does not answer as cancel_jobs does")
    admin.execute("RESET search_path")


def make_wal():
    """As in a server that has run for a while, there is old WAL whose files can be used again."""
    progress("making WAL")
    admin.execute("SELECT count(pg_logical_emit_message(false, '', repeat('x', 1000000))) FROM generate_series(1, %s)",
                  [WAL_MB])  # fmt: skip
    admin.execute("CHECKPOINT")


def measure_hot():
    """In rows as they were inserted, before any VACUUM."""
    contender = contenders[KEPT]
    contender.sql("SET search_path = small, public")
    contender.sql("BEGIN")
    contender.cancel(batch_of(SIZES[-1]))
    result = contender.sql(
        "SELECT n_tup_hot_upd::float8 / n_tup_upd FROM pg_stat_xact_user_tables WHERE relid = 'small.jobs'::regclass"
    )
    contender.sql("ROLLBACK")
    share = float(result.get_value(0, 0))
    record("HOT share", SIZES[-1], KEPT, share, "of 1", 1)
    return share


def measure_batches():
    by_size = {}
    for size in SIZES:
        progress(f"batch of {size:,} jobs")
        admin.execute("CHECKPOINT")  # full-page images fall into the round that is not counted
        turns = {
            name: (contender, "small", batch_of(size), size, rounds_of(size, name in SLOW))
            for name, contender in contenders.items()
        }
        by_size[size] = run_rounds(turns)

    lines_ms, lines_ratio = [], []
    for name in contenders:
        times = [seconds(by_size[size], name) for size in SIZES]
        ratios = [ratio(by_size[size], name, FLOOR) for size in SIZES]
        for size, (value, count) in zip(SIZES, times):
            record("time", size, name, value * 1000, "ms", count)
        for size, (value, count) in zip(SIZES, ratios):
            record("ratio", size, name, value, "of bare UPDATE", count)
        lines_ms.append([name, *(number(value * 1000) for value, _ in times)])
        lines_ratio.append([name, *(number(value) for value, _ in ratios)])
    head = ["jobs in the batch", *(f"{size:,}" for size in SIZES)]
    table("One call for a batch, milliseconds at the client", head, lines_ms)
    table("The same, as a multiple of the bare UPDATE", head, lines_ratio)
    return by_size


def measure_scale():
    progress("a table 10 times as large")
    admin.execute("CHECKPOINT")
    some, many = SIZES[-3], SIZES[-1]
    turns = {
        (schema, size): (contenders[KEPT], schema, batch_of(size), size, SCALE_ROUNDS)
        for schema in ("small", "large")
        for size in (some, many)
    }
    samples = run_rounds(turns)
    per_job, count = ratio(samples, ("small", many), ("small", some))
    per_job *= some / many
    record("time a job", many, f"{KEPT} / the same for {some} jobs", per_job, "ratio", count)
    large = {size: ratio(samples, ("large", size), ("small", size))[0] for size in (some, many)}
    for size, value in large.items():
        record("table 10 times as large", size, KEPT, value, "ratio", count)
    return per_job, large


def measure_dense():
    progress("a batch that is 80 % of its table")
    admin.execute("CHECKPOINT")
    size = SIZES[-1]
    turns = {name: (contenders[name], "dense", batch_of(size), size, SCALE_ROUNDS) for name in (FLOOR, KEPT)}
    value, count = ratio(run_rounds(turns), KEPT, FLOOR)
    record("a batch of 80 % of its table", size, KEPT, value, "of bare UPDATE", count)
    return value


def measure_toast():
    progress("long sequences")
    names = [name for name in contenders if name not in SLOW]
    turns = {name: (contenders[name], "toasted", batch_of(TOAST_JOBS), TOAST_JOBS, TOAST_ROUNDS) for name in names}
    samples = run_rounds(turns)
    lines = []
    for name in names:
        (time_, count), (times, _) = seconds(samples, name), ratio(samples, name, RETURNING)
        record("long sequences time", TOAST_JOBS, name, time_ * 1000, "ms", count)
        record("long sequences ratio", TOAST_JOBS, name, times, "of UPDATE ... RETURNING *", count)
        lines.append([name, number(time_ * 1000), number(times)])
    length = query("SELECT max(octet_length(sequence)) FROM toasted.jobs")
    table(
        f"{TOAST_JOBS:,} jobs with sequences of {length / 1000:.0f} kB each, toasted",
        ["", "ms", "/ RETURNING *"],
        lines,
    )


def hwm(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024


def measure_memory():
    """Peak above the same backend idle, after it has touched what it shares with others."""
    size = SIZES[-1]
    batch = batch_of(size)
    over, lines = {}, []
    if not QUICK:
        time.sleep(11)  # an idle session tells of its temporary files within 10 seconds
    for name in contenders:
        if name in (LOOP, PIPELINE):
            continue  # they are about time
        progress(f"memory and WAL of {name}")
        temporary = query("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()")
        contender = Contender(name)
        pid = contender.conn.info.backend_pid
        contender.sql("SET search_path = small, public")
        contender.sql("BEGIN")
        contender.sql(UPDATE.replace("$1", f"'{batch.decode()}'"))
        contender.sql("ROLLBACK")
        admin.execute("VACUUM small.jobs")
        contender.cancel(NO_BATCH)
        with open(f"/proc/{pid}/clear_refs", "w") as refs:
            refs.write("5")  # the peak starts anew
        idle = hwm(pid)
        wal = query("SELECT pg_current_wal_insert_lsn() - '0/0'")
        contender.sql("BEGIN")
        result = contender.cancel(batch)
        wal = (query("SELECT pg_current_wal_insert_lsn() - '0/0'") - wal) / cancelable(size)
        contender.sql("ROLLBACK")
        peak = hwm(pid) - idle
        admin.execute("VACUUM small.jobs")
        contender.conn.close()
        while query("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid):
            time.sleep(0.01)
        temporary = query("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()") - temporary

        length = sum(len(result.get_value(i, j) or b"") for i in range(result.ntuples) for j in range(result.nfields))
        if name in (CTE_JSONB, CTE_UNLOCKED, KEPT, HTTP_KEPT):  # only the size came back
            length = int(result.get_value(0, result.nfields - 1))
        over[name] = peak / length if length else None
        record("peak memory", size, name, peak, "bytes", 1)
        record("response", size, name, length, "bytes", 1)
        record("temporary files", size, name, temporary, "bytes", 1)
        record("WAL a job", size, name, wal, "bytes", 1)
        lines.append([
            name, f"{peak / 1e6:.1f}", f"{length / 1e6:.1f}", f"{over[name]:.2f}" if length else "",
            f"{temporary / 1e6:.1f}", f"{wal:.0f}",
        ])  # fmt: skip
    table(
        f"One call for {size:,} jobs: peak memory of the backend above idle, response, temporary files (MB); WAL (bytes)",
        ["", "memory", "response", "memory / response", "files", "WAL a canceled job"],
        lines,
    )
    return over


# Each client takes its share of all numbers; of 10 jobs the one that is DONE
# is left out. The empty round trip makes the same ids.
PGBENCH_HEAD = r"""
\set turn :turn + 1
\set k (:turn - 1) * :clients + :client_id
\set i :k + :k / 9
\set b :i / 100
"""
ID = "md5('single ' || :i::text)::uuid"
BATCH = "md5('single batch ' || :b::text)::uuid"
EMPTY_ID = "empty round trip"
UPDATE_ID = "UPDATE ... RETURNING *"
CANCEL_ID = "cancel_jobs"
HTTP_ID = "cancel_jobs_http"
PGBENCH = {
    EMPTY_ID: f"SELECT {ID}, {BATCH};",
    UPDATE_ID: UPDATE_ONE.replace("$1", ID) + ";",
    CANCEL_ID: f"SELECT cancel_jobs({BATCH}, jsonb_build_object('id', {ID}));",
    HTTP_ID: f"SELECT * FROM cancel_jobs_http({BATCH}::text, 'id=' || {ID});",
}


def pgbench(name, clients):
    """Transactions a second, each of which cancels another fresh job."""
    script = os.path.join(RESULTS, "pgbench.sql")
    with open(script, "w") as file:
        file.write(PGBENCH_HEAD + PGBENCH[name].replace("\n", " ") + "\n")
    admin.execute("TRUNCATE single.jobs")
    admin.execute(f"CALL load_jobs('single.jobs', 'single', {CLIENT_JOBS * 10 // 9 // 100}, 100)")
    admin.execute("VACUUM ANALYZE single.jobs")
    output = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-t", str(CLIENT_JOBS // clients),
         "-D", "turn=0", "-D", f"clients={clients}", "-f", script],
        env={**os.environ, "PGOPTIONS": "-c search_path=single,public"},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    os.remove(script)
    canceled = query("SELECT count(*) FROM single.jobs WHERE status = 'CANCELED'")
    if canceled != (0 if name == EMPTY_ID else CLIENT_JOBS):
        sys.exit(f"{name} canceled {canceled} jobs of {CLIENT_JOBS}")
    return float(re.search(r"tps = ([\d.]+) \((?:without|excluding)", output)[1])


def measure_clients():
    tps = defaultdict(list)
    for round_ in range(CLIENT_ROUNDS + (not QUICK)):
        progress(f"clients that cancel single jobs, round {round_}")
        # the ratio of two small differences wants more runs of one client
        turns = CLIENTS if QUICK else CLIENTS + [1] * 3
        for clients in random.sample(turns, len(turns)):
            for name in random.sample(list(PGBENCH), len(PGBENCH)):
                result = pgbench(name, clients)
                if round_ or QUICK:
                    tps[name, clients].append(result)
    for (name, clients), values in tps.items():
        record(f"single jobs a second by {clients} clients", 1, name, median(values), "tps", len(values))
    table(
        "Clients that cancel single jobs by id at once (pgbench -M prepared), transactions a second",
        ["clients", *CLIENTS],
        [[name, *(f"{median(tps[name, clients]):,.0f}" for clients in CLIENTS)] for name in PGBENCH],
    )

    def net(name):
        return median(
            (1 / it - 1 / empty) / (1 / update - 1 / empty)
            for it, update, empty in zip(tps[name, 1], tps[UPDATE_ID, 1], tps[EMPTY_ID, 1])
        )

    nets = {name: net(name) for name in (CANCEL_ID, HTTP_ID)}
    for name, value in nets.items():
        record("single job less round trip", 1, name, value, "of UPDATE ... RETURNING *", CLIENT_ROUNDS)
    return nets


def show_reach(by_size, per_job, large, dense, over, hot, nets):
    many = SIZES[-1]
    some = SIZES[-3]
    top = by_size[many]
    reach = [
        (f"{KEPT}, {many:,} jobs / bare UPDATE", ratio(top, KEPT, FLOOR)[0], 2.0),
        ("the same in a table of which the batch is 80 % / bare UPDATE", dense, 1.6),
        (f"{KEPT}, {many:,} jobs / {CTE_JSONB}", ratio(top, KEPT, CTE_JSONB)[0], 0.10),
        (f"{HTTP} / UPDATE ... RETURNING *", ratio(top, HTTP, RETURNING)[0], 1.2),
        (f"{HTTP} / {CTE_JSON}", ratio(top, HTTP, CTE_JSON)[0], 0.45),
        ("one job by id: cancel_jobs / UPDATE ... RETURNING *, less a round trip", nets[CANCEL_ID], 1.4),
        (f"time a job at {many:,} / at {some:,}", per_job, 1.2),
        *((f"{size:,} jobs in a table 10 times as large", value, 1.2) for size, value in large.items()),
        # sent as text, PostgreSQL itself has a value three times: as such, as a string, in the message
        *((f"peak memory / response, {name}", over[name], 2.5) for name in (KEPT, HTTP_KEPT)),
    ]
    reach = [(what, value, f"at most {limit:.2f}", value <= limit) for what, value, limit in reach]
    reach.append(("HOT share, first status change of a job", hot, "at least 0.95", hot >= 0.95))
    for what, value, wanted, _ in reach:
        record("reach", many, what, value, wanted, "")
    table(
        "What is to be reached",
        ["", "measured", "wanted", ""],
        [[what, f"{value:.3f}", wanted, "ok" if ok else "MISSED"] for what, value, wanted, ok in reach],
    )
    if QUICK:
        print("\nThis was --quick: everything was tried, nothing was measured well.")


def show_setting():
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"model name\s*: (.*)", cpuinfo.read())
    print(f"PostgreSQL {query('SHOW server_version')}; {os.cpu_count()} cores{', ' + model[1] if model else ''}")
    settings = admin.execute(
        """SELECT name || ' = ' || current_setting(name) FROM pg_settings
        WHERE source = 'configuration file' AND setting IS DISTINCT FROM boot_val
        AND name !~ '^(lc_|listen_|unix_|log_|port$|DateStyle|TimeZone|default_text|dynamic_shared|max_conn)'
        ORDER BY 1"""
    )
    print("Settings other than the default:", ", ".join(row[0] for row in settings))
    print(
        f"Table: create_jobs_table(), {TABLE_JOBS:,} jobs; 90 % of each batch can be canceled. One libpq client on a\n"
        "Unix socket, prepared statements, each result fetched as text; (kept): the result stays in the server.\n"
        "Each call finds fresh rows; contenders take turns in random order; medians."
    )


random.seed(4)
admin = psycopg.connect(autocommit=True)
show_setting()
load()

if query("SELECT to_regprocedure('cancel_jobs_rows(uuid, jsonb)') IS NULL"):
    del STATEMENTS[ROWS]
contenders = {name: Contender(name) for name in STATEMENTS}
hot = measure_hot()
admin.execute("VACUUM ANALYZE")
compare_answers()
make_wal()
by_size = measure_batches()
per_job, large = measure_scale()
dense = measure_dense()
measure_toast()
over = measure_memory()
nets = measure_clients()
show_reach(by_size, per_job, large, dense, over, hot, nets)

with open(os.path.join(RESULTS, "results.csv"), "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "jobs", "what", "value", "unit", "samples"])
    writer.writerows(rows)

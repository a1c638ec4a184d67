"""Measures cancel_jobs and its rivals; see run.sh, which calls this.

The report and the results appear when all is measured. If the bare UPDATE
itself varied too much, the machine was too noisy: then there are none, and the
status is 3.
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

from common import (
    CPU_TIME, NO_BATCH, QUICK, RESULTS, UPDATE, Contender, Turn, admin, batch_of, cancelable, committed, goal, goals,
    number, peak_memory, prepare_turn, progress, put_back, query, ratio, record, report, rows, run_rounds, seconds,
    spread, table,
)  # fmt: skip
from growth import measure_growth, measure_many
from held import measure_held
from instructions import measure_instructions
from queues import measure_queues

SIZES = [1, 10, 100, 1000] if QUICK else [1, 10, 100, 1000, 10_000, 100_000]
SOME, MANY = SIZES[-3], SIZES[-1]
TABLE_JOBS = 5_000 if QUICK else 150_000
OTHER_BATCH = 100  # jobs in each of the batches around
TOAST_JOBS = 50 if QUICK else 2_000
TOAST_ROUNDS = 2 if QUICK else 3
LINEAR_ROUNDS = 2 if QUICK else 11
DURABLE_SIZES = [1, 100] if QUICK else [1, 1_000, 10_000]
DURABLE_ROUNDS = 2 if QUICK else 11
WAL_MB = 10 if QUICK else 4_000
CLIENTS = [1, 2, 8, 32]
ONE_CALLS = 50 if QUICK else 4_000
CLIENT_ROUNDS = 1 if QUICK else 3
CLIENT_JOBS = 720 if QUICK else 9_000  # at least, and at least so many for each client:
JOBS_A_CLIENT = 18 if QUICK else 1_350

# The third quartile of the times of the bare UPDATE by the first, in any size of batch from 1,000 on
NOISE = float(os.environ.get("BENCH_NOISE", "inf" if QUICK else "2"))


def rounds_of(size, slow):
    if QUICK:
        return 2
    if size >= 10_000:
        return 4 if slow else 9
    return 11 if slow else 41


UPDATE_ONE = """UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
    WHERE id = $1 AND batch_id = $2 AND status IN ('PENDING', 'RUNNING') RETURNING *"""

FLOOR = "bare UPDATE"
PLANNED_ANEW = "bare UPDATE, planned for each batch"
RETURNING = "UPDATE ... RETURNING *"
CTE_JSON = "CTE with json_agg"
CTE_JSON_UNLOCKED = "CTE with json_agg, not locking"
CTE_JSONB = "CTE with jsonb_agg (not sent)"
CTE_JSONB_UNLOCKED = "CTE with jsonb_agg, not locking (not sent)"
LOOP = "PL/pgSQL loop"
PIPELINE = "pipelined UPDATE a job"
KEPT = "cancel_jobs (not sent)"
CANCEL = "cancel_jobs"
HTTP_KEPT = "cancel_jobs_http (not sent)"
HTTP = "cancel_jobs_http"
ROWS = "cancel_jobs_rows"

# pg_column_size() only reads the length word of a result that is in memory
# anyway, so it costs nothing, and keeps the result in the server
STATEMENTS = {
    FLOOR: UPDATE,
    PLANNED_ANEW: UPDATE,
    RETURNING: UPDATE + " RETURNING *",
    CTE_JSON: "SELECT cancel_cte_json($1)",
    CTE_JSON_UNLOCKED: "SELECT cancel_cte_json_unlocked($1)",
    CTE_JSONB: "SELECT pg_column_size(cancel_cte_jsonb($1))",
    CTE_JSONB_UNLOCKED: "SELECT pg_column_size(cancel_cte_jsonb_unlocked($1))",
    LOOP: "SELECT cancel_loop($1)",
    PIPELINE: "SELECT id FROM jobs WHERE batch_id = $1 AND status IN ('PENDING', 'RUNNING')",
    KEPT: "SELECT pg_column_size(cancel_jobs($1))",
    CANCEL: "SELECT cancel_jobs($1)",
    HTTP_KEPT: "SELECT status_code, pg_column_size(body) FROM cancel_jobs_http($1)",
    HTTP: "SELECT * FROM cancel_jobs_http($1)",
    ROWS: "SELECT * FROM cancel_jobs_rows($1)",
}
PLANNED_ONCE = {FLOOR, RETURNING}
SLOW = {CTE_JSON, CTE_JSON_UNLOCKED, CTE_JSONB, CTE_JSONB_UNLOCKED, LOOP, PIPELINE}
FUNCTIONS = [
    "cancel_cte_json", "cancel_cte_json_unlocked", "cancel_cte_jsonb", "cancel_cte_jsonb_unlocked", "cancel_loop",
]  # fmt: skip


class Pipeline(Contender):
    """A client that reads which jobs can be canceled, and sends an UPDATE for each without waiting for answers."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.prepare(b"one", UPDATE_ONE)

    def cancel(self, arguments):
        result = super().cancel(arguments)
        if result.ntuples == 0:
            return
        self.pg.enter_pipeline_mode()
        for i in range(result.ntuples):
            self.pg.send_query_prepared(b"one", [result.get_value(i, 0), *arguments])
        self.pg.pipeline_sync()
        for _ in range(result.ntuples):
            if self.pg.get_result().ntuples != 1:
                sys.exit("a pipelined UPDATE failed")
            self.pg.get_result()
        self.pg.get_result()
        self.pg.exit_pipeline_mode()


def make_contender(name):
    return (Pipeline if name == PIPELINE else Contender)(name, STATEMENTS[name], "small", name in PLANNED_ONCE)


def turn_of(name, size, rounds, schema="small"):
    return Turn(contenders[name], f"{schema}.jobs", [batch_of(size)], cancelable(size), rounds)


def load():
    progress("loading tables")
    batches = (TABLE_JOBS - sum(SIZES)) // OTHER_BATCH
    admin.execute(f"CALL load_jobs('small.jobs', 'before', {batches // 2}, {OTHER_BATCH})")
    for size in SIZES:
        admin.execute(f"CALL load_jobs('small.jobs', 'of {size}', 1, {size})")
    admin.execute(f"CALL load_jobs('small.jobs', 'after', {batches - batches // 2}, {OTHER_BATCH})")
    admin.execute(f"CALL load_jobs('dense.jobs', 'of {SIZES[-1]}', 1, {SIZES[-1]})")
    admin.execute(f"CALL load_jobs('dense.jobs', 'others', {SIZES[-1] // 4 // OTHER_BATCH}, {OTHER_BATCH})")
    admin.execute(f"CALL load_jobs('toasted.jobs', 'of {TOAST_JOBS}', 1, {TOAST_JOBS}, long_sequence())")


def compare_answers():
    """Whoever is measured must give the same answer."""
    size = SOME
    admin.execute("SET search_path = small, public")
    for rival in FUNCTIONS:
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
    contender.cancel([batch_of(MANY)])
    result = contender.sql(
        "SELECT n_tup_hot_upd::float8 / n_tup_upd FROM pg_stat_xact_user_tables WHERE relid = 'small.jobs'::regclass"
    )
    contender.sql("ROLLBACK")
    share = float(result.get_value(0, 0))
    record("HOT share", MANY, KEPT, share, "of 1", 1)
    goal("HOT share, first status change of a job", share, 0.95, at_least=True)


def check_noise(by_size):
    for size, samples in by_size.items():
        value = spread(samples, FLOOR)
        record("spread", size, FLOOR, value, "third quartile / first", len(samples))
        if size >= 1_000 and value > NOISE:
            print(
                f"The machine is too noisy to measure on: the bare UPDATE of {size:,} jobs varies by {value:.2f} (third\n"
                f"quartile of the times by the first), more than {NOISE:.2f}. Let nothing else run, or set BENCH_NOISE."
            )
            sys.exit(3)


def measure_batches():
    by_size = {}
    for size in SIZES:
        progress(f"batch of {size:,} jobs")
        admin.execute("CHECKPOINT")  # full-page images fall into the round that is not counted
        by_size[size] = run_rounds({name: turn_of(name, size, rounds_of(size, name in SLOW)) for name in contenders})
    check_noise(by_size)

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
    table(f"One call for a batch, milliseconds {'of CPU time' if CPU_TIME else 'at the client'}", head, lines_ms)
    table("The same, as a multiple of the bare UPDATE", head, lines_ratio)
    top = by_size[MANY]
    goal(f"{KEPT}, one job / {FLOOR}", ratio(by_size[1], KEPT, FLOOR)[0], 1.35)
    goal(f"{KEPT}, 1,000 jobs / {FLOOR}", ratio(by_size[1_000], KEPT, FLOOR)[0], 1.28)
    goal(f"{KEPT}, {MANY:,} jobs / {FLOOR}", ratio(top, KEPT, FLOOR)[0], 1.40)
    goal(f"{HTTP} / {RETURNING}, one job", ratio(by_size[1], HTTP, RETURNING)[0], 1.05)
    goal(
        f"{HTTP} / {RETURNING}, from 1,000 jobs on, the largest",
        max(ratio(by_size[size], HTTP, RETURNING)[0] for size in SIZES if size >= 1_000),
        0.95,
    )
    if CTE_JSON not in contenders:
        return
    for ours, limit, rivals in (KEPT, 0.10, (CTE_JSONB, CTE_JSONB_UNLOCKED)), (HTTP, 0.40, (CTE_JSON, CTE_JSON_UNLOCKED)):
        faster = min(rivals, key=lambda name: seconds(top, name)[0])
        goal(f"{ours}, {MANY:,} jobs / {faster}", ratio(top, ours, faster)[0], limit)


def measure_linear():
    progress("time per job")
    admin.execute("CHECKPOINT")
    samples = run_rounds({size: turn_of(KEPT, size, LINEAR_ROUNDS) for size in (SOME, MANY)})
    value, count = ratio(samples, MANY, SOME)
    value *= SOME / MANY
    record("time per job", MANY, f"{KEPT} / the same for {SOME} jobs", value, "ratio", count)
    goal(f"time per job at {MANY:,} / at {SOME:,}", value, 1.20)


def measure_dense():
    progress("a batch that is 80 % of its table")
    admin.execute("CHECKPOINT")
    # planned for this batch, the bare UPDATE reads the whole table
    samples = run_rounds({name: turn_of(name, MANY, LINEAR_ROUNDS, "dense") for name in (PLANNED_ANEW, KEPT)})
    value, count = ratio(samples, KEPT, PLANNED_ANEW)
    record("a batch of 80 % of its table", MANY, KEPT, value, "of bare UPDATE", count)
    goal(f"{KEPT}, a batch that is 80 % of its table / bare UPDATE", value, 1.60)


def wal_of(turn):
    before = query("SELECT pg_current_wal_insert_lsn() - '0/0'")
    turn.contender.cancel(turn.arguments)
    return (query("SELECT pg_current_wal_insert_lsn() - '0/0'") - before) / turn.canceled


def measure_durable():
    """With fsync, and wal_level = replica as it is by default: each call commits."""
    admin.execute("ALTER SYSTEM SET fsync = on")
    query("SELECT pg_reload_conf()")
    while query("SHOW fsync") != "on":
        time.sleep(0.01)
    names = [FLOOR, RETURNING, KEPT, HTTP]
    by_size = {}
    for size in DURABLE_SIZES:
        progress(f"fsync = on, batch of {size:,} jobs")
        admin.execute("CHECKPOINT")
        by_size[size] = run_rounds({name: turn_of(name, size, DURABLE_ROUNDS) for name in names}, committed)
    size = DURABLE_SIZES[-1]
    lines = []
    for name in names:
        turn = turn_of(name, size, 0)
        wal = []
        for full_pages in (True, False):
            if full_pages:
                admin.execute("CHECKPOINT")
            wal.append(wal_of(turn))
            put_back(turn)
        record("WAL a job after a checkpoint", size, name, wal[0], "bytes", 1)
        record("WAL a job, fsync = on", size, name, wal[1], "bytes", 1)
        cells = []
        for size_ in DURABLE_SIZES:
            time_, count = seconds(by_size[size_], name)
            times, _ = ratio(by_size[size_], name, FLOOR)
            record("time, fsync = on", size_, name, time_ * 1000, "ms", count)
            record("ratio, fsync = on", size_, name, times, "of bare UPDATE", count)
            cells += [f"{number(time_ * 1000)} ms", number(times)]
        lines.append([name, *cells, f"{wal[1]:.0f}", f"{wal[0]:.0f}"])
    table(
        f"fsync = on, wal_level = {query('SHOW wal_level')}, call and commit: milliseconds, and as a multiple of the bare"
        f" UPDATE;\nbytes of WAL a canceled job of {size:,}, without and with full pages (right after a checkpoint)",
        ["jobs in the batch", *(cell for size in DURABLE_SIZES for cell in (f"{size:,}", "")), "WAL", "with full pages"],
        lines,
    )
    admin.execute("ALTER SYSTEM RESET fsync")
    query("SELECT pg_reload_conf()")


def measure_toast():
    progress("long sequences")
    names = [name for name in contenders if name not in SLOW]
    samples = run_rounds({name: turn_of(name, TOAST_JOBS, TOAST_ROUNDS, "toasted") for name in names})
    lines = []
    for name in names:
        (time_, count), (times, _) = seconds(samples, name), ratio(samples, name, RETURNING)
        prepare_turn(turn_of(name, TOAST_JOBS, 0, "toasted"))
        contenders[name].sql("BEGIN")
        sent = length_of(contenders[name].cancel([batch_of(TOAST_JOBS)]))
        contenders[name].sql("ROLLBACK")
        record("long sequences time", TOAST_JOBS, name, time_ * 1000, "ms", count)
        record("long sequences ratio", TOAST_JOBS, name, times, "of UPDATE ... RETURNING *", count)
        record("long sequences sent", TOAST_JOBS, name, sent, "bytes", 1)
        lines.append([name, number(time_ * 1000), number(times), f"{sent / 1e6:.1f}"])
    length = query("SELECT max(octet_length(sequence)) FROM toasted.jobs")
    table(
        f"{TOAST_JOBS:,} jobs with sequences of {length / 1000:.0f} kB each, toasted; JSON escapes each quote in them",
        ["", "ms", "/ RETURNING *", "MB sent"],
        lines,
    )


def length_of(result):
    return sum(len(result.get_value(i, j) or b"") for i in range(result.ntuples) for j in range(result.nfields))


def measure_memory():
    """Peak above the same backend idle, after it has touched what it shares with others."""
    batch = batch_of(MANY)
    lines = []
    if not QUICK:
        time.sleep(11)  # an idle session tells of its temporary files within 10 seconds
    for name in contenders:
        if name in (LOOP, PIPELINE):
            continue  # they are about time
        progress(f"memory and WAL of {name}")
        temporary = query("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()")
        contender = make_contender(name)
        pid = contender.conn.info.backend_pid
        contender.sql("BEGIN")
        contender.sql(UPDATE.replace("$1", f"'{batch.decode()}'"))
        contender.sql("ROLLBACK")
        admin.execute("VACUUM small.jobs")
        contender.cancel([NO_BATCH])
        wal = query("SELECT pg_current_wal_insert_lsn() - '0/0'")
        peak, result = peak_memory(contender, [batch])
        wal = (query("SELECT pg_current_wal_insert_lsn() - '0/0'") - wal) / cancelable(MANY)
        admin.execute("VACUUM small.jobs")
        contender.conn.close()
        while query("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid):
            time.sleep(0.01)
        temporary = query("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()") - temporary

        length = length_of(result)
        if name in (CTE_JSONB, CTE_JSONB_UNLOCKED, KEPT, HTTP_KEPT):  # only the size came back
            length = int(result.get_value(0, result.nfields - 1))
        record("peak memory", MANY, name, peak, "bytes", 1)
        record("response", MANY, name, length, "bytes", 1)
        record("temporary files", MANY, name, temporary, "bytes", 1)
        record("WAL a job", MANY, name, wal, "bytes", 1)
        lines.append([
            name, f"{peak / 1e6:.1f}", f"{length / 1e6:.1f}", f"{peak / length:.2f}" if length else "",
            f"{temporary / 1e6:.1f}", f"{wal:.0f}",
        ])  # fmt: skip
        if name in (KEPT, HTTP_KEPT):
            # sent as text, PostgreSQL itself has a value three times: as such, as a string, in the message
            goal(f"peak memory / response, {name}", peak / length, 2.50)
    table(
        f"One call for {MANY:,} jobs: peak of the backend's own memory (RssAnon) above idle, response, temporary files (MB);"
        " WAL (bytes)",
        ["", "memory", "response", "memory / response", "files", "WAL a canceled job"],
        lines,
    )


# Each client takes its share of all numbers; of 10 jobs the one that is DONE
# is left out. The empty round trip makes the same ids. What a client would send
# as a text is made by the server here: also by the one that runs the UPDATE.
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
    EMPTY_ID: f"SELECT jsonb_build_object('id', {ID}), {BATCH};",
    UPDATE_ID: UPDATE_ONE.replace("$1", f"(jsonb_build_object('id', {ID}) ->> 'id')::uuid").replace("$2", BATCH) + ";",
    CANCEL_ID: f"SELECT cancel_jobs({BATCH}, jsonb_build_object('id', {ID}));",
    HTTP_ID: f"SELECT * FROM cancel_jobs_http({BATCH}::text, 'id=' || {ID});",
}


def pgbench(name, clients):
    """Transactions a second, each of which cancels another fresh job."""
    script = os.path.join(RESULTS, "pgbench.sql")
    with open(script, "w") as file:
        file.write(PGBENCH_HEAD + PGBENCH[name].replace("\n", " ") + "\n")
    each = max(CLIENT_JOBS // clients, JOBS_A_CLIENT)
    admin.execute("TRUNCATE single.jobs")
    admin.execute(f"CALL load_jobs('single.jobs', 'single', {each * clients * 10 // 9 // 100 + 1}, 100)")
    admin.execute("VACUUM ANALYZE single.jobs")
    output = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-t", str(each),
         "-D", "turn=0", "-D", f"clients={clients}", "-f", script],
        env={**os.environ, "PGOPTIONS": "-c search_path=single,public"},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    os.remove(script)
    canceled = query("SELECT count(*) FROM single.jobs WHERE status = 'CANCELED'")
    if canceled != (0 if name == EMPTY_ID else each * clients):
        sys.exit(f"{name} canceled {canceled} jobs of {each * clients}")
    return float(re.search(r"tps = ([\d.]+) \((?:without|excluding)", output)[1])


def measure_clients():
    tps = defaultdict(list)
    for round_ in range(CLIENT_ROUNDS):
        progress(f"clients that cancel single jobs, round {round_ + 1} of {CLIENT_ROUNDS}")
        for clients in random.sample(CLIENTS, len(CLIENTS)):
            for name in random.sample(list(PGBENCH), len(PGBENCH)):
                if name != EMPTY_ID or clients == 1:
                    tps[name, clients].append(pgbench(name, clients))
    for (name, clients), values in tps.items():
        record(f"single jobs a second by {clients} clients", 1, name, median(values), "tps", len(values))
    table(
        "Clients that cancel single jobs by id at once (pgbench -M prepared), transactions a second",
        ["clients", *CLIENTS],
        [
            [name, *(f"{median(tps[name, clients]):,.0f}" if tps[name, clients] else "" for clients in CLIENTS)]
            for name in PGBENCH
        ],
    )
    for clients in CLIENTS:
        value = median(it / update for it, update in zip(tps[CANCEL_ID, clients], tps[UPDATE_ID, clients]))
        record("throughput of single jobs", clients, CANCEL_ID, value, f"of {UPDATE_ID}", len(tps[CANCEL_ID, clients]))
        goal(f"throughput of {clients} clients on single jobs / {UPDATE_ID}", value, 0.95, at_least=True)


ONE_JOB = {
    EMPTY_ID: ("SELECT $1::uuid, $2::uuid", lambda id_, batch: [id_, batch]),
    UPDATE_ID: (UPDATE_ONE, lambda id_, batch: [id_, batch]),
    CANCEL_ID: ("SELECT cancel_jobs($1, $2)", lambda id_, batch: [batch, b'{"id": "%s"}' % id_]),
    HTTP_ID: ("SELECT * FROM cancel_jobs_http($1, $2)", lambda id_, batch: [batch, b"id=" + id_]),
}


def measure_one():
    """One job by id and a commit, each time another: in turns of single calls, so that all see the same noise."""
    progress("one job by id")
    jobs = ONE_CALLS * len(ONE_JOB) * 10 // 9
    admin.execute("TRUNCATE single.jobs")
    admin.execute(f"CALL load_jobs('single.jobs', 'one', {jobs // 100 + 1}, 100)")
    admin.execute("VACUUM ANALYZE single.jobs")
    fresh = admin.execute("SELECT id::text, batch_id::text FROM single.jobs WHERE status <> 'DONE' ORDER BY creation_order").fetchall()
    sessions = {name: Contender(name, statement, "single", True) for name, (statement, _) in ONE_JOB.items()}
    times = defaultdict(list)
    for _ in range(ONE_CALLS):
        for name in random.sample(list(ONE_JOB), len(ONE_JOB)):
            id_, batch = fresh.pop()
            arguments = ONE_JOB[name][1](id_.encode(), batch.encode())
            start = sessions[name].clock()
            sessions[name].cancel(arguments)
            times[name].append(sessions[name].clock() - start)
    canceled = query("SELECT count(*) FROM single.jobs WHERE status = 'CANCELED'")
    if canceled != ONE_CALLS * (len(ONE_JOB) - 1):
        sys.exit(f"{canceled} jobs were canceled, not {ONE_CALLS * (len(ONE_JOB) - 1)}")
    empty, update = median(times[EMPTY_ID]), median(times[UPDATE_ID])
    lines = []
    for name in ONE_JOB:
        taken = median(times[name])
        net = (taken - empty) / (update - empty)
        record("one job by id", 1, name, taken * 1e6, "us", ONE_CALLS)
        record("one job by id less round trip", 1, name, net, f"of {UPDATE_ID}", ONE_CALLS)
        lines.append([name, f"{taken * 1e6:.0f}", number(net) if name != EMPTY_ID else ""])
        if name == CANCEL_ID:
            goal(f"one job by id: {CANCEL_ID} / {UPDATE_ID}, less a round trip", net, 1.10)
    table(
        "One job by id, call and commit, the UPDATE planned once: microseconds; and less a round trip, as a ratio of medians",
        ["", "us", "/ RETURNING *"],
        lines,
    )
    for session in sessions.values():
        session.conn.close()


def show_setting():
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"model name\s*: (.*)", cpuinfo.read())
    report.append(f"PostgreSQL {query('SHOW server_version')}; {os.cpu_count()} cores{', ' + model[1] if model else ''}")
    settings = admin.execute(
        """SELECT name || ' = ' || current_setting(name) FROM pg_settings
        WHERE source = 'configuration file' AND setting IS DISTINCT FROM boot_val
        AND name !~ '^(lc_|listen_|unix_|log_|port$|DateStyle|TimeZone|default_text|dynamic_shared|max_conn)'
        ORDER BY 1"""
    )
    report.append(f"Settings other than the default: {', '.join(row[0] for row in settings)}")
    report.append(
        f"Table: create_jobs_table(), {TABLE_JOBS:,} jobs; 90 % of each batch can be canceled. One libpq client on a\n"
        "Unix socket, prepared statements, each result fetched as text; (not sent): the result stays in the server.\n"
        "Each call finds fresh rows; contenders take turns in random order; medians. The bare UPDATE and that with\n"
        "RETURNING are planned once, but for the line that says otherwise."
    )


random.seed(4)
show_setting()
load()
contenders = {name: make_contender(name) for name in STATEMENTS if name not in SLOW or "BENCH_FAST" not in os.environ}
parts = {
    "batches": measure_batches,
    "linear": measure_linear,
    "dense": measure_dense,
    "toast": measure_toast,
    "memory": measure_memory,
    "queues": lambda: measure_queues(contenders),
    "held": measure_held,
    "one": measure_one,
    "clients": measure_clients,
    "growth": measure_growth,
    "many": measure_many,
    "durable": measure_durable,
    "instructions": measure_instructions,
}
chosen = os.environ.get("BENCH_PARTS", ",".join(parts)).split(",")
if not set(chosen) <= set(parts):
    sys.exit(f"BENCH_PARTS names some of {','.join(parts)}")
measure_hot()
admin.execute("VACUUM ANALYZE")
compare_answers()
make_wal()
for name in parts:
    if name in chosen:
        parts[name]()
table(
    "Goals",
    ["", "reached", "goal", ""],
    [[what, f"{value:.3f}", bound, "yes" if reached else "NO"] for what, value, bound, reached in goals],
)
progress("done")
print("\n".join(report))
if QUICK:
    print("\nThis was --quick: everything was tried, nothing was measured well.")
if len(chosen) < len(parts) or CPU_TIME or "BENCH_FAST" in os.environ:
    sys.exit(f"only a part was measured, so no results are left: {','.join(chosen)}")

with open(os.path.join(RESULTS, "results.csv"), "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "jobs", "what", "value", "unit", "samples"])
    writer.writerows(rows)

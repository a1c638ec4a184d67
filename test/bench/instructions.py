"""How many instructions the server takes for a call, counted by callgrind; see instructions.sh.

The server is one of its own that runs under Valgrind. A figure is the difference of two sessions, one with n calls and
one with 2 n, divided by n: so what a session does once is not in it. Each call is a transaction of its own over the real
protocol, and cancels a batch that nobody has touched.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid

import psycopg

from common import NO_BATCH, QUICK, RESULTS, UPDATE, Contender, cancelable, progress, record, report, table

# by the jobs in a batch, of which 90 % can be canceled: n
CALLS = {1: 10, 100: 2} if QUICK else {1: 100, 100: 20, 1_000: 4, 10_000: 1}
WARM_UP = 8  # calls without a job, after which all plans are kept

FLOOR = "bare UPDATE, planned before"
RETURNING = "UPDATE ... RETURNING *, planned before"
BY_ID = "UPDATE ... RETURNING * by id, planned before"
CANCEL_BY_ID = "cancel_jobs by id"
STATEMENTS = {
    FLOOR: UPDATE,
    "cancel_jobs (not sent)": "SELECT pg_column_size(cancel_jobs($1))",
    "cancel_jobs_http (not sent)": "SELECT status_code, pg_column_size(body) FROM cancel_jobs_http($1)",
    RETURNING: UPDATE + " RETURNING *",
    "cancel_jobs_http": "SELECT * FROM cancel_jobs_http($1)",
    BY_ID: UPDATE + " AND id = $2 RETURNING *",
    CANCEL_BY_ID: "SELECT cancel_jobs($1, $2)",
}
RIVALS = {FLOOR, RETURNING, BY_ID}
# what a figure is divided by, if not by that of the floor
BASES = {"cancel_jobs_http": RETURNING, CANCEL_BY_ID: BY_ID}
DEARER = 0.01  # a share of the instructions
# whether realloc() copies depends on what lies behind a block, so all that are large lie alone
ENVIRONMENT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}

# no figure depends on how long a checkpoint is ago
SETTINGS = """
autovacuum = off
checkpoint_timeout = 1d
fsync = off
full_page_writes = off
listen_addresses = ''
max_wal_size = 16GB
shared_buffers = 1GB
unix_socket_directories = '{}'
"""


def sizes_of(statement):
    return [1] if statement in (BY_ID, CANCEL_BY_ID) else list(CALLS)


def md5_uuid(text):
    return str(uuid.UUID(hashlib.md5(text.encode()).hexdigest())).encode()


def arguments_of(statement, name):
    """Those of a call for the batch that load_jobs made by this name, or for no batch."""
    batch, job = (md5_uuid(f"{name} batch 0"), md5_uuid(f"{name} 0")) if name else (NO_BATCH, NO_BATCH)
    if statement == CANCEL_BY_ID:
        return [batch, b'{"id": "%s"}' % job]
    return [batch, job] if statement == BY_ID else [batch]


class Server:
    """A cluster in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.data = f"{directory}/data"
        self.address = {"host": directory, "dbname": "postgres"}
        subprocess.run(["initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync"],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        with open(f"{self.data}/postgresql.conf", "a") as conf:
            conf.write(SETTINGS.format(directory))

    def start(self, *tool):
        with open(f"{self.directory}/log", "a") as log:
            self.process = subprocess.Popen([*tool, "postgres", "-D", self.data], stdout=log, stderr=log, env=ENVIRONMENT)
        while True:
            try:
                return psycopg.connect(**self.address).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    with open(f"{self.directory}/log") as log:
                        sys.exit(f"no server: {log.read()[-2000:]}")
                time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def load(self):
        """A batch for each call of each session."""
        self.start()
        bench_sql = os.path.join(os.path.dirname(__file__), "bench.sql")
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", bench_sql], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "PGHOST": self.directory})  # fmt: skip
        with psycopg.connect(**self.address, autocommit=True) as conn:
            for statement in STATEMENTS:
                for jobs in sizes_of(statement):
                    for i in range(3 * CALLS[jobs]):
                        conn.execute("CALL load_jobs('small.jobs', %s, 1, %s)", [f"{statement} {jobs} {i}", jobs])
            conn.execute("VACUUM (FREEZE, ANALYZE)")
        self.stop()

    def check(self):
        """Has every call canceled its batch?"""
        wanted = sum(3 * CALLS[jobs] * cancelable(jobs) for statement in STATEMENTS for jobs in sizes_of(statement))
        with psycopg.connect(**self.address) as conn:
            canceled = conn.execute("SELECT count(*) FROM small.jobs WHERE status = 'CANCELED'").fetchone()[0]
        if canceled != wanted:
            sys.exit(f"{canceled} jobs were canceled, not {wanted}")

    def start_counting(self):
        # of what the postmaster forks only the sessions run PostgresMain
        self.start("valgrind", "--quiet", "--tool=callgrind", "--toggle-collect=PostgresMain",
                   f"--callgrind-out-file={self.directory}/callgrind.%p")  # fmt: skip

    def count(self, statement, jobs, calls):
        """The instructions of a session that cancels these batches."""
        session = Contender(statement, STATEMENTS[statement], "small", statement in RIVALS, **self.address)
        names = [f"{statement} {jobs} {i}" for i in calls]
        for name in [None] * WARM_UP + names:
            session.cancel(arguments_of(statement, name))
        pid = session.conn.info.backend_pid
        session.conn.close()
        return self.total(pid, f"{statement} {len(names)} x {jobs}")

    def total(self, pid, name):
        """What callgrind counted in a process that ends; its profile stays under this name."""
        profile = f"{self.directory}/callgrind.{pid}"
        while True:
            if os.path.exists(profile):
                with open(profile) as file:
                    total = re.search(r"^totals: (\d+)", file.read(), re.MULTILINE)
                if total:
                    os.rename(profile, f"{self.directory}/" + re.sub(r"\W+", "_", name))
                    return int(total[1])
            time.sleep(0.05)


def count_instructions():
    """{statement: {jobs: instructions of a call}}"""
    directory = f"{RESULTS}/instructions"
    os.mkdir(directory)
    server = Server(directory)
    server.load()
    server.start_counting()
    counts = {statement: {} for statement in STATEMENTS}
    for statement in STATEMENTS:
        for jobs in sizes_of(statement):
            n = CALLS[jobs]
            once = server.count(statement, jobs, range(n))
            twice = server.count(statement, jobs, range(n, 3 * n))
            counts[statement][jobs] = (twice - once) // n
    server.check()
    server.stop()
    return counts


def show(counts):
    lines = []
    for statement in STATEMENTS:
        base = BASES.get(statement, FLOOR)
        cells = []
        for jobs in sizes_of(statement):
            count, ratio = counts[statement][jobs], counts[statement][jobs] / counts[base][jobs]
            record("instructions", jobs, statement, count, "instructions", CALLS[jobs])
            record("instructions, ratio", jobs, statement, ratio, f"of {base}", CALLS[jobs])
            cells += [f"{count:,}", f"{ratio:.3f}"]
        lines.append([statement, *cells, *[""] * (2 * len(CALLS) - len(cells))])
    table(
        "Instructions of one call in the server, and as a multiple of the UPDATE; of that with RETURNING if the call has"
        "\nits answer sent",
        ["jobs in the batch", *(cell for jobs in CALLS for cell in (f"{jobs:,}", ""))],
        lines,
    )


def measure_instructions():
    if shutil.which("valgrind") is None:
        progress("instructions are not counted: there is no valgrind")
        return
    progress("instructions")
    show(count_instructions())


def compare(counts, before):
    """Shows what changed since other counts; did a call of ours get dearer?"""
    change = {
        (statement, jobs): counts[statement][jobs] / before[statement][str(jobs)] - 1
        for statement in STATEMENTS
        for jobs in sizes_of(statement)
    }
    table(
        "The same, more than before",
        ["jobs in the batch", *(f"{jobs:,}" for jobs in CALLS)],
        [
            [statement, *(f"{change[statement, jobs]:+.2%}" if (statement, jobs) in change else "" for jobs in CALLS)]
            for statement in STATEMENTS
        ],
    )
    return any(more >= DEARER for (statement, _), more in change.items() if statement not in RIVALS)


if __name__ == "__main__":
    counts = count_instructions()
    with open(f"{RESULTS}/instructions.json", "w") as file:
        json.dump(counts, file)
    show(counts)
    lost = False
    if len(sys.argv) > 2:
        with open(sys.argv[1]) as file:
            lost = compare(counts, json.load(file))
    print("\n".join(report))
    sys.exit(f"a call takes {DEARER:.0%} more instructions than before, or more" if lost else 0)

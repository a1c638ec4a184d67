"""What the parts of the bench share: sessions, rounds of samples, and the report.

Every sample is one call in a transaction that is rolled back, and a VACUUM
then gives the pages back the room they had: so each contender finds the same
fresh rows. In a round each contender has its turn, in random order, each in a
session of its own; the first round warms up and is checked instead of
counted. Figures are medians; a ratio is the median of the ratios within a round,
not the ratio of two medians.
"""

import os
import random
import re
import sys
import threading
import time
from statistics import median, quantiles
from typing import NamedTuple

import psycopg
from psycopg.pq import ExecStatus

QUICK = "--quick" in sys.argv
CPU_TIME = os.environ.get("BENCH_CLOCK") == "cpu"
RESULTS = sys.argv[-1]

UPDATE = """UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
    WHERE batch_id = $1 AND status IN ('PENDING', 'RUNNING')"""

admin = psycopg.connect(autocommit=True)
rows = []  # of results.csv: measure, jobs, what, value, unit, samples
goals = []  # of the last table: what, value, goal, reached
report = []  # printed when all is measured


def record(measure, jobs, what, value, unit, samples):
    rows.append((measure, jobs, what, f"{value:.6g}", unit, samples))


def goal(what, value, limit, at_least=False):
    bound = f"at {'least' if at_least else 'most'} {limit:,.2f}"
    # of a difference of times, noise can make a negative ratio
    goals.append((what, value, bound, value >= limit if at_least else 0 < value <= limit))
    record("goal", "", what, value, bound, "")


def progress(text):
    print(f"== {time.monotonic() - START:4.0f} s  {text}", file=sys.stderr, flush=True)


START = time.monotonic()


def query(sql, *args):
    return admin.execute(sql, args).fetchone()[0]


def execute(pgconn, command):
    """Runs a command through libpq alone, which is all that is timed."""
    result = command(pgconn)
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        sys.exit(result.error_message.decode())
    return result


NO_BATCH = b"00000000-0000-0000-0000-000000000000"


class Contender:
    """A way to cancel jobs, with a session of its own in which its statement is prepared."""

    nothing = [NO_BATCH]  # arguments with which no job is canceled

    def __init__(self, name, statement, schema, planned_once=False, **server):
        self.name = name
        self.conn = psycopg.connect(autocommit=True, options=f"-c search_path={schema},public", **server)
        self.pg = self.conn.pgconn
        self.pg.nonblocking = 0  # so that libpq reads while it cannot send
        if planned_once:
            self.plan_once()
        self.prepare(b"cancel", statement)

    def plan_once(self, once=True):
        """By itself, the plan cache has an UPDATE of batches of different sizes planned anew for each call."""
        self.sql(f"SET plan_cache_mode = {'force_generic_plan' if once else 'auto'}")

    def prepare(self, name, statement):
        execute(self.pg, lambda pg: pg.prepare(name, statement.encode()))

    def clock(self):
        """Seconds, of time or of CPU time in the server"""
        if not CPU_TIME:
            return time.perf_counter()
        with open(f"/proc/{self.conn.info.backend_pid}/schedstat") as schedstat:
            return int(schedstat.read().split()[0]) / 1e9

    def sql(self, text):
        return execute(self.pg, lambda pg: pg.exec_(text.encode()))

    def run(self, name, arguments):
        return execute(self.pg, lambda pg: pg.exec_prepared(name, arguments))

    def cancel(self, arguments):
        return self.run(b"cancel", arguments)

    def canceled(self, table, arguments):
        sql = f"SELECT count(*) FROM {table} WHERE batch_id = '{arguments[0].decode()}' AND status = 'CANCELED'"
        return int(self.sql(sql).get_value(0, 0))


class Turn(NamedTuple):
    contender: Contender
    table: str
    arguments: list
    canceled: int
    rounds: int


def batch_of(jobs):
    return query("SELECT md5('of ' || %s || ' batch 0')::uuid::text", jobs).encode()


def cancelable(jobs):
    return jobs - jobs // 10


def prepare_turn(turn):
    """A call before the one that counts, on no rows, makes plans if those must be new."""
    turn.contender.sql(f"SET search_path = {turn.table.split('.')[0]}, public")
    turn.contender.cancel(turn.contender.nothing)


def timed(turn, check):
    """Seconds of one call, of which the first is checked."""
    start = turn.contender.clock()
    turn.contender.cancel(turn.arguments)
    taken = turn.contender.clock() - start
    if check and (count := turn.contender.canceled(turn.table, turn.arguments)) != turn.canceled:
        sys.exit(f"{turn.contender.name} canceled {count} jobs, not {turn.canceled}")
    return taken


def sample(turn, check):
    """Seconds of one call on fresh rows, which is rolled back."""
    prepare_turn(turn)
    turn.contender.sql("BEGIN")
    taken = timed(turn, check)
    turn.contender.sql("ROLLBACK")
    admin.execute(f"VACUUM {turn.table}")
    return taken


def committed(turn, check):
    """Seconds of one call and its commit; then all is as it was."""
    prepare_turn(turn)
    taken = timed(turn, check)
    put_back(turn)
    return taken


def put_back(turn):
    """Makes the canceled jobs of the batch PENDING, in pages with room."""
    admin.execute(f"VACUUM {turn.table}")
    admin.execute(
        f"UPDATE {turn.table} SET status = 'PENDING', end_timestamp = NULL WHERE batch_id = %s AND status = 'CANCELED'",
        [turn.arguments[0].decode()],
    )
    admin.execute(f"VACUUM {turn.table}")


def run_rounds(turns, sample=sample):
    """turns: {name: Turn}. Returns [{name: seconds}], a dict a round."""
    samples = []
    for number_ in range(max(turn.rounds for turn in turns.values()) + 1):
        names = [name for name, turn in turns.items() if number_ <= turn.rounds]
        random.shuffle(names)
        taken = {name: sample(turns[name], number_ == 0) for name in names}
        if number_:
            samples.append(taken)
    return samples


def ratio(samples, name, base):
    ratios = [taken[name] / taken[base] for taken in samples if name in taken and base in taken]
    return median(ratios), len(ratios)


def seconds(samples, name):
    times = [taken[name] for taken in samples if name in taken]
    return median(times), len(times)


def spread(samples, name):
    """The third quartile of the times by the first"""
    lower, _, upper = quantiles([taken[name] for taken in samples if name in taken], n=4, method="inclusive")
    return upper / lower


def table(title, head, lines):
    report.append(f"\n{title}\n")
    widths = [max(len(str(line[i])) for line in [head] + lines) for i in range(len(head))]
    for line in [head] + lines:
        first, *rest = (str(cell) for cell in line)
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:]))]
        report.append("   ".join(cells).rstrip())


def number(value):
    """Three digits that count."""
    return f"{value:.{max(0, 2 - int(f'{value:e}'.split('e')[1]))}f}" if value < 100 else f"{value:,.0f}"


def peak_memory(contender, arguments):
    """Bytes by which the backend grows in one call, which is rolled back, and the call's result.

    That is memory of its own (RssAnon), without buffers that it shares; Linux keeps no peak of it, so it is read each
    millisecond.
    """
    done = threading.Event()
    seen = []

    def watch():
        with open(f"/proc/{contender.conn.info.backend_pid}/status") as status:
            while True:
                status.seek(0)
                seen.append(int(re.search(r"RssAnon:\s+(\d+) kB", status.read())[1]) * 1024)
                if done.wait(0.001):
                    return

    contender.sql("BEGIN")
    watcher = threading.Thread(target=watch)
    watcher.start()
    while not seen:
        time.sleep(0.001)
    try:
        result = contender.cancel(arguments)
    finally:
        done.set()
        watcher.join()
    contender.sql("ROLLBACK")
    return max(seen) - seen[0], result

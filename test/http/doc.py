#!/usr/bin/python3
"""doc/api.md: runs its blocks of SQL and Python in their order, then tests what they have made; prints TAP.

Runs alone: it tests how long requests take.
"""
import ast
import asyncio
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple
from uuid import uuid4

import psycopg
import psycopg_pool

from harness import ENDED, NAME, OURS, PATIENCE, add_jobs, in_threads, ok, run, same, skip, statuses, tap, wait_until

PAGE = Path(__file__).resolve().parents[2] / "doc" / "api.md"
BATCH = "5c7f4a1e-98a1-4d7c-8a53-2f1de0a1b2c3"
JOBS = ["a0000000-0000-4000-8000-000000000101", "a0000000-0000-4000-8000-000000000102"]  # of batches of their own
DRIVERS = {"psycopg2": "psycopg2", "asyncpg": "asyncpg", "SQLAlchemy": "sqlalchemy"}  # of which a block may need one


class Block(NamedTuple):
    heading: str
    line: int
    language: str
    text: str
    elsewhere: str  # why it is not run here


def blocks(page: str) -> Iterator[Block]:
    heading = elsewhere = ""
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        note = re.fullmatch(r"<!-- not run here: (needs .*) -->", line)
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("```"):
            text = []
            for _, inner in lines:
                if inner == "```":
                    break
                text.append(inner)
            yield Block(heading, number, line[3:], "\n".join(text), elsewhere)
        elsewhere = note[1] if note else ""


def installed(module: str) -> bool:
    try:
        __import__(module)
        return True
    except ImportError:
        return False


def too_late(*_: Any) -> None:
    raise TimeoutError("it takes too long")


def test_blocks(conn: psycopg.Connection) -> Dict[str, Any]:
    """SQL runs in one session; Python shares one namespace, which is returned, and may await."""
    namespace: Dict[str, Any] = {"__name__": "doc"}
    loop = asyncio.new_event_loop()
    signal.signal(signal.SIGALRM, too_late)
    for block in blocks(PAGE.read_text()):
        name = f"line {block.line}, {block.heading}: the {block.language}"
        if block.elsewhere:
            ok(True, f"{name} {block.elsewhere}")
        elif block.language not in ("sql", "python"):
            ok(False, f"{name} is neither run nor marked as not run here")
        elif block.language == "python" and not installed(DRIVERS.get(block.heading, "psycopg")):
            skip(f"{name} runs", f"{DRIVERS[block.heading]} is not installed")
        else:
            signal.alarm(PATIENCE)
            try:
                if block.language == "sql":
                    conn.execute(block.text)
                else:
                    code = compile(block.text, f"{PAGE.name}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
                    result = eval(code, namespace)
                    if asyncio.iscoroutine(result):
                        loop.run_until_complete(result)
                ok(True, f"{name} runs")
            except Exception as error:
                ok(False, f"{name} runs", repr(error))
            signal.alarm(0)
    same(namespace.get("body_422"), '{"detail": [{"loc": ["query", "statsu"], "msg": "extra fields not permitted", "type": "value_error.extra"}]}',
         "DETAIL is the body of the 422")
    return namespace


def sqlstate(statement: str, *args: Any) -> Any:
    try:
        run(statement, *args)
    except psycopg.Error as error:
        return error.sqlstate
    return None


class Waiting(threading.Thread):
    """A statement that is expected to wait for a lock."""

    def __init__(self, statement: str, *args: Any) -> None:
        super().__init__(daemon=True)
        self.statement, self.args, self.rows = statement, args, None
        self.start()
        wait_until(lambda: run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s", NAME), f"it does not wait: {statement}")

    def run(self) -> None:
        try:
            self.rows = run(self.statement, *self.args)
        except psycopg.Error as error:
            self.rows = error.sqlstate

    def result(self) -> Any:
        self.join(30)
        return self.rows


def prepared(name: str) -> str:
    """The statement that the page prepares under that name, for a session of one's own."""
    type_, statement = re.search(rf"PREPARE {name}\(([^)]*)\) AS\n(.*?);", PAGE.read_text(), re.S).groups()
    return statement.replace("$1", f"%s::{type_}")


def test_drivers() -> None:
    """The table of drivers, as far as they are Python's: what comes back, and what a bad batch of cancel_jobs is."""
    http, cancel = "SELECT body FROM cancel_jobs_http({0}, '')", "SELECT cancel_jobs({0}, '{{}}')"
    progress = f"UPDATE jobs SET progress = {{0}} WHERE id = '{JOBS[0]}' RETURNING progress"
    unknown = str(uuid4())
    with psycopg.connect(autocommit=True) as conn:
        same([type(conn.execute(q.format("%s"), (unknown,)).fetchone()[0]) for q in (http, cancel)], [dict, dict], "psycopg 3: json and jsonb come back as dict")
        same(conn.execute(progress.format("%s"), (41,)).fetchone(), (41,), "psycopg 3: progress is an int")
        try:
            conn.execute(cancel.format("%s"), ("x",))
            ok(False, "psycopg 3: a bad batch is an error")
        except psycopg.Error as error:
            same((error.sqlstate, error.diag.message_detail), ("22P02", None), "psycopg 3: a bad batch is 22P02 without DETAIL")
    if installed("psycopg2"):
        import psycopg2
        conn = psycopg2.connect("")
        with conn, conn.cursor() as cursor:
            found = []
            for q in (http, cancel):
                cursor.execute(q.format("%s"), (unknown,))
                found.append(type(cursor.fetchone()[0]))
            cursor.execute(progress.format("%s"), (42,))
            found.append(cursor.fetchone()[0])
        same(found, [dict, dict, 42], "psycopg2: likewise")
        try:
            with conn, conn.cursor() as cursor:
                cursor.execute(cancel.format("%s"), ("x",))
            ok(False, "psycopg2: a bad batch is an error")
        except psycopg2.Error as error:
            same((error.pgcode, error.diag.message_detail), ("22P02", None), "psycopg2: a bad batch likewise")
        conn.close()
    if installed("asyncpg"):
        import asyncpg

        async def with_asyncpg() -> List[Any]:
            conn = await asyncpg.connect()
            found: List[Any] = [type(await conn.fetchval(q.format("$1"), unknown)) for q in (http, cancel)]
            found.append(await conn.fetchval(progress.format("$1"), 43))
            try:
                await conn.fetchval(cancel.format("$1"), "x")
            except asyncpg.DataError as error:
                found.append(type(error))
            await conn.close()
            return found

        same(asyncio.new_event_loop().run_until_complete(with_asyncpg()), [str, str, 43, asyncpg.DataError], "asyncpg: str, an int, and a DataError of its own")
    if installed("sqlalchemy"):
        import sqlalchemy
        engine = sqlalchemy.create_engine("postgresql+psycopg2://")
        reflected, = (c["type"] for c in sqlalchemy.inspect(engine).get_columns("jobs") if c["name"] == "progress")
        same(repr(reflected), "INTEGER()" if sqlalchemy.__version__ < "2" else "DOMAIN('jobprogress', INTEGER())", "SQLAlchemy: progress is reflected")
        engine.dispose()


def test_endpoint(cancel_endpoint: Callable[..., Any], connect: Callable[..., Any]) -> None:
    """One deadline for all attempts, whatever is waited for; and another attempt where one can help."""

    def timed(connect: Callable[..., Any], batch: str, seconds: float) -> Tuple[int, float]:
        begun = time.monotonic()
        return cancel_endpoint(connect, {}, batch, "", seconds)[0], time.monotonic() - begun

    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    with psycopg_pool.ConnectionPool(f"dbname={NAME}", min_size=1, max_size=1) as pool:
        with pool.connection():
            status, took = timed(pool.connection, batch, 3)
        ok(status == 504 and took < 4, "endpoint: a pool without a free connection is given up at the deadline", status, took)
        same(timed(pool.connection, batch, 3)[0], 200, "endpoint: and the pool goes on")
    status, took = timed(lambda timeout: connect(timeout, host="/nowhere"), batch, 3)
    ok(status == 504 and took < 4, "endpoint: a server that is not there likewise", status, took)

    job, = add_jobs(batch, ["RUNNING"])
    with psycopg.connect(dbname=NAME) as worker:
        worker.execute("UPDATE jobs SET progress = 1 WHERE id = %s", (job,))
        status, took = timed(connect, batch, 3)
        ok(status == 504 and took < 4, "endpoint: a worker that keeps its lock likewise", status, took)

        answers: List[Tuple[int, float]] = []
        thread = threading.Thread(target=lambda: answers.append(timed(connect, batch, 20)), daemon=True)
        thread.start()
        waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        wait_until(lambda: run(f"SELECT 1 {waits}", NAME), "the call does not wait")
        run(f"SELECT pg_terminate_backend(pid) {waits}", NAME)
    thread.join(30)
    ok(answers[0][0] == 200 and statuses(batch)[job] == "CANCELED", "endpoint: a call whose backend was terminated is tried again", answers)


def test_adders() -> None:
    """A cancel of a batch with its own row comes to its turn while others add jobs without a pause."""
    batch, project = str(uuid4()), OURS
    run("INSERT INTO batches (id) VALUES (%s)", batch)
    stop = threading.Event()

    def adder() -> str:
        with psycopg.connect(dbname=NAME, autocommit=True) as conn:
            while not stop.is_set():
                try:
                    with conn.transaction():
                        conn.execute("SELECT add_job(%s, %s, 10)", (batch, project))
                        conn.execute("SELECT pg_sleep(0.01)")  # what else it does
                except psycopg.errors.ObjectNotInPrerequisiteState:
                    return "refused"
        return "not refused"

    def canceler() -> float:
        wait_until(lambda: len(statuses(batch)) > 50, "nobody adds")
        begun = time.monotonic()
        try:
            with psycopg.connect(dbname=NAME, autocommit=True) as conn:
                conn.execute("SET statement_timeout = '15s'")
                conn.execute("SELECT cancel_batch(%s)", (batch,))
        finally:
            stop.set()
        return time.monotonic() - begun

    took, *refused = in_threads([canceler] + [adder] * 16)
    ok(took < 5, "a batch with its own row: the cancel does not wait for 16 that add", took)
    same(set(statuses(batch).values()), {"CANCELED"}, f"a batch with its own row: every job is canceled ({took:.2f} s)")


def test_idempotency() -> None:
    batch = str(uuid4())
    add_jobs(batch, ["PENDING", "DONE"])
    call = "SELECT status_code, body::text FROM cancel_jobs_once(%s, %s, %s, %s)"
    answers = in_threads([lambda: run(call, OURS, "k", batch, "")] * 4)
    ok(len({str(answer) for answer in answers}) == 1 and '"status":"CANCELED"' in answers[0][0][1].replace(" ", ""),
       "idempotency key: four calls at once have one answer", answers)
    same(run(call, OURS, "k", batch, ""), answers[0], "idempotency key: and later, too")
    same(sqlstate(call, OURS, "k", batch, "status=DONE"), "23505", "idempotency key: of another request it is an error")
    ok(run(call, OURS, "l", batch, "") != answers[0], "idempotency key: another key is another call")
    same(run(call, OURS, "m", batch, "x=1")[0][0], 422, "idempotency key: a 422 is kept, too")


def test_related() -> None:
    batch, other = sorted((str(uuid4()), str(uuid4())))
    pending, done = add_jobs(batch, ["PENDING", "DONE"])
    one = prepared("cancel_job")
    rows = run(one, pending)
    same([(error, job["status"]) for error, job in rows], [(None, "CANCELED")], "one job: is canceled")
    same(run(one, done), [(ENDED + "DONE", None)], "one job: had ended")
    same(run(one, str(uuid4())), [], "one job: is unknown")

    first, = add_jobs(batch, ["PENDING"])
    second, = add_jobs(other, ["PENDING"])
    several = prepared("cancel_batches")
    with psycopg.connect(dbname=NAME) as conn:
        conn.execute("SELECT cancel_jobs(%s)", (batch,))
        waiting = Waiting(several, [other, batch, other])
        # it waits for the first of the sorted batches and has none of the second, or this would be a deadlock
        answer = conn.execute("SELECT cancel_jobs(%s)", (other,)).fetchone()[0]
        same([job["id"] for job in answer["data"]["jobs"]], [second], "several batches: callers meet in one order")
    same([(str(id), answer["data"]["jobs"]) for id, answer in waiting.result()], [(batch, []), (other, [])], "several batches: each once, in its order")

    batch, project = str(uuid4()), OURS
    run("INSERT INTO batches (id) VALUES (%s)", batch)
    with psycopg.connect(dbname=NAME) as conn:
        job = str(conn.execute("SELECT add_job(%s, %s, 10)", (batch, project)).fetchone()[0])
        waiting = Waiting("SELECT cancel_batch(%s)", batch)
    same([[j["id"] for j in row[0]["data"]["jobs"]] for row in waiting.result()], [[job]], "a batch with its own row: a job that was being added is canceled, too")
    same(sqlstate("SELECT add_job(%s, %s, 10)", batch, project), "55000", "a batch with its own row: afterwards it takes no more jobs")
    same((run("SELECT status FROM batches WHERE id = %s", batch), statuses(batch)), ([("CANCELED",)], {job: "CANCELED"}), "a batch with its own row: both are canceled")


def rows_of(statement: str, *args: Any) -> int:
    with psycopg.connect(dbname=NAME) as conn:
        return conn.execute(statement, args).rowcount


def test_worker() -> None:
    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    start, end = prepared("start_job"), prepared("end_job")
    same((rows_of(start, job), rows_of(start, job)), (1, 0), "a worker starts a job once")
    with psycopg.connect(dbname=NAME) as conn:
        conn.execute("SELECT cancel_jobs(%s)", (batch,))
        waiting: List[int] = []
        thread = threading.Thread(target=lambda: waiting.append(rows_of(end, job)), daemon=True)
        thread.start()
        wait_until(lambda: run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s", NAME), "the worker does not wait")
    thread.join(30)
    same((waiting, statuses(batch)), ([0], {job: "CANCELED"}), "a worker that ends a job while it is canceled changes no row")

    careless = "UPDATE jobs SET status = %s WHERE id = %s"
    same((rows_of(careless, "DONE", job), rows_of(careless, "RUNNING", job), statuses(batch)), (0, 0, {job: "CANCELED"}), "keep_ended: a careless worker changes no row")
    same((rows_of("UPDATE jobs SET progress = 100, status = 'CANCELED' WHERE id = %s", job), rows_of("UPDATE jobs SET progress = 99 WHERE id = %s", job)), (1, 1),
         "keep_ended: other columns of an ended job can change")

    # careless workers and cancels against each other: what was answered as canceled stays canceled
    jobs = add_jobs(batch, ["RUNNING"] * 300)

    def worker() -> None:
        with psycopg.connect(dbname=NAME, autocommit=True) as conn:
            for id in jobs:
                conn.execute("UPDATE jobs SET status = 'DONE' WHERE id = %s", (id,))

    def canceller() -> List[str]:
        canceled: List[str] = []
        with psycopg.connect(dbname=NAME, autocommit=True) as conn:
            for n in range(0, len(jobs), 10):
                answer = conn.execute("SELECT cancel_jobs(%s, jsonb_build_object('id', %s::uuid[]))", (batch, jobs[n:n + 10])).fetchone()[0]
                canceled += [j["id"] for j in answer["data"]["jobs"]]
        return canceled

    _, canceled = in_threads([worker, canceller])
    now = statuses(batch)
    same([id for id in canceled if now[id] != "CANCELED"], [], "keep_ended: what was answered as canceled stays canceled")
    same({now[id] for id in jobs} <= {"DONE", "CANCELED"}, True, "keep_ended: and each job has ended")


def take_all(statement: str, *args: Any) -> List[str]:
    """The jobs that a worker gets, one after the other, until nothing waits."""
    jobs: List[str] = []
    with psycopg.connect(dbname=NAME, autocommit=True) as conn:
        while (row := conn.execute(statement, args).fetchone()) and row[0]:
            jobs.append(str(row[0]))
    return jobs


def test_next_job_of(name: str, statement: str, *args: Any) -> None:
    run("UPDATE jobs SET status = 'CANCELED' WHERE status = 'PENDING'")
    run("DELETE FROM ready_jobs")
    kept, canceled, other = str(uuid4()), str(uuid4()), str(uuid4())
    jobs = add_jobs(kept, ["PENDING", "DONE", "PENDING", "PENDING"])
    with psycopg.connect(dbname=NAME) as conn:
        first = str(conn.execute(statement, args).fetchone()[0])
        same(take_all(statement, *args), [jobs[2], jobs[3]], f"{name}: what another worker is taking is passed over")
        conn.rollback()
    same((first, take_all(statement, *args)), (jobs[0], [jobs[0]]), f"{name}: the oldest first, and what was given back")
    same(statuses(kept), {jobs[0]: "RUNNING", jobs[1]: "DONE", jobs[2]: "RUNNING", jobs[3]: "RUNNING"}, f"{name}: they run")

    # canceled before anybody takes them, and by turns with those that are not
    add_jobs(canceled, ["PENDING"] * 5)
    run("SELECT cancel_jobs(%s)", canceled)
    last, = add_jobs(kept, ["PENDING"])
    same(take_all(statement, *args), [last], f"{name}: canceled jobs are not taken")

    # workers and a cancel at once
    both = [add_jobs(batch, ["PENDING"] * 5) for _ in range(20) for batch in (kept, other)]
    *taken, answer = in_threads([lambda: take_all(statement, *args)] * 3 + [lambda: run("SELECT cancel_jobs(%s)", other)])
    taken_jobs = sorted(sum(taken, []))
    same(len(set(taken_jobs)), len(taken_jobs), f"{name}: no job is taken twice")
    now = {**statuses(kept), **statuses(other)}
    same({now[id] for ids in both for id in ids} <= {"RUNNING", "CANCELED"}, True, f"{name}: each job is taken or canceled")
    same([id for id in taken_jobs if now[id] != "RUNNING" and id not in [j["id"] for j in answer[0][0]["data"]["jobs"]]], [],
         f"{name}: what was taken runs, or was canceled after that")
    same([id for ids in both[::2] for id in ids if id not in taken_jobs], [], f"{name}: none is left out")


def test_next_job() -> None:
    """Each of the page's three ways, by itself."""
    page = PAGE.read_text()
    indexes = {name: re.search(rf"CREATE INDEX {name} .*?;", page)[0] for name in ("jobs_waiting", "jobs_in_order")}
    statement = prepared("next_job")
    for name, create in indexes.items():
        run("DROP INDEX IF EXISTS jobs_waiting, jobs_in_order")
        run(create)
        with psycopg.connect(dbname=NAME, options="-c enable_seqscan=off -c enable_sort=off") as conn:
            plan = conn.execute("EXPLAIN " + statement.replace("%s", "0")).fetchall()
        ok(any(f"using {name} " in line for line, in plan), f"{name}: a worker looks into it", plan)
        test_next_job_of(name, statement, 0)
    batch = str(uuid4())
    early, late = add_jobs(batch, ["PENDING", "PENDING"])
    after = run("SELECT creation_order FROM jobs WHERE id = %s", early)[0][0]
    same(take_all(statement, after), [late], "jobs_in_order: from where a worker says")
    run("DROP INDEX jobs_in_order")

    take = "SELECT take_job()"
    test_next_job_of("ready_jobs", take)
    same(run("SELECT count(*) FROM ready_jobs"), [(0,)], "ready_jobs: nothing is left over")
    enter = re.search(r"^INSERT INTO ready_jobs [^;]* ON CONFLICT DO NOTHING;", page, re.M)[0]
    waiting, = add_jobs(BATCH, ["PENDING"])
    again, = add_jobs(BATCH, ["RUNNING"])
    run("UPDATE jobs SET status = 'PENDING' WHERE id = %s", again)
    run(enter)
    same(sorted(take_all(take)), sorted([waiting, again]), "ready_jobs: what is queued again is entered again, and no other twice")


def test(log: Path) -> None:
    os.environ["PGDATABASE"] = NAME
    add_jobs(BATCH, ["PENDING", "DONE", "RUNNING"])
    for job in JOBS:
        run("UPDATE jobs SET id = %s WHERE id = %s", job, *add_jobs(str(uuid4()), ["PENDING"]))
    with psycopg.connect(dbname=NAME, autocommit=True) as conn:
        namespace = test_blocks(conn)
    test_endpoint(namespace["cancel_endpoint"], namespace["connect"])
    test_drivers()
    test_idempotency()
    test_related()
    test_adders()
    test_worker()
    test_next_job()


if __name__ == "__main__":
    sys.exit(tap(test))

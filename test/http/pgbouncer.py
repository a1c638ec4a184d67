#!/usr/bin/python3
"""The example service behind PgBouncer in transaction mode, and what doc/api.md says of it; prints TAP.

PgBouncer is Debian's, on a Unix socket in a directory that is gone afterwards.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Tuple
from uuid import uuid4

import psycopg

from harness import NAME, PASSWORD, PATIENCE, add_jobs, hold, in_threads, ok, run, same, service_running, skip, statuses, tap, wait_until

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
PORT = 6543


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


@contextmanager
def pgbouncer_running(size: int) -> Iterator[str]:
    """The directory of its socket."""
    with tempfile.TemporaryDirectory(prefix="bouncer") as directory:
        here = Path(directory)
        (here / "users.txt").write_text(f'"{NAME}" "{PASSWORD}"\n"{os.environ["PGUSER"]}" "{PASSWORD}"\n')
        (here / "ini").write_text(f"""[databases]
* = host={os.environ["PGHOST"]} port={os.environ.get("PGPORT", "5432")}
[pgbouncer]
pool_mode = transaction
default_pool_size = {size}
listen_addr =
listen_port = {PORT}
unix_socket_dir = {here}
auth_type = plain
auth_file = {here}/users.txt
server_reset_query_always = 0
""")
        process = subprocess.Popen([PGBOUNCER, str(here / "ini")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(here / "log").open("w"))
        try:
            wait_until(lambda: process.poll() is not None or accepts(here / f".s.PGSQL.{PORT}"), "PgBouncer did not start")
            if process.poll() is not None:
                raise RuntimeError((here / "log").read_text())
            yield directory
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def version() -> Tuple[int, ...]:
    out = subprocess.run([PGBOUNCER, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(int(n) for n in re.search(r"PgBouncer (\d+)\.(\d+)", out).groups())


def test_service(dsn: str, log: Path, threshold: str) -> None:
    with service_running(log, PASQAL_JOBS_DSN=dsn, PREPARE_THRESHOLD=threshold) as api:
        projects = [str(uuid4()) for _ in range(6)]
        batch = str(uuid4())
        jobs = {project: add_jobs(batch, ["PENDING"] * 8, project) for project in projects}
        wrong: List[Any] = []

        def client(project: str) -> None:
            for id in jobs[project]:  # more often than a driver waits before it prepares a statement
                answer = api.cancel(batch, {"id": [id]}, project)
                if answer.status != 200 or answer.canceled != [id] or answer.errors:
                    wrong.append(answer)
            answer = api.cancel(batch, None, project)
            if answer.status != 200 or set(answer.errors) != set(jobs[project]):
                wrong.append(answer)

        in_threads([lambda project=project: client(project) for project in projects])
        same(wrong, [], f"six projects on two sessions see their own jobs only (PREPARE_THRESHOLD={threshold})")
        same(set(statuses(batch).values()), {"CANCELED"}, f"and all is canceled (PREPARE_THRESHOLD={threshold})")
        batch = str(uuid4())
        job, = add_jobs(batch, ["RUNNING"])
        with psycopg.connect(dbname=NAME) as conn:
            hold(conn, batch)
            s = api.hang_up(batch)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
            wait_until(lambda: run(waiting, NAME), "the request does not wait")
            s.close()
            wait_until(lambda: not run(waiting, NAME), "the statement goes on though its client has hung up")
        same(statuses(batch), {job: "RUNNING"}, "a client that hangs up: its statement is canceled through PgBouncer, too")


def test_claims(dsn: str) -> None:
    """What the page says one must not do."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as first, psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as second:
        first.execute("SET pasqal_jobs.date_filter = 'creation'")
        show = "SELECT current_setting('pasqal_jobs.date_filter', true)"
        same(second.execute(show).fetchone(), ("creation",), "a plain SET is found by another client")
        second.execute("RESET pasqal_jobs.date_filter")
        with first.transaction():
            first.execute("SELECT set_config('pasqal_jobs.date_filter', 'creation', true)")
            inside = first.execute(show).fetchone()
        same((inside, second.execute(show).fetchone()[0] in (None, "", "execution")), (("creation",), True), "SET LOCAL ends with the transaction")
    try:
        psycopg.connect(dsn + " options='-c pasqal_jobs.date_filter=creation'").close()
        refused = ""
    except psycopg.OperationalError as error:
        refused = str(error)
    ok("unsupported startup parameter" in refused, "options are refused", refused)
    run(f"ALTER ROLE {NAME} SET lock_timeout = '1234ms'")
    run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", NAME)

    def setting() -> Any:
        try:
            with psycopg.connect(dsn, prepare_threshold=None) as conn:
                return conn.execute("SHOW lock_timeout").fetchone()[0]
        except psycopg.OperationalError:  # of a session that was ended just now
            return None

    same(wait_until(setting, "no new session"), "1234ms", "ALTER ROLE ... SET works")
    run(f"ALTER ROLE {NAME} RESET lock_timeout")


def test_prepared(dsn: str) -> None:
    """Before 1.21 a prepared statement of one session is looked for in another."""
    connections = [psycopg.connect(dsn, autocommit=True, prepare_threshold=0) for _ in range(2)]
    failed = None
    try:
        for _ in range(3):
            for conn in connections:
                conn.execute("SELECT status_code FROM cancel_jobs_http(%s, %s)", (str(uuid4()), ""))
    except psycopg.Error as error:
        failed = error.sqlstate
    finally:
        for conn in connections:
            conn.close()
    if version() < (1, 21):
        ok(failed in ("42P05", "26000"), "prepared statements fail before PgBouncer 1.21", failed)
    else:
        # max_prepared_statements decides, whose default is not the same in each version
        ok(True, f"prepared statements since PgBouncer 1.21: {failed or 'work'}")


def test_chunks(dsn: str) -> None:
    batch = str(uuid4())
    add_jobs(batch, ["PENDING"] * 25)
    # as the owner of the table, whom policies do not concern
    with psycopg.connect(dsn.replace(f"user={NAME}", f"user={os.environ['PGUSER']}"), autocommit=True, prepare_threshold=None) as conn:
        same(conn.execute("CALL cancel_jobs_in_chunks(%s, chunk_size => 10)", (batch,)).fetchone(), (25, 0), "CALL cancel_jobs_in_chunks works")


def test(log: Path) -> None:
    if not PGBOUNCER:
        skip("PgBouncer", "it is not installed")
        return
    with pgbouncer_running(size=2) as directory:
        dsn = f"host={directory} port={PORT} dbname={NAME} user={NAME} password={PASSWORD}"
        test_service(dsn, log, "none")
        test_chunks(dsn)
    with pgbouncer_running(size=1) as directory:
        dsn = f"host={directory} port={PORT} dbname={NAME} user={NAME} password={PASSWORD}"
        test_claims(dsn)
        test_prepared(dsn)


if __name__ == "__main__":
    sys.exit(tap(test))

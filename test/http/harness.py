"""What the tests of the examples share: TAP, a database of their own, a service and its clients.

The server is named by PGHOST and the like; its user must be a superuser.
"""
import http.client
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import urlencode
from uuid import uuid4

import jwt
import psycopg

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ADMIN = os.environ.get("PGDATABASE", "postgres")
NAME = f"pasqal_service_{random.SystemRandom().randrange(10 ** 9)}"  # of the database and of the role
PASSWORD = secrets.token_hex(16)
KEY = secrets.token_hex(32)
OURS, THEIRS = str(uuid4()), str(uuid4())  # two projects
ENDED = "Job cannot be canceled: its status is "
PATIENCE = 30  # seconds until something that should happen soon counts as failed

tests = failures = 0


def ok(good: bool, name: str, *diagnostics: Any) -> None:
    global tests, failures
    tests += 1
    failures += not good
    print(f"{'ok' if good else 'not ok'} {tests} - {name}", flush=True)
    for value in () if good else diagnostics:
        print("# " + str(value).replace("\n", "\n# "), flush=True)


def same(got: Any, expected: Any, name: str) -> None:
    ok(got == expected, name, f"got      {got}", f"expected {expected}")


def skip(name: str, why: str) -> None:
    ok(True, f"{name} # SKIP {why}")


def tap(test: Callable[[Path], None]) -> int:
    """Runs a test in a database of its own, which is gone afterwards; its argument is a place for a log. The exit code."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "service.log"
        try:
            create_database()
            test(log)
        except Exception as error:  # TAP has no other way to say it
            ok(False, f"the test broke: {error!r}", log.read_text()[-3000:] if log.exists() else "")
            raise
        finally:
            drop_database()
    print(f"1..{tests}")
    return 1 if failures else 0


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise TimeoutError(what)


def in_threads(functions: Sequence[Callable[[], Any]]) -> List[Any]:
    """Calls all at once; what they returned, in their order."""
    broken: List[BaseException] = []
    results: List[Any] = [None] * len(functions)

    def guarded(n: int) -> None:
        try:
            results[n] = functions[n]()
        except BaseException as error:  # raised in the main thread
            broken.append(error)

    threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)
    if broken or any(thread.is_alive() for thread in threads):
        raise RuntimeError(f"a client failed: {broken}")
    return results


# ---------------------------------------------------------------------------
# The database
# ---------------------------------------------------------------------------

def run(statement: str, *args: Any, dbname: str = NAME) -> List[Tuple]:
    """One statement as the superuser, on a connection of its own, since the server restarts in between."""
    with psycopg.connect(dbname=dbname, autocommit=True, options="-c synchronous_commit=local") as conn:
        cursor = conn.execute(statement, args or None)
        return cursor.fetchall() if cursor.description else []


def create_database() -> None:
    run(f"CREATE DATABASE {NAME} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'", dbname=ADMIN)
    run(f"CREATE ROLE {NAME} LOGIN PASSWORD '{PASSWORD}'", dbname=ADMIN)
    run("CREATE EXTENSION pasqal_jobs")
    run("SELECT create_jobs_table()")
    # as the service's documentation has it
    run(f"GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO {NAME}")
    run("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    run(f"""CREATE POLICY own_project ON jobs TO {NAME}
                USING (project_id = nullif(current_setting('api.project_id', true), '')::uuid)""")


def drop_database() -> None:
    run(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)", dbname=ADMIN)
    run(f"DROP ROLE IF EXISTS {NAME}", dbname=ADMIN)


def add_jobs(batch: str, statuses: Sequence[str], project: str = OURS, started: Sequence[Optional[str]] = ()) -> List[str]:
    return [str(id) for id, in run(
        """INSERT INTO jobs (batch_id, project_id, status, runs, start_timestamp)
           SELECT %s, %s, status::jobstatus, 100, started::timestamptz
           FROM unnest(%s::text[], %s::text[]) AS j (status, started) RETURNING id""",
        batch, project, list(statuses), list(started))]


def hold(conn: psycopg.Connection, batch: str) -> None:
    """A cancel of the batch that finds nothing holds the lock of the batch until the transaction ends: others wait."""
    conn.execute("SELECT cancel_jobs(%s, '{\"user_id\": \"nobody\"}')", (batch,))


def statuses(batch: str) -> Dict[str, str]:
    return {str(id): status for id, status in run("SELECT id, status FROM jobs WHERE batch_id = %s", batch)}


def activity(condition: str = "state = 'active'") -> int:
    """How many connections of the service are in that state."""
    return run(f"SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND {condition}", NAME)[0][0]


# ---------------------------------------------------------------------------
# The service and its clients
# ---------------------------------------------------------------------------

def bearer(project: str = OURS, seconds: int = 3600, key: str = KEY) -> Dict[str, str]:
    token = jwt.encode({"project_id": project, "exp": int(time.time()) + seconds}, key, "HS256")
    return {"Authorization": f"Bearer {token}"}


class Answer(NamedTuple):
    status: int
    headers: Dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def canceled(self) -> List[str]:
        return [job["id"] for job in self.body["data"]["jobs"]]

    @property
    def errors(self) -> Dict[str, str]:
        return self.body["data"]["errors"]


class Service:
    """An example as a process of its own, in its own way; or with constants changed, or as if modules were not installed."""

    def __init__(self, log: Path, module: str = "api_service", changes: str = "", without: Sequence[str] = (), **env: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = log
        self.env = {**os.environ, "PORT": str(self.port), "PYTHONDONTWRITEBYTECODE": "1", "TOKEN_KEY": KEY,
                    "PASQAL_JOBS_DSN": f"dbname={NAME} user={NAME} password={PASSWORD}", **env}
        command = [sys.executable, str(EXAMPLES / f"{module}.py")]
        if changes or without:
            command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(EXAMPLES)!r})\nsys.modules.update(dict.fromkeys({list(without)!r}))\n"
                       f"import uvicorn, {module} as service\n{changes}\nuvicorn.run(service.app, port={self.port}, access_log=False, http=getattr(service, 'api_service', service).Protocol)"]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the service has ended:\n{self.log.read_text()}")
        try:
            return self.request("GET", "/health").status == 200
        except OSError:
            return False

    def request(self, method: str, target: str, headers: Optional[Dict[str, str]] = None, body: Optional[bytes] = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def cancel(self, batch: str, params: Optional[Dict[str, Any]] = None, project: str = OURS, body: Optional[bytes] = b"null") -> Answer:
        """As the public Python client does it: repeated parameters, naive date-times, a JSON body that is null."""
        return self.request("PATCH", target(batch, params), {**bearer(project), "Content-Type": "application/json"}, body)

    def hang_up(self, batch: str) -> socket.socket:
        """Sends a cancel; closing what is returned is hanging up."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        s.sendall(f"PATCH {target(batch)} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()['Authorization']}\r\n\r\n".encode())
        return s

    def curl(self, batch: str, *args: str, query: str = "") -> Answer:
        result = subprocess.run(
            ["curl", "-sS", "-g", "--max-time", str(PATIENCE), "-X", "PATCH", "-H", f"Authorization: {bearer()['Authorization']}",
             "-w", "\n%{http_code}", *args, f"http://127.0.0.1:{self.port}{target(batch)}{query}"], stdout=subprocess.PIPE, check=True)
        content, _, status = result.stdout.rpartition(b"\n")
        return Answer(int(status), {}, content)

    def raw(self, request_line: bytes) -> bytes:
        """The first line of the answer to a request that no client would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as s:
            s.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\nAuthorization: " + bearer()["Authorization"].encode() + b"\r\n\r\n")
            return s.makefile("rb").readline().strip()


def target(batch: str, params: Optional[Dict[str, Any]] = None) -> str:
    values = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in (params or {}).items()}
    return f"/api/v2/batches/{batch}/cancel/jobs" + ("?" + urlencode(values, doseq=True) if values else "")


@contextmanager
def service_running(log: Path, *args: Any, **kwargs: Any) -> Iterator[Service]:
    service = Service(log, *args, **kwargs)
    try:
        wait_until(service.up, "the service did not start")
        yield service
    finally:
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGTERM)
            try:
                service.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                service.process.kill()
        service.process.wait()

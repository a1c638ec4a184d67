#!/usr/bin/python3
"""The example service (examples/api_service.py) over real HTTP, on a real server; prints TAP.

The server is named by PGHOST etc., its user must be a superuser; RESTART_COMMAND restarts it.
"""
import http.client
import json
import os
import queue
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

import psycopg

SERVICE = Path(__file__).resolve().parents[2] / "examples" / "api_service.py"
NAME = f"pasqal_service_{random.SystemRandom().randrange(10 ** 9)}"  # of the database and of the role
PASSWORD = secrets.token_hex(16)
OURS, THEIRS = str(uuid4()), str(uuid4())  # two projects
FIELDS = {"id", "parent_id", "status", "runs", "batch_id", "project_id", "created_at", "updated_at", "start_timestamp",
          "end_timestamp", "variables", "errors", "progress", "sequence", "creation_order", "slurm_job_id"}
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


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise TimeoutError(what)


# ---------------------------------------------------------------------------
# The database
# ---------------------------------------------------------------------------

def run(statement: str, *args: Any, dbname: str = NAME) -> List[Tuple]:
    """One statement as the superuser, on a connection of its own, since the server restarts in between."""
    with psycopg.connect(dbname=dbname, autocommit=True, options="-c synchronous_commit=local") as conn:
        cursor = conn.execute(statement, args or None)
        return cursor.fetchall() if cursor.description else []


def create_database() -> None:
    admin = os.environ.get("PGDATABASE", "postgres")
    run(f"CREATE DATABASE {NAME} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'", dbname=admin)
    run(f"CREATE ROLE {NAME} LOGIN PASSWORD '{PASSWORD}'", dbname=admin)
    run("CREATE EXTENSION pasqal_jobs")
    run("SELECT create_jobs_table()")
    # as the service's documentation has it
    run(f"GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO {NAME}")
    run("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    run(f"""CREATE POLICY own_project ON jobs TO {NAME}
                USING (project_id = nullif(current_setting('api.project_id', true), '')::uuid)""")


def drop_database() -> None:
    admin = os.environ.get("PGDATABASE", "postgres")
    run(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)", dbname=admin)
    run(f"DROP ROLE IF EXISTS {NAME}", dbname=admin)


def add_jobs(batch: str, statuses: Sequence[str], project: str = OURS, started: Sequence[Optional[str]] = ()) -> List[str]:
    return [str(id) for id, in run(
        """INSERT INTO jobs (batch_id, project_id, status, runs, start_timestamp)
           SELECT %s, %s, status::jobstatus, 100, started::timestamptz
           FROM unnest(%s::text[], %s::text[]) AS j (status, started) RETURNING id""",
        batch, project, list(statuses), list(started))]


def statuses(batch: str) -> Dict[str, str]:
    return {str(id): status for id, status in run("SELECT id, status FROM jobs WHERE batch_id = %s", batch)}


# ---------------------------------------------------------------------------
# The service and its clients
# ---------------------------------------------------------------------------

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
    def __init__(self, log: Path) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = log
        env = dict(os.environ, PORT=str(self.port), PYTHONDONTWRITEBYTECODE="1",
                   PASQAL_JOBS_DSN=f"dbname={NAME} user={NAME} password={PASSWORD}")
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, str(SERVICE)], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

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

    def cancel(self, batch: str, params: Optional[Dict[str, Any]] = None, project: str = OURS) -> Answer:
        """As the public Python client does it: repeated parameters, naive date-times, a JSON body that is null."""
        values = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in (params or {}).items()}
        target = f"/api/v2/batches/{batch}/cancel/jobs" + ("?" + urlencode(values, doseq=True) if values else "")
        return self.request("PATCH", target, {"X-Project-Id": project, "Content-Type": "application/json"}, b"null")

    def curl(self, batch: str, *args: str, query: str = "") -> Answer:
        result = subprocess.run(
            ["curl", "-sS", "-g", "--max-time", str(PATIENCE), "-X", "PATCH", "-H", f"X-Project-Id: {OURS}", "-w", "\n%{http_code}", *args,
             f"http://127.0.0.1:{self.port}/api/v2/batches/{batch}/cancel/jobs{query}"], stdout=subprocess.PIPE, check=True)
        content, _, status = result.stdout.rpartition(b"\n")
        return Answer(int(status), {}, content)

    def raw(self, request_line: bytes) -> bytes:
        """The first line of the answer to a request that no client would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as s:
            s.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\nX-Project-Id: " + OURS.encode() + b"\r\n\r\n")
            return s.makefile("rb").readline().strip()


@contextmanager
def service_running(log: Path) -> Iterator[Service]:
    service = Service(log)
    try:
        wait_until(service.up, "the service did not start")
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
        service.process.wait()


# ---------------------------------------------------------------------------
# The tests
# ---------------------------------------------------------------------------

def test_python_client(api: Service) -> None:
    batch, unknown = str(uuid4()), str(uuid4())
    pending, running, done, other = add_jobs(batch, ["PENDING", "RUNNING", "DONE", "PENDING"])

    answer = api.cancel(batch, {"id": [pending, running, done, unknown]})
    same((answer.status, answer.headers["content-type"]), (200, "application/json"), "repeated id: 200, JSON")
    same(answer.canceled, [pending, running], "repeated id: the named cancelable jobs are canceled")
    same(answer.errors, {done: ENDED + "DONE", unknown: "Job was not found in this batch"}, "repeated id: the others are accounted for")
    same(statuses(batch), {pending: "CANCELED", running: "CANCELED", done: "DONE", other: "PENDING"}, "repeated id: and the table says the same")
    jobs = answer.body["data"]["jobs"]
    ok(all(set(job) == FIELDS and job["status"] == "CANCELED" and job["updated_at"] == job["end_timestamp"] for job in jobs), "a job has the documented fields", jobs)

    same(api.cancel(batch).canceled, [other], "without filters: all that is left")
    again = api.cancel(batch)
    same((again.canceled, again.errors), ([], {pending: ENDED + "CANCELED", running: ENDED + "CANCELED", done: ENDED + "DONE", other: ENDED + "CANCELED"}),
         "the same again: nothing to cancel, every job explained")

    batch = str(uuid4())
    early, late, never = add_jobs(batch, ["RUNNING", "RUNNING", "PENDING"], started=["2023-03-20 12:59:59.999999Z", "2023-03-20 13:00Z", None])
    answer = api.cancel(batch, {"start_date": datetime(2023, 3, 20, 13)})
    same((answer.canceled, answer.errors), ([late], {}), "a naive date-time is UTC")
    answer = api.cancel(batch, {"status": ["PENDING", "RUNNING"], "min_runs": 100, "max_runs": 100, "errors": False, "project_id": [OURS],
                                "end_date": datetime(2023, 3, 20, 13, 0, 0, 5)})
    same((answer.canceled, answer.errors), ([], {}), "several filters are ANDed")
    same(sorted(api.cancel(batch, {"id__starts_with": "", "batch_id": [batch], "origin": ["UNKNOWN"]}).canceled), sorted([early, never]),
         "an empty id__starts_with is the default")
    same(api.cancel(str(uuid4())).body, {"data": {"jobs": [], "errors": {}}}, "an unknown batch answers empty")


def test_bad_requests(api: Service) -> None:
    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    answer = api.cancel("no-uuid", {"id": [job, "x"], "min_runs": "1.5", "statsu": "PENDING", "start_date": "yesterday"})
    same(answer.status, 422, "a bad request: 422")
    same([(problem["loc"], problem["type"]) for problem in answer.body["detail"]],
         [(["path", "batch__id"], "type_error.uuid"), (["query", "id", 1], "type_error.uuid"), (["query", "min_runs"], "type_error.integer"),
          (["query", "start_date"], "value_error.datetime"), (["query", "statsu"], "value_error.extra")], "a bad request: all problems at once")
    for params in ({"status": "pending"}, {"id": ""}, {"errors": "maybe"}, {"origin": ["CLIENT", "MARS"]}, {"max_runs": ""}, {"user_id": "\0"},
                   {"min_runs": "1; DROP TABLE jobs"}, {"end_date": "2023-01-01"}, {"no such filter": "1"}):
        answer = api.cancel(batch, params)
        ok(answer.status == 422 and len(answer.body["detail"]) == 1, f"{params}: 422", answer)
    same(api.cancel(batch, {"id": [str(uuid4())] * 100 + ["x"] * 300}).status, 422, "a long query string is read")
    same(api.request("PATCH", f"/api/v2/batches/{batch}/cancel/jobs").status, 401, "no project: 401")
    same(api.request("PATCH", f"/api/v2/batches/{batch}/cancel/jobs", {"X-Project-Id": "' OR true --"}).status, 401, "a bad project: 401")
    same(api.request("GET", f"/api/v2/batches/{batch}/cancel/jobs", {"X-Project-Id": OURS}).status, 405, "another method: 405")
    same(api.request("PATCH", f"/api/v2/batches/{batch}", {"X-Project-Id": OURS}).status, 404, "another path: 404")
    for line in (b"PATCH /api/v2/batches/x/cancel/jobs?user_id=\0 HTTP/1.1", b"PATCH /api/v2/batches/\xe9/cancel/jobs HTTP/1.1",
                 b"PATCH /api/v2/batches/" + batch.encode() + b"/cancel/jobs?user_id=\xff HTTP/1.1", b"PATCH /api/v2/batches/%00/cancel/jobs?%00=%00&=%FF HTTP/1.1",
                 b"PATCH /api/v2/batches/" + b"9" * 5000 + b"/cancel/jobs HTTP/1.1"):
        status = api.raw(line)
        ok(status.split(b" ")[1:2] in ([b"400"], [b"422"], [b"200"]) , f"odd bytes are not the server's fault: {line[:60]!r}", status)
    same(statuses(batch), {job: "PENDING"}, "and none of them canceled anything")


def test_curl(api: Service) -> None:
    batch = str(uuid4())
    first, second, third = add_jobs(batch, ["PENDING", "PENDING", "PENDING"])
    run("UPDATE jobs SET user_id = 'é a+b' WHERE id = %s", third)

    answer = api.curl(batch, query=f"?id={first}&id=urn:uuid:{second}&status=RUNNING")
    same((answer.status, answer.canceled), (200, []), "curl: ANDed filters")
    same(set(answer.errors.values()), {"Job does not match the other filters"}, "curl: named jobs are accounted for")
    same(api.curl(batch, "-G", "--data-urlencode", "user_id=é a+b").canceled, [third], "curl: --data-urlencode")
    same(api.curl("%7B" + batch.upper() + "%7D", query=f"?id={{{first}}}").canceled, [first], "curl: a path and an id in braces")
    answer = api.curl(batch, query="?min_runs=%zz&min_runs=%")
    same((answer.status, answer.body["detail"][0]["loc"]), (422, ["query", "min_runs"]), "curl: bad percent-encoding")
    expected, = run("SELECT body::text FROM cancel_jobs_http(%s, %s)", batch, "x=1&y=%22")[0]
    same(api.curl(batch, query="?x=1&y=%22").content.decode(), expected, "the body arrives byte by byte as the database made it")
    same(api.curl(batch, "-H", "Content-Type: application/json", "-d", '{"id": "x"}').canceled, [second], "curl: a body is ignored")


def test_projects(api: Service) -> None:
    batch = str(uuid4())
    mine, theirs = add_jobs(batch, ["PENDING"])[0], add_jobs(batch, ["PENDING"], THEIRS)[0]

    answer = api.cancel(batch, {"id": [mine, theirs]}, THEIRS)
    same((answer.canceled, answer.errors), ([theirs], {mine: "Job was not found in this batch"}), "another project's job is not found, even by id")
    answer = api.cancel(batch, {"project_id": [OURS]}, THEIRS)
    same((answer.canceled, answer.errors), ([], {}), "nor by asking for the other project")
    same(statuses(batch), {mine: "PENDING", theirs: "CANCELED"}, "and is not canceled")
    same(api.cancel(batch).content.count(theirs.encode()), 0, "nor is it mentioned")
    with psycopg.connect(dbname=NAME, user=NAME, password=PASSWORD) as conn:
        same(conn.execute("SELECT count(*) FROM jobs").fetchone(), (0,), "without a project the service's role sees nothing")

    # many at once on few connections: no project leaks into another's request
    projects = [str(uuid4()) for _ in range(8)]
    batch = str(uuid4())
    jobs = {project: add_jobs(batch, ["PENDING"] * 5, project) for project in projects}
    wrong: List[Any] = []

    def client(project: str) -> None:
        for id in jobs[project]:
            answer = api.cancel(batch, {"id": [id], "status": ["PENDING", "RUNNING"]}, project)
            if answer.canceled != [id] or answer.errors:
                wrong.append(answer)
            answer = api.cancel(batch, None, project)
            if not set(answer.canceled) | set(answer.errors) <= set(jobs[project]):
                wrong.append(answer)
            run("UPDATE jobs SET status = 'PENDING' WHERE batch_id = %s AND project_id = %s AND id <> %s", batch, project, id)

    in_threads([lambda project=project: client(project) for project in projects])
    same(wrong, [], "eight projects at once see their own jobs only")


def in_threads(functions: Sequence[Callable[[], None]]) -> None:
    broken: List[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:  # told by the main thread
            broken.append(error)

    threads = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)
    if broken or any(thread.is_alive() for thread in threads):
        raise RuntimeError(f"a client failed: {broken}")


def test_retries(api: Service) -> None:
    """A trigger fails the first few times that it is called; a sequence counts, since no rollback undoes that."""
    run("CREATE SEQUENCE calls")
    run(f"GRANT USAGE ON calls TO {NAME}")
    run("""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
           DECLARE n bigint := nextval('calls');
           BEGIN
               IF n > TG_ARGV[1]::int THEN RETURN new; END IF;
               IF TG_ARGV[0] = 'lost' THEN PERFORM pg_terminate_backend(pg_backend_pid(), 0); PERFORM pg_sleep(10); END IF;
               RAISE EXCEPTION 'failed for the test' USING ERRCODE = TG_ARGV[0];
           END $$""")

    def with_trigger(trigger: str, what: str, times: int) -> Tuple[Answer, str, int]:
        batch = str(uuid4())
        job, = add_jobs(batch, ["PENDING"])
        run("SELECT setval('calls', 1, false)")
        run(f"CREATE {trigger} ON jobs %s FOR EACH ROW EXECUTE FUNCTION fail('{what}', '{times}')"
            % ("DEFERRABLE INITIALLY DEFERRED" if "CONSTRAINT" in trigger else ""))
        answer = api.cancel(batch)
        calls = run("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM calls")[0][0]
        run("DROP TRIGGER fail ON jobs")
        return answer, statuses(batch)[job], calls

    before, at_commit = "TRIGGER fail BEFORE UPDATE", "CONSTRAINT TRIGGER fail AFTER UPDATE"
    for what, name in (("40001", "a serialization failure"), ("40P01", "a deadlock"), ("lost", "a lost connection")):
        for trigger, when in ((before, "in the UPDATE"), (at_commit, "at COMMIT")):
            answer, status, calls = with_trigger(trigger, what, 2)
            same((answer.status, len(answer.canceled), status, calls), (200, 1, "CANCELED", 3), f"{name} {when} is retried")
    answer, status, calls = with_trigger(before, "40001", 1000)
    same((answer.status, answer.headers.get("retry-after"), status, calls), (503, "1", "PENDING", 6), "with a bound, then 503 and nothing done")
    answer, status, calls = with_trigger(before, "23514", 1000)
    same((answer.status, status, calls), (500, "PENDING", 1), "other failures are not retried")


def test_lost_during_commit(api: Service) -> None:
    """The transaction has committed, but the connection is lost before the service hears of it."""
    batch = str(uuid4())
    jobs = add_jobs(batch, ["PENDING", "RUNNING"])
    answers: List[Answer] = []

    # COMMIT, done locally, waits for a standby that does not come
    run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    run("SELECT pg_reload_conf()")
    try:
        wait_until(lambda: run("SHOW synchronous_standby_names") == [("nobody",)], "the setting did not arrive")
        thread = threading.Thread(target=lambda: answers.append(api.cancel(batch)), daemon=True)
        thread.start()
        waiting = wait_until(lambda: run("SELECT pid FROM pg_stat_activity WHERE usename = %s AND wait_event = 'SyncRep'", NAME), "COMMIT did not wait")
        run("SELECT pg_terminate_backend(%s)", waiting[0][0])
        thread.join(PATIENCE)
    finally:
        run("ALTER SYSTEM RESET synchronous_standby_names")
        run("SELECT pg_reload_conf()")
    same(set(statuses(batch).values()), {"CANCELED"}, "connection lost after COMMIT: the jobs are canceled")
    same([(a.status, a.canceled, a.errors) for a in answers], [(200, [], {job: ENDED + "CANCELED" for job in jobs})],
         "connection lost after COMMIT: the answer of the retry says so")


def test_restart_under_load(api: Service, command: str, clients: int = 4, batches: int = 240, size: int = 100) -> None:
    ids = [str(uuid4()) for _ in range(batches)]
    run("""INSERT INTO jobs (batch_id, project_id, status, runs)
           SELECT b, %s, (CASE WHEN n %% 2 = 0 THEN 'PENDING' ELSE 'RUNNING' END)::jobstatus, n FROM unnest(%s::uuid[]) AS b, generate_series(1, %s) AS n""", OURS, ids, size)
    of_batch: Dict[str, set] = {id: set() for id in ids}
    for batch, job in run("SELECT batch_id, id FROM jobs WHERE batch_id = ANY (%s::uuid[])", ids):
        of_batch[str(batch)].add(str(job))
    todo: "queue.SimpleQueue[str]" = queue.SimpleQueue()
    for id in ids:
        todo.put(id)
    answers: Dict[str, Answer] = {}
    retries = api.log.read_text().count("attempt ")

    def client() -> None:
        while True:
            try:
                batch = todo.get_nowait()
            except queue.Empty:
                return
            answers[batch] = api.cancel(batch)
            time.sleep(0.01)

    def restarter() -> None:
        for n in (1, 2, 3):
            wait_until(lambda: len(answers) >= n * batches // 4, "the load stands still")
            subprocess.run(command, shell=True, check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    in_threads([client] * clients + [restarter])

    by_status: Dict[int, int] = {}
    for answer in answers.values():
        by_status[answer.status] = by_status.get(answer.status, 0) + 1
    retries = api.log.read_text().count("attempt ") - retries
    print(f"# restarted three times: answers by status {by_status}, {retries} failed attempts behind them")
    ok(set(by_status) <= {200, 503} and len(answers) == batches, "server restarted under load: every request is answered, with 200 or 503", by_status)
    wait_until(api.up, "the service did not find the server again")
    now: Dict[str, set] = {id: set() for id in ids}
    for batch, job in run("SELECT batch_id, id FROM jobs WHERE batch_id = ANY (%s::uuid[]) AND status = 'CANCELED'", ids):
        now[str(batch)].add(str(job))
    same([b for b in ids if now[b] not in (set(), of_batch[b])], [], "server restarted under load: each batch is canceled wholly or not at all")
    wrong = []
    for batch, answer in answers.items():
        if answer.status == 200:
            canceled = set(answer.canceled) | {id for id, why in answer.errors.items() if why == ENDED + "CANCELED"}
            # a retry after a COMMIT that was lost finds all canceled, never some
            if not canceled == now[batch] == of_batch[batch] or (answer.canceled and answer.errors):
                wrong.append((batch, answer))
    same(wrong, [], "server restarted under load: 200 means canceled, and the answer agrees with the table")
    retry = [batch for batch, answer in answers.items() if answer.status == 503]
    same([b for b in retry if api.cancel(b).status != 200], [], "server restarted under load: what failed succeeds when asked again")


def test_stop(api: Service) -> None:
    """SIGTERM while a request waits for a lock: it is answered, then the service ends and leaves no connection."""
    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    answers: List[Answer] = []
    with psycopg.connect(dbname=NAME) as conn:
        conn.execute("SELECT FROM jobs WHERE batch_id = %s FOR UPDATE", (batch,))
        thread = threading.Thread(target=lambda: answers.append(api.cancel(batch)), daemon=True)
        thread.start()
        wait_until(lambda: run("SELECT 1 FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'", NAME), "the request does not wait")
        api.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        conn.rollback()
    thread.join(PATIENCE)
    same([(a.status, a.canceled) for a in answers], [(200, [job])], "clean stop: what has begun is answered")
    # a newer uvicorn raises the signal again once it has stopped cleanly
    same(api.process.wait(PATIENCE) in (0, -signal.SIGTERM), True, "clean stop: exit code 0")
    wait_until(lambda: not run("SELECT 1 FROM pg_stat_activity WHERE usename = %s", NAME), "clean stop: connections stay")
    same(api.log.read_text().count("Exception in ASGI application"), 1, "of the whole run the service logged one exception, that of the 500")


def main() -> int:
    command = os.environ.get("RESTART_COMMAND")
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "service.log"
        try:
            create_database()
            with service_running(log) as api:
                ok(True, "the service starts and is healthy")
                test_python_client(api)
                test_bad_requests(api)
                test_curl(api)
                test_projects(api)
                test_lost_during_commit(api)
                if command:
                    test_restart_under_load(api, command)
                else:
                    ok(True, "server restarted under load # SKIP RESTART_COMMAND is not set")
                test_retries(api)
                test_stop(api)
        except Exception as error:  # TAP has no other way to say it
            ok(False, f"the test broke: {error!r}", log.read_text()[-3000:] if log.exists() else "")
            raise
        finally:
            drop_database()
    print(f"1..{tests}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""The example service (examples/api_service.py) over real HTTP, on a real server; prints TAP.

Runs alone: it restarts the server, and tests how long requests take.

RESTART_COMMAND restarts the server; the rest of the environment is the one of harness.py.
"""
import importlib.util
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Tuple
from uuid import uuid4

import psycopg

from harness import (ENDED, KEY, NAME, OURS, PASSWORD, PATIENCE, THEIRS, Answer, Service, activity, add_jobs, hold, bearer, in_threads, ok,
                     run, same, service_running, skip, statuses, tap, target, wait_until)

FIELDS = {"id", "parent_id", "status", "runs", "batch_id", "project_id", "created_at", "updated_at", "start_timestamp",
          "end_timestamp", "variables", "errors", "progress", "sequence", "creation_order", "slurm_job_id"}


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
    early, late, never = add_jobs(batch, ["RUNNING", "RUNNING", "PENDING"])
    run("""UPDATE jobs SET created_at = CASE id WHEN %s THEN '2023-03-20 12:59:59.999999Z' WHEN %s THEN '2023-03-20 13:00Z'
                                                ELSE '2023-03-20 12:59Z' END::timestamptz WHERE batch_id = %s""", early, late, batch)
    answer = api.cancel(batch, {"start_date": datetime(2023, 3, 20, 13)})
    same((answer.canceled, answer.errors), ([late], {}), "dates are of creation, and a naive one is UTC")
    answer = api.cancel(batch, {"status": ["PENDING", "RUNNING"], "min_runs": 100, "max_runs": 100, "errors": False, "project_id": [OURS],
                                "end_date": datetime(2023, 3, 20, 12, 58, 0, 5)})
    same((answer.canceled, answer.errors), ([], {}), "several filters are ANDed")
    same(sorted(api.cancel(batch, {"id__starts_with": "", "batch_id": [batch], "origin": ["UNKNOWN"]}).canceled), sorted([early, never]),
         "an empty id__starts_with is the default")
    same(api.cancel(str(uuid4())).body, {"data": {"jobs": [], "errors": {}}}, "an unknown batch answers empty")


def failure(answer: Answer) -> Tuple[int, int, str, str]:
    """An error as the public Python client and as FastAPI's clients read it."""
    return answer.status, answer.body["code"], answer.body["message"], answer.body["detail"]


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
    for headers, name in (({}, "no token"), ({"Authorization": "Basic " + KEY}, "another scheme"), (bearer(key="x" * 64), "a token signed by another"),
                          (bearer(seconds=-10), "a token that has expired"), (bearer("' OR true --"), "a token without a project"),
                          ({"X-Project-Id": OURS}, "a header of one's own")):
        answer = api.request("PATCH", target(batch), headers)
        same((answer.status, answer.headers.get("www-authenticate"), answer.body["code"]), (401, "Bearer", 401), f"{name}: 401")
    same(failure(api.request("GET", target(batch), bearer())), (405, 405, "Method Not Allowed", "Method Not Allowed"), "another method: 405 in JSON")
    same(failure(api.request("PATCH", f"/api/v2/batches/{batch}", bearer())), (404, 404, "Not Found", "Not Found"), "another path: 404 in JSON")
    for body in (b'{"id": ["' + job.encode() + b'"]}', b"{}", b"[]", b'"null"', b"0", b"id=" + job.encode(), b" " * 17, b"x" * 3_000_000):
        answer = api.cancel(batch, body=body)
        same((answer.status, [p["loc"] for p in answer.body["detail"]]), (422, [["body"]]), f"a body is refused: {body[:20]!r}")
    for body in (None, b"", b"null", b" null\n"):
        same(api.cancel(batch, {"id": str(uuid4())}, body=body).status, 200, f"a body that says nothing is fine: {body!r}")
    for line in (b"PATCH /api/v2/batches/x/cancel/jobs?user_id=\0 HTTP/1.1", b"PATCH /api/v2/batches/\xe9/cancel/jobs HTTP/1.1",
                 b"PATCH /api/v2/batches/" + batch.encode() + b"/cancel/jobs?user_id=\xff HTTP/1.1", b"PATCH /api/v2/batches/%00/cancel/jobs?%00=%00&=%FF HTTP/1.1",
                 b"PATCH /api/v2/batches/" + b"9" * 5000 + b"/cancel/jobs HTTP/1.1",
                 # a parser that cuts the target at "#" would lose the filters behind it
                 b"PATCH /api/v2/batches/" + batch.encode() + b"/cancel/jobs?status=PENDING#&id=x HTTP/1.1",
                 b"PATCH /api/v2/batches/" + batch.encode() + b"/cancel/jobs#?id=x HTTP/1.1"):
        status = api.raw(line)
        ok(status.split(b" ")[1:2] in ([b"400"], [b"404"], [b"422"], [b"200"]), f"odd bytes are not the server's fault: {line[:60]!r}", status)
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
    same(api.curl(batch, "-d", "min_runs=1000").status, 422, "curl: filters in the body are refused")
    same(api.curl(batch).canceled, [second], "curl: without filters")


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
    same((answer.status, answer.headers.get("retry-after"), status, calls), (504, "1", "PENDING", 6), "with a bound, then 504 and nothing done")
    for what, code in (("54000", 413), ("55P03", 504), ("57014", 504), ("23514", 500)):
        answer, status, calls = with_trigger(before, what, 1000)
        same((*failure(answer)[:2], answer.headers["content-type"], status, calls), (code, code, "application/json", "PENDING", 1),
             f"{what} answers {code} in JSON and is not retried")
        ok("Nothing was canceled." in answer.body["message"], f"{what}: the message says that nothing was canceled", answer)


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
            if n == 2:  # the server's own way out of a crash
                os.kill(wait_until(lambda: run("SELECT pid FROM pg_stat_activity WHERE usename = %s", NAME), "no backend")[0][0], signal.SIGKILL)
                continue
            subprocess.run(command, shell=True, check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    in_threads([client] * clients + [restarter])

    by_status: Dict[int, int] = {}
    for answer in answers.values():
        by_status[answer.status] = by_status.get(answer.status, 0) + 1
    retries = api.log.read_text().count("attempt ") - retries
    print(f"# restarted twice, crashed once: answers by status {by_status}, {retries} failed attempts behind them")
    ok(set(by_status) <= {200, 504} and len(answers) == batches, "server restarted and crashed under load: every request is answered, with 200 or 504", by_status)
    wait_until(api.up, "the service did not find the server again")
    now: Dict[str, set] = {id: set() for id in ids}
    for batch, job in run("SELECT batch_id, id FROM jobs WHERE batch_id = ANY (%s::uuid[]) AND status = 'CANCELED'", ids):
        now[str(batch)].add(str(job))
    same([b for b in ids if now[b] not in (set(), of_batch[b])], [], "server restarted and crashed under load: each batch is canceled wholly or not at all")
    wrong = []
    for batch, answer in answers.items():
        if answer.status == 200:
            canceled = set(answer.canceled) | {id for id, why in answer.errors.items() if why == ENDED + "CANCELED"}
            # a retry after a COMMIT that was lost finds all canceled, never some
            if not canceled == now[batch] == of_batch[batch] or (answer.canceled and answer.errors):
                wrong.append((batch, answer))
    same(wrong, [], "server restarted and crashed under load: 200 means canceled, and the answer agrees with the table")
    retry = [batch for batch, answer in answers.items() if answer.status == 504]
    same([b for b in retry if api.cancel(b).status != 200], [], "server restarted and crashed under load: what failed succeeds when asked again")


def test_locks(log: Path) -> None:
    """A transaction holds a job for longer than anybody waits."""
    batch, other = str(uuid4()), str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    free, = add_jobs(other, ["PENDING"])
    with service_running(log, changes="service.LOCK_PATIENCE = 2; service.PATIENCE = 5") as api, psycopg.connect(dbname=NAME) as conn:
        # a worker holds a job: nobody waits for it
        conn.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", (job,))
        start = time.monotonic()
        answer = api.cancel(batch)
        same((answer.status, answer.canceled, answer.body["data"]["errors"]), (200, [], {job: "Job is locked by another transaction"}), "a job that a worker holds")
        ok(time.monotonic() - start < 1, "a job that a worker holds: nothing is waited for")
        conn.rollback()

        # another cancel has the batch
        hold(conn, batch)
        start = time.monotonic()
        waiting: List[Tuple[Answer, float]] = []

        def wait() -> None:
            waiting.append((api.cancel(batch), time.monotonic() - start))

        threads = [threading.Thread(target=wait, daemon=True) for _ in range(10)]
        for thread in threads:
            thread.start()
        wait_until(lambda: activity("wait_event_type = 'Lock'"), "no request waits for the lock")
        healthy, elsewhere = api.request("GET", "/health"), api.cancel(other)
        took = time.monotonic() - start
        ok(healthy.status == 200 and elsewhere.canceled == [free] and took < 2, "ten calls wait for one lock: health check and other batches do not",
           healthy, elsewhere, took)
        ok(activity("wait_event_type = 'Lock'") <= 2, "ten calls wait for one lock: on two connections")
        for thread in threads:
            thread.join(PATIENCE)
        same({(a.status, a.body["code"]) for a, _ in waiting}, {(504, 504)}, "a lock that stays: every call is answered with 504")
        ok(len(waiting) == 10 and max(seconds for _, seconds in waiting) < 8, "a lock that stays: in time", sorted(seconds for _, seconds in waiting))
        same(statuses(batch), {job: "PENDING"}, "a lock that stays: nothing is canceled")

        conn.rollback()

        # longer than the client's patience
        run("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN new; END'")
        run("CREATE TRIGGER slow BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION slow()")
        batch, start = str(uuid4()), time.monotonic()
        job, = add_jobs(batch, ["RUNNING"])
        answer = api.cancel(batch)
        took = time.monotonic() - start
        ok(answer.status == 504 and 4.5 < took < 8, "a call that takes too long: 504 in time", answer, took)
        same(statuses(batch), {job: "RUNNING"}, "a call that takes too long: nothing is canceled")
        run("DROP TRIGGER slow ON jobs")


def test_gone(log: Path) -> None:
    """Statements whose client or service is gone end long before any timeout."""
    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    with service_running(log, changes="service.LOCK_PATIENCE = 20") as api, psycopg.connect(dbname=NAME) as conn:
        def waiting() -> int:
            return activity("wait_event_type = 'Lock'")

        def end(name: str) -> None:
            start = time.monotonic()
            wait_until(lambda: not waiting(), f"{name}: the statement goes on")
            took = time.monotonic() - start
            ok(took < 10, f"{name}: the statement ends", took)

        hold(conn, batch)
        # some wait for the lock, the others for their turn to wait
        clients = [api.hang_up(batch) for _ in range(4)]
        wait_until(lambda: waiting() == 2, "the requests do not wait")
        for s in clients:
            s.close()
        end("clients that hang up")
        conn.rollback()
        time.sleep(0.1)
        same(statuses(batch), {job: "PENDING"}, "clients that hang up: nothing is canceled")
        same(api.cancel(batch).canceled, [job], "clients that hang up: the next call finds everything in order")

        run("UPDATE jobs SET status = 'RUNNING' WHERE id = %s", job)
        hold(conn, batch)
        s = api.hang_up(batch)
        wait_until(waiting, "the request does not wait")
        api.process.kill()
        api.process.wait()
        same(s.recv(1), b"", "kill -9 of the service: the client notices")
        s.close()
        end("kill -9 of the service")
        conn.rollback()
        same(statuses(batch), {job: "RUNNING"}, "kill -9 of the service: nothing is canceled")


def test_query_limit(log: Path) -> None:
    """Up to the limit each query string is read, however its packets are cut; beyond it none is."""
    for parser, limit in (("httptools", 60_000), ("h11", 12_000)):
        if parser == "httptools" and importlib.util.find_spec("httptools") is None:
            skip("the limit with httptools", "it is not installed")
            continue
        with service_running(log, without=["httptools", "uvloop"] if parser == "h11" else []) as api:
            for length, expected in ((limit, 200), (limit + 1, 414)):
                batch = str(uuid4())
                job, = add_jobs(batch, ["PENDING"])
                query = f"id={job}&user_id="
                query += "a" * (length - len(query))
                head = (f"PATCH {target(batch)}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        f"Authorization: {bearer()['Authorization']}\r\n\r\n").encode()
                for piece in (len(head), 1000):
                    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as s:
                        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        for start in range(0, len(head), piece):
                            s.sendall(head[start:start + piece])
                            time.sleep(0.002)
                        got = s.makefile("rb").read()
                    same(int(got.split(b" ")[1]), expected, f"{parser}: a query string of {length} bytes in pieces of {piece}: {expected}")
                same(statuses(batch), {job: "PENDING"}, f"{parser}: of {length} bytes: all of it counts, or nothing")


def test_max_jobs(log: Path) -> None:
    """The belt that doc/api.md names for the role of a service."""
    run(f"ALTER ROLE {NAME} SET pasqal_jobs.max_jobs = 2")
    with service_running(log) as api:
        batch = str(uuid4())
        jobs = add_jobs(batch, ["PENDING"] * 3)
        answer = api.cancel(batch)
        same((answer.status, answer.body["code"], set(statuses(batch).values())), (413, 413, {"PENDING"}), "more than max_jobs: 413, nothing is canceled")
        same(sorted(api.cancel(batch, {"id": jobs[:2]}).canceled), sorted(jobs[:2]), "as many as max_jobs: canceled")
    run(f"ALTER ROLE {NAME} RESET pasqal_jobs.max_jobs")


def test_workers(log: Path) -> None:
    with service_running(log, WORKERS="2") as api:
        batch = str(uuid4())
        jobs = add_jobs(batch, ["PENDING"] * 20)
        answers = in_threads([lambda id=id: api.cancel(batch, {"id": id}) for id in jobs])
        same([a.canceled for a in answers], [[id] for id in jobs], "two workers answer")
        children = subprocess.run(["pgrep", "-P", str(api.process.pid), "-f", "spawn_main"], stdout=subprocess.PIPE).stdout.split()
        same(len(children), 2, "two workers are two processes")
    keyless = Service(log, TOKEN_KEY="")
    ok(keyless.process.wait(PATIENCE) != 0 and "TOKEN_KEY is not set" in log.read_text(), "without a key for tokens the service does not start")
    wait_until(lambda: not activity("true"), "two workers: connections stay after the stop")
    ok(True, "two workers stop and leave no connection")


def test_stop(api: Service) -> None:
    """SIGTERM while a request waits for a lock: it is answered, then the service ends and leaves no connection."""
    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    answers: List[Answer] = []
    with psycopg.connect(dbname=NAME) as conn:
        hold(conn, batch)
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


def test(log: Path) -> None:
    command = os.environ.get("RESTART_COMMAND")
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
            skip("server restarted under load", "RESTART_COMMAND is not set")
        test_retries(api)
        test_stop(api)
    test_locks(log)
    test_gone(log)
    test_query_limit(log)
    test_max_jobs(log)
    test_workers(log)


if __name__ == "__main__":
    sys.exit(tap(test))

#!/usr/bin/python3
"""The requests of the public Python client (pasqal-cloud 0.23) as it puts them on the wire, replayed; prints TAP.

The table was recorded between that client, unmodified, and the example service. What the client makes of each answer
is written beside the request: which of the batch's jobs a, b, c, d it lists as canceled, which as errors and why; or
the error that it shows, made of "code" and "message" of the body, whatever the status code is.
"""
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple
from uuid import UUID, uuid4

import psycopg

from harness import ENDED, NAME, PATIENCE, Service, add_jobs, hold, bearer, ok, run, same, service_running, statuses, tap

# A batch has four jobs: a PENDING, b RUNNING, c DONE, d PENDING, with 100, 200, 300 and 400 runs, created on
# 2023-03-20 at 12:00, 13:00, 14:00 and 15:00:00.25 UTC.
NOBODY = "00000000-0000-4000-8000-000000000000"
DONE = {"c": ENDED + "DONE"}


class Call(NamedTuple):
    filters: str  # as a user of the client writes them
    query: str  # as the client sends them; {a} is the id of job a
    canceled: str
    errors: Dict[str, str]


CALLS = [
    Call("none", "", "abd", DONE),
    Call("id=a", "?id={a}", "a", {}),
    Call("id=[a, c, d in capitals]", "?id={a}&id={c}&id={D}", "ad", DONE),
    Call("id of another batch", f"?id={NOBODY}", "", {NOBODY: "Job was not found in this batch"}),
    Call("min_runs=200", "?min_runs=200", "bd", DONE),
    Call("max_runs=200", "?max_runs=200", "ab", {}),
    Call("min_runs=0", "?min_runs=0", "abd", DONE),
    Call("min_runs=None, max_runs=400", "?max_runs=400", "abd", DONE),
    Call("start_date naive", "?start_date=2023-03-20T13%3A00%3A00", "bd", DONE),
    Call("start_date at +02:00", "?start_date=2023-03-20T15%3A00%3A00%2B02%3A00", "bd", DONE),
    Call("start_date a microsecond too late", "?start_date=2023-03-20T15%3A00%3A00.250001", "", {}),
    Call("start_date just in time", "?start_date=2023-03-20T15%3A00%3A00.250000", "d", {}),
    Call("end_date in UTC", "?end_date=2023-03-20T13%3A00%3A00%2B00%3A00", "ab", {}),
    Call("all", "?id={a}&id={b}&id={c}&id={d}&start_date=2023-03-20T13%3A00%3A00&end_date=2023-03-20T16%3A00%3A00&min_runs=100&max_runs=400",
         "bd", {"a": "Job does not match the other filters", **DONE}),
    Call("300 ids", "?id={a}" + "".join(f"&id={UUID(int=n)}" for n in range(299)), "a",
         {str(UUID(int=n)): "Job was not found in this batch" for n in range(299)}),
]


class Connection:
    """One connection for all requests, as the client keeps it."""

    def __init__(self, api: Service) -> None:
        self.port = api.port
        self.socket = socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE)
        self.answers = self.socket.makefile("rb")

    def patch(self, batch: str, query: str = "", authorization: str = "", body: bytes = b"") -> Tuple[int, Any]:
        head = (f"PATCH /api/v2/batches/{batch}/cancel/jobs{query} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUser-Agent: PasqalCloudSDK/0.23.0\r\n"
                "Accept-Encoding: gzip, deflate, br\r\nAccept: */*\r\nConnection: keep-alive\r\ncontent-type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nAuthorization: {authorization or bearer()['Authorization']}\r\n\r\n")
        self.socket.sendall(head.encode() + body)
        status = int(self.answers.readline().split()[1])
        headers = {}
        for line in iter(self.answers.readline, b"\r\n"):
            key, _, value = line.decode().partition(":")
            headers[key.lower()] = value.strip()
        return status, json.loads(self.answers.read(int(headers["content-length"])))


def parsed(body: Any) -> Tuple[List[str], Dict[str, str]]:
    """What the client's models take: a job needs these fields, an error the uuid of its job."""
    for job in body["data"]["jobs"]:
        assert all(isinstance(job[field], str) for field in ("id", "batch_id", "project_id", "status", "created_at", "updated_at")), job
        assert job["runs"] is None or isinstance(job["runs"], int), job
        assert all(job[field] is None or isinstance(job[field], str) for field in ("start_timestamp", "end_timestamp", "parent_id", "sequence")), job
        assert job["variables"] is None or isinstance(job["variables"], dict), job
        assert job["errors"] is None or all(isinstance(error, str) for error in job["errors"]), job
        assert job["status"] == "CANCELED", job
    return [job["id"] for job in body["data"]["jobs"]], {str(UUID(id)): why for id, why in body["data"]["errors"].items()}


def shown(body: Any) -> str:
    """The message of the client's exception."""
    description = body["data"].get("description", body.get("message")) if body.get("data") else body.get("message", "")
    return f"{body.get('code', 0)}: {description}"


def add_batch() -> Tuple[str, Dict[str, str]]:
    batch = str(uuid4())
    ids = dict(zip("abcd", add_jobs(batch, ["PENDING", "RUNNING", "DONE", "PENDING"])))
    run("""UPDATE jobs SET runs = 100 * n, created_at = moment::timestamptz
           FROM unnest(%s::uuid[], '{2023-03-20 12:00Z,2023-03-20 13:00Z,2023-03-20 14:00Z,2023-03-20 15:00:00.25Z}'::text[]) WITH ORDINALITY AS j (job, moment, n)
           WHERE id = job""", list(ids.values()))
    return batch, ids


def test_calls(api: Service) -> None:
    connection = Connection(api)
    for call in CALLS:
        batch, ids = add_batch()
        status, body = connection.patch(batch, call.query.format(**ids, D=ids["d"].upper()))
        same((status, *parsed(body)), (200, [ids[job] for job in call.canceled], {ids.get(job, job): why for job, why in call.errors.items()}),
             f"filters: {call.filters}")
        was = dict(zip("abcd", ("PENDING", "RUNNING", "DONE", "PENDING")))
        same(statuses(batch), {ids[job]: "CANCELED" if job in call.canceled else was[job] for job in "abcd"}, f"filters: {call.filters}: the table agrees")
    # an older version of its HTTP library sends a body
    batch, ids = add_batch()
    same(parsed(connection.patch(batch, body=b"null")[1])[0], [ids[job] for job in "abd"], "a body null")
    same(parsed(connection.patch(batch)[1]), ([], {ids[job]: ENDED + ("DONE" if job == "c" else "CANCELED") for job in "abcd"}), "the same call again")
    same(parsed(connection.patch(NOBODY)[1]), ([], {}), "an unknown batch")


def test_failures(api: Service) -> None:
    connection = Connection(api)
    batch, ids = add_batch()
    before = statuses(batch)
    status, body = connection.patch("x")
    same((status, shown(body), body["detail"][0]["loc"]), (422, "0: ", ["path", "batch__id"]), "a batch that is no uuid: 422, details below the message")
    status, body = connection.patch(batch, authorization="Bearer x.y.z")
    same((status, shown(body)), (401, "401: The token is not valid, or has expired."), "a bad token: 401")
    for sqlstate, expected, message in (("54000", 413, "The jobs are too many for one call. Nothing was canceled. Use narrower filters."),
                                        ("23514", 500, "Internal error. Nothing was canceled.")):
        run(f"""CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'; END $$""")
        run("CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse()")
        status, body = connection.patch(batch)
        same((status, shown(body)), (expected, f"{expected}: {message}"), f"{sqlstate}: {expected}")
        run("DROP TRIGGER refuse ON jobs")
        if expected == 500:  # after which the server closes the connection
            connection = Connection(api)
    same(statuses(batch), before, "and nothing was canceled by these")

    # a lock that stays longer than the service waits: the client tries again after 504
    with psycopg.connect(dbname=NAME) as conn:
        hold(conn, batch)
        release = threading.Timer(1.5, conn.rollback)
        release.start()
        tries = [connection.patch(batch)]
        while tries[-1][0] == 504 and len(tries) < 6:
            tries.append(connection.patch(batch))
        release.join()
    ok(len(tries) > 1 and shown(tries[0][1]) == "504: Jobs of this batch are locked. Nothing was canceled. Try again.", "a cancel of the batch that goes on: 504", tries)
    same(parsed(tries[-1][1])[0], [ids[job] for job in "abd"], "a cancel that goes on: the last try cancels the jobs")


def test(log: Path) -> None:
    with service_running(log, changes="service.LOCK_PATIENCE = 1") as api:
        test_calls(api)
        test_failures(api)


if __name__ == "__main__":
    sys.exit(tap(test))

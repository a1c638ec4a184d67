"""Measures the example service and its rivals over HTTP; see api.sh, which calls this.

In a round each contender has its turn, in random order, on fresh rows; the first round warms up and is checked
instead of counted. Figures are medians, ratios are medians of the ratios within a round.
"""
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Tuple

import psycopg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "http"))

import harness  # noqa: E402
from harness import NAME, OURS, Service, bearer, run, wait_until  # noqa: E402

QUICK = "--quick" in sys.argv
CLIENTS = 4
OURS_NAME, UPDATE, ORM = "api_service.py", "UPDATE by hand, JSON in Python", "FastAPI, ORM, response model"
MODULES = {OURS_NAME: "api_service", UPDATE: "rival_update", ORM: "rival_orm"}
ONE = 40  # requests in a round
SIZES = {100: 3 if QUICK else 60, 10_000: 2 if QUICK else 9}  # jobs of a batch: rounds
ONE_ROUNDS = 2 if QUICK else 120
LARGE = 10_000 if QUICK else 100_000
GOALS = {1: (1.2, 2.5), 10_000: (10, 30)}


def progress(text: str) -> None:
    print("==", text, file=sys.stderr, flush=True)


def batch_of(size: int, n: int = 0) -> str:
    return run("SELECT md5(%s)::uuid::text", f"{size} {n}")[0][0]


def fill() -> None:
    for size, batches in {100: ONE, 10_000: 1, LARGE: 1}.items():
        run(f"""INSERT INTO jobs (id, batch_id, project_id, user_id, status, runs, origin, start_timestamp, variables)
                SELECT md5('{size} ' || b || ' ' || n)::uuid, md5('{size} ' || b)::uuid, '{OURS}', 'niels',
                    (CASE WHEN n % 10 = 0 THEN 'DONE' ELSE 'PENDING' END)::jobstatus, 100, 'CLIENT', now(),
                    jsonb_build_object('omega_max', n, 'ts', jsonb_build_array(n, n + 0.5))
                FROM generate_series(0, {batches - 1}) AS b, generate_series(1, {size}) AS n""")
    run("VACUUM ANALYZE jobs")


def fresh() -> None:
    """Puts canceled jobs back, with the room in their pages."""
    run("UPDATE jobs SET status = 'PENDING', end_timestamp = NULL WHERE status = 'CANCELED'")
    run("VACUUM jobs")


class Client:
    """One connection; no library, so that little is measured beside the service."""

    def __init__(self, api: Service) -> None:
        self.socket = socket.create_connection(("127.0.0.1", api.port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = f"Host: x\r\nAuthorization: {bearer()['Authorization']}\r\n\r\n"

    def cancel(self, batch: str, query: str = "") -> bytes:
        self.socket.sendall(f"PATCH /api/v2/batches/{batch}/cancel/jobs{query} HTTP/1.1\r\n{self.head}".encode())
        data = self.socket.recv(65536)
        while b"\r\n\r\n" not in data:
            data += self.socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"failed: {data[:300]!r}")
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        pieces = [body]
        missing = length - len(body)
        while missing > 0:
            pieces.append(self.socket.recv(1 << 20))
            missing -= len(pieces[-1])
        return b"".join(pieces)


def check(body: bytes, jobs: int, errors: int) -> None:
    if (body.count(b'"CANCELED"'), body.count(b"Job cannot be canceled")) != (jobs, errors):
        sys.exit(f"wrong answer, of {jobs} jobs: {body[:300]!r}")


def one_job(api: Service, checked: bool) -> float:
    """Requests a second, each of them for a job of its own by id, from clients at once."""
    targets = [(batch, run("SELECT id::text FROM jobs WHERE batch_id = %s AND status IN ('PENDING', 'RUNNING') LIMIT 1", batch)[0][0])
               for batch in (batch_of(100, n) for n in (range(ONE) if checked else ()))] or one_job.targets
    one_job.targets = targets
    clients = [Client(api) for _ in range(CLIENTS)]
    bodies: List[bytes] = []

    def client(n: int) -> None:
        for batch, id in targets[n::CLIENTS]:
            bodies.append(clients[n].cancel(batch, f"?id={id}"))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    if len(bodies) != len(targets):
        sys.exit("a client failed")
    for body in bodies:
        check(body, 1, 0)
    return len(targets) / took


one_job.targets = []  # type: ignore[attr-defined]


def whole_batch(size: int) -> Callable[[Service, bool], float]:
    def sample(api: Service, checked: bool) -> float:
        """Milliseconds of one call."""
        client = Client(api)
        client.cancel(batch_of(size, 10 ** 6))  # an empty batch, on the connection
        start = time.perf_counter()
        body = client.cancel(batch_of(size))
        took = time.perf_counter() - start
        check(body, size * 9 // 10, size // 10)
        return 1000 * took
    return sample


def compare(services: Dict[str, Service], rounds: int, sample: Callable[[Service, bool], float]) -> Dict[str, List[float]]:
    samples: Dict[str, List[float]] = {name: [] for name in services}
    for n in range(rounds + 1):
        for name in random.sample(list(services), len(services)):
            fresh()
            value = sample(services[name], n == 0)
            if n > 0:
                samples[name].append(value)
    return samples


def show(title: str, samples: Dict[str, List[float]], unit: str, more_is_better: bool, goals: Tuple[float, ...]) -> bool:
    print(f"\n{title}")
    good = True
    for number, name in enumerate(samples):
        ratios = [(o / r) if more_is_better else (r / o) for o, r in zip(samples[OURS_NAME], samples[name])]
        line = f"  {name:32} {median(samples[name]):>10,.1f} {unit}"
        if name != OURS_NAME:
            goal = goals[number - 1] if goals else None
            line += f"    ours is {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
            if goal:
                reached = median(ratios) >= goal
                good = good and reached
                line += f", goal {goal:g}: {'reached' if reached else 'MISSED'}"
        print(line, flush=True)
    return good


def peak(pid: int) -> Tuple[float, float]:
    """Megabytes: now, and at most so far."""
    values = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(values["VmRSS"].split()[0]) / 1024, int(values["VmHWM"].split()[0]) / 1024


def cpu(pid: int) -> float:
    """Milliseconds that a process has run so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def trigger_price() -> None:
    """A cancel of 10,000 jobs with and without the trigger of doc/api.md, each taken back; CPU time of the backend."""
    page = (HERE.parents[1] / "doc" / "api.md").read_text()
    function, trigger = re.search(r"(CREATE FUNCTION keep_ended.*?;)\n(CREATE TRIGGER .*?);\n```", page, re.S).groups()
    run(function)
    samples: Dict[str, List[float]] = {"": [], trigger: []}
    for n in range(3 if QUICK else 22):
        for setup in random.sample(list(samples), 2):
            fresh()
            with psycopg.connect(dbname=NAME) as conn:
                if setup:
                    conn.execute(setup)
                conn.execute("SELECT cancel_jobs_http(%s)", (batch_of(10_000, 10 ** 6),))
                before = cpu(conn.info.backend_pid)
                conn.execute("SELECT status_code, length(body::text) FROM cancel_jobs_http(%s)", (batch_of(10_000),))
                took = cpu(conn.info.backend_pid) - before
                conn.rollback()
            if n:
                samples[setup].append(took)
    plain, guarded = (median(values) for values in samples.values())
    print(f"\ncancel_jobs_http of 10,000 jobs in the database, ms of CPU\n  without the trigger keep_ended {plain:.1f}, with it {guarded:.1f}:"
          f" {100 * (guarded / plain - 1):+.0f} %")


def main() -> int:
    random.seed(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the services end, too
    log = Path(os.environ["SANDBOX"]) / "services.log"
    harness.EXAMPLES = HERE.parents[1] / "examples"
    os.environ["PYTHONPATH"] = str(HERE)
    harness.create_database()
    fill()
    versions = run("SELECT current_setting('server_version')")[0][0]
    import fastapi
    import pydantic
    import sqlalchemy
    import uvicorn
    print(f"PostgreSQL {versions}, Python {sys.version.split()[0]}, psycopg {psycopg.__version__}, uvicorn {uvicorn.__version__}, FastAPI {fastapi.__version__}, "
          f"pydantic {pydantic.VERSION}, SQLAlchemy {sqlalchemy.__version__}; {os.cpu_count()} cores; one process a service, uvloop and httptools")
    services = {name: Service(log, module, changes="pass") for name, module in MODULES.items()}
    good = True
    try:
        for service in services.values():
            wait_until(service.up, "a service did not start")
        progress("one job")
        good &= show(f"one job by id, {CLIENTS} clients, requests a second", compare(services, ONE_ROUNDS, one_job), "/s", True, GOALS[1])
        for size, rounds in SIZES.items():
            progress(f"{size} jobs")
            good &= show(f"a batch of {size:,} jobs (a tenth has ended), ms a request", compare(services, rounds, whole_batch(size)), "ms", False, GOALS.get(size, ()))
    finally:
        for service in services.values():
            service.process.terminate()
            service.process.wait()
    progress(f"memory, {LARGE} jobs")
    print(f"\nmemory of the service's process for a batch of {LARGE:,} jobs, MB: before, at most")
    for name, module in MODULES.items():
        fresh()
        service = Service(log, module, changes="import api_service; api_service.PATIENCE = 300")
        try:
            wait_until(service.up, "a service did not start")
            client = Client(service)
            client.cancel(batch_of(LARGE, 10 ** 6))
            before, _ = peak(service.process.pid)
            check(client.cancel(batch_of(LARGE)), LARGE * 9 // 10, LARGE // 10)
            print(f"  {name:32} {before:>6,.0f} {peak(service.process.pid)[1]:>6,.0f}", flush=True)
        finally:
            service.process.terminate()
            service.process.wait()
    progress("the trigger")
    trigger_price()
    harness.drop_database()
    return 0 if good or QUICK else 1


if __name__ == "__main__":
    sys.exit(main())

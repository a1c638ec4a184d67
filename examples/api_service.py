#!/usr/bin/python3
"""PATCH /api/v2/batches/{batch__id}/cancel/jobs as a web service: one SQL call a request.

Debian's packages: python3-starlette python3-uvicorn python3-psycopg python3-psycopg-pool python3-jwt; uvicorn
uses python3-uvloop and python3-httptools where they are installed.

Environment:
    TOKEN_KEY          the key that tokens are verified with: a secret, or a public key in PEM
    TOKEN_ALGORITHM    HS256 (default), RS256, ...
    PASQAL_JOBS_DSN    a connection string of libpq (default: PGHOST and the like)
    HOST, PORT         default: 127.0.0.1 and 8000
    WORKERS            processes, each with a pool of its own (default: 1)
    POOL_SIZE          connections of a process (default: 10)
    PREPARE_THRESHOLD  "none" behind a PgBouncer older than 1.21 in transaction mode (default: 5)

The database does the rest, so let it. The service logs in as a role that is neither superuser
nor owner of the table, and row-level security shows it the jobs of the caller's project only:

    GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO api_service;  -- and USAGE on other schemas than public
    ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own_project ON jobs TO api_service
        USING (project_id = nullif(current_setting('api.project_id', true), '')::uuid);
"""
import asyncio
import contextlib
import itertools
import logging
import os
import random
from pathlib import Path
from typing import AsyncIterator, Dict, Optional, Set, Tuple
from urllib.parse import quote, unquote
from uuid import UUID
from weakref import WeakValueDictionary

import jwt
import psycopg
import uvicorn
from psycopg.adapt import Loader
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.auto import AutoHTTPProtocol

# What start_date and end_date compare. The public Python client documents both as dates of creation.
DATES = "creation"  # or "execution": start_timestamp and end_timestamp

# What becomes of jobs that a worker has locked. A request should not wait for a worker.
LOCKED = "skip"  # 200, and errors say "Job is locked by another transaction"; or "wait": until the worker ends,
# at most LOCK_PATIENCE. A view or a foreign table of jobs takes "wait".

PATIENCE = 25  # seconds until an answer, whatever happens; the public Python client gives up after 30
LOCK_PATIENCE = 5  # seconds that a statement waits for a lock
ATTEMPTS = 6  # with the pauses between them two or three seconds: a server restarts in that time
CALLS_PER_BATCH = 2  # at a time in a process; more would wait for the same locks and hold a connection each

# A longer query string is refused. httptools reads heads of requests of 80 kB at least. h11, as older uvicorns set it
# up, reads 16 kB; whether it reads more depends on how the request was cut into packets, so less is promised then.
QUERY_LIMIT = 60_000 if "httptools" in AutoHTTPProtocol.__module__ else 12_000

# Serialization failure, deadlock; server shut down, crashed, not up yet; None: the connection was lost
RETRY = {"40001", "40P01", "57P01", "57P02", "57P03", None}

DSN = os.environ.get("PASQAL_JOBS_DSN", "")
THRESHOLD = os.environ.get("PREPARE_THRESHOLD", "5")

log = logging.getLogger("uvicorn.error")


class Bytes(Loader):
    """JSON as the bytes that the database sent: there is nothing to decode and to encode again."""

    def load(self, data: bytes) -> bytes:
        return bytes(data)


psycopg.adapters.register_loader("json", Bytes)
pool = AsyncConnectionPool(
    DSN, min_size=2, max_size=max(2, int(os.environ.get("POOL_SIZE", "10"))), timeout=5, open=False,
    kwargs={"client_encoding": "UTF8", "prepare_threshold": None if THRESHOLD == "none" else int(THRESHOLD)})


def project_of(authorization: str) -> UUID:
    """Replace this one: the project that the caller may work for, from the header Authorization."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Failure(401, "The header Authorization: Bearer is missing.")
    try:
        return UUID(jwt.decode(token.strip(), os.environ["TOKEN_KEY"], [os.environ.get("TOKEN_ALGORITHM", "HS256")],
                               {"require": ["exp"]})["project_id"])
    except Exception:  # a token may hold anything: the parser of JSON raises RecursionError, UUID(None) TypeError
        raise Failure(401, "The token is not valid, or has expired.") from None


class Failure(HTTPException):
    """An answer other than 200 and the documented 422."""

    def __init__(self, status: int, why: str) -> None:
        headers = {401: {"WWW-Authenticate": "Bearer"}, 504: {"Retry-After": "1"}}
        super().__init__(status, why, headers.get(status))


def failure(_: Request, error: Exception) -> Response:
    """In JSON, with what the public Python client reads (code, message) and what FastAPI's clients read (detail)."""
    status, why, headers = 500, "Internal error. Nothing was canceled.", None
    if isinstance(error, HTTPException):
        status, why, headers = error.status_code, error.detail, getattr(error, "headers", None)
    return JSONResponse({"code": status, "message": why, "detail": why}, status, headers)


UNAVAILABLE = "The database is not available. Try again."
FAILURES: Dict[Optional[str], Tuple[int, str]] = {  # by SQLSTATE; 504 is what the public client tries again
    "54000": (413, "The jobs are too many for one call. Nothing was canceled. Use narrower filters."),
    "55P03": (504, "Jobs of this batch are locked. Nothing was canceled. Try again."),
    "57014": (504, "The cancel took too long. Nothing was canceled. Try again."),
    **{sqlstate: (504, "Other transactions got in the way. Nothing was canceled. Try again.")
       for sqlstate in ("40001", "40P01")},
    **{sqlstate: (504, UNAVAILABLE) for sqlstate in ("57P01", "57P02", "57P03", "53300", None)},
}


@contextlib.asynccontextmanager
async def connection(timeout: float) -> AsyncIterator[psycopg.AsyncConnection]:
    """Like pool.connection. Older pools lose the connection that they hand to a task that was canceled as it waited for
    one, so the waiting itself is never canceled: what it gets is given back."""
    waiting = asyncio.ensure_future(pool.getconn(timeout))
    try:
        conn = await asyncio.shield(waiting)
    except asyncio.CancelledError:
        waiting.add_done_callback(give_back)
        raise
    try:
        async with conn:
            yield conn
    finally:
        await pool.putconn(conn)


returns: Set["asyncio.Future[None]"] = set()  # a task that nobody refers to may vanish


def give_back(waiting: "asyncio.Future[psycopg.AsyncConnection]") -> None:
    if not waiting.cancelled() and waiting.exception() is None:
        task = asyncio.ensure_future(pool.putconn(waiting.result()))
        returns.add(task)
        task.add_done_callback(returns.discard)


async def check_pool() -> None:
    """As a task of its own, since one that was canceled would lose the connections that it has in its hands."""
    task = asyncio.ensure_future(pool.check())
    returns.add(task)
    task.add_done_callback(returns.discard)
    await asyncio.wait({task}, timeout=2)


async def call(project: UUID, batch: str, query: str, deadline: float) -> Tuple[int, bytes]:
    now = asyncio.get_running_loop().time
    async with connection(min(deadline - now(), 5)) as conn:  # one transaction, COMMIT at the end
        # true: until the end of the transaction, as SET LOCAL does; the connection serves other projects too.
        # The last one ends the statement of a client, or of a service, that is gone.
        await conn.execute("""SELECT set_config('api.project_id', %s, true), set_config('pasqal_jobs.date_filter', %s, true),
                                     set_config('pasqal_jobs.locked_jobs', %s, true),
                                     set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),
                                     set_config('client_connection_check_interval', '1s', true)""",
                           (str(project), DATES, LOCKED, f"{max(1, int(1000 * (deadline - now())))}ms", f"{LOCK_PATIENCE}s"))
        cursor = await conn.execute("SELECT status_code, body FROM cancel_jobs_http(%s, %s)", (batch, query))
        return await cursor.fetchone()


async def call_with_retries(project: UUID, batch: str, query: str, deadline: float) -> Tuple[int, bytes]:
    for attempt in itertools.count(1):
        try:
            return await call(project, batch, query, deadline)
        except PoolTimeout as error:  # no connection for so long that the client should hear of it
            log.warning("%s", error)
            raise Failure(504, UNAVAILABLE) from None
        except psycopg.OperationalError as error:
            # A failed transaction left nothing behind, so it can run again. Only if the connection was
            # lost during COMMIT nobody knows whether it did. It may run again even so: what is canceled
            # stays canceled, and the second answer is true as well. It lists those jobs under errors,
            # "its status is CANCELED", as a client that asks again after a 504 would read.
            pause = 0.05 * 2 ** attempt * random.uniform(0.5, 1.0)
            late = asyncio.get_running_loop().time() + pause > deadline
            if error.sqlstate not in RETRY or attempt == ATTEMPTS or late:
                if error.sqlstate not in FAILURES:
                    raise
                log.warning("given up: %s", error)
                raise Failure(*FAILURES[error.sqlstate]) from None
            log.warning("attempt %d: %s", attempt, error)
            if error.sqlstate is None or error.sqlstate.startswith("57"):
                await check_pool()  # the pool's idle connections are probably dead, too
            await asyncio.sleep(pause)


turns: "WeakValueDictionary[str, asyncio.Semaphore]" = WeakValueDictionary()


async def answer(project: UUID, batch: str, query: str) -> Response:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    try:
        key = str(UUID(unquote(batch)))  # {...} and urn:uuid:... are the same batch
    except ValueError:  # will be a 422
        key = ""
    # calls for a batch whose jobs are locked must not take all the connections
    turn = turns.setdefault(key, asyncio.Semaphore(CALLS_PER_BATCH))
    try:
        async with asyncio.timeout(PATIENCE):  # wait_for loses a cancellation that comes as the turn does
            await turn.acquire()
    except asyncio.TimeoutError:
        raise Failure(504, "Other cancels of this batch take too long. Nothing was canceled. Try again.") from None
    try:
        # the server's own timeout comes first, unless the server is stuck, cut off or waits for a standby at COMMIT
        left = deadline + 1 - asyncio.get_running_loop().time()
        status, body = await asyncio.wait_for(call_with_retries(project, batch, query, deadline), left)
    except asyncio.TimeoutError:
        raise Failure(504, UNAVAILABLE) from None
    finally:
        turn.release()
    return Response(body, status, media_type="application/json")


async def has_body(request: Request) -> bool:
    """The public Python client has sent an empty body and null; both mean none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > 16:
            return True
    return body.strip() not in (b"", b"null")


async def hang_up(request: Request) -> None:
    """Returns once the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def cancel_jobs(request: Request) -> Response:
    project = project_of(request.headers.get("Authorization", ""))
    query = request.scope["query_string"]
    if len(query) > QUERY_LIMIT:
        raise Failure(414, f"The query string is longer than {QUERY_LIMIT} bytes. Nothing was canceled.")
    try:
        refused = await has_body(request)
    except ClientDisconnect:
        return Response(status_code=499)  # which nobody reads
    if refused:  # filters that are meant and not read would cancel the whole batch
        problem = {"loc": ["body"], "msg": "filters belong into the query string", "type": "value_error.extra"}
        return JSONResponse({"detail": [problem]}, 422)
    batch = quote(request.path_params["batch__id"], safe="")  # as it was before Starlette decoded it

    work = asyncio.ensure_future(answer(project, batch, query.decode("latin-1")))
    gone = asyncio.ensure_future(hang_up(request))
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if work.done():
        return work.result()
    # The pool closes a connection whose statement was left alone; the server notices and ends the statement
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    log.info("a client has hung up, and its cancel is taken back")
    return Response(status_code=499)  # which nobody reads


health_checks = asyncio.Semaphore(2)  # anybody may ask; more connections are not worth it


async def health(_: Request) -> Response:
    """On a connection of its own: a busy pool is no sick database."""
    try:
        async with health_checks, await psycopg.AsyncConnection.connect(DSN, connect_timeout=2) as conn:
            await conn.execute("SELECT")
        return JSONResponse({"status": "ok"})
    except psycopg.OperationalError as error:
        log.warning("%s", error)
        await check_pool()
        return JSONResponse({"status": "no database"}, 503)


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    if not os.environ.get("TOKEN_KEY"):  # with an empty one everybody could sign
        raise RuntimeError("TOKEN_KEY is not set")
    async with pool:  # on SIGTERM: uvicorn answers what has begun, then this closes the connections
        yield


class Protocol(AutoHTTPProtocol):
    def on_url(self, url: bytes) -> None:
        """httptools cuts a target at a raw "#", and the filters behind it would be lost; h11 refuses what is not ASCII."""
        if b"#" in url or not url.isascii():
            raise ValueError("not a request target")  # uvicorn answers 400
        super().on_url(url)


app = Starlette(lifespan=lifespan, routes=[
    Route("/api/v2/batches/{batch__id}/cancel/jobs", cancel_jobs, methods=["PATCH"]),
    Route("/health", health),
], exception_handlers={HTTPException: failure, Exception: failure})  # 404, 405 and 500 in JSON, like everything else

app.router.redirect_slashes = False  # its 307 is no JSON, and trusts the header Host

if __name__ == "__main__":
    # Older versions of uvicorn write query strings into the access log as ASCII, fail if they are not, and do so
    # after the cancel. So a proxy may keep that log.
    uvicorn.run("api_service:app", app_dir=str(Path(__file__).parent), workers=int(os.environ.get("WORKERS", "1")),
                host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")), access_log=False, http=Protocol)

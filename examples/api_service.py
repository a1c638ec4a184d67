#!/usr/bin/python3
"""PATCH /api/v2/batches/{batch__id}/cancel/jobs as a web service: one SQL call a request.

Debian's packages: python3-starlette uvicorn python3-psycopg python3-psycopg-pool.
Environment: PASQAL_JOBS_DSN (default: libpq's PGHOST and the like), HOST, PORT.

The database does the rest, so let it. The service logs in as a role that is neither superuser
nor owner of the table, and row-level security shows it the jobs of the caller's project only:

    GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON jobs TO api_service;
    ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own_project ON jobs TO api_service
        USING (project_id = nullif(current_setting('api.project_id', true), '')::uuid);
"""
import asyncio
import contextlib
import logging
import os
import random
from typing import AsyncIterator, Tuple
from urllib.parse import quote
from uuid import UUID

import psycopg
import uvicorn
from psycopg.adapt import Loader
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ATTEMPTS = 6  # with the pauses between them two or three seconds: a server restarts in that time
# Serialization failure, deadlock; server shut down, crashed, not up yet; None: the connection was lost
RETRY = {"40001", "40P01", "57P01", "57P02", "57P03", None}

log = logging.getLogger("uvicorn.error")


class Bytes(Loader):
    """JSON as the bytes that the database sent: there is nothing to decode and to encode again."""

    def load(self, data: bytes) -> bytes:
        return bytes(data)


psycopg.adapters.register_loader("json", Bytes)
pool = AsyncConnectionPool(os.environ.get("PASQAL_JOBS_DSN", ""), kwargs={"client_encoding": "UTF8"},
                           min_size=2, max_size=10, timeout=5, open=False)


def project_of(request: Request) -> str:
    """A stand-in: yours verifies a token and takes the project from it."""
    try:
        return str(UUID(request.headers["X-Project-Id"]))
    except (KeyError, ValueError):
        raise HTTPException(401, "X-Project-Id is missing or no uuid.") from None


async def call(project: str, batch: str, query: str) -> Tuple[int, bytes]:
    async with pool.connection() as conn:  # one transaction, COMMIT at the end
        # true: until the end of the transaction, as SET LOCAL does; the connection serves other projects too
        await conn.execute("SELECT set_config('api.project_id', %s, true)", (project,))
        cursor = await conn.execute("SELECT status_code, body FROM cancel_jobs_http(%s, %s)", (batch, query))
        return await cursor.fetchone()


async def cancel_jobs(request: Request) -> Response:
    project = project_of(request)
    batch = quote(request.path_params["batch__id"], safe="")  # as it was before Starlette decoded it
    query = request.scope["query_string"].decode("latin-1")
    for attempt in range(ATTEMPTS):
        if attempt > 0:
            await asyncio.sleep(0.05 * 2 ** attempt * random.uniform(0.5, 1.0))
        try:
            status, body = await call(project, batch, query)
            return Response(body, status, media_type="application/json")
        except PoolTimeout as error:  # no connection for so long that the client should hear of it
            log.warning("%s", error)
            break
        except psycopg.OperationalError as error:
            # A failed transaction left nothing behind, so it can run again. Only if the connection was
            # lost during COMMIT nobody knows whether it did. It may run again even so: what is canceled
            # stays canceled, and the second answer is true as well. It lists those jobs under errors,
            # "its status is CANCELED", as a client that asks again after a 503 would read.
            if error.sqlstate not in RETRY:
                raise
            log.warning("attempt %d: %s", attempt + 1, error)
            if error.sqlstate is None or error.sqlstate.startswith("57"):
                await pool.check()  # the pool's idle connections are probably dead, too
    return JSONResponse({"detail": "The database is not available, try again."}, 503, {"Retry-After": "1"})


async def health(request: Request) -> Response:
    try:
        async with pool.connection(timeout=2) as conn:
            await conn.execute("SELECT")
        return JSONResponse({"status": "ok"})
    except psycopg.OperationalError as error:
        log.warning("%s", error)
        await pool.check()
        return JSONResponse({"status": "no database"}, 503)


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with pool:  # on SIGTERM: uvicorn answers what has begun, then this closes the connections
        yield


app = Starlette(lifespan=lifespan, routes=[
    Route("/api/v2/batches/{batch__id}/cancel/jobs", cancel_jobs, methods=["PATCH"]),
    Route("/health", health),
], exception_handlers={  # 401, 404 and 405 in JSON, like everything else
    HTTPException: lambda _, error: JSONResponse({"detail": error.detail}, error.status_code),
})

if __name__ == "__main__":
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))

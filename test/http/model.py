"""The documented endpoint, modelled in what it is built on: FastAPI with pydantic 1.

A plain route with the documented filters, which answers with what it has
parsed. It is called in the process, as a server would call it (ASGI), so that
thousands of requests take seconds. differential.py compares cancel_jobs_http with it.
"""
import asyncio
import json
from datetime import datetime
from enum import Enum
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import unquote
from uuid import UUID

import fastapi
import pydantic
from fastapi import FastAPI, Query

assert pydantic.VERSION.startswith("1."), "the model needs pydantic 1"

JobStatus = Enum("JobStatus", {s: s for s in ("PENDING", "RUNNING", "DONE", "ERROR", "CANCELED")}, type=str)
Origin = Enum("Origin", {s: s for s in ("CLIENT", "AZURE", "UNKNOWN")}, type=str)

FILTERS = ("id", "id__starts_with", "batch_id", "project_id", "user_id", "status",
           "min_runs", "max_runs", "errors", "origin", "start_date", "end_date")
VERSIONS = f"FastAPI {fastapi.__version__}, pydantic {pydantic.VERSION}"

app = FastAPI(openapi_url=None)
parsed: Dict[str, Any] = {}


@app.patch("/api/v2/batches/{batch__id}/cancel/jobs")
async def cancel_jobs(
    batch__id: UUID,
    id: List[UUID] = Query([]),
    id__starts_with: str = Query(""),
    batch_id: List[UUID] = Query([]),
    project_id: List[UUID] = Query([]),
    user_id: List[str] = Query([]),
    status: List[JobStatus] = Query([]),
    min_runs: Optional[int] = Query(None),
    max_runs: Optional[int] = Query(None),
    errors: Optional[bool] = Query(None),
    origin: List[Origin] = Query([]),
    start_date: Optional[datetime] = Query(None),
    end_date: Optional[datetime] = Query(None),
) -> None:
    parsed.update(locals())


async def _request(path: str, query: bytes) -> Tuple[int, bytes]:
    sent: List[Dict[str, Any]] = []

    async def receive() -> Dict[str, Any]:
        return {"type": "http.request", "body": b"null", "more_body": False}

    async def send(message: Dict[str, Any]) -> None:
        sent.append(message)

    raw = f"/api/v2/batches/{path}/cancel/jobs"
    await app({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PATCH",
               "scheme": "http", "path": unquote(raw), "raw_path": raw.encode("ascii"), "root_path": "",
               "query_string": query, "headers": [], "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)},
              receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


_loop = asyncio.new_event_loop()


def request(path: str, query: bytes) -> Tuple[int, Any]:
    """Status code, and what was parsed (200) or the body of the answer (others)."""
    parsed.clear()
    status, body = _loop.run_until_complete(_request(path, query))
    return status, dict(parsed) if status == 200 else json.loads(body)

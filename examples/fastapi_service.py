#!/usr/bin/python3
"""The service of api_service.py in FastAPI, for its page of documentation at /docs.

Debian's packages: python3-fastapi and those of api_service.py, whose environment it shares.
"fastapi_service.py --openapi" prints the document, which examples/openapi.json is a copy of.

The types below are for the document. The body comes from the database as bytes and goes out as bytes, through no
model. A request that FastAPI would refuse goes to the database, too, and the database refuses it in the documented
words, whatever the version of pydantic.
"""
import json
import os
import sys
from datetime import datetime
from enum import Enum
from typing import Any, Dict, List, Optional
from uuid import UUID

import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

import api_service


class JobStatus(str, Enum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    ERROR = "ERROR"
    CANCELED = "CANCELED"


class Origin(str, Enum):
    CLIENT = "CLIENT"
    AZURE = "AZURE"
    UNKNOWN = "UNKNOWN"


def nullable(**schema: Any) -> Any:
    return Field(..., nullable=True, **schema)


class PartialJob(BaseModel):
    id: UUID
    parent_id: Optional[UUID] = nullable()
    status: JobStatus
    runs: int
    batch_id: UUID
    project_id: UUID
    created_at: datetime
    updated_at: datetime
    start_timestamp: Optional[datetime] = nullable()
    end_timestamp: Optional[datetime] = nullable()
    variables: Optional[Dict[str, Any]] = nullable()
    errors: Optional[List[str]] = nullable()
    progress: Optional[int] = nullable(ge=0, le=100)
    sequence: Optional[str] = nullable()
    creation_order: int
    slurm_job_id: Optional[str] = nullable()


class CanceledJobs(BaseModel):
    jobs: List[PartialJob] = Field(..., description="The canceled jobs, by creation_order.")
    errors: Dict[str, str] = Field(..., description="By id of a job that was not canceled: why.")


class CancelResponse(BaseModel):
    data: CanceledJobs


class Failure(BaseModel):
    code: int
    message: str
    detail: str


async def refused(request: Request, _: RequestValidationError) -> Response:
    return await api_service.cancel_jobs(request)


app = FastAPI(title="pasqal_jobs", version="1.0", exception_handlers={
    RequestValidationError: refused, HTTPException: api_service.failure,
    Exception: api_service.failure})
app.router.lifespan_context = api_service.lifespan  # which FastAPI before 0.93 does not take as an argument
app.router.redirect_slashes = False
app.add_route("/health", api_service.health)


@app.patch("/api/v2/batches/{batch__id}/cancel/jobs", operation_id="cancel_jobs", summary="Cancel jobs of a batch",
           response_model=CancelResponse, dependencies=[Depends(HTTPBearer(auto_error=False))], responses={
               401: {"model": Failure, "description": "No token, or one that is not valid"},
               413: {"model": Failure, "description": "Too many jobs for one call"},
               414: {"model": Failure, "description": "Query string too long"},
               504: {"model": Failure, "description": "Locked, too slow or not available: try again"}})
async def cancel_jobs(
    request: Request,
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
    start_date: Optional[datetime] = Query(None, description="Jobs created at or after this time."),
    end_date: Optional[datetime] = Query(None, description="Jobs created at or before this time."),
) -> Response:
    """Cancels the PENDING and RUNNING jobs of the batch that match all filters; without filters, all of them."""
    return await api_service.cancel_jobs(request)


if __name__ == "__main__":
    if sys.argv[1:] == ["--openapi"]:
        print(json.dumps(app.openapi(), indent=2))
    else:
        uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")), access_log=False,
                    http=api_service.Protocol)

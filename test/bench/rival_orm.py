"""The endpoint as a framework has it: FastAPI with typed parameters and a response model, and an ORM (SQLAlchemy on asyncpg).

Token and types are those of the examples. It knows the filters id and status.
"""
import os
from typing import Any, Dict, List
from uuid import UUID

import psycopg
from fastapi import Depends, FastAPI, Query, Request
from sqlalchemy import ARRAY, TIMESTAMP, BigInteger, Column, Enum, Integer, Text, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import declarative_base

import api_service
from fastapi_service import CancelResponse, JobStatus

Base = declarative_base()
Moment = TIMESTAMP(timezone=True)


class Job(Base):
    __tablename__ = "jobs"
    id = Column(postgresql.UUID(as_uuid=True), primary_key=True)
    parent_id = Column(postgresql.UUID(as_uuid=True))
    status = Column(Enum(JobStatus, name="jobstatus"))
    runs = Column(Integer)
    batch_id = Column(postgresql.UUID(as_uuid=True))
    project_id = Column(postgresql.UUID(as_uuid=True))
    created_at = Column(Moment)
    updated_at = Column(Moment)
    start_timestamp = Column(Moment)
    end_timestamp = Column(Moment)
    variables = Column(postgresql.JSONB)
    errors = Column(ARRAY(Text))
    progress = Column(Integer)
    sequence = Column(Text)
    creation_order = Column(BigInteger)
    slurm_job_id = Column(Text)


dsn = psycopg.conninfo.conninfo_to_dict(os.environ["PASQAL_JOBS_DSN"])
engine = create_async_engine("postgresql+asyncpg://", connect_args={
    "database": dsn["dbname"], "user": dsn["user"], "password": dsn["password"]}, pool_size=10)
app = FastAPI()
app.add_route("/health", api_service.health)


def project_of(request: Request) -> UUID:
    return api_service.project_of(request.headers.get("Authorization", ""))


@app.patch("/api/v2/batches/{batch__id}/cancel/jobs", response_model=CancelResponse)
async def cancel_jobs(batch__id: UUID, id: List[UUID] = Query([]), status: List[JobStatus] = Query([]),
                      project: UUID = Depends(project_of)) -> Dict[str, Any]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await session.execute(text("SELECT set_config('api.project_id', :project, true), set_config('statement_timeout', '25s', true)"),
                              {"project": str(project)})
        wanted = select(Job).where(Job.batch_id == batch__id).order_by(Job.creation_order).with_for_update()
        if id:
            wanted = wanted.where(Job.id.in_(id))
        if status:
            wanted = wanted.where(Job.status.in_(status))
        now = (await session.execute(select(func.now()))).scalar_one()
        jobs, errors = [], {}
        for job in (await session.execute(wanted)).scalars():
            if job.status in (JobStatus.PENDING, JobStatus.RUNNING):
                job.status, job.updated_at, job.end_timestamp = JobStatus.CANCELED, now, now
                jobs.append(job)
            else:
                errors[str(job.id)] = f"Job cannot be canceled: its status is {job.status.value}"
        await session.commit()
        return {"data": {"jobs": [{column.name: getattr(job, column.name) for column in Job.__table__.columns} for job in jobs],
                         "errors": errors}}

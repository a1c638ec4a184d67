#!/usr/bin/python3
"""The extension beside an application of SQLAlchemy that has a table "jobs" and an enum "jobstatus" of its own; prints TAP.

The mapping and cancel_jobs() are those of doc/api.md.
"""
import os
import sys
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import psycopg

from doc import PAGE, blocks
from harness import NAME, ok, run, same, skip, tap

try:
    import sqlalchemy
    from sqlalchemy.orm import Session
except ImportError:
    sqlalchemy = None

CATALOG = """
    SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relnamespace = 'app'::regnamespace
    UNION ALL SELECT 'label', t.typname, e.enumlabel FROM pg_enum AS e JOIN pg_type AS t ON t.oid = e.enumtypid WHERE t.typnamespace = 'app'::regnamespace
    UNION ALL SELECT 'member', d.classid::regclass::text, count(*)::text FROM pg_depend AS d
    WHERE d.deptype = 'e' AND d.objid IN (SELECT oid FROM pg_type WHERE typnamespace = 'app'::regnamespace) GROUP BY 2
    ORDER BY 1, 2, 3"""


def page() -> Dict[str, Any]:
    """What the page defines, without the calls that it ends in."""
    text, = (b.text for b in blocks(PAGE.read_text()) if b.heading == "SQLAlchemy" and "class Job" in b.text)
    namespace: Dict[str, Any] = {"__name__": "page"}
    exec(compile(text[:text.index("\n\nwith Session")].replace("Base.metadata.create_all(engine)", ""), "api.md", "exec"), namespace)
    return namespace


def refusal(statement: str) -> Tuple[Optional[str], str]:
    """SQLSTATE and HINT."""
    try:
        run(statement)
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_hint or ""
    return None, ""


def test_orders(app: Dict[str, Any]) -> None:
    create_all = lambda: app["Base"].metadata.create_all(app["engine"])  # noqa: E731
    install = lambda: run("CREATE EXTENSION pasqal_jobs SCHEMA pasqal")  # noqa: E731
    run("CREATE SCHEMA app")
    create_all()
    alone = run(CATALOG)
    for name, steps in (("the application first", (create_all, install)), ("the extension first", (install, create_all))):
        run("DROP EXTENSION IF EXISTS pasqal_jobs")
        run("DROP SCHEMA app CASCADE")
        run("CREATE SCHEMA app")
        for step in steps:
            step()
        same(run(CATALOG), alone, f"{name}: its table and its enums are as without the extension")
        create_all()
        same(run(CATALOG), alone, f"{name}: create_all again changes nothing")
        test_calls(app, name)
    run("DROP EXTENSION pasqal_jobs")
    same(run(CATALOG), alone, "DROP EXTENSION leaves the application alone")
    sqlstate, hint = refusal("CREATE EXTENSION pasqal_jobs SCHEMA app")
    same(sqlstate, "42710", "CREATE EXTENSION into the application's schema fails, since the type is there")
    ok("CREATE EXTENSION pasqal_jobs SCHEMA " in hint, "with a hint at a schema of its own", hint)
    same(run("SELECT count(*) FROM pg_extension WHERE extname = 'pasqal_jobs'"), [(0,)], "and leaves nothing behind")
    test_labels(app)
    app["engine"].dispose()


def test_labels(app: Dict[str, Any]) -> None:
    """The API has grown since: a status and an origin more."""
    Job, JobStatus, cancel_jobs, engine = (app[key] for key in ("Job", "JobStatus", "cancel_jobs", "engine"))
    run("CREATE EXTENSION pasqal_jobs SCHEMA pasqal")
    run("ALTER TYPE app.jobstatus ADD VALUE 'CANCELING'")
    run("ALTER TYPE app.origin ADD VALUE 'OVH'")
    batch = uuid.uuid4()
    with Session(engine) as session:
        new = [Job(id=uuid.uuid4(), batch_id=batch, project_id=uuid.uuid4(), runs=1) for _ in range(3)]
        first, second, _ = (job.id for job in new)
        session.add_all(new)
        session.flush()
        session.execute(sqlalchemy.text("UPDATE app.jobs SET origin = 'OVH' WHERE id = :id"), {"id": first})
        session.execute(sqlalchemy.text("UPDATE app.jobs SET status = 'CANCELING' WHERE id = :id"), {"id": second})
        answer = cancel_jobs(session, batch, origin="OVH", status=["PENDING", "CANCELING"])
        same([job["id"] for job in answer["data"]["jobs"]], [str(first)], "a label of the application's own enum is a value of the filter")
        answer = cancel_jobs(session, batch, status="CANCELING")
        same(answer["data"], {"jobs": [], "errors": {str(second): "Job cannot be canceled: its status is CANCELING"}}, "a status of its own is one that has ended")
        try:
            cancel_jobs(session, batch, origin="MARS")
            ok(False, "another value is refused")
        except sqlalchemy.exc.DataError as error:
            ok("'OVH'" in error.orig.diag.message_detail, "another value is refused, with all labels that are permitted", error.orig.diag.message_detail)
        session.rollback()


def test_calls(app: Dict[str, Any], name: str) -> None:
    Job, JobStatus, cancel_jobs, engine = (app[key] for key in ("Job", "JobStatus", "cancel_jobs", "engine"))
    batch, project = uuid.uuid4(), uuid.uuid4()
    start = datetime(2023, 3, 20, 15, tzinfo=timezone(timedelta(hours=2)))

    def jobs(session: Any, *statuses: str) -> List[Any]:
        new = [Job(batch_id=batch, project_id=project, runs=100, user_id="niels", origin=app["Origin"].CLIENT, status=JobStatus[status],
                   start_timestamp=start if status != "PENDING" else None) for status in statuses]
        session.add_all(new)
        return new

    with Session(engine) as session:
        pending, running, done = jobs(session, "PENDING", "RUNNING", "DONE")
        ok(pending.id is None or sqlalchemy.inspect(pending).pending, f"{name}: jobs are in the session only")
        answer = cancel_jobs(session, batch, id=[uuid.uuid4()])
        ok(sqlalchemy.inspect(pending).persistent and answer["data"]["jobs"] == [], f"{name}: the call flushes them")
        answer = cancel_jobs(session, batch, id=[running.id, done.id], project_id=project, user_id=["niels"], status=["RUNNING", "DONE"], min_runs=100,
                             origin="CLIENT", errors=False, start_date=start)
        same([job["id"] for job in answer["data"]["jobs"]], [str(running.id)], f"{name}: UUID and datetime values in a dict of filters")
        same(answer["data"]["errors"], {str(done.id): "Job cannot be canceled: its status is DONE"}, f"{name}: and the others are accounted for")
        same((pending.status, running.status, done.status), (JobStatus.PENDING, JobStatus.CANCELED, JobStatus.DONE), f"{name}: objects are read again afterwards")
        ok(running.end_timestamp == running.updated_at is not None, f"{name}: with their times", running.end_timestamp)
        answer = cancel_jobs(session, batch, start_date=start + timedelta(microseconds=1))
        same(answer["data"], {"jobs": [], "errors": {}}, f"{name}: a datetime counts to the microsecond")
        job_id = pending.id
        session.commit()
    with Session(engine) as session:
        try:
            cancel_jobs(session, batch, statsu="PENDING")
            ok(False, f"{name}: a misspelt filter is an error")
        except sqlalchemy.exc.DataError as error:
            same((error.orig.pgcode, '"statsu"' in error.orig.diag.message_detail), ("22023", True), f"{name}: a misspelt filter is an error, found in orig")
        session.rollback()

    # a session that does not know of a cancel
    with Session(engine) as stale, Session(engine) as other:
        job = stale.get(Job, job_id)
        cancel_jobs(other, batch)
        other.commit()
        same(job.status, JobStatus.PENDING, f"{name}: a stale object shows the old status")
        same(stale.query(Job).filter(Job.id == job_id, Job.status == JobStatus.PENDING).update(
            {"status": JobStatus.RUNNING}, synchronize_session=False), 0, f"{name}: an UPDATE that says what it expects changes no row")
        stale.expire_all()
        same(job.status, JobStatus.CANCELED, f"{name}: expire_all shows the new one")
    with Session(engine) as session:
        jobs(session, "PENDING")
        cancel_jobs(session, batch)
        session.rollback()
        same(session.query(Job).filter(Job.batch_id == batch).count(), 3, f"{name}: rollback takes all of it back")


def test(log: Path) -> None:
    if sqlalchemy is None:
        skip("SQLAlchemy", "it is not installed")
        return
    os.environ["PGDATABASE"] = NAME
    run("DROP TABLE jobs")
    run("DROP EXTENSION pasqal_jobs")
    run("CREATE SCHEMA pasqal")
    test_orders(page())


if __name__ == "__main__":
    sys.exit(tap(test))

"""The example service, with the cancel written by hand: an UPDATE, and JSON built in Python.

All else is examples/api_service.py itself: token, project, timeouts, retries, pool. It knows the filters id and status.
"""
import json
from datetime import datetime
from typing import Any, Dict, Tuple
from urllib.parse import parse_qs
from uuid import UUID

from psycopg.rows import dict_row

import api_service

FIELDS = """id, parent_id, status, runs, batch_id, project_id, created_at, updated_at, start_timestamp, end_timestamp,
    variables, errors, progress, sequence, creation_order, slurm_job_id"""
PROBLEM = {"msg": "value is not a valid uuid", "type": "type_error.uuid"}


def plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def call(project: UUID, batch: str, query: str, seconds: float) -> Tuple[int, bytes]:
    try:
        given = parse_qs(query, keep_blank_values=True)
        values: Dict[str, Any] = {"batch": UUID(batch)}
        conditions = "batch_id = %(batch)s"
        if "id" in given:
            values["ids"] = [UUID(id) for id in given["id"]]
            conditions += " AND id = ANY (%(ids)s)"
        if "status" in given:
            values["statuses"] = given["status"]
            conditions += " AND status::text = ANY (%(statuses)s)"
    except ValueError:
        return 422, json.dumps({"detail": [PROBLEM]}).encode()

    async with api_service.pool.connection(min(seconds, 5)) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("""SELECT set_config('api.project_id', %s, true), set_config('pasqal_jobs.date_filter', %s, true),
                                       set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),
                                       set_config('client_connection_check_interval', '1s', true)""",
                             (str(project), api_service.DATES, f"{max(1, int(1000 * seconds))}ms", f"{api_service.LOCK_PATIENCE}s"))
        await cursor.execute(f"""UPDATE jobs SET status = 'CANCELED', updated_at = now(), end_timestamp = now()
                                 WHERE {conditions} AND status IN ('PENDING', 'RUNNING') RETURNING {FIELDS}""", values)
        jobs = await cursor.fetchall()
        jobs.sort(key=lambda job: job["creation_order"])
        errors = {}
        canceled = {job["id"] for job in jobs}
        if not canceled.issuperset(values.get("ids", [None])):
            await cursor.execute(f"SELECT id, status FROM jobs WHERE {conditions}", values)
            errors = {str(row["id"]): f"Job cannot be canceled: its status is {row['status']}"
                      for row in await cursor.fetchall() if row["id"] not in canceled}
        return 200, json.dumps({"data": {"jobs": jobs, "errors": errors}}, default=plain).encode()


api_service.call = call
app = api_service.app

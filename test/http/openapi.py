#!/usr/bin/python3
"""examples/openapi.json against real answers of both services, and against the model of the documented API; prints TAP."""
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List
from uuid import uuid4

import jsonschema
import pydantic

from harness import (EXAMPLES, OURS, Answer, Service, add_jobs, bearer, ok, run, same, service_running, skip, statuses, tap, target)

DOCUMENT = json.loads((EXAMPLES / "openapi.json").read_text())
OPERATION = DOCUMENT["paths"]["/api/v2/batches/{batch__id}/cancel/jobs"]["patch"]
JOB = DOCUMENT["components"]["schemas"]["PartialJob"]

formats = jsonschema.FormatChecker(["uuid"])
# as RFC 3339 has it
formats.checks("date-time")(lambda value: not isinstance(value, str) or re.fullmatch(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value) is not None)


def as_json_schema(schema: Any) -> Any:
    """OpenAPI 3.0 writes "nullable" where JSON Schema allows the type null."""
    if isinstance(schema, list):
        return [as_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: as_json_schema(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


def problems(answer: Answer) -> List[str]:
    """Where an answer is not what the document says of its status code."""
    response = OPERATION["responses"].get(str(answer.status))
    if response is None or answer.headers.get("content-type") != "application/json":
        return [f"not documented: {answer}"]
    schema = {**as_json_schema(response["content"]["application/json"]["schema"]), "components": as_json_schema(DOCUMENT["components"])}
    validator = jsonschema.Draft7Validator(schema, format_checker=formats)
    found = [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(answer.body)]
    if answer.status == 200:
        found += [f"undocumented or missing: {set(job) ^ set(JOB['properties'])}" for job in answer.body["data"]["jobs"] if set(job) != set(JOB["properties"])]
    return found


def test_validator() -> None:
    """The check above finds what is wrong."""
    job: Dict[str, Any] = {key: None for key in JOB["properties"]}
    job.update(id=OURS, batch_id=OURS, project_id=OURS, status="DONE", runs=1, creation_order=1,
               created_at="2023-01-01T00:00:00+00:00", updated_at="2023-01-01T00:00:00.5Z")

    def found(**changes: Any) -> int:
        content = json.dumps({"data": {"jobs": [{**job, **changes}], "errors": {}}}).encode()
        return len(problems(Answer(200, {"content-type": "application/json"}, content)))

    same(found(), 0, "the check of answers passes what is right")
    for changes in ({"id": "x"}, {"status": "PAUSED"}, {"runs": None}, {"runs": "1"}, {"created_at": "2023-01-01 00:00"}, {"progress": 101},
                    {"errors": [1]}, {"variables": []}, {"new": 1}):
        ok(found(**changes) > 0, f"the check of answers finds {changes}")


def test_answers(api: Service, name: str) -> None:
    batch = str(uuid4())
    plain, full, done = add_jobs(batch, ["PENDING", "RUNNING", "DONE"])
    run("""UPDATE jobs SET parent_id = gen_random_uuid(), start_timestamp = now(), variables = '{"omega": [1, 2.5]}', errors = '{E1,"a b"}', progress = 50,
           sequence = '{"version": "1"}', slurm_job_id = '7' WHERE id = %s""", full)
    answer = api.cancel(batch)
    same((answer.status, sorted(answer.canceled), list(answer.errors)), (200, sorted([plain, full]), [done]), f"{name}: cancels")
    same(problems(answer), [], f"{name}: 200 is as documented, of plain and of full jobs")
    same(problems(api.cancel(str(uuid4()))), [], f"{name}: 200 of an unknown batch is as documented")
    for params in ({"id": "x"}, {"statsu": "DONE"}, {"status": ["DONE", "x"], "origin": "x", "min_runs": "x", "max_runs": "", "errors": "x",
                                                     "start_date": "x", "end_date": "x", "batch_id": "x", "project_id": "x"}):
        answer = api.cancel(batch, params)
        same((answer.status, problems(answer)), (422, []), f"{name}: 422 is as documented: {list(params)}")
        query = target("", params).partition("?")[2]
        same(answer.content.decode(), run("SELECT body::text FROM cancel_jobs_http(%s, %s)", batch, query)[0][0], f"{name}: it is the database's, byte by byte")
    answer = api.cancel("x")
    same((answer.status, problems(answer)), (422, []), f"{name}: 422 of a bad path is as documented")
    answer = api.cancel(batch, body=b"{}")
    same((answer.status, problems(answer)), (422, []), f"{name}: 422 of a body is as documented")
    for code, answer in ((401, api.request("PATCH", target(batch))), (414, api.request("PATCH", target(batch) + "?user_id=" + "a" * 60_000, bearer()))):
        same((answer.status, problems(answer)), (code, []), f"{name}: {code} is as documented")
    batch = str(uuid4())
    job, = add_jobs(batch, ["PENDING"])
    for sqlstate, code in (("54000", 413), ("55P03", 504)):
        run(f"""CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'; END $$""")
        run("CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse()")
        answer = api.cancel(batch)
        same((answer.status, problems(answer)), (code, []), f"{name}: {code} is as documented")
        run("DROP TRIGGER refuse ON jobs")
    same(statuses(batch), {job: "PENDING"}, f"{name}: and nothing was canceled by it")


def parameters(document: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Without titles and descriptions, references resolved."""
    def resolve(schema: Any) -> Any:
        if isinstance(schema, list):
            return [resolve(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return resolve(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        return {key: resolve(value) for key, value in schema.items() if key not in ("title", "description")}

    return resolve(document["paths"]["/api/v2/batches/{batch__id}/cancel/jobs"]["patch"]["parameters"])


def test_models() -> None:
    if not pydantic.VERSION.startswith("1."):
        skip("openapi.json against the models", "pydantic 2 writes OpenAPI 3.1")
        return
    import model  # which insists on pydantic 1
    same(parameters(DOCUMENT), parameters(model.app.openapi()), "parameters, defaults and enumerations are the model's")
    printed = subprocess.run([sys.executable, str(EXAMPLES / "fastapi_service.py"), "--openapi"], stdout=subprocess.PIPE, check=True).stdout
    same(json.loads(printed), DOCUMENT, "openapi.json is what fastapi_service.py --openapi prints")


def test(log: Path) -> None:
    test_validator()
    for module in ("api_service", "fastapi_service"):
        with service_running(log, module) as api:
            test_answers(api, module)
            if module == "fastapi_service":
                same(api.request("GET", "/docs").status, 200, f"{module}: has a page of documentation")
                same(api.request("GET", "/nothing").body["code"], 404, f"{module}: 404 in JSON")
    test_models()


if __name__ == "__main__":
    sys.exit(tap(test))

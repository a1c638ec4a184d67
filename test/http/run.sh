#!/bin/bash
# test/http/run.sh: cancel_jobs_http against FastAPI with pydantic 1, 5,000
# generated requests or as many as the arguments say (--count N --seed S).

. "$(dirname "$0")/../../tools/sandbox.sh"

sandbox_create python3 python3-fastapi python3-pydantic python3-starlette python3-psycopg
sandbox_start
[ $# -gt 0 ] || set -- --count 5000
as_server /usr/bin/python3 -B test/http/differential.py "$@"

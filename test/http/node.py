#!/usr/bin/python3
"""The blocks of doc/api.md for node-postgres, run by Node; prints TAP. Skipped where Node or its module pg is not there."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List
from uuid import uuid4

import psycopg

from doc import PAGE, blocks
from harness import ENDED, NAME, PATIENCE, add_jobs, ok, run, same, skip, statuses, tap, wait_until

# Reads calls as lines of JSON, answers each with a line; what is thrown is an answer, too
PROGRAM = """
const { Pool } = require('pg')
const pool = new Pool({ max: 1 })
pool.on('error', () => {})
const reply = (status, body) => ({ status, body })
const one = async (batch, queryString) => { FIRST; return { status_code, body } }
FUNCTION
const calls = { cancelJobs: (...args) => cancelJobs(pool, ...args), one }
require('readline').createInterface({ input: process.stdin }).on('line', async line => {
  const [name, ...args] = JSON.parse(line)
  let answer
  try { answer = await calls[name](...args) } catch (error) { answer = { thrown: error.code ?? error.message } }
  console.log(JSON.stringify(answer ?? null))
}).on('close', () => pool.end())
"""


class Node:
    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(["node", "-e", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def send(self, *call: Any) -> None:
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def call(self, *call: Any) -> Any:
        self.send(*call)
        return self.answer()

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


def interrupted(node: Node, batch: str, what: str) -> Any:
    """A call whose backend is terminated as it is there."""
    where = f"FROM pg_stat_activity WHERE datname = %s AND {what}"
    node.send("cancelJobs", {}, batch, "")
    wait_until(lambda: run(f"SELECT 1 {where}", NAME), f"no call with {what}")
    run(f"SELECT pg_terminate_backend(pid) {where}", NAME)
    return node.answer()


def test(log: Path) -> None:
    if not shutil.which("node") or subprocess.run(["node", "-e", "require('pg')"], stderr=subprocess.DEVNULL).returncode:
        skip("the blocks for node-postgres", "Node or its module pg is not installed")
        return
    os.environ["PGDATABASE"] = NAME
    found: List[str] = [block.text for block in blocks(PAGE.read_text()) if block.heading == "node-postgres"]
    program = PROGRAM.replace("FIRST", found[0].split("try {")[0]).replace("FUNCTION", found[1])

    batch = str(uuid4())
    pending, done = add_jobs(batch, ["PENDING", "DONE"])
    node = Node(program)
    same(node.call("one", batch, "x=1")["status_code"], 422, "node-postgres: pool.query")
    answer: Dict[str, Any] = node.call("cancelJobs", {"pasqal_jobs.jobs_table": "public.jobs"}, batch, "status=PENDING")
    same((answer["status_code"], [job["id"] for job in json.loads(answer["body"])["data"]["jobs"]], statuses(batch)), (200, [pending], {pending: "CANCELED", done: "DONE"}),
         "node-postgres: a transaction with settings cancels, and commits")
    same(node.call("cancelJobs", {"pasqal_jobs.jobs_table": "nowhere"}, batch, ""), {"thrown": "42P01"}, "node-postgres: an error is thrown")
    same(json.loads(node.call("cancelJobs", {}, batch, "")["body"])["data"]["errors"][done], ENDED + "DONE", "node-postgres: and the pool of one goes on, without the setting")

    job, = add_jobs(batch, ["RUNNING"])
    with psycopg.connect(dbname=NAME) as worker:
        worker.execute("UPDATE jobs SET progress = 1 WHERE id = %s", (job,))
        same(interrupted(node, batch, "wait_event_type = 'Lock'"), {"thrown": "57P01"}, "node-postgres: a backend that is terminated in a statement is thrown")
    same(node.call("cancelJobs", {}, batch, "status=RUNNING")["status_code"], 200, "node-postgres: and the process goes on with another connection")
    same(node.end(), 0, "node-postgres: and ends well")

    # the program does something else between two statements
    slow = program.replace("await client.query('BEGIN')", "await client.query('BEGIN'); await new Promise(resolve => setTimeout(resolve, 2000))")
    node = Node(slow)
    ok("thrown" in interrupted(node, batch, "state = 'idle in transaction'"), "node-postgres: a backend that is terminated between two statements likewise")
    same((node.call("one", batch, "")["status_code"], node.end()), (200, 0), "node-postgres: and the process goes on")
    node = Node(slow.replace("client.on('error', onError)", ""))
    same(interrupted(node, batch, "state = 'idle in transaction'"), None, "node-postgres: without the listener there is no answer")
    ok(node.process.wait(PATIENCE) != 0, "node-postgres: since the process has ended")


if __name__ == "__main__":
    sys.exit(tap(test))

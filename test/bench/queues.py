"""How job queues cancel (queues.sql), beside cancel_jobs: jobs canceled a second."""

from common import (
    QUICK, Contender, Turn, admin, batch_of, cancelable, number, progress, query, record, run_rounds, seconds, table,
)  # fmt: skip

SIZES = [1, 100] if QUICK else [1, 1_000, 100_000]
JOBS = 2_000 if QUICK else 150_000  # in each queue's table
ONE_BY_ONE = 1_000  # a queue that cancels job by job is not asked for more
FIRST_ID = {1: 1, 100: 1_001, 1_000: 1_001, 100_000: 10_001}
ROUNDS = {size: 2 if QUICK else rounds for size, rounds in {1: 41, 100: 2, 1_000: 21, 100_000: 5}.items()}


class Queue(Contender):
    """A queue's cancel, which takes ids. Its argument is an array of them."""

    nothing = [b"{}"]
    statement = ""
    canceled_where = ""

    def __init__(self):
        super().__init__(self.name, self.statement, "queues")

    def canceled(self, table, arguments):
        return int(self.sql(f"SELECT count(*) FROM {table} WHERE {self.canceled_where}").get_value(0, 0))


class Oban(Queue):
    name = "Oban, cancel_all_jobs"
    answers = "id, queue, state, worker"
    table = "queues.oban"
    statement = """SELECT id, queue, state, worker FROM oban
        WHERE id = ANY ($1::bigint[]) AND state NOT IN ('cancelled', 'completed', 'discarded')"""
    canceled_where = "state = 'cancelled'"

    def __init__(self):
        super().__init__()
        self.prepare(b"update", """UPDATE oban SET state = 'cancelled', cancelled_at = now()
            WHERE id = ANY ($1::bigint[]) AND state IN ('scheduled', 'available', 'executing', 'retryable')""")

    def cancel(self, arguments):
        found = super().cancel(arguments)
        ids = b",".join(found.get_value(i, 0) for i in range(found.ntuples))
        return self.run(b"update", [b"{%s}" % ids])


class RiverDelete(Queue):
    name = "River, JobDeleteMany"
    answers = "rows; the jobs are gone"
    table = "queues.river"
    statement = """WITH chosen AS (
            SELECT * FROM river WHERE id = ANY ($1::bigint[]) AND state <> 'running'
            ORDER BY id LIMIT 1000000 FOR UPDATE SKIP LOCKED
        ), gone AS (DELETE FROM river WHERE id IN (SELECT id FROM chosen) RETURNING id)
        SELECT * FROM river WHERE id IN (SELECT id FROM gone) ORDER BY id"""

    def canceled(self, table, arguments):
        return JOBS - int(self.sql(f"SELECT count(*) FROM {table}").get_value(0, 0))


class Boss(Queue):
    name = "pg-boss, cancel"
    answers = "count"
    table = "queues.boss"
    statement = """WITH done AS (
            UPDATE boss SET state = 'cancelled', completed_on = now()
            WHERE name = 'simulate' AND id = ANY ($1::uuid[]) AND state < 'completed' RETURNING 1
        ) SELECT count(*) FROM done"""
    canceled_where = "state = 'cancelled'"


class Graphile(Queue):
    name = "Graphile Worker, permanently_fail_jobs"
    answers = "rows"
    table = "queues.graphile"
    statement = """UPDATE graphile SET last_error = 'canceled', attempts = max_attempts, updated_at = now()
        WHERE id = ANY ($1::bigint[]) AND (locked_at IS NULL OR locked_at < now() - interval '4 hours') RETURNING *"""
    canceled_where = "attempts = max_attempts"


class OneByOne(Queue):
    """A call for each job, each in a round trip of its own"""

    nothing = []

    def cancel(self, arguments):
        for job in arguments:
            self.run(b"cancel", [job])


class River(OneByOne):
    name = "River, JobCancel, job by job"
    answers = "row"
    table = "queues.river"
    statement = """WITH job AS (
            SELECT id, queue FROM river WHERE id = $1 AND state NOT IN ('cancelled', 'completed', 'discarded', 'running')
            FOR UPDATE
        ), told AS (
            SELECT id, pg_notify('river_control', json_build_object('action', 'cancel', 'job_id', id)::text) FROM job
        )
        UPDATE river AS r SET state = 'cancelled', finalized_at = now(),
            metadata = jsonb_set(metadata, '{cancel_attempted_at}', to_jsonb(now()))
        FROM told WHERE r.id = told.id RETURNING r.*"""
    canceled_where = "state = 'cancelled'"


class Procrastinate(OneByOne):
    name = "Procrastinate, cancel_job_by_id, job by job"
    answers = "id"
    table = "queues.procrastinate"
    statement = "SELECT procrastinate_cancel($1)"
    canceled_where = "status = 'cancelled'"


OURS = {
    "bare UPDATE": "nothing",
    "UPDATE ... RETURNING *": "rows",
    "cancel_jobs (not sent)": "nothing to the client",
    "cancel_jobs": "rows, and why not",
    "cancel_jobs_http": "rows, and why not",
}
WITH_INDEX = ["UPDATE ... RETURNING *", "cancel_jobs_http"]  # also where workers fetch from an index


def ids_of(queue, size):
    ids = range(FIRST_ID[size], FIRST_ID[size] + size)
    if isinstance(queue, OneByOne):
        return [b"%d" % i for i in ids]
    if isinstance(queue, Boss):
        return [query("SELECT array_agg(md5(i::text)::uuid)::text FROM generate_series(%s::int, %s::int) AS i",
                      ids[0], ids[-1]).encode()]  # fmt: skip
    return [b"{%s}" % b",".join(b"%d" % i for i in ids)]


def measure_queues(contenders):
    queues = [Oban(), RiverDelete(), Boss(), Graphile(), River(), Procrastinate()]
    indexed = {f"{name}, with an index for workers": name for name in WITH_INDEX}
    answers = OURS | {name: OURS[plain] for name, plain in indexed.items()} | {queue.name: queue.answers for queue in queues}
    for size in SIZES:
        admin.execute(f"CALL load_jobs('indexed.jobs', 'of {size}', 1, {size})")
    admin.execute("VACUUM (FREEZE, ANALYZE) indexed.jobs")
    cells = {name: [] for name in answers}
    for size in SIZES:
        progress(f"job queues, {size:,} jobs")
        admin.execute("CHECKPOINT")
        turns = {
            name: Turn(contenders[name], "small.jobs", [batch_of(size)], cancelable(size), ROUNDS[size])
            for name in OURS
        } | {
            name: Turn(contenders[plain], "indexed.jobs", [batch_of(size)], cancelable(size), ROUNDS[size])
            for name, plain in indexed.items()
        } | {
            queue.name: Turn(queue, queue.table, ids_of(queue, size), cancelable(size), ROUNDS[size])
            for queue in queues
            if size <= ONE_BY_ONE or not isinstance(queue, OneByOne)
        }
        for queue in queues:
            queue.plan_once(size <= ONE_BY_ONE)
        samples = run_rounds(turns)
        for name in answers:
            if name in turns:
                time_, count = seconds(samples, name)
                record("jobs canceled a second", size, name, cancelable(size) / time_, "jobs", count)
                cells[name].append(number(cancelable(size) / time_))
            else:
                cells[name].append("")
    table(
        "Jobs canceled a second, beside the cancel of job queues (queues.sql)",
        ["jobs in one call", "answers", *(f"{size:,}" for size in SIZES)],
        [[name, answers[name], *cells[name]] for name in answers],
    )

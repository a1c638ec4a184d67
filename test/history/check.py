#!/usr/bin/env python3
"""Checks a history of cancels and of what other sessions did meanwhile.

    check.py HISTORY          one object of JSON a line
    check.py --self-test      small bad histories: each must be found

A line is one of these:

    {"event": "version", "n": 7, "xid": 740, "session": null, "id": ID, "there": true, "batch": 1, "status": "DONE",
     "runs": 1}
        A transaction wrote a job. A trigger adds these lines to a table, in the transaction itself, so that those of
        transactions that were rolled back are not there. "n" is from a sequence. It is drawn while the row is locked,
        so that it orders the versions of one job as they followed each other. "there" is false if the job was deleted. "session" is that of a call in
        chunks, else null.
    {"event": "call", "session": "0", "batch": 1, "sees": {...}, "filters": {...}, "committed": true, "mode": "wait",
     "may_keep": false, "before": SNAPSHOT, "after": SNAPSHOT, "ended": 745, "xid": 741, "jobs": [ID, ...],
     "errors": [[ID, WHY], ...]}
        A call ended with an answer. "before" and "after" are pg_current_snapshot(), taken by the same transaction in
        the statement before the call and in the one after it, "ended" is the next transaction of the session. "xid" is
        that of the call, null if it wrote and locked nothing. "mode" is pasqal_jobs.locked_jobs. Only jobs that match
        "sees", which is written as filters are, are visible to the role of the call. "may_keep" is true of a relation
        that may keep a row from an UPDATE, so that the call does not repeat it.
    {"event": "chunks", "session": NAME, "batch": 1, "sees": {...}, "filters": {...}, "mode": "wait",
     "before": SNAPSHOT, "after": SNAPSHOT, "ended": 745, "canceled": 3, "failed": 1}
        A call in chunks, all of whose transactions have the name of the session. "after", "canceled" and "failed" are
        null if it ended in an error.
    {"event": "try", "batch": 1, "before": SNAPSHOT, "ended": 745}
        A call ended without an answer.
    {"event": "hold", "xid": 742, "ids": [ID, ...], "before": SNAPSHOT, "claimed": SNAPSHOT}
        A transaction that is no call may have locked these jobs, or any if "ids" is null. The two snapshots are from
        before and after a SELECT FOR UPDATE, which also locks, and does not return, a job that others have changed
        between the two so that it matches no longer.
    {"event": "table", "id": ID, "batch": 1, "status": "DONE", "runs": 1}
        A job as it is in the end.

The calls are read one by one in the end, since a long history has more answers than fit into memory; versions and the
table are kept.

No clock is used. A version is visible in a snapshot if its transaction is, and PostgreSQL's pg_snapshot says that
exactly. So the versions of a job that were current at some moment of a call are those that are visible in "after" and
whose successor is not visible in "before". Under REPEATABLE READ these two are the same snapshot, the one by which
the call itself reads, and there is one such version. Under READ COMMITTED the call takes its own snapshots somewhere in
between; where a promise depends on which, the check gives the benefit of the doubt.

The checks:

    canceled    each job of "jobs" was canceled once, by the transaction of the call and from an open version of the
                batch that matched; no other version was written by it; what was CANCELED but by a call is an error.
                Of a call that was rolled back: each job of "jobs" was open and matched at some moment of the call
    failed      each WHY was true at some moment of the call; a job is "locked" if the call skips locked jobs, the job
                could be canceled at some moment, and a transaction that overlaps the call wrote or may have locked it
    lost        each job that matched, at whichever moment of the call its first read was, has an answer, unless it
                was absent, or open without a match, at a moment of the call; each job that was named has one
    invented    each job that has an answer was named, or matched at some moment of the call
    chunks      each job that the transactions of the call wrote was open and matched, and so many are "canceled"; each
                job that was open and matched all the time was canceled, or others may have locked it and "failed"
                counts it
    twice       no job has two answers in a call
    table       the table is as the last versions say
"""
import bisect
import collections
import io
import itertools
import json
import sys

OPEN = ("PENDING", "RUNNING")
REPEATS = 3     # how often a call cancels again what came back, before it says that something kept the job

Version = collections.namedtuple("Version", "xid id there batch status runs")
ABSENT = Version(None, None, False, None, None, None)


class Snapshot:
    """A pg_snapshot, xmin:xmax:xip,xip"""

    def __init__(self, text):
        xmin, xmax, running = text.split(":")
        self.xmin, self.xmax = int(xmin), int(xmax)
        self.running = {int(xid) for xid in running.split(",") if xid}

    def sees(self, xid):
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


def matches(version, filters):
    """Does this version match the filters of a call, whatever its batch?"""
    for key, wanted in filters.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if key == "id":
            good = version.id in values
        elif key == "id__starts_with":
            good = version.id.startswith(wanted)
        elif key == "status":
            good = version.status in values
        elif key == "max_runs":
            good = version.runs <= wanted
        else:
            raise ValueError("the check does not know the filter " + key)
        if not good:
            return False
    return True


class Call:
    """A call, and which versions of a job were current in it"""

    def __init__(self, line, history):
        self.history = history
        self.batch, self.filters, self.xid = line["batch"], line["filters"], line.get("xid")
        self.sees, self.may_keep = line["sees"], line.get("may_keep")
        self.committed = line.get("committed")
        self.jobs, self.errors = line.get("jobs"), line.get("errors")
        self.before, self.after = Snapshot(line["before"]), Snapshot(line["after"])
        self.mode, self.ended = line["mode"], line["ended"]
        self.in_chunks = line["event"] == "chunks"
        named = self.filters.get("id")
        self.named = [named] if isinstance(named, str) else named
        self.session = line["session"]
        self.name = "%s of batch %s, session %s" % (self.xid or "a call", self.batch, self.session)

    def current(self, job):
        """The versions of the job that were current at some moment of the call, in order, but for its own"""
        versions = self.history.versions.get(job, ())
        first, end = self.history.range(job, self.before.xmin, self.after.xmax)
        found = [versions[first - 1] if first > 0 else ABSENT]
        for version in versions[first:end]:
            if version.xid == self.xid:
                continue
            if self.before.sees(version.xid):
                found = [version]
            elif self.after.sees(version.xid):
                found.append(version)
        return found

    def is_in_batch(self, version):
        return version.there and version.batch == self.batch and matches(version, self.sees)

    def is_match(self, version):
        return self.is_in_batch(version) and matches(version, self.filters)

    def is_eligible(self, version):
        return self.is_match(version) and version.status in OPEN

    def is_open_without_match(self, version):
        return self.is_in_batch(version) and version.status in OPEN and not matches(version, self.filters)

    def overlaps(self, xid):
        """Was this transaction, another one, under way at some moment of the call?"""
        return xid != self.xid and xid < self.ended and not self.before.sees(xid)

    def takes_lock_of_batch(self):
        # nor does a chunk of one job
        return not self.in_chunks and (self.named is None or len(self.named) > 1)

    def may_lock(self, job):
        """Could this call have locked the job?"""
        return any(map(self.is_eligible, self.current(job)))

    def may_say(self, job, why):
        """Was this true at some moment of the call?"""
        versions = self.current(job)
        prefix = "Job cannot be canceled: its status is "
        if why.startswith(prefix):
            status = why[len(prefix):]
            return status not in OPEN and any(self.is_in_batch(v) and v.status == status for v in versions)
        if why == "Job was not found in this batch":
            return self.named is not None and not all(map(self.is_in_batch, versions))
        if why == "Job does not match the other filters":
            return self.named is not None and any(map(self.is_open_without_match, versions))
        if why == "Job is locked by another transaction":
            return self.mode == "skip" and any(map(self.is_eligible, versions)) and self.history.was_held(self, job)
        if why == "Job was not canceled: a trigger or a row-level security policy kept it":
            # nothing keeps a job that it sees, so the job must have come back, too often
            returns = sum(self.is_eligible(new) and not self.is_eligible(old)
                          for old, new in zip(versions, versions[1:]))
            return returns > (0 if self.may_keep else REPEATS)
        return False

    def must_answer(self, job):
        return self.named is not None or all(map(self.is_match, self.current(job)))

    def check(self):
        answers = collections.Counter(self.jobs)
        answers.update(job for job, _ in self.errors)
        for job, count in answers.items():
            if count > 1:
                yield "twice", "%s has %d answers" % (job, count)
            if self.named is not None:
                if job not in self.named:
                    yield "invented", "%s was not named" % job
            elif job not in self.jobs and not any(map(self.is_match, self.current(job))):
                yield "invented", "%s never matched" % job

        for job, why in self.errors:
            if not self.may_say(job, why):
                yield "failed", "%s: \"%s\" was not true at any moment; it was %s" % (
                    job, why, [v[2:] for v in self.current(job)])

        for job in self.named or self.history.jobs_around(self.before.xmin, self.after.xmax):
            if job in answers:
                self.history.accounts += 1
            elif self.must_answer(job):
                yield "lost", "%s has no answer; it was %s" % (job, [v[2:] for v in self.current(job)])

        # what is rolled back has written nothing, but its answer was true
        if self.committed:
            yield from self.check_writes()
        else:
            for job in self.jobs:
                if not any(map(self.is_eligible, self.current(job))):
                    yield "canceled", "%s could not be canceled at any moment; it was %s" % (
                        job, [v[2:] for v in self.current(job)])

    def check_writes(self):
        written = collections.Counter()
        for old, new in self.history.by_xid.get(self.xid, ()):
            written[new.id] += 1
            if new.status != "CANCELED" or not self.is_eligible(old):
                yield "canceled", "%s was written as %s from %s" % (new.id, new[2:], old[2:])
            if new.id not in self.jobs:
                yield "canceled", "%s was canceled, but the answer has it not" % new.id
        for job in self.jobs:
            if written[job] != 1:
                yield "canceled", "%s was canceled %d times by the call whose answer has it" % (job, written[job])


def check_chunks(line, history):
    """What is wrong with a call in chunks: a kind, and words"""
    name = line["session"]
    written = history.by_session.get(name, ())
    # a call that has no end may have seen all that was there before the next transaction
    call = Call({**line, "after": line["after"] or "%d:%d:" % (line["ended"], line["ended"])}, history)
    for old, new in written:
        if new.status != "CANCELED" or not call.is_eligible(old):
            yield "chunks", "%s: %s was written as %s from %s" % (name, new.id, new[2:], old[2:])
    if line["canceled"] is None:
        return
    if line["canceled"] != len(written):
        yield "chunks", "%s: says that %d are canceled, but %d are" % (name, line["canceled"], len(written))
    canceled = {new.id for _, new in written}
    left = [job for job in history.jobs_around(call.before.xmin, call.after.xmax)
            if job not in canceled and all(map(call.is_eligible, call.current(job)))]
    history.accounts += len(canceled) + len(left)
    for job in left:
        if call.mode != "skip" or not history.was_held(call, job):
            yield "chunks", "%s, %s: %s was left; it was %s" % (name, call.mode, job, [v[2:] for v in call.current(job)])
    if len(left) > line["failed"]:
        yield "chunks", "%s: says that %d have failed, but %d were left" % (name, line["failed"], len(left))


class History:
    def __init__(self, lines):
        """From a seekable binary file of lines, which check() reads once more"""
        self.lines = lines
        self.versions = collections.defaultdict(list)       # of each job, in order
        self.by_xid = collections.defaultdict(list)         # (old, new) of each transaction
        self.accounts = 0
        self.calls = []                                     # where each is, by the xmin of its start
        self.committed = set()                              # their transactions
        self.by_session = collections.defaultdict(list)     # (old, new) of each call in chunks
        self.holds = collections.defaultdict(list)          # transactions that may have locked a job; None: any
        self.claims = []                                    # (transaction, snapshot before, snapshot after)
        self.holding_calls = []                             # (transaction, where the call is)
        self.tries = []                                     # (transaction after it, snapshot before it, batch, session)
        self.table, written = {}, []
        position = lines.tell()
        for text in iter(lines.readline, b""):
            line = json.loads(text)
            if line["event"] == "version":
                line["id"] = sys.intern(line["id"])
                written.append((line["n"], Version(*(line[field] for field in Version._fields)), line["session"]))
            elif line["event"] == "chunks":
                self.calls.append((Snapshot(line["before"]).xmin, position))
                # a job that it waits for it locks without the lock of the batch
                self.tries.append((line["ended"], Snapshot(line["before"]), line["batch"], line["session"]))
            elif line["event"] == "call":
                self.calls.append((Snapshot(line["before"]).xmin, position))
                if line["committed"]:
                    self.committed.add(line["xid"])
                if line["xid"] is not None:
                    self.holding_calls.append((line["xid"], position))
            elif line["event"] == "hold":
                for job in line["ids"] if line["ids"] is not None else [None]:
                    self.holds[job and sys.intern(job)].append(line["xid"])
                if "claimed" in line:
                    self.claims.append((line["xid"], Snapshot(line["before"]), Snapshot(line["claimed"])))
            elif line["event"] == "try":
                self.tries.append((line["ended"], Snapshot(line["before"]), line["batch"], None))
            elif line["event"] == "table":
                self.table[line["id"]] = (line["batch"], line["status"], line["runs"])
            else:
                raise ValueError("unknown event " + line["event"])
            position = lines.tell()
        for _, version, session in sorted(written, key=lambda line: line[0]):
            versions = self.versions[version.id]
            written_by = self.by_xid[version.xid]
            # a job that goes to another partition is deleted and inserted
            if version.there and versions and versions[-1].xid == version.xid and not versions[-1].there:
                deleted = versions.pop()
                written_by[:] = [pair for pair in written_by if pair[1] is not deleted]
            written_by.append((versions[-1] if versions else ABSENT, version))
            if session is not None:
                self.by_session[session].append(written_by[-1])
            versions.append(version)

        for held in [self.holding_calls, *self.holds.values()]:
            held.sort()
        self.claims.sort(key=lambda claim: claim[0])
        self.claims_xid = [claim[0] for claim in self.claims]
        self.tries.sort(key=lambda tried: tried[0])
        self.tries_end = [t[0] for t in self.tries]
        self.tries_from = list(itertools.accumulate((t[1].xmin for t in reversed(self.tries)), min))[::-1]

        # Transactions of one job need not be in the order of their numbers
        self.up_to = {job: list(itertools.accumulate((v.xid for v in versions), max))
                      for job, versions in self.versions.items()}
        self.from_on = {job: list(itertools.accumulate((v.xid for v in reversed(versions)), min))[::-1]
                        for job, versions in self.versions.items()}
        self.arriving = sorted(self.versions, key=lambda job: -self.from_on[job][0])
        self.around = []

    def range(self, job, xmin, xmax):
        """Of the versions of the job, those before this range are from before xmin, those after it not before xmax"""
        if job not in self.versions:
            return 0, 0
        return bisect.bisect_left(self.up_to[job], xmin), bisect.bisect_left(self.from_on[job], xmax)

    def jobs_around(self, xmin, xmax):
        """The jobs that may be there between the two. Called in the order of xmin, so that it drops what is gone."""
        while self.arriving and self.from_on[self.arriving[-1]][0] < xmax:
            self.around.append(self.arriving.pop())
        self.around = [job for job in self.around if self.versions[job][-1].there or self.up_to[job][-1] >= xmin]
        return self.around

    def was_held(self, call, job):
        """Did another transaction write the job, or may it have locked it, while the call was under way?"""
        first, end = self.range(job, call.before.xmin, call.ended)
        if any(call.overlaps(v.xid) and v.xid not in self.committed for v in self.versions.get(job, ())[first:end]):
            return True
        for held in self.holds.get(job, ()), self.holds.get(None, ()):
            if any(map(call.overlaps, held[bisect.bisect_left(held, call.before.xmin):
                                           bisect.bisect_left(held, call.ended)])):
                return True
        for xid, before, after in self.claims[bisect.bisect_left(self.claims_xid, call.before.xmin):
                                              bisect.bisect_left(self.claims_xid, call.ended)]:
            if call.overlaps(xid):
                first, end = self.range(job, before.xmin, after.xmax)
                if any(after.sees(v.xid) and not before.sees(v.xid) for v in self.versions.get(job, ())[first:end]):
                    return True
        return self.was_held_by_call(call, job)

    def was_held_by_call(self, call, job):
        """The same of other calls, which do not overlap if both take the lock of one batch"""
        for xid, position in self.holding_calls[bisect.bisect_left(self.holding_calls, (call.before.xmin,)):
                                                bisect.bisect_left(self.holding_calls, (call.ended,))]:
            if call.overlaps(xid):
                self.lines.seek(position)
                other = Call(json.loads(self.lines.readline()), self)
                if (job in other.jobs or other.may_lock(job)) and not (
                        other.batch == call.batch and other.takes_lock_of_batch() and call.takes_lock_of_batch()):
                    return True
        for n in range(bisect.bisect_left(self.tries_end, call.before.xmin), len(self.tries)):
            if self.tries_from[n] > call.ended:
                break
            ended, before, batch, chunks = self.tries[n]
            if not call.before.sees(ended) and not before.sees(call.ended) and chunks != call.session and (
                    batch != call.batch or chunks or not call.takes_lock_of_batch()) and any(
                        v.there and v.batch == batch for v in self.versions.get(job, ())):
                return True
        return False

    def check(self):
        """Yields what is wrong: a kind, and words"""
        for _, position in sorted(self.calls):
            self.lines.seek(position)
            line = json.loads(self.lines.readline())
            if line["event"] == "chunks":
                yield from check_chunks(line, self)
                continue
            call = Call(line, self)
            for kind, words in call.check():
                yield kind, "call %s: %s" % (call.name, words)

        in_chunks = {new.xid for *_, session in self.tries for _, new in self.by_session.get(session, ())}
        for xid, writes in self.by_xid.items():
            for old, new in writes:
                if xid not in self.committed and xid not in in_chunks and new.there and (
                        new.status == "CANCELED" != old.status):
                    yield "canceled", "%s was canceled by %s, which is no committed call with an answer" % (new.id, xid)

        last = {job: versions[-1] for job, versions in self.versions.items()}
        for job in set(last) | set(self.table):
            version = last.get(job, ABSENT)
            wanted = (version.batch, version.status, version.runs) if version.there else None
            if self.table.get(job) != wanted:
                yield "table", "%s is %s, but was written as %s" % (job, self.table.get(job), wanted)


def self_test():
    """A good history, and what must be found once it is spoiled"""
    jobs = ["%s-job" % c for c in "abcdefg"]
    a, b, c, d, e, f, g = jobs
    locked = "Job is locked by another transaction"
    kept = "Job was not canceled: a trigger or a row-level security policy kept it"

    def version(n, xid, job, status="PENDING", runs=1, batch=1, there=True, session=None):
        return {"event": "version", "n": n, "xid": xid, "session": session, "id": job, "there": there, "batch": batch,
                "status": status, "runs": runs}

    def call(**given):
        return {"event": "call", "session": "0", "batch": 1, "sees": {}, "may_keep": False, "filters": {"max_runs": 1},
                "committed": True, "mode": "skip", "before": "20:20:", "after": "20:40:30", "ended": 40,
                "xid": 30, "jobs": [], "errors": [], **given}

    def chunks(written, table, given, *canceled):
        """Of the two jobs that are open in the end these are canceled in chunks"""
        for n, job in enumerate(canceled):
            written.insert(0, version(60 + n, 62 + n, job, "CANCELED", 5 if job == f else 1, session="chunks"))
            next(row for row in table if row["id"] == job)["status"] = "CANCELED"
        return [{"event": "chunks", "session": "chunks", "batch": 1, "sees": {}, "filters": {}, "mode": "wait",
                 "before": "61:61:", "after": "66:66:", "ended": 66, "canceled": len(canceled), "failed": 0, **given}]

    def claim(written, answer, claimed):
        """g has changed before the call, while a claim was under way that still is"""
        answer.update(before="13:20:13")
        written[-1].update(xid=13, ids=[], before="13:14:13", claimed=claimed)
        written.insert(0, version(15, 14, g))

    def comes_back(written, answer, **given):
        """b is open while the call is under way"""
        answer["errors"][0] = [b, kept]
        answer.update(given)
        written.insert(0, version(23, 24, b))
        written.insert(0, version(24, 45, b, "DONE"))

    def good():
        """a is canceled, b done before, c done, d edited out, e deleted meanwhile, f kept out, g locked"""
        written = [version(n, 10, job) for n, job in enumerate(jobs)]
        written += [version(10, 11, b, "DONE"), version(11, 12, f, runs=5)]
        written += [version(20, 21, c, "ERROR"), version(21, 22, d, runs=2), version(22, 23, e, there=False)]
        written += [version(30, 30, a, "CANCELED"), version(40, 50, d, "DONE", 2)]
        answer = call(jobs=[a], errors=[[b, "Job cannot be canceled: its status is DONE"],
                                        [c, "Job cannot be canceled: its status is ERROR"], [g, locked]])
        hold = {"event": "hold", "xid": 24, "ids": [g]}
        named = call(session="1", filters={"id": jobs[:6] + ["x"], "max_runs": 1}, xid=None, before="60:60:",
                     after="60:60:", ended=60, mode="wait",
                     errors=[[job, "Job cannot be canceled: its status is " + status] for job, status in
                             ((a, "CANCELED"), (b, "DONE"), (c, "ERROR"), (d, "DONE"))] +
                     [[e, "Job was not found in this batch"], [f, "Job does not match the other filters"],
                      ["x", "Job was not found in this batch"]])
        table = [{"event": "table", "id": job, "batch": 1, "status": status, "runs": runs} for job, status, runs in
                 ((a, "CANCELED", 1), (b, "DONE", 1), (c, "ERROR", 1), (d, "DONE", 2), (f, "PENDING", 5),
                  (g, "PENDING", 1))]
        return written + [hold], answer, named, table

    def spoiled(spoil):
        written, answer, named, table = good()
        more = spoil(written, answer, named, table) or []
        lines = io.BytesIO(b"".join(json.dumps(line).encode() + b"\n"
                                    for line in written + [answer, named] + table + more))
        return {kind for kind, _ in History(lines).check()}

    def status(job, value):
        return [job, "Job cannot be canceled: its status is " + value]

    cases = [
        ("a good history", None, lambda w, c1, c2, t: None),
        ("canceled, but not written", "canceled", lambda w, c1, c2, t: c1["jobs"].append(f)),
        ("written, but no answer", "canceled", lambda w, c1, c2, t: c1["jobs"].clear()),
        ("two calls have canceled it", "canceled",
         lambda w, c1, c2, t: [call(xid=31, session="2", before="35:35:", after="35:35:", jobs=[a], filters={"id": [a]})]),
        ("a job that was done is overwritten", "canceled",
         lambda w, c1, c2, t: (w.append(version(29, 24, a, "DONE")), None)[1]),
        ("a job that did not match is canceled", "canceled",
         lambda w, c1, c2, t: (w.append(version(29, 24, a, runs=2)), None)[1]),
        ("a job of another batch is canceled", "canceled",
         lambda w, c1, c2, t: (w.append(version(29, 24, a, batch=2)), None)[1]),
        ("a call that was rolled back has canceled", "canceled", lambda w, c1, c2, t: c1.update(committed=False)),
        ("a call that was rolled back says so of a job that was done", "canceled",
         lambda w, c1, c2, t: [call(xid=None, session="2", committed=False, before="60:60:", after="60:60:", jobs=[b],
                                    filters={"id": [b]})]),
        ("a call that was rolled back says so of a job that does not exist", "canceled",
         lambda w, c1, c2, t: [call(xid=None, session="2", committed=False, before="60:60:", after="60:60:", jobs=["z"],
                                    filters={"id": ["z"]})]),
        ("nobody has canceled it", "canceled",
         lambda w, c1, c2, t: (w.append(version(50, 51, f, "CANCELED", 5)), t[4].update(status="CANCELED"), None)[2]),
        ("a status that it never had", "failed", lambda w, c1, c2, t: c1["errors"].__setitem__(0, status(b, "ERROR"))),
        ("a status that it had later", "failed",
         lambda w, c1, c2, t: (w.append(version(60, 70, b, "ERROR")), t[1].update(status="ERROR"),
                               c1["errors"].__setitem__(0, status(b, "ERROR")), None)[3]),
        ("a status that it had before", "failed",
         lambda w, c1, c2, t: (w.append(version(9, 10, b, "ERROR")), c1["errors"].__setitem__(0, status(b, "ERROR")),
                               None)[2]),
        ("found, but said not to be", "failed",
         lambda w, c1, c2, t: c2["errors"].__setitem__(0, [a, "Job was not found in this batch"])),
        ("matches, but said not to", "failed",
         lambda w, c1, c2, t: c2["errors"].__setitem__(0, [a, "Job does not match the other filters"])),
        ("kept by nobody", "failed", lambda w, c1, c2, t: c1["errors"].__setitem__(
            0, [b, "Job was not canceled: a trigger or a row-level security policy kept it"])),
        ("locked, but the call waits", "failed", lambda w, c1, c2, t: c1.update(mode="wait")),
        ("locked by nobody", "failed", lambda w, c1, c2, t: w.pop() and None),
        ("locked before the call", "failed", lambda w, c1, c2, t: w[-1].update(xid=19)),
        ("locked after the call", "failed", lambda w, c1, c2, t: w[-1].update(xid=40)),
        ("locked by the call itself", "failed", lambda w, c1, c2, t: w[-1].update(xid=30)),
        ("another job was locked", "failed", lambda w, c1, c2, t: w[-1].update(ids=[a])),
        ("locked by a call that had to wait", "failed",
         lambda w, c1, c2, t: (w.pop(), [call(xid=31, session="2", committed=False, jobs=[g], filters={"id": [g, b]},
                                              errors=[status(b, "DONE")])])[1]),
        ("locked, but it had ended", "failed",
         lambda w, c1, c2, t: (w[-1]["ids"].append(b), c1["errors"].__setitem__(0, [b, locked]), None)[2]),
        ("locked, but it does not match", "failed",
         lambda w, c1, c2, t: (w[-1]["ids"].append(f), c1["errors"].append([f, locked]), None)[2]),
        ("a locked job is lost", "lost", lambda w, c1, c2, t: c1["errors"].pop() and None),
        ("locked and canceled", "twice", lambda w, c1, c2, t: c1["errors"].append([a, locked])),
        ("locked by a transaction that may have locked any", None, lambda w, c1, c2, t: w[-1].update(ids=None)),
        ("locked by a call of one job", None,
         lambda w, c1, c2, t: (w.pop(), [call(xid=31, session="2", committed=False, jobs=[g], filters={"id": g})])[1]),
        ("locked by a call of another batch, without an answer", None,
         lambda w, c1, c2, t: (w.pop(), w.append(version(-1, 9, g, batch=2)),
                               [{"event": "try", "batch": 2, "before": "22:22:", "ended": 35}])[2]),
        ("other words", "failed", lambda w, c1, c2, t: c1["errors"].__setitem__(0, [b, "Sorry"])),
        ("a job that was done is lost", "lost", lambda w, c1, c2, t: c1["errors"].pop(0) and None),
        ("an open job is lost", "lost",
         lambda w, c1, c2, t: (w.append(version(8, 10, "h-job")),
                               t.append({"event": "table", "id": "h-job", "batch": 1, "status": "PENDING", "runs": 1}),
                               None)[2]),
        ("a named job is lost", "lost", lambda w, c1, c2, t: c2["errors"].pop() and None),
        ("a job that never matched is answered", "invented",
         lambda w, c1, c2, t: (w.append(version(12, 12, b, "DONE", 9)), t[1].update(runs=9), None)[2]),
        ("a job that does not exist is answered", "invented",
         lambda w, c1, c2, t: c1["errors"].append(status("y", "DONE"))),
        ("a job that was not named is answered", "invented",
         lambda w, c1, c2, t: c2["errors"].append(["y", "Job was not found in this batch"])),
        ("canceled and failed", "twice", lambda w, c1, c2, t: c1["errors"].append(status(a, "CANCELED"))),
        ("failed twice", "twice", lambda w, c1, c2, t: c1["errors"].append(status(b, "DONE"))),
        ("canceled twice in an answer", "twice", lambda w, c1, c2, t: c1["jobs"].append(a)),
        ("locked by a claim that it has slipped from", None, lambda w, c1, c2, t: claim(w, c1, "13:15:13")),
        ("changed before the claim was over, but not locked", "failed",
         lambda w, c1, c2, t: claim(w, c1, "13:14:13")),
        ("kept, since it came back to a view", None, lambda w, c1, c2, t: comes_back(w, c1, may_keep=True)),
        ("kept, but it came back to a table", "failed", lambda w, c1, c2, t: comes_back(w, c1)),
        ("a job that it cannot see is not found", None,
         lambda w, c1, c2, t: (c2.update(sees={"max_runs": 1}),
                               c2["errors"].__setitem__(5, [f, "Job was not found in this batch"]),
                               c2["errors"].__setitem__(3, [d, "Job was not found in this batch"]), None)[3]),
        ("a job that it cannot see is answered", "failed",
         lambda w, c1, c2, t: c2.update(sees={"max_runs": 1})),
        ("a job that it cannot see is canceled", "canceled", lambda w, c1, c2, t: c1.update(sees={"max_runs": 0})),
        ("a canceled job goes to another partition", None,
         lambda w, c1, c2, t: w.extend([version(50, 51, a, there=False), version(51, 51, a, "CANCELED")])),
        ("a job goes to another partition as canceled", "canceled",
         lambda w, c1, c2, t: (w.extend([version(70, 71, g, there=False), version(71, 71, g, "CANCELED")]),
                               t[5].update(status="CANCELED"), None)[2]),
        ("two jobs canceled in chunks", None, lambda w, c1, c2, t: chunks(w, t, {}, f, g)),
        ("chunks that end in an error", None,
         lambda w, c1, c2, t: chunks(w, t, {"after": None, "canceled": None, "failed": None}, f)),
        ("chunks that count wrong", "chunks", lambda w, c1, c2, t: chunks(w, t, {"canceled": 1}, f, g)),
        ("chunks that cancel what does not match", "chunks",
         lambda w, c1, c2, t: chunks(w, t, {"filters": {"max_runs": 1}}, f, g)),
        ("chunks that leave a job", "chunks", lambda w, c1, c2, t: chunks(w, t, {"failed": 1}, f)),
        ("chunks that skip a job that nobody locks", "chunks",
         lambda w, c1, c2, t: chunks(w, t, {"mode": "skip", "failed": 1}, f)),
        ("chunks that skip a locked job", None,
         lambda w, c1, c2, t: chunks(w, t, {"mode": "skip", "failed": 1}, f) +
         [{"event": "hold", "xid": 64, "ids": [g]}]),
        ("chunks that skip, alone in its chunk, a job that another call of the batch has locked", None,
         lambda w, c1, c2, t: chunks(w, t, {"mode": "skip", "failed": 1}, f) + [call(
             xid=64, session="2", filters={"id": [g, "y"]}, committed=False, mode="wait", jobs=[g],
             errors=[["y", "Job was not found in this batch"]], before="61:61:", after="61:66:64", ended=66)]),
        ("chunks that skip a locked job and do not count it", "chunks",
         lambda w, c1, c2, t: chunks(w, t, {"mode": "skip"}, f) + [{"event": "hold", "xid": 64, "ids": [g]}]),
        ("jobs canceled in chunks, but by no call", "canceled", lambda w, c1, c2, t: chunks(w, t, {}, f, g)[1:]),
        ("a row changed that nobody wrote", "table", lambda w, c1, c2, t: t[1].update(status="PENDING")),
        ("a row is gone that nobody deleted", "table", lambda w, c1, c2, t: t.pop() and None),
    ]
    missed = 0
    for name, wanted, spoil in cases:
        found = spoiled(spoil)
        good_case = found == set() if wanted is None else wanted in found
        missed += not good_case
        print("%s - %s: %s" % ("ok" if good_case else "not ok", name, ", ".join(sorted(found)) or "nothing"))
    print("self-test: %d of %d as they should be" % (len(cases) - missed, len(cases)))
    return missed == 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(__doc__)
    with open(arguments[0], "rb") as lines:
        history = History(lines)
        wrong = list(history.check())
    for kind, words in wrong[:20]:
        print("%s: %s" % (kind, words))
    print("history: %d calls, %d versions of %d jobs, %d accounts checked, %d wrong" % (
        len(history.calls), sum(map(len, history.versions.values())), len(history.versions), history.accounts,
        len(wrong)))
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)

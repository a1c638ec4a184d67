#!/usr/bin/python3
"""cancel_jobs_http against FastAPI with pydantic 1 (model.py), request by request.

usage: differential.py [--count N] [--seed S]     the server is named by PGHOST etc.

Generates good, bad and malicious requests and sends each to both. What the model
parsed or complained of, changed by the README's short list of differences and by
nothing else, gives the answer that is expected, to the last field: the 422 body in its
order, or which jobs are canceled and which are not and why. Every call is rolled back.
"""
import argparse
import json
import math
import random
import re
import sys
import unicodedata
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import psycopg
from psycopg.types.json import set_json_loads

import model

# The table of filters: what a value is, and whether there may be several
KINDS = {"id": "uuid", "id__starts_with": "prefix", "batch_id": "uuid", "project_id": "uuid",
         "user_id": "text", "status": "status", "min_runs": "integer", "max_runs": "integer",
         "errors": "boolean", "origin": "origin", "start_date": "datetime", "end_date": "datetime"}
LISTS = {"id", "batch_id", "project_id", "user_id", "status", "origin"}
assert tuple(KINDS) == model.FILTERS

STATUSES = [s.value for s in model.JobStatus]
ORIGINS = [o.value for o in model.Origin]

# ---------------------------------------------------------------------------
# The jobs: values at the edges of what the filters can ask for
# ---------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1)
Moment = float  # microseconds since 1970 as int, or an infinity
BATCHES = [UUID("0000b001-0000-4000-8000-00000000000%d" % n) for n in (1, 2, 3)]
PROJECTS = [UUID("00000c01-0000-4000-8000-00000000000%d" % n) for n in (1, 2, 3)]
IDS = [UUID(u) for u in (
    "00000000-0000-0000-0000-000000000000", "00000001-0000-4000-8000-000000000001",
    "00000001-0000-4000-8000-000000000002", "01111111-1111-1111-1111-111111111111",
    "11111111-1111-1111-1111-111111111111", "00111111-1111-1111-1111-111111111111",
    "abcdef00-0000-4000-8000-00000000000a", "abcdef01-ffff-4fff-bfff-ffffffffffff",
    "abcdf000-0000-4000-8000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "fffffffe-ffff-ffff-ffff-ffffffffffff", "12345678-9abc-def0-1234-56789abcdef0")]
UNKNOWN_IDS = [UUID("0badcafe-0000-4000-8000-%012d" % n) for n in range(3)]
USERS: List[Optional[str]] = [
    None, "", "alice", "Alice", "é", "Ã©", "\ufffd", "\ufffdA", "%", "%41", "A", "a b+c", "a+b c",
    "a&b=c", "a=b", "PENDING", "5", "😀", "\ufeffa", "'; DROP TABLE jobs; --", '"\\', "\n", "null", "[]"]
RUNS = [-2147483648, -1, 0, 1, 5, 7, 10, 100, 1000, 2147483646, 2147483647]


def usecs(dt: datetime) -> int:
    """Microseconds since 1970; a date-time without offset is UTC."""
    offset = dt.utcoffset() or timedelta()
    return (dt.replace(tzinfo=None) - EPOCH - offset) // timedelta(microseconds=1)


NOON = usecs(datetime(2023, 3, 20, 13))
FIRST, LAST = usecs(datetime.min), usecs(datetime.max)
MOMENTS: List[Moment] = [
    NOON, NOON - 1, NOON + 1, 0, -1, 1, 2, FIRST, LAST, 500000, 10_000_000, 2023_000_000, 5_000_000,
    NOON + 3_600_000_000, NOON - 7_200_000_000, 20_000_000_000_000_000, 20_000_000_001_000, -math.inf, math.inf]
BEYOND = [FIRST - 1, FIRST - 86_340_000_000, LAST + 1, LAST + 86_340_000_000]  # outside Python's calendar


class Job(NamedTuple):
    id: UUID
    batch_id: UUID
    project_id: UUID
    user_id: Optional[str]
    status: str
    runs: int
    errors: Optional[List[str]]
    origin: Optional[str]
    start_timestamp: Optional[Moment]
    end_timestamp: Optional[Moment]
    creation_order: int

    def cancelable(self) -> bool:
        return self.status in ("PENDING", "RUNNING")


def make_jobs() -> List[Job]:
    rng = random.Random(1)  # the same jobs in every run
    ids = IDS + [UUID(int=rng.getrandbits(128)) for _ in range(108)]
    jobs = []
    for n, id in enumerate(ids):
        status = STATUSES[0 if n % 3 == 0 else 1 if n % 3 == 1 else rng.randrange(5)]
        beyond = [] if status in ("PENDING", "RUNNING") else BEYOND * 3
        moments = [None, None, *MOMENTS, *beyond]
        jobs.append(Job(id, BATCHES[0 if n % 10 or n < 12 else 1], rng.choice(PROJECTS[:2]), USERS[n % len(USERS)],
                        status, rng.choice(RUNS), rng.choice([None, [], ["E1"], ["E1", 'q"\\']]),
                        rng.choice([None, *ORIGINS]), rng.choice(moments), rng.choice(moments), n // 2))
    return jobs


JOBS = make_jobs()
JOB_BY_ID = {job.id: job for job in JOBS}

# timestamptz from microseconds, without rounding; in hours, since days differ in length where clocks change
MOMENT_SQL = """CASE WHEN {0}::text LIKE '%%infinity' THEN {0}::text::timestamptz
    ELSE timestamptz '1970-01-01 00:00Z' + make_interval(hours => div({0}::numeric, 3600000000)::int,
        secs => mod({0}::numeric, 3600000000)::float8 / 1000000) END"""


def fill(conn: psycopg.Connection) -> None:
    conn.execute("CREATE EXTENSION pasqal_jobs")
    conn.execute("SELECT create_jobs_table()")
    start, end = MOMENT_SQL.format("%(start)s"), MOMENT_SQL.format("%(end)s")
    with conn.cursor() as cursor:
        cursor.executemany(
            f"""INSERT INTO jobs (id, batch_id, project_id, user_id, status, runs, errors, origin,
                    start_timestamp, end_timestamp, creation_order, created_at, updated_at)
                VALUES (%(id)s, %(batch_id)s, %(project_id)s, %(user_id)s, %(status)s::jobstatus, %(runs)s, %(errors)s,
                    %(origin)s::origin, {start}, {end}, %(creation_order)s, '2023-01-01Z', '2023-01-01Z')""",
            [dict(job._asdict(), start=text_of_moment(job.start_timestamp), end=text_of_moment(job.end_timestamp))
             for job in JOBS])


def text_of_moment(moment: Optional[Moment]) -> Optional[str]:
    return None if moment is None else str(moment).replace("inf", "infinity")


# ---------------------------------------------------------------------------
# What is expected: the model's answer, changed by the list in the README
# ---------------------------------------------------------------------------

MESSAGES = {
    "uuid": ("value is not a valid uuid", "type_error.uuid"),
    "integer": ("value is not a valid integer", "type_error.integer"),
    "datetime": ("invalid datetime format", "value_error.datetime"),
    "text": ("str type expected", "type_error.str"),
    "prefix": ("str type expected", "type_error.str"),
    "unknown": ("extra fields not permitted", "value_error.extra"),
}


def problem(loc: List[Any], kind: str) -> Dict[str, Any]:
    msg, type_ = MESSAGES[kind]
    return {"loc": loc, "msg": msg, "type": type_}


def python_only(kind: str, text: str, complaint: Optional[Dict[str, Any]]) -> Optional[str]:
    """Which difference of the list makes us refuse this value; complaint is the model's, if it has one."""
    if kind == "datetime" and complaint and complaint["type"] == "value_error":
        # the one way to this error: not a number
        assert complaint["msg"] == "cannot convert float NaN to integer" and math.isnan(float(text))
        return "NaN and infinities"
    if complaint:
        return None
    if kind in ("text", "prefix"):
        return "U+0000" if "\0" in text else None
    foreign_digit = any(not c.isascii() and unicodedata.category(c) == "Nd" for c in text)
    if kind == "uuid":
        plain = re.fullmatch(r"(urn:uuid:)?(\{[-0-9a-fA-F]*\}|[-0-9a-fA-F]*)", text)
        return None if plain else "Python's spellings of a uuid"
    if kind in ("integer", "datetime") and (foreign_digit or "_" in text):
        return "Python's spellings of a number"
    if kind == "datetime":
        try:
            return "NaN and infinities" if math.isinf(float(text)) else None
        except ValueError:
            return None
    return None


def expected_422(path: str, query: str, complaints: List[Dict[str, Any]]) -> Tuple[List[Dict[str, Any]], List[str]]:
    """The problems that we are to report, and which differences of the list there are among them."""
    given: Dict[str, List[str]] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        given.setdefault(key, []).append(text)
    said = {tuple(c["loc"]): c for c in complaints}
    problems: List[Dict[str, Any]] = []
    differences = []

    def check(loc: List[Any], kind: str, text: str) -> None:
        complaint = said.pop(tuple(loc), None)
        difference = python_only(kind, text, complaint)
        if difference:
            complaint = problem(loc, kind)
            differences.append(difference)
        elif kind == "integer" and not complaint and abs(int(text)) >= 1 << 63:
            differences.append("numbers past int8 (same jobs)")
        if complaint:
            problems.append(complaint)

    check(["path", "batch__id"], "uuid", unquote(path))
    for key, kind in KINDS.items():
        if key in given and key in LISTS:
            for index, text in enumerate(given[key]):
                check(["query", key, index], kind, text)
        elif key in given:
            check(["query", key], kind, given[key][-1])
    assert not said, f"the model complains of what was not given: {said}"

    for key in given:
        if key not in KINDS:
            problems.append(problem(["query", key], "unknown"))
            differences.append("unknown parameter")
    return problems, differences


def matches(job: Job, asked: Dict[str, Any]) -> bool:
    start, end = asked["start_date"], asked["end_date"]
    return (job.batch_id == asked["batch__id"]
            and (not asked["id"] or job.id in asked["id"])
            and str(job.id).startswith(asked["id__starts_with"].lower())
            and (not asked["batch_id"] or job.batch_id in asked["batch_id"])
            and (not asked["project_id"] or job.project_id in asked["project_id"])
            and (not asked["user_id"] or job.user_id in asked["user_id"])
            and (not asked["status"] or job.status in asked["status"])
            and (asked["min_runs"] is None or job.runs >= asked["min_runs"])
            and (asked["max_runs"] is None or job.runs <= asked["max_runs"])
            and (asked["errors"] is None or bool(job.errors) == asked["errors"])
            and (not asked["origin"] or job.origin in asked["origin"])
            and (start is None or job.start_timestamp is not None and job.start_timestamp >= usecs(start))
            and (end is None or job.end_timestamp is not None and job.end_timestamp <= usecs(end)))


def shown(moment: Optional[Moment]) -> Optional[str]:
    if moment is None or math.isinf(moment):
        return None if moment is None else "infinity" if moment > 0 else "-infinity"
    return (EPOCH + timedelta(microseconds=moment)).replace(tzinfo=timezone.utc).isoformat()


def end_of(job: Job, now: str) -> Optional[str]:
    """A canceled job ends now, but no earlier than it started."""
    start = job.start_timestamp
    return shown(start) if start is not None and start > usecs(datetime.fromisoformat(now)) else now


def expected_200(asked: Dict[str, Any], now: str) -> Dict[str, Any]:
    matched = [job for job in JOBS if matches(job, asked)]
    errors = {str(job.id): f"Job cannot be canceled: its status is {job.status}"
              for job in matched if not job.cancelable()}
    for id in asked["id"]:  # a job that was named always gets an answer
        job = JOB_BY_ID.get(id)
        if job is None or job.batch_id != asked["batch__id"]:
            errors[str(id)] = "Job was not found in this batch"
        elif not job.cancelable():
            errors[str(id)] = f"Job cannot be canceled: its status is {job.status}"
        elif job not in matched:
            errors[str(id)] = "Job does not match the other filters"
    jobs = [{"id": str(job.id), "parent_id": None, "status": "CANCELED", "runs": job.runs,
             "batch_id": str(job.batch_id), "project_id": str(job.project_id),
             "created_at": "2023-01-01T00:00:00+00:00", "updated_at": now,
             "start_timestamp": shown(job.start_timestamp), "end_timestamp": end_of(job, now), "variables": None,
             "errors": job.errors, "progress": None, "sequence": None, "creation_order": job.creation_order,
             "slurm_job_id": None}
            for job in sorted(matched, key=lambda job: (job.creation_order, job.id)) if job.cancelable()]
    return {"data": {"jobs": jobs, "errors": errors}}


# ---------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------

BLANKS = ["", "", "", " ", "\t", "\n", "\v\f\r", "\u00a0", "\u0085", "\u1680", "\u2000", "\u200a", "\u2028", "\u2029",
          "\u202f", "\u205f", "\u3000", "  \u3000 ", "\x1c", "\u200b", "\ufeff", "\u180e", "\0", "\u2007\t"]
DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "०१२३४५६७८९", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "⁰¹²³⁴⁵⁶⁷⁸⁹"]


class Generator:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.any: Dict[str, Callable[[], str]] = {
            "uuid": self.uuid, "prefix": self.prefix, "text": self.text, "status": self.status,
            "integer": self.integer, "boolean": self.boolean, "origin": self.origin, "datetime": self.datetime}

    def chance(self, percent: float) -> bool:
        return self.rng.random() * 100 < percent

    # -- good values: plain ones, which match some jobs and not others --------

    def plain(self, key: str) -> str:
        pick, kind = self.rng.choice, KINDS[key]
        if kind == "uuid":
            pools = {"id": [j.id for j in JOBS] + UNKNOWN_IDS, "batch_id": BATCHES, "project_id": PROJECTS}
            return str(pick(pools[key]))
        if kind == "prefix":
            return str(pick(JOBS).id)[:pick([0, 1, 1, 1, 2, 8, 9, 36])]
        if kind == "text":
            return pick(USERS) or ""
        if kind == "integer":
            return str(pick(RUNS) + pick([-1, 0, 1]))
        if kind == "datetime":
            moment = pick([m for m in MOMENTS if math.isfinite(m)])
            return (EPOCH + timedelta(microseconds=moment)).isoformat() + pick(["", "Z", "+00:00"])
        return pick({"status": STATUSES, "origin": ORIGINS, "boolean": ["true", "false"]}[kind])

    # -- unusual and bad values: the model says which is which -----------------

    def uuid(self) -> str:
        pick, rng = self.rng.choice, self.rng
        u = str(pick([pick(JOBS).id, pick(IDS), pick(BATCHES), pick(PROJECTS), UNKNOWN_IDS[0]]))
        u = pick([u, u, u.upper(), u.replace("-", ""), u.replace("-", "").upper()])
        how = rng.randrange(8)
        if how == 0:
            return pick(["{%s}", "urn:uuid:%s", "uuid:%s", "urn:%s", "{urn:uuid:%s}", "urn:uuid:{%s}", "}%s{", "{{%s",
                         "%s}}", "-%s-", "{-%s-}", "-{%s}-", "URN:UUID:%s", "uurn:uid:%s", "urnurn:uuid::%s"]) % u
        if how <= 2:  # tokens anywhere
            for _ in range(rng.randint(1, 4)):
                at = pick([0, len(u), rng.randint(0, len(u))])
                u = u[:at] + pick(["-", "-", "urn:", "uuid:", "{", "}", "u", ":", "uu", "rn:"]) + u[at:]
            return u
        if how == 3:  # what Python's int(…, 16) takes
            tail = "1" * rng.choice([29, 30, 31])
            return pick(["0x" + "1" * 30, "0X" + "1" * 30, "+" + "1" * 31, " " + "1" * 31, "1" * 31 + "\n", "\u3000" + "1" * 31,
                         "1_" * 15 + "11", "0x_" + "1" * 29, "0b" + "1" * 30, "1" * 31 + "_", "_" + "1" * 31, " +" + "1" * 30,
                         "{0x" + "1" * 30 + "}", pick(DIGITS)[1] * 32, pick(DIGITS)[1] + tail, "- " + tail, "\x1c" + "1" * 31])
        if how == 4:  # a character too many, too few, or wrong
            at = rng.randrange(len(u))
            return u[:at] + pick(["", "g", "0", " ", "\0", "é", "_", "O"]) + u[at + pick([0, 1]):]
        if how == 5:
            return pick(["", "-", "{}", "urn:uuid:", "null", "0", "x" * 36, "-" * 32, "{" * 100 + u, "é" * 32, "\ufffd" * 32])
        return u

    def prefix(self) -> str:
        u, pick = str(self.rng.choice(JOBS).id), self.rng.choice
        n = self.rng.randint(0, 36)
        return pick([u[:n], u[:n].upper(), u[:n].swapcase(), u[:n] + pick(["", "-", "g", "%", "_", " ", "\0", "é"]),
                     u[:8] + u[9:14], "", "-", "{", "%", "\\", "*", u + "0", " " + u[:4], "ａ", u[:1] * 40])

    def text(self) -> str:
        pick = self.rng.choice
        return pick([pick(USERS) or "", (pick(USERS) or "") + pick(BLANKS), "\0", "a\0b", "x" * 3000,
                     "".join(chr(self.rng.choice([self.rng.randint(1, 127), self.rng.randint(160, 0xD7FF), 0x1F600, 0x10FFFF]))
                             for _ in range(self.rng.randint(0, 8)))])

    def status(self) -> str:
        return self.enum(STATUSES)

    def origin(self) -> str:
        return self.enum(ORIGINS)

    def enum(self, labels: List[str]) -> str:
        label, pick = self.rng.choice(labels), self.rng.choice
        return pick([label, label, label, label.lower(), label.title(), label + pick(BLANKS), pick(BLANKS) + label, "", label[:-1],
                     "JobStatus." + label, label + "," + pick(labels), "None", "0", '"%s"' % label, "MARS", "ＰENDING"])

    def boolean(self) -> str:
        word = self.rng.choice("true t 1 on yes y false f 0 off no n".split())
        return self.rng.choice([word, word, word.upper(), word.title(), "".join(self.rng.choice([c, c.upper()]) for c in word),
                                word + self.rng.choice(BLANKS), "+" + word, "0" + word, word[:-1], "2", "-1", "1.0", "",
                                "none", "null", "ja", "ｔrue", "\u212a"])

    def digits(self, number: str, percent: float = 12) -> str:
        """A number in one of Python's spellings of its digits."""
        if self.chance(percent):
            digits = self.rng.choice(DIGITS)
            number = "".join(digits[int(c)] if c.isdecimal() and c.isascii() and self.chance(60) else c for c in number)
        if self.chance(percent / 2) and number:
            at = self.rng.randint(0, len(number))
            number = number[:at] + self.rng.choice(["_", "_", "__"]) + number[at:]
        return number

    def integer(self) -> str:
        pick, rng = self.rng.choice, self.rng
        number = str(abs(pick(RUNS + [2 ** 31, 2 ** 63 - 1, 2 ** 63, 2 ** 64, 10 ** 40]) + pick([-1, 0, 1])))
        how = rng.randrange(10)
        if how == 0:
            return pick(["", "+", "-", " ", "1.0", "1e3", "0x10", "0o7", "0b1", "true", "NaN", "inf", "1,000", "5 5", "--5", "+-5",
                         "- 5", "½", "Ⅴ", "²", "𝟝_", "5\0", "\0", "5;", "'5'", "0_0", "00", "-0", "\u22125"])
        if how == 1 and self.chance(50):  # around the longest text that pydantic reads
            size = pick([4299, 4300, 4300, 4301, 4301, 6000])
            return pick([pick("019") * size, "-" + "9" * size, " " * size + "7", "\u3000" * (size - 1) + "7", "+" + "0" * (size - 2) + "7"])
        if how == 2:
            number = "0" * rng.randint(1, 40) + number
        return pick(BLANKS) + pick(["", "", "", "+", "-"]) + self.digits(number) + pick(BLANKS)

    def datetime(self) -> str:
        pick, rng = self.rng.choice, self.rng
        if self.chance(35):
            return self.unix_time()
        t = EPOCH + timedelta(microseconds=pick([m for m in MOMENTS if math.isfinite(m)]))
        day, time = ("%04d" % t.year, t.month, t.day), (t.hour, t.minute, t.second)
        width, between, zone = 2, pick(["T", "T", " "]), pick(["", "Z", "+00:00", "+02:00"])
        fraction = pick(["", ".%06d" % t.microsecond])
        # mostly one oddity at a time, or it would be bad for several reasons at once
        odd = {rng.randrange(9) for _ in range(pick([0, 1, 1, 1, 1, 1, 2, 4]))}
        if 0 in odd:
            day = pick([("2024", 2, 29), ("2023", 2, 29), ("1900", 2, 29), ("2000", 2, 29), ("2100", 2, 29), ("2023", 13, 1), ("2023", 0, 1),
                        ("2023", 4, 31), ("2023", 12, 31), ("2023", 1, 0), ("0000", 1, 1), ("0001", 1, 1), ("9999", 12, 31), ("10000", 1, 1),
                        ("999", 1, 1), ("-001", 1, 1), ("2023", 1, 32)])
        if 1 in odd:
            time = pick([(24, 0, 0), (23, 59, 60), (23, 59, 61), (23, 60, 0), (23, 59, 59), (99, 99, 99), (0, 0, 0)])
        if 2 in odd:
            width = 1
        if 3 in odd:
            between = pick(["t", "  ", "_", "", "\n", "\u00a0", "\t"])
        text = "%s-%0*d-%0*d" % (day[0], width, day[1], width, day[2]) + between + "%0*d:%0*d" % (width, time[0], width, time[1])
        if 4 in odd:
            digits = "%06d" % t.microsecond
            fraction = pick([".", ".", ".", ".", ",", ""]) + pick([digits + "999999", digits + "9999999", digits[:3], digits[:1], "",
                                                                  digits + "0" * rng.randint(0, 7), "999999", "5", "0000005"])
        if not self.chance(15):
            text += ":%0*d" % (width, time[2]) + fraction
        if 5 in odd:
            zone = pick(["z", "-00:00", "+0200", "+02", "-07:30", "+23:59", "-23:59", "+24:00", "-24:00", "+24", "+2359", "+0260", "-00:99", "+2299", "+2399",
                         "+2", "+020", "+2:00", "+02:0", "+02:000", "+99", " +02:00", " UTC", "\u221202:00", "Z+02:00", "+02:00:00", "+", "-"])
        text += zone
        if 6 in odd:
            text += pick(["\n", "\n", "\n\n", "\r\n", " ", "\0", "\u0085", "x"])
        if 7 in odd and self.chance(30):
            text = pick([" ", "\n", "\ufeff", "+", "-"]) + text
        return self.digits(text, 40) if 8 in odd else text

    def unix_time(self) -> str:
        pick, rng = self.rng.choice, self.rng
        how = rng.randrange(8)
        if how == 0:
            return pick(["nan", "NaN", "-nan", "+NAN", "inf", "-inf", "Infinity", "+INFINITY", " inf\n", "1e400", "-1e400", "1e308", "9" * 400, "1_0e4_00",
                         "١e٤٠٠", "infinit", "nan(1)", "1.8e308", "1.7976931348623158e308", "1.7976931348623159e308"])
        if how == 1:
            return pick(["", ".", "1e", "e1", "1e+", "1e1.5", "0x10", "0x1p3", "1.2.3", "--1", "+-1", "1 000", "now", "today", "yesterday", "epoch",
                         "2023-01-01", "20230101", "2023", "13:00", "2023-01-01T", "1e5e5", "5\0", "1d", "1f", "1L", "1j", "allballs", "J2451187"])
        if how == 2:  # halves of a microsecond
            return pick(["", "-"]) + pick(["0.0000005", "0.0000015", "0.0000025", "5e-7", "25e-7", "0.5000005", "0.4999995", "0.0000004", "0.0000006"])
        if how == 3:  # at the ends, and where one unit turns to the next
            return pick(["", "-"]) + pick(["2e10", "20000000000", "20000000001", "20000000000.000001", "2e13", "2.0000000001e13", "2e16", "3e20", "3.0000000001e20",
                                           "300000000000000000000", "300000000000000000001", "300000000000000032768", "300000000000000032769", "4e20", "1e-400",
                                           "4.9e-324", "0", "-0.0", ".5", "5.", "0e999999999999999999999", "1e-99999999999999999999"])
        seconds = pick([m for m in MOMENTS if math.isfinite(m)]) / 1e6 * pick([1, 1, 1000, 1e6, 1e9])
        seconds += pick([0, 0, 1e-6, -1e-6, 5e-7, rng.random()])
        text = pick([repr(seconds), "%.0f" % seconds, "%.6f" % seconds, "%.7f" % seconds, "%e" % seconds, "%.15E" % seconds,
                     "%.30f" % seconds, "0" * 500 + "%.0f" % abs(seconds), "%.9f" % seconds + "0" * 800 + "1", "%de%d" % (rng.randint(0, 10 ** 9), rng.randint(-30, 30))])
        return pick(BLANKS) + pick(["", "", "", "+"]) + self.digits(text, 8) + pick(BLANKS)

    # -- how they are written -----------------------------------------------

    def encode(self, text: str, raw: bool) -> str:
        """Text as it may stand in a query string; raw: with oddities that a browser would not send."""
        out = []
        odd = raw and self.chance(40)
        for char in text:
            if char.isascii() and (char.isalnum() or char in "-_.:{}~" or raw and char in ";,/?@!$'()*\"<>[]\\^`| ") and not (odd and self.chance(20)):
                out.append(char)
            elif char == " " and self.chance(50):
                out.append("+")
            elif raw and not char.isascii() and ord(char) < 256 and self.chance(15):
                out.append(char)  # a byte as it is, not percent-encoded
            else:
                form = self.rng.choice(["%%%02X", "%%%02x"])
                out.append("".join(form % byte for byte in char.encode()))
        if odd and self.chance(50):
            at = self.rng.randint(0, len(out))
            out.insert(at, self.rng.choice(["%", "%4", "%zz", "%%41", "%C3", "%E2%82", "%ED%A0%80", "%C0%AF", "%E0%80%80", "%E0%9F%BF", "%F0%8F%BF%BF", "%F4%90%80%80", "%FF", "%F0%9F%98",
                                            "\xe9", "\xff", "%u0041", "%2541", "%C3\xe9", "%E2%82%41", "%80", "%fE", "%F8%88%80%80%80"]))
        return "".join(out)

    def unknown_key(self) -> str:
        key, pick = self.rng.choice(model.FILTERS), self.rng.choice
        return pick([key.upper(), key + "[]", key + "s", key[:-1], " " + key, key + " ", "", "x", "user", "statsu", "\0", key + "\0", 'a"b\\c', "\x01\x1f\x7f",
                     "é", "😀", "\ufffd", "\u2028", "__proto__", "id,status", "batch__id", "k" * 300, "\U0010ffff", key + "=5", "'; --", "</script>", "null"])

    def path(self, wild: bool) -> str:
        if not wild:
            return str(self.rng.choice([BATCHES[0]] * 8 + BATCHES))
        text = self.rng.choice([self.uuid(), str(BATCHES[0]).upper(), "{%s}" % BATCHES[0], "urn:uuid:%s" % BATCHES[0], str(BATCHES[0]).replace("-", ""),
                                str(BATCHES[0]) + self.rng.choice(BLANKS), "x", "..", "null"]).replace("/", "")
        path = "".join(c for c in self.encode(text, True) if c.isascii() and c not in "/?# +") + self.rng.choice(["", "", "", "+", "%", "%E9"])
        return path if unquote(path) else "x"

    def request(self) -> Tuple[str, str]:
        """The path's segment, and the query string as ASGI servers hand it over: its bytes as latin-1."""
        mood = self.rng.choice(["good", "good", "good", "one", "one", "one", "wild"])
        keys = [self.rng.choice(model.FILTERS) for _ in range(self.rng.choice([0, 1, 1, 1, 2, 2, 3, 4, 6]))]
        for key in list(keys):  # lists of several, scalars given twice
            while self.chance(45 if key in LISTS else 10):
                keys.insert(self.rng.randint(0, len(keys)), key)
        odd = self.rng.randrange(len(keys)) if keys and mood == "one" else -1
        pieces = []
        for n, key in enumerate(keys):
            wild = mood == "wild" or n == odd
            value = self.any[KINDS[key]]() if wild else self.plain(key)
            pieces.append(self.encode(key, False) if not wild or self.chance(80) else "".join("%%%02x" % ord(c) if self.chance(30) else c for c in key))
            if value or self.chance(80):
                pieces[-1] += "=" + self.encode(value, wild)
        if self.chance(60 if mood == "wild" else 4):
            piece = self.encode(self.unknown_key(), self.chance(50)) + self.rng.choice(["", "=", "=1", "==", "=%00"])
            pieces.insert(self.rng.randint(0, len(pieces)), piece)
        if self.chance(40 if mood == "wild" else 2):
            pieces.insert(self.rng.randint(0, len(pieces)), self.rng.choice(["", "", "&", "="]))
        query = "&".join(pieces)
        if mood == "wild" and query and self.chance(30):  # a byte too many, too few, or another
            at = self.rng.randrange(len(query))
            byte = self.rng.choice(["%", "&", "=", "+", ";", "#", "?", "\x80", "\xff", "\x01", "\x7f", " ", '"', "\\", "{", "}", "-", "_", "0", "", "%00", "%26"])
            query = query[:at] + byte + query[at + self.rng.choice([0, 1]):]
        return self.path(self.chance(50 if mood == "wild" else 5)), query


# ---------------------------------------------------------------------------
# The comparison
# ---------------------------------------------------------------------------

def once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def ours(conn: psycopg.Connection, path: str, query: str) -> Tuple[Any, Any, str, List[UUID]]:
    """Status, body, the transaction's time, and the jobs that are CANCELED afterwards; all rolled back."""
    with conn.transaction(force_rollback=True):
        try:
            status, body, now = conn.execute(
                "SELECT status_code, body, now() FROM cancel_jobs_http(%s, %s)", (path, query)).fetchone()
            canceled = conn.execute("SELECT id FROM jobs WHERE status = 'CANCELED' ORDER BY id").fetchall()
            return status, body, now.astimezone(timezone.utc).isoformat(), [id for id, in canceled]
        except psycopg.Error as error:
            return f"SQLSTATE {error.sqlstate}", str(error), "", []
        except ValueError as error:
            return "no JSON", str(error), "", []


def short(value: Any, size: int = 1500) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= size else f"{text[:size]}… ({len(text)} characters)"


def compare(conn: psycopg.Connection, count: int, seed: int) -> int:
    generator = Generator(random.Random(seed))
    unexplained = 0
    allowed: Counter = Counter()
    statuses: Counter = Counter()
    differing = canceled_jobs = 0
    already = sorted(job.id for job in JOBS if job.status == "CANCELED")

    for _ in range(count):
        path, query = generator.request()
        model_status, answer = model.request(path, query.encode("latin-1"))
        problems, differences = expected_422(path, query, [] if model_status == 200 else answer["detail"])
        status, body, now, canceled = ours(conn, path, query)
        if problems:
            expected_status, expected = 422, {"detail": problems}
            effect = already
        else:
            expected_status, expected = 200, expected_200(answer, now)
            effect = sorted(already + [UUID(job["id"]) for job in expected["data"]["jobs"]])
            canceled_jobs += len(expected["data"]["jobs"])
        statuses[expected_status] += 1

        if (status, body) == (expected_status, expected) and canceled == effect:
            allowed.update(set(differences))
            differing += bool(differences)
            continue
        unexplained += 1
        if unexplained <= 20:
            print(f"not as expected:\n  batch__id     {path!r}\n  query string  {short(query)!r}\n"
                  f"  model         {model_status} {short(answer)}\n  expected      {expected_status} {short(expected)}\n"
                  f"  ours          {status} {short(body)}")
            if canceled != effect:
                print(f"  canceled      {sorted(set(canceled) - set(already))}")

    print(f"# {model.VERSIONS}; {statuses[200]} requests were good, {statuses[422]} bad; {canceled_jobs} jobs canceled, and rolled back")
    print(f"{count} requests, seed {seed}, {differing} allowed differences"
          + "".join(f"\n  {n:6} {kind}" for kind, n in allowed.most_common()))
    print(f"{unexplained} unexplained differences")
    return 1 if unexplained else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="number of requests (default 500)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6), help="to repeat a run")
    args = parser.parse_args()

    sys.stdout.reconfigure(errors="backslashreplace")
    set_json_loads(lambda text: json.loads(text, object_pairs_hook=once))
    database = f"pasqal_differential_{random.SystemRandom().randrange(10 ** 9)}"
    with psycopg.connect("", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        try:
            with psycopg.connect(f"dbname={database}", autocommit=True) as conn:
                conn.execute("SET DateStyle = ISO")  # psycopg reads no other
                fill(conn)
                return compare(conn, args.count, args.seed)
        finally:
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")


if __name__ == "__main__":
    sys.exit(main())

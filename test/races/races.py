#!/usr/bin/python3
"""Races by name: a call is stopped at a seam, and another session does something.

    races.py specs DIR      writes DIR/specs and DIR/expected for isolationtester
    races.py schedule       prints the names of the specs
    races.py table          prints the tables of README.md
    races.py check          are they what is there, between the markers?
    races.py update         puts them there

What is to come out stands in cells.txt. The expected output is made from that,
never from a run.
"""

import re
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
MARKERS = ("<!-- made by test/races/races.py -->", "<!-- end of what races.py made -->")

ANN = "jsonb_build_object('user_id', 'ann')"

# How each kind of call is made, and whether the table is partitioned
CALLS = {
    "batch": (f"SELECT answer(cancel_jobs(batch(), {ANN}));", False),
    "waited": (f"SELECT answer(cancel_jobs(batch(), {ANN}));", False),
    "named": ("SELECT answer(cancel_jobs(batch(), jsonb_build_object('user_id', 'ann', "
              "'id', jsonb_build_array(job('a'), job('b'), job('c'), job('d')))));", False),
    "skip": ("SET LOCAL pasqal_jobs.locked_jobs = 'skip'; "
             f"SELECT answer(cancel_jobs(batch(), {ANN}));", False),
    "partitioned": (f"SELECT answer(cancel_jobs(batch(), {ANN}));", True),
    "repeatable": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; "
                   f"SELECT answer(cancel_jobs(batch(), {ANN}));", False),
    "chunks": (f"CALL cancel_jobs_in_chunks(batch(), {ANN}, 1000);", False),
}
JOB_BY_JOB = f"CALL cancel_jobs_in_chunks(batch(), {ANN}, 1);"

# The cancel that the call has to wait for where it is waited
HOLD = "BEGIN; SELECT answer(cancel_jobs(batch(), jsonb_build_object('user_id', 'nobody')));"

SHOWN = "RETURNING right(id::text, 1) || ' ' || status AS deed;"


def update(label, change, condition=""):
    return f"UPDATE jobs SET {change} WHERE id = job('{label}'){condition} {SHOWN}"


# deed: (SQL, column of its result, the job that it is about, its name in the table)
DEEDS = {
    "start": (update("a", "status = 'RUNNING'", " AND status = 'PENDING'"), "deed", "a", "a starts"),
    "finish": (update("a", "status = 'DONE'", " AND status IN ('PENDING', 'RUNNING')"), "deed", "a", "a is DONE"),
    "fail": (update("a", "status = 'ERROR'", " AND status IN ('PENDING', 'RUNNING')"), "deed", "a", "a is ERROR"),
    "leave": (update("a", "user_id = 'bob'"), "deed", "a", "a no longer matches"),
    "return": (update("a", "user_id = 'ann'"), "deed", "a", "a matches again"),
    "arrive": (update("d", "user_id = 'ann'"), "deed", "d", "d comes to match"),
    "requeue": (update("c", "status = 'PENDING'"), "deed", "c", "c, DONE, is PENDING again"),
    "edit": (update("a", "runs = 20"), "deed", "a", "a is edited, and still matches"),
    "delete": (f"DELETE FROM jobs WHERE id = job('a') {SHOWN}", "deed", "a", "a is deleted"),
    "insert": ("INSERT INTO jobs (id, batch_id, project_id, runs, user_id, creation_order) "
               f"VALUES (job('e'), batch(), job('0'), 10, 'ann', 5) {SHOWN}", "deed", "e", "e, which matches, is inserted"),
    "move": (update("a", "batch_id = batch(2)"), "deed", "a", "a leaves the batch"),
    "partition": (update("a", "runs = 200"), "deed", "a", "a moves to another partition"),
    "lock": ("SELECT right(id::text, 1) || ' ' || status AS deed FROM jobs WHERE id = job('a') FOR UPDATE;",
             "deed", "a", "a is locked"),
    "cancel batch": ("SELECT answer(cancel_jobs(batch()));", "answer", "a", "another cancel of the batch"),
    "cancel one": ("SELECT answer(cancel_jobs(batch(), jsonb_build_object('id', job('a'))));", "answer", "a",
                   "another cancel, of a alone"),
    "holder cancels": ("SELECT answer(cancel_jobs(batch(), jsonb_build_object('id', "
                       "jsonb_build_array(job('a'), job('e')))));",
                       "answer", "a", "the cancel that it waited for was of a"),
    "add column": ("ALTER TABLE jobs ADD COLUMN note text;", None, "a", "ADD COLUMN"),
    "alter type": ("ALTER TABLE jobs ALTER COLUMN runs TYPE bigint;", None, "a", "type of runs"),
    "alter status": ("ALTER TABLE jobs ALTER COLUMN status TYPE text;", None, "a", "type of status"),
    "drop": ("DROP TABLE jobs;", None, "a", "DROP TABLE"),
    "rename label": ("ALTER TYPE jobstatus RENAME VALUE 'CANCELED' TO 'GONE';", None, "a",
                     "label CANCELED renamed to GONE"),
    "revoke": ("REVOKE UPDATE ON jobs FROM caller;", None, "a", "REVOKE UPDATE"),
    "replace": ("DO $$ BEGIN DROP TABLE jobs; PERFORM create_jobs_table(); END $$;", None, "a", "DROP and CREATE TABLE"),
}

# How the transaction of a deed ends, if it stays open until the call waits for
# it or has ended: (suffix of its name in cells.txt, step, in the table)
ENDS = {", open": ("commit", ", committed later"), ", undone": ("rollback", ", rolled back later")}


class Deed:
    def __init__(self, name):
        base = re.sub(", .*", "", name)
        if base not in DEEDS or name[len(base):] not in ("", *ENDS):
            sys.exit(f"cells.txt: no deed is called {name}")
        self.sql, self.column, self.subject, self.title = DEEDS[base]
        self.step = re.sub(r"\W+", "_", name)
        self.end, title = ENDS.get(name[len(base):], (None, ""))
        self.title += title
        # begins before the call, which waits for its end
        self.holds = base == "holder cancels"
        if base == "lock" or self.holds:
            self.end = self.end or "commit"
        if self.end:
            self.sql = "BEGIN; " + self.sql

    def shown(self, result):
        if self.column is None:
            return ""
        return result_set((self.column,), [] if result == "none" else [(result,)])


class Seam:
    def __init__(self, header):
        name, text = header.split(": ", 1)
        self.call, self.seam = name.split()
        self.text, _, way = text.partition("; by ")
        # (seam, deed) by which the call gets there
        self.way = [tuple(stop.split()) for stop in way.split(", ")] if way else []
        self.cells = []

    @property
    def spec(self):
        return f"{self.call}-{self.seam}"


class Cell:
    def __init__(self, line):
        fields = [field.strip() for field in line.split("|")]
        self.name, self.waits, self.answer, self.state, self.result = fields
        self.deed = Deed(self.name)
        if self.waits not in ("-", "deed", "call"):
            sys.exit(f"cells.txt: {line}")


def read_cells():
    seams = []
    for line in (HERE / "cells.txt").read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        if "|" in line:
            seams[-1].cells.append(Cell(line))
        else:
            seams.append(Seam(line))
    return seams


# ---------------------------------------------------------------------------
# Specs and their expected output
# ---------------------------------------------------------------------------

def step_of(seam):
    return re.sub(r"\W+", "_", seam)


def result_set(names, rows, numbers=False):
    """As libpq's PQprint shows it"""
    widths = [max(len(v) for v in column) for column in zip(names, *rows)]

    def line(values, right):
        return "|".join(v.rjust(w) if right else v.ljust(w) for v, w in zip(values, widths))

    lines = [line(names, numbers), "+".join("-" * w for w in widths)]
    lines += [line(row, numbers) for row in rows]
    return "\n".join(lines) + f"\n({len(rows)} row{'' if len(rows) == 1 else 's'})\n\n"


def shown_answer(seam, answer):
    if answer.startswith("ERROR"):
        return answer + "\n"
    if seam.call == "chunks":
        return result_set(("canceled", "failed"), [tuple(re.findall(r"\d+", answer))], numbers=True)
    return result_set(("answer",), [(answer,)])


class Spec:
    """One permutation a cell, and what isolationtester is to print"""

    def __init__(self, seam):
        self.seam = seam
        self.sessions = {"canceler": {}, "worker": {}, "conductor": {}, "holder": {}}
        self.permutations = []
        self.output = [""]
        for cell in seam.cells:
            self.permutation(cell)
        self.sessions = {name: steps for name, steps in self.sessions.items() if steps}
        self.output[0] = f"Parsed test spec with {len(self.sessions)} sessions\n"

    def step(self, session, name, sql, marker=""):
        self.sessions[session][name] = sql
        self.steps.append(name + marker)
        return f"step {name}: {sql}"

    def permutation(self, cell):
        seam, self.steps, out = self.seam, [], []
        deed, look = cell.deed, "SELECT state();"
        call = JOB_BY_JOB if seam.seam == "between-chunks" else CALLS[seam.call][0]

        if deed.holds:
            out.append(self.step("holder", deed.step, deed.sql) + "\n" + deed.shown(cell.result))
        elif seam.call == "waited":
            out.append(self.step("holder", "hold", HOLD) + "\n" + result_set(("answer",), [("~",)]))
        out.append(self.step("canceler", "cancel", call) + " <waiting ...>\n")
        if deed.holds:
            out.append(self.step("conductor", "call_waits_for_holder", "CALL waits('canceler', 'holder');") + "\n")
            out.append(self.step("holder", "holder_" + deed.end, deed.end.upper() + ";") + "\n")
        elif seam.call == "waited":
            out.append(self.step("holder", "release", "COMMIT;") + "\n")

        # the way to the seam
        at = seam.way[0][0] if seam.way else seam.seam
        out.append(self.step("conductor", step_of("at " + at), f"CALL reached('{at}');") + "\n")
        for number, (stop, name) in enumerate(seam.way):
            following = seam.way[number + 1][0] if number + 1 < len(seam.way) else seam.seam
            first = Deed(name)
            out.append(self.step("worker", "first_" + first.step, first.sql) + "\n" + first.shown("a PENDING"))
            out.append(self.step("conductor", step_of("go " + stop), f"CALL go_on('{stop}', '{following}');") + "\n")

        canceled = "step cancel: <... completed>\n" + shown_answer(seam, cell.answer)
        state = "\n" + result_set(("state",), [(cell.state,)])
        result = deed.shown(cell.result)

        def go():
            return self.step("conductor", step_of("go " + seam.seam), f"CALL go_on('{seam.seam}');") + "\n"

        def end():
            return self.step("worker", deed.end, deed.end.upper() + ";") + "\n"

        if cell.waits == "deed":
            out.append(self.step("worker", deed.step, deed.sql, "(cancel)") + " <waiting ...>\n")
            out.append(self.step("conductor", "deed_waits", "CALL waits('worker', 'canceler');") + "\n")
            out.append(go())
            out.append(canceled + f"step {deed.step}: <... completed>\n" + result)
            out.append(self.step("worker", "worker_looks", look) + state)
            if deed.end:
                out.append(end())
        else:
            if not deed.holds:
                out.append(self.step("worker", deed.step, deed.sql) + "\n" + result)
            out.append(go())
            if cell.waits == "call":
                out.append(self.step("conductor", "call_waits", "CALL waits('canceler', 'worker');") + "\n")
                out.append(end())
            out.append(canceled)
            out.append(self.step("canceler", "look", look) + state)
            if deed.end and cell.waits == "-" and not deed.holds:
                out.append(end())

        self.permutations.append(self.steps)
        names = " ".join(step.split("(")[0] for step in self.steps)
        self.output.append(f"\nstarting permutation: {names}\n" + "".join(out))

    def text(self):
        seam = self.seam
        stops = ", ".join(f"'{s}'" for s in dict.fromkeys([stop for stop, _ in seam.way] + [seam.seam]))
        lines = [
            f"# {seam.text[0].upper()}{seam.text[1:]}", "",
            "setup\t\t{ CALL make_jobs(%s); }" % str(CALLS[seam.call][1]).lower(),
            "teardown\t{ DROP TABLE IF EXISTS jobs; CALL restore_label(); }",
        ]
        for session, steps in self.sessions.items():
            lines += ["", f"session {session}"]
            if session == "canceler":
                lines.append("setup\t{ CALL stop_at(ARRAY[%s]); }" % stops)
            lines += ["step %s\t{ %s }" % step for step in steps.items()]
        lines.append("")
        lines += ["permutation " + " ".join(steps) for steps in self.permutations]
        return "\n".join(lines) + "\n"


def write_specs(directory):
    for name in ("specs", "expected"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for seam in read_cells():
        spec = Spec(seam)
        (directory / "specs" / f"{seam.spec}.spec").write_text(spec.text())
        (directory / "expected" / f"{seam.spec}.out").write_text("".join(spec.output))


# ---------------------------------------------------------------------------
# The table of the documentation
# ---------------------------------------------------------------------------

def word(seam, cell):
    """What a cell says of the job that the deed is about"""
    if cell.waits == "deed":
        return "waits"
    subject = cell.deed.subject
    if cell.answer.startswith("ERROR"):
        what = "error"
    elif seam.call == "chunks":
        canceled, failed = map(int, re.findall(r"\d+", cell.answer))
        # b is canceled and c fails whatever the deed is; only a can be one more
        if subject == "c":
            what = "failed"
        elif subject != "a":
            what = "left out"
        else:
            what = "failed" if failed > 1 else "canceled" if canceled > 1 else "left out"
    else:
        canceled, errors = cell.answer.split("~")
        reasons = dict(reason.split(" ", 1) for reason in errors.strip().split(", ") if reason)
        what = "canceled" if subject in canceled.split() else reasons.get(subject, "left out")
        what = what.replace("NO MATCH", "no match").replace("NOT FOUND", "not found").replace("KEPT", "kept").replace("LOCKED", "locked")
    return "call waits; " + what if cell.waits == "call" else what


# The calls of each table, and why it has cells that were not tried
TABLES = {
    ("batch",):
        "`·`: no read sees a deed that ends later, and an UPDATE meets it as at after-match; where a is canceled "
        "already, such a deed waits like the others. a can match again only where it has left.",
    ("waited", "named"):
        "`·`: at after-update a is canceled, so a deed with it waits, whenever it would end; e is not named, or comes "
        "too late for the UPDATE. What the call waited for is over by then.",
    ("skip",):
        "`·`: nothing but the lock of the batch is waited for, so that an open deed with a is `locked` at after-match; at "
        "after-lock-rows a is locked by the call, so a deed with it waits, whenever it would end.",
    ("partitioned",):
        "`·`: the UPDATE meets changes that end later as at after-match; at after-update those with a wait, and no read "
        "sees the others. a can match again only where it has left.",
    ("repeatable",):
        "`·`: the UPDATE meets changes that end later as at before-update; what the call waited for is over by then. "
        "After the UPDATE there is nothing to look at: it has canceled all jobs that were read as PENDING or RUNNING, "
        "or failed.",
    ("chunks",):
        "`·`: a chunk that comes next meets changes that end later as at before-update; at before-look no read sees "
        "them, at before-commit those with a wait. a can match again only where it has left. DDL that waits for a "
        "cancel does so whatever it changes. A chunk has the "
        "other seams of `batch`, too, but reads nothing between after-lock and before-update, and nothing after its "
        "last UPDATE if that has canceled all its jobs.",
}


def table():
    seams = read_cells()
    lines = ["", "| seam | when |", "| --- | --- |"]
    lines += [f"| {seam.call} {seam.seam} | {seam.text} |" for seam in seams]
    for calls, untried in TABLES.items():
        columns = [seam for seam in seams if seam.call in calls]
        names = dict.fromkeys(base + end for base in DEEDS for end in ("", *ENDS))
        deeds = [name for name in names if any(cell.name == name for seam in columns for cell in seam.cells)]
        heads = [f"{seam.call} {seam.seam}" if len(calls) > 1 else seam.seam for seam in columns]
        lines += ["", f"`{', '.join(calls)}`:" if len(calls) == 1 else "`" + "`, `".join(calls) + "`:", ""]
        lines.append("| deed | " + " | ".join(heads) + " |")
        lines.append("| --- " * (len(columns) + 1) + "|")
        for deed in deeds:
            words = [next((word(seam, cell) for cell in seam.cells if cell.name == deed), "·") for seam in columns]
            lines.append(f"| {Deed(deed).title} | " + " | ".join(words) + " |")
        lines += ["", *textwrap.wrap(untried, 120, break_on_hyphens=False)]
    count = sum(len(seam.cells) for seam in seams)
    return "\n".join([MARKERS[0], "", f"{count} races at {len(seams)} seams:", *lines, "", MARKERS[1]])


def table_of(text):
    begin, end = (text.find(marker) for marker in MARKERS)
    if begin < 0 or end < begin:
        sys.exit("README.md has no markers for the tables of races.py")
    return begin, end + len(MARKERS[1])


def main(action, *arguments):
    if action == "specs":
        write_specs(Path(*arguments))
    elif action == "schedule":
        print(*(seam.spec for seam in read_cells()), sep="\n")
    elif action == "table":
        print(table())
    elif action in ("check", "update"):
        file = HERE / "README.md"
        text = file.read_text()
        begin, end = table_of(text)
        if text[begin:end] == table():
            return
        if action == "check":
            sys.exit("test/races/README.md is not up to date: test/races/races.py update")
        file.write_text(text[:begin] + table() + text[end:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["help"]))

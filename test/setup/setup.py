#!/usr/bin/python3
"""The set-up as a new user meets it: terminals, signals, environments, messages; prints TAP.

Runs as a part of test/suite.sh, as the user who owns the server there, which is never root, and starts
sandboxes of its own. Its arguments name cases (default: all), or those to leave out after "but". SETUP_LONG=1 tries
every signal at ten moments. What needs a machine of its own is in machines.sh. What needs a terminal is skipped where
there are no pseudo-terminals, as in a bare chroot.
"""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

PROJECT = Path(__file__).resolve().parents[2]
LONG = bool(os.environ.get("SETUP_LONG"))
PATIENCE = 180  # seconds until a script counts as stuck
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")

# A job in the background, or under nohup, inherits ignored signals, which no
# shell could trap again
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

tests = failures = 0
demo_seconds = 6.0  # how long the demo takes here, once that is known


def ok(good: Any, name: str, *diagnostics: Any) -> None:
    global tests, failures
    tests += 1
    failures += not good
    print(f"{'ok' if good else 'not ok'} {tests} - {name}", flush=True)
    for value in () if good else diagnostics:
        print("# " + str(value).replace("\n", "\n# "), flush=True)


def skip(name: str) -> None:
    global tests
    tests += 1
    print(f"ok {tests} - {name} # SKIP there are no pseudo-terminals here", flush=True)


def note(text: str) -> None:
    print(f"# {text}", flush=True)


def has_terminals() -> bool:
    try:
        for descriptor in pty.openpty():
            os.close(descriptor)
    except OSError:
        return False
    return True


TERMINALS = has_terminals()


class Result(NamedTuple):
    status: int  # as a shell shows it
    output: str
    seconds: float  # from the signal on, if there was one
    processor: float  # seconds of it that the command used


def user_environment(tmp: Path, changes: Dict[str, Optional[str]]) -> Dict[str, str]:
    """What a user's shell would have: nothing of the sandbox that this test runs in; and no optimizer, which nine builds have no use for."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp), "TERM": "xterm", "LANG": "C.UTF-8", "TMPDIR": str(tmp),
           "PG_CONFIG": PG_CONFIG, "SANDBOX_COPT": "-O0"}
    env.update({key: value for key, value in changes.items() if value is not None})
    return {key: value for key, value in env.items() if key not in changes or changes[key] is not None}


def fork_on_pipe() -> Tuple[int, int]:
    """As pty.fork, but the child's input is empty and its output goes into a pipe."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
    os.close(writer)
    return pid, reader


class Terminal:
    """A command on a pseudo-terminal of 80 x 24 (without any: on a pipe), in a temporary directory of its own."""

    def __init__(self, *command: str, cwd: Path = PROJECT, **env: Optional[str]) -> None:
        self.tmp = Path(tempfile.mkdtemp(prefix="setup."))
        self.output = ""
        self.pressed = 0  # keys, one each time that the demo waits for one
        self.pid, self.master = pty.fork() if TERMINALS else fork_on_pipe()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, user_environment(self.tmp, env))
        if TERMINALS:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.started = time.monotonic()

    def read(self, seconds: float, until: Optional[str] = None) -> bool:
        """Reads until the text is there, or for some seconds; false if the output ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until and re.search(until, self.output, re.M):
                return True
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:  # the terminal's last user has gone
                    data = b""
                if not data:
                    return False
                self.output += data.decode(errors="replace").replace("\r", "")
                if self.output.count("-- any key: next step") > self.pressed:
                    self.pressed += 1
                    os.write(self.master, b" ")
        return not until

    def end(self, kind: Optional[str] = None) -> Result:
        """Interrupts it (Ctrl-C, TERM, or HUP by a terminal that is closed), and waits for its end."""
        begun = time.monotonic() if kind else self.started
        if kind == "INT":
            os.write(self.master, b"\x03")
        elif kind == "TERM":
            os.kill(self.pid, signal.SIGTERM)
        elif kind == "HUP":
            os.close(self.master)
        if kind != "HUP":
            self.read(PATIENCE)
        status, processor = None, 0.0
        while status is None and time.monotonic() - begun < PATIENCE:
            pid, value, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                processor = usage.ru_utime + usage.ru_stime
                status = os.WEXITSTATUS(value) if os.WIFEXITED(value) else 128 + os.WTERMSIG(value)
            else:
                time.sleep(0.02)
        if status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if kind != "HUP":
            os.close(self.master)
        return Result(status if status is not None else -1, self.output, time.monotonic() - begun, processor)

    def left(self) -> List[str]:
        """What the command left: files, processes, settings."""
        found = [f"file {path}" for path in self.tmp.iterdir()]
        mark = f"TMPDIR={self.tmp}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                program = os.readlink(process / "exe")
            except OSError:
                continue
            if any(variable.startswith(mark) for variable in environment) or program.startswith(f"{self.tmp}/"):
                found.append(f"process {process.name}: " + (process / "cmdline").read_text().replace("\0", " "))
        found += [f"setting {path}" for path in Path("/etc/postgresql-common/createcluster.d").glob("pasqal*")]
        shutil.rmtree(self.tmp, ignore_errors=True)
        return found


def run(*command: str, cwd: Path = PROJECT, **env: Optional[str]) -> Tuple[Result, List[str]]:
    terminal = Terminal(*command, cwd=cwd, **env)
    result = terminal.end()
    return result, terminal.left()


def without_headers() -> str:
    """The pg_config of a PostgreSQL that has none: it finds its files relative to itself."""
    root = tempfile.mkdtemp(prefix="bare.")
    bindir, libdir = (Path(subprocess.run([PG_CONFIG, option], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()) for option in ("--bindir", "--pkglibdir"))
    within = f"{root}/usr/lib/postgresql/{bindir.parent.name}"
    os.makedirs(f"{within}/bin")
    os.symlink(libdir, f"{within}/lib")
    os.symlink(bindir / "postgres", f"{within}/bin/postgres")
    return shutil.copy(bindir / "pg_config", f"{within}/bin")


def copy_of_project(files: Dict[str, str]) -> Path:
    copy = Path(tempfile.mkdtemp(prefix="copy."))
    shutil.copytree(PROJECT, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tmp_check*", "output_iso", "results", "*.o", "*.so"))
    for name, text in files.items():
        path = copy / name
        path.write_text(text)
        path.chmod(0o755)
    return copy


# ---------------------------------------------------------------------------
# Messages
# ---------------------------------------------------------------------------

def test_messages() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    goals = re.search(r"^SANDBOX_GOALS = ((?:.*\\\n)*.*)", makefile, re.M).group(1).replace("\\\n", " ").split()
    result, _ = run("make", "help", PG_CONFIG="/nowhere/pg_config")
    missing = [goal for goal in goals + ["install", "installcheck", "clean"] if not re.search(rf"\bmake {goal} ", result.output)]
    ok(result.status == 0 and not missing and len(goals) > 10, "make help names every target, without a PostgreSQL", missing, result.output)
    wide = [line for line in result.output.splitlines() if len(line) > 80]
    ok(not wide, "make help fits into 80 columns", *wide)

    result, _ = run("make", PG_CONFIG="/nowhere/pg_config")
    ok(result.status == 2 and "/nowhere/pg_config is not the pg_config of a PostgreSQL" in result.output
       and len(result.output.splitlines()) <= 4, "plain make without pg_config names what is missing", result)
    bare = without_headers()
    result, _ = run("make", PG_CONFIG=bare)
    ok(result.status == 2 and "has no server headers here: install postgresql-server-dev-" in result.output
       and "postgres.h:" not in result.output, "plain make without the server's headers names the package", result)

    for wrong, words in (("/nowhere/pg_config", "is not the pg_config of a PostgreSQL"), ("/bin/true", "is not the pg_config of a PostgreSQL"),
                         (bare, "there is no postgres.h in")):
        result, left = run("tools/demo.sh", PG_CONFIG=wrong)
        ok(result.status == 1 and f"PG_CONFIG={wrong}" in result.output and words in result.output
           and len(result.output.splitlines()) == 1, f"make demo with {os.path.basename(wrong)} as PG_CONFIG: {words}", result)
        ok(not left, "and leaves nothing", *left)

    # all of a system's programs but sudo
    tools = Path(tempfile.mkdtemp(prefix="tools."))
    for directory in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"):
        for program in Path(directory).iterdir():
            if program.name != "sudo" and not (tools / program.name).exists():
                (tools / program.name).symlink_to(program)
    copy = copy_of_project({"tools/missing.sh": '. "$(dirname "$0")/sandbox.sh"\nsandbox_create a-missing-package\n'})
    result, left = run("bash", "tools/missing.sh", cwd=copy, PATH=str(tools))
    line = "^apt-get update && apt-get install --no-install-recommends a-missing-package$"
    ok(result.status == 1 and re.search(line, result.output, re.M) and "neither root nor sudo" in result.output,
       "neither root nor sudo: the line for an administrator", result)
    ok(not left, "and leaves nothing", *left)
    shutil.rmtree(tools)
    shutil.rmtree(copy)
    shutil.rmtree(bare.split("/usr/")[0])


def test_versions() -> None:
    control = re.search(r"^default_version = '(.*)'", (PROJECT / "pasqal_jobs.control").read_text(), re.M).group(1)
    meta = json.loads((PROJECT / "META.json").read_text())
    changelog = re.match(r"pasqal-jobs \((.*)-\d+\) ", (PROJECT / "debian/changelog").read_text()).group(1)
    found = [meta["version"], meta["provides"]["pasqal_jobs"]["version"], changelog]
    ok(found == [f"{control}.0"] * 3, "META.json and debian/changelog have the version of pasqal_jobs.control", control, found)


# ---------------------------------------------------------------------------
# Environments
# ---------------------------------------------------------------------------

ENVIRONMENTS: List[Dict[str, Optional[str]]] = [
    {"LANG": None, "LC_ALL": "de_DE.UTF-8", "TZ": "America/St_Johns", "PGDATESTYLE": "German", "PGCLIENTENCODING": "LATIN1",
     "PGTZ": "Asia/Kolkata", "PGOPTIONS": "-c bytea_output=escape"},
    {"LANG": None},
    {"LC_ALL": "C", "TZ": "Europe/Paris"},
]

LOOKS = r"""
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('looks');
$node->init;
$node->start;
is($node->safe_psql('postgres', 'SHOW server_encoding; SHOW client_encoding; SELECT datctype FROM pg_database WHERE datname = current_database(); SHOW TimeZone; SHOW DateStyle; SHOW bytea_output'),
	"UTF8\nUTF8\nC.UTF-8\nUTC\nISO, MDY\nhex", 'the environment of a node');
die "the reason of its death\n";
"""


def test_environments() -> None:
    copy = copy_of_project({"test/t/999_looks.pl": LOOKS})
    for env in ENVIRONMENTS if LONG else ENVIRONMENTS[:1]:
        result, left = run("test/suite.sh", "test/t/999_looks.pl", cwd=copy, **env)
        ok(re.search("^ok 1 - the environment of a node$", result.output, re.M), f"nodes have the sandbox's environment, not {env}", result.output)
        ok(not left, "and nothing is left", *left)
    ok(result.status == 1 and "the reason of its death" in result.output.split("== the end of")[-2 if "looks_looks" in result.output else -1]
       and result.output.endswith("1 passed, 1 failed\n"), "a TAP test that dies shows the end of its log", result.output)
    shutil.rmtree(copy)


def test_other_builds() -> None:
    """A PostgreSQL that is no package of Debian's, and has no PL/Proxy."""
    root = Path(tempfile.mkdtemp(prefix="pg."))
    for option in ("--bindir", "--pkglibdir", "--sharedir", "--includedir-server"):
        directory = subprocess.run([PG_CONFIG, option], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        shutil.copytree(directory, f"{root}{directory}", ignore=shutil.ignore_patterns("plproxy*"))
        if option == "--bindir":
            pg_config = f"{root}{directory}/pg_config"
    result, left = run("test/suite.sh", "test/t/005_library.pl", PG_CONFIG=pg_config)
    ok(result.status == 0 and "plproxy is not there for this PostgreSQL; its tests are skipped" in result.output
       and re.search(r"^[1-9]\d* passed, 0 failed$", result.output, re.M), "one's own PostgreSQL, without PL/Proxy", result.output)
    ok(not left, "and leaves nothing", *left)
    shutil.rmtree(root)


def test_time_zones() -> None:
    try:
        import pydantic
        assert pydantic.VERSION.startswith("1.")
    except (ImportError, AssertionError):
        print("# skipped: differential.py under three time zones needs pydantic 1")
        return
    for zone, style in (("Europe/Paris", "German, DMY"), ("Asia/Kolkata", "SQL, MDY"), ("America/St_Johns", "Postgres, DMY")):
        process = subprocess.run([sys.executable, "-B", str(PROJECT / "test/http/differential.py"), "--count", "300", "--seed", "1"],
                                 env=dict(os.environ, PGTZ=zone, PGDATESTYLE=style), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ok(process.returncode == 0 and "\n0 unexplained differences" in process.stdout,
           f"differential.py does not mind the time zone {zone} and DateStyle {style}", process.stdout[-3000:])


# ---------------------------------------------------------------------------
# The long runs
# ---------------------------------------------------------------------------

def test_long() -> None:
    state = Path(tempfile.mkdtemp(prefix="state."))
    for env, words in (({"TRUST_TIMES": "0"}, "TRUST_TIMES=0 is not a number from 1 to"), ({"TRUST_CASES": "many"}, "TRUST_CASES=many is not a number from 1 to"),
                       ({"TRUST_STATE": str(state)}, "cannot be written: it takes a file"), ({"TRUST_STATE": f"{state}/no/state"}, "cannot be written: it takes a file")):
        result, _ = run("test/long/run.sh", "fuzz", **env)
        ok(result.status == 2 and words in result.output, f"test/long/run.sh with {env} does nothing and says why", result)

    copy = copy_of_project({"test/long/fuzz.sh": "#!/bin/bash\necho this part fails; exit 1\n"})
    # half a line, of a machine that stopped
    (state / "state").write_text("|fuzz 0123456789 15.20 seed 20230323|pas")
    result, left = run("test/long/run.sh", "fuzz", cwd=copy, TRUST_STATE=f"{state}/state")
    ok(result.status == 1 and re.search("^fuzz +FAILED ", result.output, re.M) and result.output.count("0 parts passed, 1 failed") == 1
       and "again: TRUST_SEED=20230323 test/long/run.sh fuzz" in result.output, "test/long/run.sh with a part that fails", result.output)
    ok("this part fails" in (state / "state.fuzz.log").read_text(), "what it has printed is kept")
    ok(not left, "and nothing else", *left)
    (copy / "test/long/fuzz.sh").write_text("#!/bin/bash\necho fuzz: this part passes\n")
    for again in "", " and is not run again":
        result, _ = run("test/long/run.sh", "fuzz", cwd=copy, TRUST_STATE=f"{state}/state")
        ok(result.status == 0 and re.search("^fuzz +passed .* fuzz: this part passes$", result.output, re.M)
           and ("is not run again" in result.output) == bool(again), f"a part that passes{again}", result.output)
    with open(copy / "sql/setup.sql", "a") as file:
        file.write("-- a test that has changed\n")
    (copy / "test/long/fuzz.sh").write_text("#!/bin/bash\nexit 1\n")
    result, _ = run("test/long/run.sh", "fuzz", cwd=copy, TRUST_STATE=f"{state}/state")
    ok(result.status == 1, "unless a test has changed", result.output)
    shutil.rmtree(copy)
    shutil.rmtree(state)

    result, _ = run("test/long/races.sh", RACES_PREFIX="/tmp/pg18")
    ok(result.status == 2 and "must have postgresql in its name" in result.output, "a PostgreSQL is not kept where a part of it would go into the system", result)

    # what decides, without a sandbox
    work = Path(tempfile.mkdtemp(prefix="reasons."))
    result, _ = run("python3", "-B", "test/long/mutants.py", "0", "1", "--match", "cancel.c:no_such_function", PASQAL_JOBS_SANDBOX=str(work), RUN_MAKE="make", RUN_TAP="prove")
    ok(result.status == 1 and "no mutant has such a name" in result.output, "mutants of a function that is not there", result)
    (work / "counts").write_text('{"files": []}')
    (work / "reasons").write_text("\tcancel.c:cancel: return;\n")
    result, _ = run("python3", "-B", "tools/coverage.py", f"{work}/counts", f"{work}/reasons")
    ok(result.status == 1 and "takes a reason above it" in result.output, "a line of coverage.txt without a reason", result)
    shutil.rmtree(work)


# ---------------------------------------------------------------------------
# Terminals and signals
# ---------------------------------------------------------------------------

def test_demo() -> None:
    global demo_seconds
    result, left = run("make", "demo", PAGER="less", LESS=None, SANDBOX_COPT=None)
    ok(result.status == 0 and "90000" in result.output and "-- Next:" in result.output.splitlines()[-6:],
       "make demo comes to its end, on a terminal of 80 x 24 by a key for each step", result.status, result.output[-2000:])
    if TERMINALS:
        ok("--More--" not in result.output and "(END)" not in result.output, "without a pager")
    else:
        skip("without a pager")
    ok(len(re.findall("^ERROR:", result.output, re.M) + re.findall(" ERROR:", result.output)) == 1, "with one error, the one it is to show",
       re.findall(".*ERROR:.*", result.output))
    demo_seconds = result.seconds
    note(f"make demo took {demo_seconds:.1f} s, {result.processor:.1f} s of a processor")
    ok(0 < result.processor < 20, "and no more than 20 seconds of a processor", result.processor)
    ok(not left, "and leaves nothing", *left)


STATUS = {"INT": 130, "TERM": 143, "HUP": 129}


def interrupt(kind: str, command: List[str], until: Optional[str], seconds: float, what: str) -> None:
    name = f"{kind} to {' '.join(command)} {what}"
    if kind != "TERM" and not TERMINALS:
        skip(name)
        return
    terminal = Terminal(*command)
    running = terminal.read(PATIENCE, until) if until else True
    running = running and terminal.read(seconds)
    result = terminal.end(kind if running else None)
    expected = {STATUS[kind]}
    if "-- Next:" in result.output or not until and kind == "HUP":
        expected.add(0)  # the demo may come to its end first; after HUP nobody reads its last words
        running = True
    if command[0] == "make":  # make has its own words for what its child's status was
        expected.add(2)
    left = terminal.left()
    ok(running and result.status in expected and result.seconds < 60 and not left,
       f"{name}: {result.status}, nothing left",
       f"running {running}, expected {expected}, {result.seconds:.1f} s", *left, result.output[-3000:])


def test_signals() -> None:
    # a moment of each step of the demo
    for kind, until, seconds in (("INT", "^== building", 0.0), ("TERM", "^== building", 1.5), ("HUP", "^CREATE EXTENSION", 0.0),
                                 ("INT", "ERROR:  unrecognized", 0.0)):
        interrupt(kind, ["tools/demo.sh"], until, seconds, f"{seconds:.1f} s after {until}")
    for n in range(10 if LONG else 0):
        for kind in STATUS:
            seconds = 0.1 + n * demo_seconds / 10
            interrupt(kind, ["tools/demo.sh"], None, seconds, f"after {seconds:.1f} s")
    # what a user types
    interrupt("INT", ["make", "demo"], "^CREATE EXTENSION", 0, "as the demo begins")

    # by the time since prove began, since it holds back its output
    moments = [("INT", "test/t/012_crash.pl", "prove", 5.0), ("TERM", "service", "prove", 3.0), ("HUP", "installcheck", r"(^test|ok [0-9]+ +-) calls ", 0.0)]
    if LONG:
        moments += [("INT", "installcheck", "building", 1.0), ("INT", "installcheck", "^test (setup|cancel) ", 0.0),
                    ("INT", "installcheck", "^test (lock-timeout|cancel-filtered) ", 0.0), ("INT", "test/t/030_shards.pl", "prove", 6.0),
                    ("INT", "test/t/021_chunks.pl", "prove", 2.0), ("TERM", "test/t/012_crash.pl", "prove", 4.0),
                    ("HUP", "test/t/012_crash.pl", "prove", 8.0), ("HUP", "test/t/030_shards.pl", "prove", 3.0),
                    ("INT", "clusters", "clusters.sh", 12.0), ("INT", "differential", "differential.py", 1.0), ("INT", "service", "prove", 1.0),
                    ("TERM", "installcheck", "^test (lock-timeout|cancel-filtered) ", 0.0)]
    for kind, part, until, seconds in moments:
        interrupt(kind, ["test/suite.sh", part], until, seconds, f"{seconds} s after {until}")


CASES = {"messages": test_messages, "versions": test_versions, "environments": test_environments, "builds": test_other_builds, "zones": test_time_zones, "long": test_long,
         "demo": test_demo, "signals": test_signals}

if __name__ == "__main__":
    assert os.getuid() != 0, "root may not start a server"
    names = sys.argv[1:] or ["but"]
    for name in [case for case in CASES if case not in names[1:]] if names[0] == "but" else names:
        CASES[name]()
    print(f"1..{tests}")
    sys.exit(1 if failures else 0)

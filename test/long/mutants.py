"""mutants.py [COUNT [SEED]] [--match NAME]... [--changes DIFF]: called by mutants.sh.

Plants faults in src/, one at a time, and has the tests run. A mutant is one
change of a line, or of a statement over several lines, of one of the KINDS. Its
name says where it is, by text, so that it stays true when other lines move:

    FILE:FUNCTION: LINE BEFORE -> LINE AFTER

It counts if it compiles, and its object differs from that of the unchanged
source; otherwise it is equivalent. It is noticed by the first test that fails,
or that says nothing for SILENCE seconds; the tests that belong to its file
(TESTS) come first. Else it has survived. test/mutants.txt has the survivors that
are accepted, each below a reason; any other one fails the run. Now and then
unchanged code is among the mutants, as a control: it must pass all tests.

The standard output is a line for each mutant, and the sums. Such lines of an
earlier run are read from the standard input: the run goes on where that ended.
"""

import argparse
import collections
import hashlib
import itertools
import os
import random
import re
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SANDBOX = Path(os.environ['PASQAL_JOBS_SANDBOX'])
MAKE = shlex.split(os.environ['RUN_MAKE'])
TAP = shlex.split(os.environ['RUN_TAP'])

SILENCE = 150
CONTROL_EVERY = 25

# The tests that belong to a file of src/: of pg_regress, specs, and files of
# test/t. All others of the first two kinds follow them.
TESTS = {
    'arrays.c': 'calls 010_oracle',
    'batch_lock.c': 'locked security batch-lock deadlock partitioned 003_partitions 006_batch_lock',
    'call.c': 'calls locked problems 007_transactions',
    'cancel.c': 'cancel locked calls 010_oracle 013_limits 018_held',
    'chunks.c': 'chunks locked 013_limits 021_chunks',
    'columns.c': 'relations rows 008_types',
    'encoder.c': 'calls rows 010_oracle 013_limits',
    'filters.c': 'filters problems http 004_encodings 010_oracle 022_docs',
    'format_value.c': 'rows calls 010_oracle',
    'http.c': 'http 004_encodings 005_library 010_oracle',
    'jobs_privileges.c': 'security relations 017_rights',
    'jobs_relation.c': 'relations security ddl 002_foreign 003_partitions 015_ddl',
    'jobs_shape.c': 'relations ddl 008_types 015_ddl',
    'jobs_table.c': 'relations security calls',
    'label_column.c': 'relations filters ddl 008_types 010_oracle',
    'ledger.c': 'calls filters locked 010_oracle 013_limits',
    'output.c': 'calls rows 010_oracle 013_limits',
    'parse_value.c': 'filters problems http 010_oracle',
    'pasqal_jobs.c': 'calls 005_library',
    'problems.c': 'problems http 010_oracle',
    'progress.c': 'chunks 021_chunks',
    'query_string.c': 'http 004_encodings 010_oracle',
    'response.c': 'calls rows 010_oracle 013_limits',
    'response_json.c': 'calls rows 010_oracle 013_limits',
    'response_jsonb.c': 'calls rows 010_oracle 013_limits',
    'row_locks.c': 'locked relations skip-worker shared-locks 003_partitions 018_held 060_citus',
    'rows.c': 'rows 005_library 010_oracle',
    'saved_plans.c': 'ddl relations 001_plans 005_library 015_ddl',
    'settings.c': 'calls security locked',
    'statement.c': 'filters relations ddl 001_plans 003_partitions 010_oracle 015_ddl',
    'statement_text.c': 'filters relations ddl 001_plans 003_partitions 010_oracle 015_ddl',
}

COMPARISONS = {'==': '!=', '!=': '==', '<': '<=', '<=': '<', '>': '>=', '>=': '>', '=': '<>', '<>': '='}
CONNECTIVES = {'&&': '||', '||': '&&'}
LOCKS = {'NoLock': 'AccessShareLock', 'AccessShareLock': 'NoLock', 'RowExclusiveLock': 'AccessShareLock',
         'ExclusiveLock': 'ShareLock', 'FOR NO KEY UPDATE': 'FOR UPDATE', 'FOR UPDATE': 'FOR NO KEY UPDATE',
         ' SKIP LOCKED': ''}

# Statements that no answer shows: how soon a call can be interrupted, and memory
# that goes with its context in any case. TESTS measure both, by the clock only.
NOT_DROPPED = ('Assert', 'CHECK_FOR_INTERRUPTS', 'SEAM', 'list_free', 'pfree')

# A span of a file, and what takes its place
Mutant = collections.namedtuple('Mutant', 'name kind file start end text')


def words(text):
    """A text in one line, whatever blanks are in it"""
    return ' '.join(text.split())


def masked(text):
    """C without its comments and the contents of its strings, of the same length"""
    def mask(match):
        return re.sub(r'[^\n]', ' ' if match[0].startswith('/') else 's', match[0])

    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\])*\'', mask, text, flags=re.S)


def closing(code, start):
    """Where the parenthesis that opens at start is closed"""
    depth = 0
    for i in range(start, len(code)):
        depth += (code[i] in '([{') - (code[i] in ')]}')
        if depth == 0:
            return i
    return len(code)


def split_arguments(code, start, end):
    """The spans of the arguments between two parentheses"""
    spans = []
    depth = 0
    begin = start + 1
    for i in range(start + 1, end + 1):
        if i == end or code[i] == ',' and depth == 0:
            blanks = len(code[begin:i]) - len(code[begin:i].lstrip())
            spans.append((begin + blanks, i))
            begin = i + 1
        else:
            depth += (code[i] in '([{') - (code[i] in ')]}')
    return spans


# Each kind of fault yields (start, end, text) for a part of a file: its code is
# masked, its text is not; result is the type of the function, or None outside of one.

def conditions(code, text, start, end, result):
    for match in re.compile(r'\b(?:if|while) (\()').finditer(code, start, end):
        last = closing(code, match.start(1))
        yield match.start(1), last + 1, f'(!{text[match.start(1):last + 1]})'
    for match in re.compile(r'&&|\|\|').finditer(code, start, end):
        yield *match.span(), CONNECTIVES[match[0]]


def comparisons(code, text, start, end, result):
    for match in re.compile(r' (==|!=|<=|>=|<|>) ').finditer(code, start, end):
        yield *match.span(1), COMPARISONS[match[1]]
    for match in re.compile(r'OPERATOR\(pg_catalog\.([<>=]+)\)').finditer(text, start, end):
        if code[match.start()] == 's':
            yield *match.span(1), COMPARISONS[match[1]]


def arguments(code, text, start, end, result):
    for match in re.compile(r'\b(?!if\b|for\b|while\b|switch\b|return\b)\w+(\()').finditer(code, start, end):
        spans = split_arguments(code, match.start(1), closing(code, match.start(1)))
        for (a, b), (c, d) in zip(spans, spans[1:]):
            if text[a:b] != text[c:d]:
                yield a, d, text[c:d] + text[b:c] + text[a:b]


def statements(code, start, end):
    """The spans of statements that are no declarations and do not return"""
    for match in re.compile(r'^\t+([\w*(][^;{}]*;)', re.M).finditer(code, start, end):
        before = code[:match.start()].rstrip()
        if before[-1] not in ';{}):' and not before.endswith('else'):
            continue
        if re.match(r'(?:return|if|for|while|switch|case|else|do|goto|PG_\w+)\b', match[1]):
            continue
        if re.match(r'(?:(?:const|static|volatile|struct) )*\w+[ \t]+\**\w+', match[1]):
            continue
        yield match.span(1)


def dropped(code, text, start, end, result):
    for a, b in statements(code, start, end) if result else ():
        if not code.startswith(NOT_DROPPED, a):
            yield a, b, ';'


def returns(code, text, start, end, result):
    if not result:
        return
    early = 'return;' if result == 'void' else 'return 0;'
    for a, b in statements(code, start, end):
        yield a, b, early
    for match in re.compile(r'\breturn ([^;]+);').finditer(code, start, end):
        value = text[match.start(1):match.end(1)]
        if result == 'bool':
            yield *match.span(1), {'true': 'false', 'false': 'true'}.get(value, f'!({value})')
        elif value not in ('0', 'NULL'):
            yield *match.span(1), '0'


def constants(code, text, start, end, result):
    for match in re.compile(r'(?<![\w.])(?:(\d+)|true|false)(?![\w.])').finditer(code, start, end):
        yield *match.span(), str(int(match[1]) + 1) if match[1] else {'true': 'false', 'false': 'true'}[match[0]]


def locks(code, text, start, end, result):
    for match in re.compile('|'.join(rf'{lock}\b' for lock in LOCKS)).finditer(text, start, end):
        if code[match.start()] != ' ' or code[match.start() - 1] == 's':
            yield *match.span(), LOCKS[match[0]]


def sqlstates(code, text, start, end, result):
    for match in re.compile(r'\bERRCODE_\w+').finditer(code, start, end):
        yield *match.span(), 'ERRCODE_INTERNAL_ERROR'


KINDS = {
    'condition': conditions, 'comparison': comparisons, 'arguments': arguments, 'dropped': dropped,
    'return': returns, 'constant': constants, 'lock': locks, 'sqlstate': sqlstates,
}


def parts(code):
    """The functions, tables and macros of a file: (name, start, end, type of a function)"""
    for match in re.compile(r'^([\w \t*]+)\n(\w+)\([^;{}]*\)\n\{\n(.*?)^\}', re.M | re.S).finditer(code):
        yield match[2], *match.span(3), match[1].split()[-1]
    for match in re.compile(r'^[\w \t*]+?(\w+)\[\w*\] =\s*\{\n(.*?)^\};', re.M | re.S).finditer(code):
        yield match[1], *match.span(2), None
    for match in re.compile(r'^#define[ \t]+(\w+)[ \t]+(.*)', re.M).finditer(code):
        yield match[1], *match.span(2), None


def mutants_of(file, text):
    """All mutants of a file, each with a name of its own"""
    code = masked(text)
    seen = collections.Counter()
    places = set()
    for name, begin, end, result in parts(code):
        for kind, find in KINDS.items():
            for a, b, new in find(code, text, begin, end, result):
                first = text.rfind('\n', 0, a) + 1
                last = text.find('\n', b)
                after = text[first:a] + new + text[b:last]
                if (first, after) in places:
                    continue    # two kinds can make the same mutant
                places.add((first, after))
                label = f'{file}:{name}: {words(text[first:last])} -> {words(after)}'
                seen[label] += 1
                if seen[label] > 1:
                    label += f' ({seen[label]})'
                yield Mutant(label, kind, file, a, b, new)


def changed_lines(diff):
    """The lines that a diff without context added: {file: set of numbers}"""
    lines = collections.defaultdict(set)
    file = None
    for line in diff.splitlines():
        if line.startswith('+++ '):
            file = line.rsplit('/', 1)[-1]
        match = re.match(r'@@ -\S+ \+(\d+)(?:,(\d+))? @@', line)
        if match:
            first = int(match[1])
            lines[file].update(range(first, first + int(match[2] or 1)))
    return lines


def chosen(mutants, seed):
    """The mutants in an order by chance, with all kinds in turn"""
    chance = random.Random(seed)
    of_kind = [[m for m in mutants if m.kind == kind] for kind in KINDS]
    for some in of_kind:
        chance.shuffle(some)
    return [m for row in itertools.zip_longest(*of_kind) for m in row if m]


def read_accepted(path):
    """The survivors that are accepted: {name: reason}"""
    accepted = {}
    reason = None
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line.strip() or line.startswith('#'):
            continue
        if line[0].isspace():
            if reason is None:
                sys.exit(f'{path}: this takes a reason above it: {words(line)}')
            accepted[words(line)] = reason
        else:
            reason = line
    return accepted


class Trial:
    """The sandbox: builds a mutant, and runs the tests on a fresh server"""

    def __init__(self, sources):
        self.sources = sources
        self.objects = {file: self.object(file).read_bytes() for file in sources}
        makefile = re.sub(r'\\\n', ' ', Path('Makefile').read_text(encoding='utf-8'))
        self.regress, self.specs = (re.search(rf'^{name} = (.*)', makefile, re.M)[1].split()
                                    for name in ('REGRESS', 'ISOLATION'))
        if sources.keys() - TESTS.keys():
            sys.exit(f'TESTS in test/long/mutants.py has no tests for {", ".join(sources.keys() - TESTS.keys())}')
        for name in ' '.join(TESTS.values()).split():
            if name not in self.regress + self.specs and not Path('test/t', f'{name}.pl').exists():
                sys.exit(f'TESTS: there is no test {name}')
        self.server('stop')
        shutil.copytree(SANDBOX / 'data', SANDBOX / 'template')

    @staticmethod
    def object(file):
        return Path('src', file).with_suffix('.o')

    @staticmethod
    def server(what):
        done = subprocess.run(['pg_ctl', '-D', SANDBOX / 'data', '-l', SANDBOX / 'log', '-m', 'immediate', '-w', what],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        # without it all tests would fail, and every mutant seem to be noticed
        if what == 'start' and done.returncode != 0:
            sys.exit('the server does not start:\n' + (SANDBOX / 'log').read_text(encoding='utf-8', errors='replace')[-2000:])

    def fresh_server(self):
        self.server('stop')
        shutil.rmtree(SANDBOX / 'data')
        subprocess.run(['cp', '-a', SANDBOX / 'template', SANDBOX / 'data'], check=True)
        self.server('start')

    def build(self, mutant):
        """Returns why a mutant does not count, or None once it is installed"""
        text = self.sources[mutant.file]
        Path('src', mutant.file).write_text(text[:mutant.start] + mutant.text + text[mutant.end:], encoding='utf-8')
        made = subprocess.run([*MAKE, self.object(mutant.file)], capture_output=True, check=False)
        if made.returncode != 0:
            return 'uncompiled'
        if self.object(mutant.file).read_bytes() == self.objects[mutant.file]:
            return 'equivalent'
        self.install()
        return None

    @staticmethod
    def install():
        subprocess.run([*MAKE, 'all', 'install'], stdout=subprocess.DEVNULL, check=True)

    def judge(self, mutant):
        """Builds and tests a mutant, and puts the source back: (verdict, kind, by what, name)"""
        begun = time.monotonic()
        verdict = self.build(mutant)
        by = None
        if verdict is None:
            by = self.noticed_by(mutant.file)
            verdict = 'noticed' if by else 'survived'
        Path('src', mutant.file).write_text(self.sources[mutant.file], encoding='utf-8')
        # later than the source, so that make leaves it alone
        self.object(mutant.file).write_bytes(self.objects[mutant.file])
        return verdict, mutant.kind, f'{by or "-"}, {time.monotonic() - begun:.0f} s', mutant.name

    def control(self, file):
        """Tests the unchanged code as if it were a mutant of the file, and shows what differs"""
        self.install()
        by = self.noticed_by(file)
        for diffs in (Path('regression.diffs'), Path('output_iso/regression.diffs')) if by else ():
            if diffs.exists():
                sys.stderr.write(diffs.read_text(encoding='utf-8', errors='replace'))
        return 'noticed' if by else 'survived', 'control', by or '-', file

    def commands(self, file):
        """The commands that run the tests, those of a file first"""
        own = TESTS[file].split()
        # in their usual order, since some show what those before them have left
        base = ['setup', 'cancel']
        first = [name for name in self.regress if name in base + own]
        then = [name for name in self.regress if name in base or name not in own]
        specs = [name for name in own if name in self.specs]
        specs += [name for name in self.specs if name not in specs]
        for regress in first, then:
            yield [*MAKE, 'installcheck', f'REGRESS={" ".join(regress)}', 'ISOLATION=']
        yield [*MAKE, 'installcheck', 'REGRESS=', f'ISOLATION={" ".join(specs)}']
        for name in own:
            if name[0].isdigit():
                yield [*TAP, '-v', f'test/t/{name}.pl']

    def noticed_by(self, file):
        """The first test that fails, or None"""
        self.fresh_server()
        for command in self.commands(file):
            test = self.run(command)
            if test:
                return test
        return None

    def run(self, command):
        """Runs tests up to the first difference; returns what it is in, or None"""
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True) as process:
            line = ''
            found = None
            while not found:
                if not select.select([process.stdout], [], [], SILENCE)[0]:
                    found = f'silence after: {words(line)}'
                    break
                data = os.read(process.stdout.fileno(), 65536).decode(errors='replace')
                if not data:
                    break
                line += data
                failed = re.search(r'^(?:test +(\S+) .*FAILED|not ok \d+ *-? *(.*))', line, re.M)
                if failed:
                    found = failed[1] or words(failed[2])
                line = line[line.rfind('\n', 0, -1) + 1:]
            if found:
                self.end(process)
        if not found and process.returncode != 0:
            found = f'status {process.returncode}'
        shutil.rmtree('tmp_check', ignore_errors=True)
        return f'{command[-1][7:-3]}: {found}' if found and command[-1].startswith('test/t/') else found

    @staticmethod
    def end(process):
        """Ends a group of processes, and the servers that tests have made"""
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        for file in Path('tmp_check').glob('**/postmaster.pid'):
            os.kill(int(file.read_text().split()[0]), signal.SIGQUIT)


class Results:
    """What is known of each mutant, and the lines that say it"""

    def __init__(self, header, wanted):
        self.wanted = wanted
        self.verdicts = {}
        self.controls = collections.Counter()
        earlier = sys.stdin.read().splitlines()
        if earlier and earlier[0] != header:
            sys.exit(f'the results are not of this run, "{header}", but of "{earlier[0]}": TRUST_STATE must name another file')
        if not earlier:
            print(header, flush=True)
        for line in earlier[1:]:
            fields = line.split('\t')
            if len(fields) == 4:
                self.note(*fields)

    def note(self, verdict, kind, by, name):
        if kind == 'control':
            self.controls[verdict] += 1
        elif name in self.wanted:   # an earlier run may have had others
            self.verdicts[name] = (verdict, kind)

    def add(self, verdict, kind, by, name):
        print(verdict, kind, words(by), name, sep='\t', flush=True)
        self.note(verdict, kind, by, name)

    def judged(self):
        return sum(verdict in ('noticed', 'survived') for verdict, _ in self.verdicts.values())

    def sums(self, accepted, existing):
        """Prints them; returns whether all is well"""
        columns = ['noticed', 'survived', 'equivalent', 'uncompiled']
        counts = collections.Counter((kind, verdict) for verdict, kind in self.verdicts.values())
        print('{:12}'.format(''), *map('{:>10}'.format, columns))
        for kind in KINDS:
            print(f'{kind:12}', *(f'{counts[kind, column]:10}' for column in columns))
        survivors = [name for name, (verdict, _) in self.verdicts.items() if verdict == 'survived']
        new = [name for name in survivors if name not in accepted]
        gone = [name for name in accepted if name not in existing]
        for name in accepted:
            if self.verdicts.get(name, ('',))[0] == 'noticed':
                print(f'noticed this time: {name}')
        for name in gone:
            print(f'no such mutant: {name}')
        for name in new:
            print(f'no reason: {name}')
        total = collections.Counter(verdict for verdict, _ in self.verdicts.values())
        print(f'mutants: {total["noticed"]} noticed, {len(survivors)} survived ({len(survivors) - len(new)} with a reason), '
              f'{total["equivalent"]} equivalent; unchanged code passed {self.controls["survived"]} times, '
              f'failed {self.controls["noticed"]} times')
        return not (new or gone or self.controls['noticed'])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('count', type=int, nargs='?', default=100)
    parser.add_argument('seed', type=int, nargs='?', default=1)
    parser.add_argument('--match', action='append')
    parser.add_argument('--changes', type=Path)
    args = parser.parse_intermixed_args()

    sources = {path.name: path.read_text(encoding='utf-8') for path in sorted(Path('src').glob('*.c'))}
    mutants = [m for file, text in sources.items() for m in mutants_of(file, text)]
    existing = {m.name for m in mutants}
    if args.match:
        mutants = [m for m in mutants if m.name.startswith(tuple(args.match))]
    if args.changes:
        lines = changed_lines(args.changes.read_text(encoding='utf-8'))
        mutants = [m for m in mutants if lines[m.file].intersection(range(
            sources[m.file].count('\n', 0, m.start) + 1, sources[m.file].count('\n', 0, m.end) + 2))]
    if not mutants:
        sys.exit('no mutant has such a name, or is in a line that has changed: nothing was tried')

    digest = hashlib.sha256()
    for path in sorted(p for top in ('src', 'sql', 'expected', 'test/isolation', 'test/t', 'test/long')
                       for p in Path(top).rglob('*.*') if p.suffix in ('.c', '.h', '.sql', '.out', '.spec', '.pl', '.pm')):
        digest.update(path.read_bytes())
    results = Results(f'seed {args.seed}, sources and tests {digest.hexdigest()[:12]}', {m.name for m in mutants})

    # an endless loop may take memory or write a log
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    trial = Trial(sources)
    for mutant in chosen(mutants, args.seed):
        if args.count and results.judged() >= args.count:
            break
        if mutant.name in results.verdicts:
            continue
        if results.judged() // CONTROL_EVERY >= results.controls.total():
            results.add(*trial.control(mutant.file))
        results.add(*trial.judge(mutant))
    trial.server('stop')
    return not results.sums(read_accepted(Path('test/mutants.txt')), existing)


sys.exit(main())

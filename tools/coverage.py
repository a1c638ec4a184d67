"""tools/coverage.py COVERAGE REASONS: judges what gcovr counted.

COVERAGE is gcovr's JSON. REASONS is test/coverage.txt: an empty line or one
that begins with # means nothing; an unindented line is a reason, and each
indented one below it a line of the sources it applies to,

    FILE:FUNCTION: TEXT

found by its text, so that it stays true when the lines above it change.
"""

import json
import sys

LINES_WANTED = 98
BRANCHES_WANTED = 92


def words(text):
    """The text of a line, whatever blanks are in it"""
    return ' '.join(text.split())


def read_reasons(path):
    """The lines of the sources that the file names, each with its reason"""
    reasons = {}
    reason = None
    with open(path, encoding='utf-8') as file:
        for line in file:
            if not line.strip() or line.startswith('#'):
                continue
            if not line[0].isspace():
                reason = line.strip()
                continue
            if reason is None or line.count(':') < 2:
                sys.exit(f'{path}: this takes a reason above it, and has the form FILE:FUNCTION: TEXT: {line.strip()}')
            name, function, text = line.split(':', 2)
            reasons[name.strip(), function.strip(), words(text)] = reason
    return reasons


def share(hit, all_of_them):
    return 100 * hit / all_of_them if all_of_them else 100


def main():
    coverage, reasons_path = sys.argv[1:]
    reasons = read_reasons(reasons_path)
    existing = set()
    used = set()
    missing = []
    totals = [0] * 4
    table = '{:24}{:>7}{:>7}{:>8}{:>10}{:>7}{:>8}'

    print(table.format('', 'lines', 'run', '', 'branches', 'run', ''))
    with open(coverage, encoding='utf-8') as file:
        files = json.load(file)['files']
    for entry in files:
        with open(entry['file'], encoding='utf-8') as file:
            source = file.read().split('\n')
        functions = sorted((f['lineno'], f['name']) for f in entry['functions'])
        counts = [0] * 4
        for line in entry['lines']:
            if line['gcovr/noncode'] or line['gcovr/excluded']:
                continue
            number = line['line_number']
            branches = [b['count'] > 0 for b in line['branches']]
            counts[0] += 1
            counts[1] += line['count'] > 0
            counts[2] += len(branches)
            counts[3] += sum(branches)

            function = [name for start, name in functions if start <= number][-1]
            key = (entry['file'].removeprefix('src/'), function, words(source[number - 1]))
            existing.add(key)
            if line['count'] > 0 and all(branches):
                continue
            if key in reasons:
                used.add(key)
            else:
                missing.append((number, key, f'{sum(branches)} of {len(branches)} branches run' if line['count'] else 'not run'))
        print(table.format(entry['file'], counts[0], counts[1], f'{share(counts[1], counts[0]):.1f} %',
                           counts[2], counts[3], f'{share(counts[3], counts[2]):.1f} %'))
        totals = [a + b for a, b in zip(totals, counts)]

    lines = share(totals[1], totals[0])
    branches = share(totals[3], totals[2])
    print(table.format('all', totals[0], totals[1], f'{lines:.1f} %', totals[2], totals[3], f'{branches:.1f} %'))

    for number, key, what in missing:
        print(f'no reason, line {number}, {what}: ' + ': '.join(key))
    gone = [key for key in reasons if key not in existing]
    for key in gone:
        print('no such line: ' + ': '.join(key))
    # no fault: some lines are fully run or not as time has it
    for key in reasons:
        if key in existing and key not in used:
            print('fully run this time: ' + ': '.join(key))
    print(f'coverage: {lines:.1f} % of lines (wanted {LINES_WANTED}), {branches:.1f} % of branches '
          f'(wanted {BRANCHES_WANTED}); of the lines not fully run {len(used)} have a reason, {len(missing)} have none')
    return bool(missing or gone or lines < LINES_WANTED or branches < BRANCHES_WANTED)


sys.exit(main())

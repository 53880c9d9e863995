#!/usr/bin/env python3
"""Makes ctest's output short: nothing for what passes, the reason for what is skipped, the summary last.

ctest shows neither a skipped test's output nor its reason unless it shows all output; the reasons are read from the log
that it leaves. Everything else goes through unchanged.

Usage: ctest ... | quiet_ctest.py BUILD_FOLDER
"""
import collections
import re
import sys
from pathlib import Path

PASSED = re.compile(r"^ *\d+/\d+ Test +#\d+: .* Passed +[\d.]+ sec$|^ +Start +\d+: ")
SUMMARY = re.compile(r"^\d+% tests passed")


def skip_reasons(log):
    """{reason: [names of the tests that gave it]} of ctest's LastTest.log."""
    reasons, name, lines = collections.defaultdict(list), None, iter(log.splitlines())
    for line in lines:
        started = re.match(r"^\d+/\d+ Testing: (.*)$", line)
        if started:
            name = started[1]
        elif line.startswith("SKIP: "):  # scripts
            reasons[line[len("SKIP: "):]].append(name)
        elif re.match(r"^\S+:\d+: Skipped$", line):  # GoogleTest: the reason stands on the next line
            reasons[next(lines, "").strip() or "no reason given"].append(name)
    return reasons


def main():
    summary = []
    for line in sys.stdin:
        if summary or SUMMARY.match(line):
            summary.append(line)
        elif not PASSED.match(line.rstrip("\n")):
            sys.stdout.write(line)
            sys.stdout.flush()
    log = Path(sys.argv[1]) / "Testing" / "Temporary" / "LastTest.log"
    if summary and log.exists():
        for reason, names in skip_reasons(log.read_text(encoding="utf-8", errors="replace")).items():
            print(f"SKIP {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}")
        print()
    sys.stdout.writelines(summary)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""tests/data/tasks.tsv is what tools/make_tasks.py writes."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(os.environ.get("SKEIN_SOURCE_DIR", Path(__file__).resolve().parent.parent))


def main():
    made = subprocess.run([sys.executable, "-B", str(ROOT / "tools" / "make_tasks.py")],
                          stdout=subprocess.PIPE, check=True).stdout
    kept = (ROOT / "tests" / "data" / "tasks.tsv").read_bytes()
    if made == kept:
        return 0
    pairs = zip(made.splitlines(), kept.splitlines())
    first = next((i for i, (a, b) in enumerate(pairs, 1) if a != b), "the end")
    print(f"tests/data/tasks.tsv: differs from tools/make_tasks.py's output, first in line {first}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

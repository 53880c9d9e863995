#!/usr/bin/env python3
"""The cache model beside valgrind's cachegrind: the same walks through the same addresses, the same caches.

cachegrind counts every load of the program; what it does outside of the walk (starting, its stack) is measured by a run
that walks nowhere, and subtracted. The walks are larger than some of the caches and smaller than others.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIP = 77
# (L1 bytes, ways, LL bytes, ways). LL is at most 16 ways of a page, so that page-aligned addresses fix the sets.
CACHES = [(4096, 2, 32768, 8), (8192, 4, 65536, 16), (16384, 8, 65536, 16), (49152, 12, 262144, 64)]
# Names of one length with "none", so that the stack lies in the same place: what the start of the program misses in a small
# cache depends on it by thousands.
WALKS = ["rows", "cols", "tile"]
# The program's own lines push out a few of the walk's: some in a hundred, and a few dozen where misses are few.
RELATIVE, ABSOLUTE = 0.03, 60


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(SKIP)


def cachegrind(program, walk, cache):
    """(D1 read misses, LL data read misses) of the whole program."""
    l1_bytes, l1_ways, ll_bytes, ll_ways = cache
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=yes", f"--cachegrind-out-file={folder}/out",
                   f"--D1={l1_bytes},{l1_ways},64", "--I1=65536,16,64", f"--LL={ll_bytes},{ll_ways},64",
                   str(program), walk, "touch", *map(str, cache)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        if result.returncode != 0:
            sys.exit(f"FAIL: {' '.join(command)}\n{result.stderr}")
        text = Path(folder, "out").read_text(encoding="utf-8")
    events = re.search(r"^events: (.*)$", text, re.M)[1].split()
    totals = dict(zip(events, map(int, re.search(r"^summary: (.*)$", text, re.M)[1].split())))
    return totals["D1mr"], totals["DLmr"]


def model(program, walk, cache):
    out = subprocess.run([str(program), walk, "model", *map(str, cache)], stdout=subprocess.PIPE, text=True, check=True)
    return tuple(map(int, out.stdout.split()))


def main():
    if os.environ.get("SKEIN_SANITIZE"):
        skip("an instrumented program (-fsanitize) does not run under valgrind")
    if shutil.which("valgrind") is None:
        skip("valgrind is not installed: the cache model is not compared with cachegrind")
    program = Path(os.environ["SKEIN_BINARY_DIR"], "tests", "cache_model_cachegrind")
    if not program.exists():
        skip(f"the program is not built: {program}")
    failures = 0
    print("cache                       walk    D1: cachegrind   model    LL: cachegrind   model")
    for cache in CACHES:
        idle = cachegrind(program, "none", cache)
        for walk in WALKS:
            seen = [a - b for a, b in zip(cachegrind(program, walk, cache), idle)]
            ours = model(program, walk, cache)
            good = all(abs(a - b) <= max(RELATIVE * a, ABSOLUTE) for a, b in zip(seen, ours))
            failures += not good
            print(f"{str(cache):27} {walk:7} {seen[0]:14} {ours[0]:7} {seen[1]:17} {ours[1]:7}{'' if good else '  FAIL'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks what a formatter does not: length of files, words that may not stay, paths of one machine.

A C++ or CUDA file over 400 lines is a warning; over 600 it needs a line `// Long file: REASON` among its first 30.
Words that say "later" (see LATER) and home or temporary paths are errors in any source, script or document.

Usage: check_sizes.py [ROOT]
"""
import re
import subprocess
import sys
from pathlib import Path

WARN_LINES, MAX_LINES = 400, 600
CODE = {".h", ".cc", ".cu", ".cuh", ".wgsl"}
TEXT = CODE | {".py", ".sh", ".cmake", ".md", ".txt", ".json", ".cpp"}
LATER = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(home|Users|work)/\w")


def check(root):
    """(errors, warnings) of the files that git knows or would add."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    errors, warnings = [], []
    for name in sorted(filter(None, listed)):
        path = root / name
        if path.suffix not in TEXT or name.startswith("models/") or not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.suffix in CODE and len(lines) > WARN_LINES:
            reason = any(re.match(r"\s*// Long file: \S", line) for line in lines[:30])
            if len(lines) > MAX_LINES and not reason:
                errors.append(f"{name}: {len(lines)} lines, at most {MAX_LINES} without a line `// Long file: REASON`")
            elif not reason:
                warnings.append(f"{name}: {len(lines)} lines, aim for {WARN_LINES}")
        for number, line in enumerate(lines, 1):
            if LATER.search(line):
                errors.append(f"{name}:{number}: '{LATER.search(line)[0]}' may not stay: do it, or open an issue")
            if MACHINE_PATH.search(line):
                errors.append(f"{name}:{number}: a path of one machine: {line.strip()[:60]}")
    return errors, warnings


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    errors, warnings = check(root)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    for line in errors:
        print(line, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

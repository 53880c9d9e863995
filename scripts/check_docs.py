#!/usr/bin/env python3
"""Checks the documents against the tree: relative links lead somewhere, and every `./dev COMMAND` exists.

Usage: check_docs.py [ROOT]
"""
import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"\./dev ([a-z]+)")


def check(root):
    """Complaints about all Markdown files that git knows or would add."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md"],
                            stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    commands = set(re.findall(r"^  ([a-z]+) ", (root / "dev").read_text(encoding="utf-8"), re.MULTILINE)) | {"help"}
    complaints = []
    for name in sorted(set(filter(None, listed))):
        path = root / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for target in LINK.findall(line):
                file = target.split("#")[0]
                if file and "://" not in target and not target.startswith("mailto:") and not (path.parent / file).exists():
                    complaints.append(f"{name}:{number}: the link {target} leads nowhere")
            for command in COMMAND.findall(line):
                if command not in commands:
                    complaints.append(f"{name}:{number}: ./dev has no command {command}")
    return complaints


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    complaints = check(root)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks that src/ and include/skein include and link only what the arrows of arrows.txt allow.

Goals: a wrong dependency is a failed check with file and line; a new folder needs its arrow first; no arrow goes
unread (cycles are errors). Non-goals: outside headers (anything in <>), and what tests/, bench/ and fuzz/ include.

Usage: check_arrows.py [ROOT]     ROOT is the repository (default: the one this script lies in)
"""
import re
import sys
from pathlib import Path

SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
FOLDER_CALL = re.compile(r"skein_folder\s*\(([^)]*)\)")


def read_arrows(text):
    """{folder: [folders it has an arrow to]}; ValueError with the line where the table is wrong."""
    arrows = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        left, arrow, right = line.partition("->")
        if not arrow or len(left.split()) != 1:
            raise ValueError(f"line {number}: expected FOLDER -> FOLDERS, found '{line}'")
        arrows[left.strip()] = right.split()
    for folder, targets in arrows.items():
        for target in targets:
            if target not in arrows:
                raise ValueError(f"{folder} -> {target}: {target} has no line of its own")
    return arrows


def closure(arrows):
    """{folder: set of folders it may use}: itself, its arrows, and theirs, save concrete backends (see arrows.txt)."""
    allowed, in_progress = {}, []

    def visit(folder):
        if folder in allowed:
            return allowed[folder]
        if folder in in_progress:
            raise ValueError("a cycle: " + " -> ".join(in_progress + [folder]))
        in_progress.append(folder)
        reach = {folder, *arrows[folder]}
        for target in arrows[folder]:
            reach |= {far for far in visit(target) if "/" not in far}
        in_progress.pop()
        allowed[folder] = reach
        return reach

    for folder in arrows:
        visit(folder)
    return allowed


def folder_of(path, arrows):
    """The longest folder of the table that holds `path` ("backend/cpu/x.h" -> "backend/cpu"), or None."""
    parts = path.split("/")[:-1]
    while parts and "/".join(parts) not in arrows:
        parts.pop()
    return "/".join(parts) or None


def may_include(source, target, allowed, is_test):
    """Whether a file of folder `source` may include one of folder `target`."""
    return target in allowed[source] or (is_test and target.startswith("backend/"))


def check_file(path, name, arrows, allowed):
    """Complaints about one source file; `name` is its path below src or include."""
    source = folder_of(name, arrows)
    if source is None:
        return [f"{path}:1: its folder has no arrow in scripts/arrows.txt"]
    complaints = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = folder_of(match[1], arrows)
        if target is None:
            if not match[1].startswith("hwy/"):  # Highway's own headers are written in quotes
                complaints.append(f'{path}:{number}: "{match[1]}" does not start at a folder of src')
        elif not may_include(source, target, allowed, name.endswith("_test.cc")):
            complaints.append(f"{path}:{number}: {source} may not include {target}")
    return complaints


def check_cmake(path, arrows, allowed):
    """Complaints about DEPENDS in one folder's CMakeLists.txt; library names write backend/cpu as backend_cpu or cpu."""
    by_library = {}
    for folder in arrows:
        by_library[folder.replace("/", "_")] = folder
        by_library.setdefault(folder.split("/")[-1], folder)
    complaints = []
    for call in FOLDER_CALL.findall(re.sub(r"#.*", "", path.read_text(encoding="utf-8"))):
        words, section = call.split(), None
        source = by_library.get(words[0]) if words else None
        if source is None:
            complaints.append(f"{path}: skein_folder({words[0] if words else ''}) has no arrow in scripts/arrows.txt")
            continue
        for word in words[1:]:
            if word in ("DEPENDS", "LINK", "TEST_DEPENDS"):
                section = word
            elif section == "DEPENDS" and by_library.get(word) not in allowed[source]:
                complaints.append(f"{path}: {source} may not depend on {word}")
    return complaints


def check(root):
    """All complaints about the tree below `root`."""
    arrows = read_arrows((root / "scripts" / "arrows.txt").read_text(encoding="utf-8"))
    allowed = closure(arrows)
    complaints = []
    for top in (root / "src", root / "include"):
        for path in sorted(top.rglob("*")):
            if path.suffix in SUFFIXES:
                complaints += check_file(path, path.relative_to(top).as_posix(), arrows, allowed)
            elif path.name == "CMakeLists.txt":
                complaints += check_cmake(path, arrows, allowed)
    return complaints


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    try:
        complaints = check(root)
    except ValueError as wrong:
        complaints = [f"{root / 'scripts' / 'arrows.txt'}: {wrong}"]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

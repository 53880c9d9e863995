#!/usr/bin/env python3
"""Laws of scripts/check_arrows.py: on small trees, each forbidden include is found and each allowed one is not."""
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))
import check_arrows  # noqa: E402

ARROWS = (ROOT / "scripts" / "arrows.txt").read_text(encoding="utf-8")


def complaints(files, arrows=ARROWS):
    """What check() says of a tree with these files, the tree's own path cut off."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in {"scripts/arrows.txt": arrows, **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return [line.replace(folder + "/", "") for line in check_arrows.check(root)]


class Includes(unittest.TestCase):
    def expect(self, file, include, allowed):
        found = complaints({f"src/{file}": f'// top\n#include "{include}"\n'})
        self.assertEqual(found == [], allowed, f"{file} includes {include}: {found}")
        if not allowed:
            self.assertIn(f"src/{file}:2: ", found[0])

    def test_down_is_allowed(self):
        for file, include in [("layout/a.h", "base/bits.h"), ("tensor/a.h", "base/bits.h"), ("cli/a.cc", "tensor/a.h"),
                              ("backend/cpu/a.cc", "layout/a.h"), ("backend/cpu/a.cc", "backend/backend.h"),
                              ("model/a.h", "format/a.h"), ("plan/a.h", "format/a.h"), ("engine/a.cc", "skein/skein.h")]:
            self.expect(file, include, True)

    def test_up_and_sideways_are_not(self):
        for file, include in [("base/a.h", "layout/a.h"), ("layout/a.h", "tensor/a.h"), ("format/a.h", "backend/a.h"),
                              ("backend/a.h", "format/a.h"), ("backend/cpu/a.cc", "backend/cuda/a.h"),
                              ("model/a.h", "plan/a.h"), ("plan/a.h", "engine/a.h"), ("engine/a.h", "cli/a.h")]:
            self.expect(file, include, False)

    def test_only_engine_and_tests_name_a_concrete_backend(self):
        self.expect("engine/a.cc", "backend/cpu/a.h", True)
        self.expect("plan/a_test.cc", "backend/reference/a.h", True)
        for folder in ("backend", "model", "plan", "cli"):
            self.expect(f"{folder}/a.cc", "backend/cpu/a.h", False)

    def test_a_test_gets_no_other_freedom(self):
        self.expect("layout/a_test.cc", "engine/a.h", False)

    def test_paths_start_at_src(self):
        self.expect("layout/a.h", "extents.h", False)
        self.expect("backend/cpu/a.cc", "hwy/highway.h", True)

    def test_public_header_includes_nothing_of_src(self):
        self.assertEqual(complaints({"include/skein/skein.h": '#include "base/result.h"\n'}),
                         ["include/skein/skein.h:1: skein may not include base"])

    def test_a_folder_without_an_arrow_is_refused(self):
        self.assertEqual(len(complaints({"src/extra/a.h": ""})), 1)


class Depends(unittest.TestCase):
    def test_cmake_follows_the_arrows(self):
        self.assertEqual(complaints({"src/tensor/CMakeLists.txt": "skein_folder(tensor DEPENDS layout base LINK fmt::fmt)"}), [])
        self.assertEqual(complaints({"src/layout/CMakeLists.txt": "skein_folder(layout DEPENDS tensor)"}),
                         ["src/layout/CMakeLists.txt: layout may not depend on tensor"])
        self.assertEqual(complaints({"src/plan/CMakeLists.txt": "skein_folder(plan DEPENDS model TEST_DEPENDS reference)"}), [])


class Table(unittest.TestCase):
    def test_wrong_tables_are_errors(self):
        for table in ("base -> nothing_here", "base layout", "base -> layout\nlayout -> base"):
            with self.assertRaises(ValueError, msg=table):
                complaints({}, table)

    def test_this_repository_holds(self):
        self.assertEqual(check_arrows.check(ROOT), [])


if __name__ == "__main__":
    unittest.main()

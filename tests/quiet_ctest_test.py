#!/usr/bin/env python3
"""Laws of scripts/quiet_ctest.py: nothing that failed or was skipped is lost, reasons are read, the summary is last."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "quiet_ctest.py"

OUTPUT = """\
Test project build/release
    Start  1: Layout.IsUnique
    Start  2: Gpu.Runs
1/3 Test  #1: Layout.IsUnique ........   Passed    0.01 sec
2/3 Test  #2: Gpu.Runs ...............***Skipped   0.00 sec
    Start  3: Layout.Fails
3/3 Test  #3: Layout.Fails ...........***Failed    0.02 sec
offset 7 comes twice

67% tests passed, 1 tests failed out of 3

Total Test time (real) =   0.03 sec
"""

LOG = """\
2/3 Testing: Gpu.Runs
Output:
src/gpu_test.cc:12: Skipped
no GPU: the driver is missing
[  SKIPPED ] Gpu.Runs (0 ms)
4/4 Testing: parity_test
Output:
SKIP: numpy is missing
"""


class QuietCtest(unittest.TestCase):
    def test_only_what_matters_is_left(self):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "Testing" / "Temporary" / "LastTest.log"
            log.parent.mkdir(parents=True)
            log.write_text(LOG, encoding="utf-8")
            out = subprocess.run([sys.executable, SCRIPT, folder], input=OUTPUT, stdout=subprocess.PIPE, text=True,
                                 check=True).stdout
        self.assertNotIn("Passed", out)
        self.assertNotIn("Start", out)
        self.assertIn("***Failed", out)
        self.assertIn("offset 7 comes twice\n", out)
        self.assertIn("SKIP Gpu.Runs: no GPU: the driver is missing\n", out)
        self.assertIn("SKIP parity_test: numpy is missing\n", out)
        self.assertTrue(out.endswith(OUTPUT[OUTPUT.index("67%"):]))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`skein bench --backend webgpu`: what it tells of a GPU beside what it tells of a CPU.

Without an adapter the test fails in CI and is skipped elsewhere."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
from skein_program import ProgramTest, missing_adapter  # noqa: E402

BENCH = ["bench", "--prefill", "0", "--tokens", "4", "-r", "1"]


class BenchOnAGpu(ProgramTest):
    def test_dispatches_of_a_token(self):
        num_layers = self.json_of("inspect", "--backend", "webgpu")["layers"]
        result, = self.json_of(*BENCH, "--backend", "webgpu")["results"]
        self.assertEqual(result["backend"], "webgpu")
        # Eight a layer; the embedding, the last norm and the head.
        self.assertEqual(result["dispatches_per_token"], 8 * num_layers + 3)
        result, = self.json_of(*BENCH, "--backend", "cpu")["results"]
        self.assertIsNone(result["dispatches_per_token"])


if __name__ == "__main__":
    if reason := missing_adapter():
        print(f"no GPU adapter: {reason}")
        sys.exit(1 if os.environ.get("CI") == "true" else 77)
    unittest.main()

#!/usr/bin/env python3
"""Skein and the official package `rwkv` (fp32 on the CPU) give the same logits for a random 0.1B model over 64 tokens, read
from one .pth file of torch.save, in one piece and token by token.

Skipped, aloud, where numpy, torch or rwkv cannot be loaded: torch is too large for `./dev venv`.
"""
import os
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ.update(RWKV_V7_ON="1", RWKV_JIT_ON="1", RWKV_CUDA_ON="0")  # read when rwkv is imported
try:
    import numpy as np
    import torch
    from rwkv.model import RWKV
except ImportError as reason:
    print(f"SKIPPED: {reason}")
    sys.exit(77)

import model_formats as formats
from skein_program import ROOT, ProgramTest

SEED = 20261123
NUM_TOKENS = 64
TOLERANCE = 1e-3  # of the logits' standard deviation


def make_model(folder):
    """The model as BlinkDL's releases are: a .pth file of bf16 tensors."""
    # Not printed: the packages speak on stdout.
    subprocess.run([sys.executable, ROOT / "tools/make_model.py", "0.1B", folder, "--formats", "st", "--st-dtype", "bf16"],
                   check=True, stdout=subprocess.DEVNULL)
    [path] = Path(folder).glob("*.safetensors")
    state = {name: torch.frombuffer(bytearray(values), dtype=torch.bfloat16).reshape(list(shape))
             for name, (dtype, shape, values) in formats.read_model(path).items()}
    path.unlink()
    torch.save(state, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


class PackageTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.shared.cleanup)
        torch.set_num_threads(2)
        cls.path = make_model(cls.shared.name)
        cls.model = RWKV(model=str(cls.path.with_suffix("")), strategy="cpu fp32")
        generator = random.Random(SEED)
        cls.ids = [generator.randrange(65536) for _ in range(NUM_TOKENS)]

    def skein(self, *flags):
        path = self.folder / "logits.npy"
        self.succeed("logits", "-m", self.path, "--ids", ",".join(map(str, self.ids)), "-o", path, *flags)
        return np.load(path)

    def expect_close(self, found, expected):
        self.assertEqual(found.shape, expected.shape)
        for token, (row, want) in enumerate(zip(found, expected)):
            error = np.abs(row - want).max() / want.std()
            self.assertTrue(error <= TOLERANCE, (token, error))
        print(f"largest error {np.abs(found - expected).max() / expected.std():.2e} of the deviation")

    def test_prefill(self):
        expected, _ = self.model.forward(self.ids, None, full_output=True)
        self.expect_close(self.skein(), expected.numpy())

    def test_decode(self):
        state, rows = None, []
        for token in self.ids:
            logits, state = self.model.forward([token], state)
            rows.append(logits.numpy().copy())
        self.expect_close(self.skein("--chunk", "1"), np.stack(rows))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Skein's decoding of ggml's block codecs against the reference (PyPI: gguf), bit for bit.

Usage: ggml_blocks_reference_test.py FORMAT_TEST    (the test program of src/format). Exit status 77: skipped, a
package is missing.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import gguf
    import numpy as np
except ImportError as reason:
    print(f"SKIPPED: the reference implementation of ggml's codecs cannot be loaded: {reason}", file=sys.stderr)
    sys.exit(77)

SEED = 20261123
NUM_BLOCKS = 500
CODECS = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Where the f16 numbers of a block lie.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208]}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        for codec in CODECS:
            kind = gguf.GGMLQuantizationType[codec]
            _, num_bytes = gguf.GGML_QUANT_SIZES[kind]
            blocks = rng.integers(0, 256, (NUM_BLOCKS, num_bytes), dtype=np.uint8)
            for at in SCALES[codec]:  # any bytes as codes, finite numbers as scales
                scales = rng.normal(0, 0.1, NUM_BLOCKS).astype(np.float16)
                blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
            values = gguf.quants.dequantize(blocks, kind).astype(np.float32)
            assert np.isfinite(values).all()
            blocks.tofile(Path(folder) / f"{codec}.blocks")
            values.tofile(Path(folder) / f"{codec}.f32")
        subprocess.run([sys.argv[1], "--gtest_filter=GgmlBlocksReferenceTest.*"], check=True,
                       env={**os.environ, "SKEIN_REFERENCE_FOLDER": folder})
    print(f"passed, seed {SEED}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Skein's safetensors reader and writer against the reference implementation (PyPI: safetensors, numpy).

Both write files for the other to read, and both judge the same damaged files: what the reference refuses, Skein refuses.

Usage: safetensors_reference_test.py FORMAT_TEST    (the test program of src/format; its SafetensorsReferenceTest reads
and writes the folder that SKEIN_REFERENCE_FOLDER names). Exit status 77: skipped, a package is missing.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import safetensors
    import safetensors.numpy
except ImportError as reason:
    print(f"SKIPPED: the reference implementation of safetensors cannot be loaded: {reason}", file=sys.stderr)
    sys.exit(77)

SEED = 20261123
NUM_DAMAGED = 4000


def reference_tensors():
    """The tensors of reference.safetensors; value i of each is 3 i + 1."""
    shapes = {"f32": (np.float32, (4, 5)), "f16": (np.float16, (7,)), "i64": (np.int64, (2, 1, 3)), "u8": (np.uint8, (3,)),
              "bool": (np.bool_, (5,)), "f64": (np.float64, ()), "none": (np.float32, (0, 3)), "name ü\"": (np.int16, (2,))}
    return {name: (np.arange(np.prod(shape, dtype=int)) * 3 + 1).astype(dtype).reshape(shape)
            for name, (dtype, shape) in shapes.items()}


def file_of(header, data):
    return struct.pack("<Q", len(header)) + header + data


def damaged_files():
    """Good files with a few random changes: to the JSON value, or to its bytes."""
    rng = random.Random(SEED)
    interesting = [0, 1, 2, 3, 4, 5, 6, 8, 16, -1, 1.0, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, None, True, "1", [], [1], {}]
    for _ in range(NUM_DAMAGED):
        header = {"__metadata__": {"k": "v"}, "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
                  "b": {"dtype": "U8", "shape": [2, 1], "data_offsets": [4, 6]},
                  "c": {"dtype": "F32", "shape": [0], "data_offsets": [6, 6]}}
        for _ in range(rng.randrange(3)):
            tensor = header[rng.choice("abc")]
            field = rng.choice(list(tensor) or ["shape"])
            if isinstance(tensor.get(field), list) and tensor[field] and rng.random() < 0.8:
                tensor[field][rng.randrange(len(tensor[field]))] = rng.choice(interesting)
            else:
                tensor[field] = rng.choice(interesting + ["F16", "U8", "F33"])
        text = bytearray(json.dumps(header).encode())
        for _ in range(rng.choice([0, 0, 1, 2])):
            text[rng.randrange(len(text))] = rng.choice(b'{}[]":,0123456789 \x00\x80\xff\n\\/e.-')
        data = bytes(rng.choice([6, 6, 6, 5, 7, 0]))
        yield file_of(bytes(text) + b" " * rng.choice([0, 0, 1, 8]), data)


def reference_accepts(content):
    try:
        safetensors.deserialize(content)
        return True
    except (safetensors.SafetensorError, ValueError, OverflowError):
        return False


def check_written(path):
    """The file that Skein wrote, 4 KiB and 256 B aligned: tensors t0.. of i bytes, u8 value (7 i + j) mod 256."""
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"layout": "tile(16,32)", "quote": "\"\n"}, file.metadata()
        names = [name for name in file.keys() if not name.startswith("__pad__.")]
        assert sorted(names) == sorted(f"t{i}" for i in range(20)), names
        for i in range(20):
            found = file.get_tensor(f"t{i}")
            expected = ((7 * i + np.arange(37 * i)) % 256).astype(np.uint8)
            assert found.dtype == np.uint8 and np.array_equal(found, expected), f"t{i}"
        floats = safetensors.numpy.load_file(path.with_name("floats.safetensors"))["x"]
        assert floats.dtype == np.float32 and floats.tolist() == [[1.5, -2.0], [0.25, 3.0]], floats


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        safetensors.numpy.save_file(reference_tensors(), folder / "reference.safetensors", metadata={"who": "reference"})
        (folder / "damaged").mkdir()
        counts = {"accepted": 0, "refused": 0}
        for i, content in enumerate(damaged_files()):
            verdict = "accepted" if reference_accepts(content) else "refused"
            counts[verdict] += 1
            (folder / "damaged" / f"{i}.{verdict}").write_bytes(content)
        print(f"seed {SEED}; the reference judged the damaged files: {counts}")
        assert min(counts.values()) > NUM_DAMAGED // 20, "the damage is too weak or too strong to tell anything"
        subprocess.run([sys.argv[1], "--gtest_filter=SafetensorsReferenceTest.*"], check=True,
                       env={**os.environ, "SKEIN_REFERENCE_FOLDER": str(folder)})
        check_written(folder / "written.safetensors")
        print("passed")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""`skein inspect --quant-error` on the shipped f16 model against the types' definitions, written out here: blocks along a row, scales
rounded to f16. Standard library only."""
import math
import struct
import sys
import unittest

sys.dont_write_bytecode = True
from skein_program import MODEL, ProgramTest, read_safetensors  # noqa: E402

NAME = "blocks.2.ffn.key.weight"
NF4 = [-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1]


def f16(value):
    return struct.unpack("<e", struct.pack("<e", value))[0]


def matrix():
    """The rows of NAME."""
    header, data = read_safetensors(MODEL)
    begin, end = header[NAME]["data_offsets"]
    values = struct.unpack(f"<{(end - begin) // 2}e", data[begin:end])
    cols = header[NAME]["shape"][1]
    return [values[at:at + cols] for at in range(0, len(values), cols)]


def int8(block):
    low, high = f16(min(block)), f16(max(block))
    return [low + round((value - low) / (high - low) * 255) / 255 * (high - low) for value in block]


def nf4(block):
    largest = f16(max(map(abs, block)))
    return [min(NF4, key=lambda code: abs(code - value / largest)) * largest for value in block]


def relative_l2(rows, quantize, width):
    errors = squares = 0.0
    for row in rows:
        for at in range(0, len(row), width):
            block = row[at:at + width]
            errors += sum((a - b) ** 2 for a, b in zip(block, quantize(block)))
            squares += sum(value ** 2 for value in block)
    return math.sqrt(errors / squares)


class QuantError(ProgramTest):
    def errors(self, quant):
        """{name: what is said of it}"""
        found = self.json_of("inspect", "--quant", quant, "--quant-error")["quant_errors"]
        # Four attention matrices and two of the ffn a layer, and the head.
        self.assertEqual(len(found), 6 * 6 + 1)
        self.assertEqual({error["type"] for error in found}, {quant})
        return {error["name"]: error for error in found}

    def test_by_the_definitions(self):
        rows = matrix()
        for quant, quantize, width, bits in (("int8", int8, 128, 8.25), ("nf4", nf4, 64, 4.25)):
            error = self.errors(quant)[NAME]
            expected = relative_l2(rows, quantize, width)
            self.assertAlmostEqual(error["relative_l2_error"], expected, delta=1e-4 * expected)
            self.assertEqual(error["bits_per_weight"], bits)
            self.assertGreater(error["max_error"], 0)

    def test_sf4_is_near_nf4(self):
        # Quantiles of a heavier tail than these weights have: a little worse, and nowhere far off.
        nf4_errors, sf4_errors = self.errors("nf4"), self.errors("sf4")
        for name, error in sf4_errors.items():
            self.assertTrue(4.25 <= error["bits_per_weight"] < 4.35, error)  # the head is padded
            ratio = error["relative_l2_error"] / nf4_errors[name]["relative_l2_error"]
            self.assertTrue(1 < ratio < 1.25, (name, ratio))

    def test_without_quantized_matrices_there_is_nothing(self):
        self.assertEqual(self.json_of("inspect", "--quant-error")["quant_errors"], [])


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`skein pack --profile-neurons`: the same words from a model whose neurons were reordered, figures that add up, and what cannot be
counted over."""
import sys
import unittest

sys.dont_write_bytecode = True
from skein_program import VOCAB, ProgramTest  # noqa: E402

TEXT = "Once upon a time there was a goose. She flew over the lake. What is the capital of Italy? Repeat after me: 4 7 1. " * 4
GREEDY = ["--temperature", "0", "--tokens", "24", "Once upon a time"]


class Neurons(ProgramTest):
    def setUp(self):
        super().setUp()
        self.text, self.packed = self.folder / "text.txt", self.folder / "packed.safetensors"
        self.text.write_text(TEXT)

    def pack(self, *flags):
        return self.json_of("pack", *flags, "--profile-neurons", self.text, "-o", self.packed)["neurons"]

    def test_a_reordered_model_says_the_same(self):
        self.pack()
        want = self.succeed("generate", *GREEDY)
        self.assertEqual(self.succeed("generate", "-m", self.packed, "--vocab", VOCAB, *GREEDY), want)

    def test_figures(self):
        neurons = self.pack()
        self.assertEqual(neurons["evaluated_tokens"], neurons["tokens"] // 4)
        self.assertTrue(0 < neurons["density"] < 0.5, neurons)
        self.assertTrue(0 <= neurons["never_fired"] < 1, neurons)
        shares = [neurons[f"hottest_{part}_percent_share"] for part in (10, 20, 50)]
        self.assertEqual(shares, sorted(shares))
        self.assertTrue(shares[0] > 0.1 and shares[2] <= 1, neurons)
        self.assertLess(neurons["runs_per_layer"]["hot_first"], neurons["runs_per_layer"]["file"])
        read = neurons["ffn_value_bytes_per_token"]
        self.assertAlmostEqual(read["hot_first"], read["file"], delta=1)
        # Of quantized weights the scales of a block are read once for all that fires in it.
        read = self.pack("--quant", "int8")["ffn_value_bytes_per_token"]
        self.assertLess(read["hot_first"], read["file"])

    def test_text_output(self):
        text = self.succeed("pack", "--profile-neurons", self.text, "-o", self.packed).decode()
        self.assertRegex(text, r"neurons +[0-9.]+ % fire, [0-9.]+ % never did \(\d+ tokens")
        self.assertRegex(text, r"runs of a layer +[0-9.]+ a token, [0-9.]+ in the file's order")
        self.assertNotIn("neurons", self.succeed("pack", "-o", self.packed).decode())

    def test_what_cannot_be_counted_over(self):
        self.text.write_text("a")
        for path, what in [(self.text, "expected at least 8 tokens"), (self.folder / "none", "none"), (self.folder, "")]:
            self.fail_with(what, "pack", "--profile-neurons", path, "-o", self.packed)
            self.assertFalse(self.packed.exists())


if __name__ == "__main__":
    unittest.main()

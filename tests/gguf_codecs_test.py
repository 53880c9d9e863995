#!/usr/bin/env python3
"""Matrices that a .gguf file has in ggml's block codecs: which stay in their codec, and that their values do.

The reference backend multiplies a weight by its definition, so a kept matrix gives the logits of a file with its values in
f32, bit for bit.
"""
import os
import struct
import sys
import unittest

import gguf_files
import model_formats as formats
from gguf_files import GgufFileTest, gguf
from skein_program import MODEL, VOCAB, run

if gguf is not None:
    import numpy as np

SEED = 20261123
KEPT = {"Q8_0": "q8_0", "Q4_0": "q4_0", "Q4_K": "q4_k"}
DECODED = ("Q4_1", "Q5_0", "Q5_1", "Q5_K", "Q6_K")


@unittest.skipIf(gguf is None, "SKIPPED: gguf cannot be loaded")
class GgufCodecsTest(GgufFileTest):
    def setUp(self):
        super().setUp()
        self.rng = np.random.default_rng(SEED)

    def files(self, codec_of, half=()):
        """The model with coded matrices, and its values as plain numbers."""
        tensors, values, plain = self.coded(codec_of, self.rng)
        return self.write_gguf(tensors), self.twin(plain, values, values if half == "all" else half)

    def run_logits(self, path, *flags):
        """The logits and what was said beside them."""
        done = run("logits", "-m", path, "--ids", self.IDS, "-o", "-", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr.decode()

    def exact(self, path, *flags):
        return self.run_logits(path, "--backend", "reference", *flags)[0]

    def types(self, path, *flags):
        report = self.json_of("inspect", "-m", path, *flags, quiet=False)
        return report, {t["name"]: (t["file_type"], t["type"]) for t in report["tensors"]}

    def assert_close(self, got, want):
        """Logits of another backend, or with other orders of sums."""
        got, want = (np.frombuffer(logits, "<f4")[-837:] for logits in (got, want))
        self.assertLess(np.abs(got - want).max(), 2e-3)

    def test_kept_as_they_are(self):
        for codec, name in KEPT.items():
            with self.subTest(codec=codec):
                path, same = self.files(lambda _, codec=codec: codec)
                logits, said = self.run_logits(path, "--backend", "reference")
                self.assertEqual(logits, self.exact(same))
                self.assertNotIn("decoded", said)
                on_cpu, said = self.run_logits(path)
                self.assert_close(on_cpu, logits)
                self.assertNotIn("decoded", said)
                report, types = self.types(path)
                self.assertEqual(report["type"], codec)
                for matrix in ("head", "emb", "blocks.0.att.key", "blocks.5.ffn.value"):
                    self.assertEqual(types[f"{matrix}.weight"], (codec, name))
                self.assertEqual(types["blocks.0.ln0.weight"], ("f32", "f32"))
                self.assertEqual(on_cpu, self.run_logits(path, "--placement", "file")[0])

    def test_in_other_layouts(self):
        for codec in KEPT:
            path, same = self.files(lambda _, codec=codec: codec)
            want = self.exact(same)
            for layout in ("row_major", "col_major", "interleave(5,7)", "tile(16,32)", "morton(8)"):
                with self.subTest(codec=codec, layout=layout):
                    self.assertEqual(self.exact(path, "--layout", layout), want)
                    self.assert_close(self.run_logits(path, "--layout", layout)[0], want)

    def test_others_are_decoded_aloud(self):
        for codec in DECODED:
            with self.subTest(codec=codec):
                path, same = self.files(lambda _, codec=codec: codec, half="all")
                logits, said = self.run_logits(path)
                self.assertEqual(logits, self.logits(same))
                self.assertIn(f"matrices of {codec} are decoded to f16", said)
                report, types = self.types(path)
                self.assertEqual(report["type"], codec)
                self.assertEqual(types["head.weight"], (codec, "f16"))

    def test_several_codecs_in_one_model(self):
        """Q4_K_M: some matrices of another codec, also among those that are multiplied at once."""
        def codec_of(name):
            return {"head.weight": "Q6_K", "emb.weight": "Q4_0"}.get(
                name, "Q8_0" if name.endswith("att.value.weight") else "Q4_0" if "output" in name else "Q4_K")
        path, same = self.files(codec_of, half=("head.weight",))
        logits, said = self.run_logits(path, "--backend", "reference")
        self.assertEqual(logits, self.exact(same))
        self.assertIn("1 matrix of Q6_K is decoded to f16", said)
        _, types = self.types(path)
        self.assertEqual([types[name][1] for name in ("head.weight", "emb.weight", "blocks.1.att.key.weight",
                                                      "blocks.1.att.value.weight", "blocks.1.att.output.weight")],
                         ["f16", "q4_0", "q4_k", "q8_0", "q4_0"])
        self.assert_close(self.run_logits(path)[0], logits)
        prompt = "0," * 60 + "0"
        self.assert_close(self.succeed("logits", "-m", path, "--ids", prompt, "-o", "-", quiet=False),
                          self.succeed("logits", "-m", path, "--ids", prompt, "-o", "-", "--backend", "reference",
                                       quiet=False))

    def test_packed(self):
        for codec in KEPT:
            with self.subTest(codec=codec):
                path, same = self.files(lambda _, codec=codec: codec)
                packed = self.folder / f"{codec}.safetensors"
                self.succeed("pack", "-m", path, "-o", packed, "--vocab", VOCAB, quiet=False)
                self.assertEqual(self.logits(packed), self.run_logits(path)[0])
                self.assertEqual(self.exact(packed), self.exact(same))
                self.succeed("inspect", "-m", packed, "--verify")
                self.assertEqual(self.types(packed)[1]["head.weight"][1], KEPT[codec])
                self.assertLess(packed.stat().st_size, path.stat().st_size + 200_000)
                self.fail_with("pack it anew", "inspect", "-m", packed, "--quant", "f16")

    def test_other_types_on_request(self):
        tensors, values, plain = self.coded(lambda _: "Q4_0", self.rng)
        path = self.write_gguf(tensors)
        half = [name for name in values if name != "emb.weight"]
        logits, said = self.run_logits(path, "--quant", "f16", "--backend", "reference")
        self.assertEqual(logits, self.exact(self.twin(plain, values, half)))
        self.assertIn("matrices of Q4_0 are decoded to f16", said)
        self.assertNotIn("--quant", said)
        self.assertEqual(self.exact(path, "--quant", "q4_0"), self.exact(path))
        errors = self.json_of("inspect", "-m", path, "--quant", "int8", "--quant-error", quiet=False)["quant_errors"]
        self.assertTrue(errors)
        for error in errors:
            self.assertLess(error["relative_l2_error"], 0.02)
        for error in self.json_of("inspect", "-m", path, "--quant-error", quiet=False)["quant_errors"]:
            self.assertEqual(error["relative_l2_error"], 0)
            self.assertLess(error["bits_per_weight"], 4.6)

    def test_encoding_is_that_of_the_package(self):
        """q8_0 and q4_0 of plain numbers; q4_k, which the package does not encode, by its error."""
        for codec in ("Q8_0", "Q4_0"):
            plain = self.as_llama_cpp(self.model)
            values = {}
            for name, tensor in plain.items():
                quantized = ("att.receptance.", "att.key.", "att.value.", "att.output.", "ffn.key.", "ffn.value.", "head.")
                if any(part in name for part in quantized):
                    kind = gguf.GGMLQuantizationType[codec]
                    array = self.array(tensor).astype(np.float32)
                    values[name] = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind).reshape(array.shape)
            source = self.write("plain.safetensors", formats.safetensors(plain))
            self.assertEqual(self.exact(source, "--quant", codec.lower()), self.exact(self.twin(plain, values)))
        for codec, most in (("q8_0", 0.008), ("q4_0", 0.11), ("q4_k", 0.085)):
            errors = self.json_of("inspect", "-m", MODEL, "--quant", codec, "--quant-error")["quant_errors"]
            for error in errors:
                self.assertLess(error["relative_l2_error"], most, codec)

    def test_lora_decodes_what_it_changes(self):
        tensors, values, plain = self.coded(lambda _: "Q4_0", self.rng)
        path, name = self.write_gguf(tensors), "blocks.1.att.key.weight"
        a = (self.rng.integers(-3, 4, (1, 256)) / 64).astype(np.float32)
        b = (self.rng.integers(-3, 4, (256, 1)) / 64).astype(np.float32)
        stem = "blocks.1.att.key"
        lora = self.write("lora.safetensors", formats.safetensors({
            f"{stem}.lora_A.weight": ("F32", [1, 256], a.tobytes()), f"{stem}.lora_B.weight": ("F32", [256, 1], b.tobytes())}))
        logits, said = self.run_logits(path, "--lora", lora, "--backend", "reference")
        self.assertIn("1 matrix of Q4_0 that LoRA changes is decoded to f16", said)
        values[name] = values[name] + b @ a
        self.assertEqual(logits, self.exact(self.twin(plain, values, (name,))))

    def test_neurons_in_another_order(self):
        path, _ = self.files(lambda _: "Q4_0")
        text, packed = self.write("text.txt", b"Once upon a time there was a goose. " * 40), self.folder / "p.safetensors"
        done = run("pack", "-m", path, "-o", packed, "--vocab", VOCAB, "--profile-neurons", text)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("6 matrices of Q4_0 whose cols change places are decoded to f16", done.stderr.decode())
        self.assert_close(self.logits(packed), self.run_logits(path)[0])

    def test_what_is_not_finite(self):
        tensors, _, _ = self.coded(lambda _: "Q4_0", self.rng)
        blocks, _ = tensors["blk.2.time_mix_key.weight"]
        blocks[5, 18:20] = np.frombuffer(struct.pack("<e", float("inf")), np.uint8)
        done = run("logits", "-m", self.write_gguf(tensors), "--ids", self.IDS, "-o", os.devnull)
        self.assertIn("'blocks.2.att.key.weight': 32 of its values are NaN or infinite", done.stderr.decode())


if __name__ == "__main__":
    if gguf is None:
        print(f"SKIPPED: the package gguf cannot be loaded: {gguf_files.NO_GGUF}", file=sys.stderr)
        sys.exit(77)
    unittest.main()

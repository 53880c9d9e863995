#!/usr/bin/env python3
"""LoRA merged at load gives the logits of the model that was merged by hand, bit for bit; so do tuned states.

All numbers are small multiples of powers of two, so that every sum is exact and the order of sums does not matter.
"""
import json
import random
import struct
import unittest

import model_formats as formats
from skein_program import MODEL, VOCAB, ProgramTest, read_safetensors, safetensors_bytes

IDS = "0,50,600,3,77,250,8,8"
SEED = 20261123
RANK = 6
MATRICES = ("blocks.0.att.receptance.weight", "blocks.1.att.output.weight", "blocks.3.ffn.key.weight",
            "blocks.2.ffn.value.weight", "head.weight")


def halves(values):
    return struct.pack(f"<{len(values)}e", *values)


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def unpack(tensor):
    dtype, _, values = tensor
    kind = {"F16": "e", "F32": "f"}[dtype]
    return list(struct.unpack(f"<{len(values) // struct.calcsize(kind)}{kind}", values))


class LoraTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.random = random.Random(SEED)
        # Weights on a grid of 2^-10 below 1/2: what is added stays exact in f16.
        cls.model = formats.read_model(MODEL)
        for name in MATRICES:
            dtype, shape, _ = cls.model[name]
            cls.model[name] = dtype, shape, halves([round(max(-0.4, min(0.4, w)) * 1024) / 1024
                                                    for w in unpack(cls.model[name])])

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def logits(self, path, *flags, quiet=True):
        return self.succeed("logits", "-m", path, "--ids", IDS, "-o", "-", *flags, quiet=quiet)

    def small(self, count):
        return [self.random.randint(-3, 3) / 16 for _ in range(count)]

    def changes(self):
        """{matrix: (A [rank][cols], B [rows][rank])}"""
        return {name: (self.small(RANK * self.model[name][1][1]), self.small(self.model[name][1][0] * RANK))
                for name in MATRICES}

    def merged(self, changes, scale, model=None):
        model = dict(model or self.model)
        for name, (a, b) in changes.items():
            dtype, (rows, cols), _ = model[name]
            values = unpack(model[name])
            for row in range(rows):
                for col in range(cols):
                    values[row * cols + col] += scale * sum(b[row * RANK + k] * a[k * cols + col] for k in range(RANK))
            model[name] = dtype, [rows, cols], halves(values)
        return model

    def lora(self, changes, family):
        tensors = {}
        for name, (a, b) in changes.items():
            rows, cols = self.model[name][1]
            a, b = ("F32", [RANK, cols], floats(a)), ("F32", [rows, RANK], floats(b))
            stem = name.removesuffix(".weight")
            if family == "web-rwkv":
                tensors[stem + ".lora.0"], tensors[stem + ".lora.1"] = formats.transposed(a), b
            elif family == "rwkv-peft":
                tensors[stem + ".lora_A"], tensors[stem + ".lora_B"] = a, b
            else:
                [stem] = formats.hugging_face({name: a})
                stem = "base_model.model." + stem.removesuffix(".weight")
                tensors[stem + ".lora_A.weight"], tensors[stem + ".lora_B.weight"] = a, b
        return tensors

    def test_every_family(self):
        model = self.write("base.safetensors", formats.safetensors(self.model))
        changes = self.changes()
        want = self.logits(self.write("merged.safetensors", formats.safetensors(self.merged(changes, 1))))
        self.assertNotEqual(want, self.logits(model))
        for family in ("web-rwkv", "rwkv-peft", "peft"):
            tensors = self.lora(changes, family)
            for path in (self.write("lora.safetensors", formats.safetensors(tensors)),
                         self.write("lora.pth", formats.pth(tensors))):
                with self.subTest(family=family, file=path.name):
                    self.assertEqual(self.logits(model, "--lora", path, quiet=False), want)
        web = self.write("web.safetensors", formats.safetensors(formats.web_rwkv(self.model)))
        self.assertEqual(self.logits(web, "--lora", path, quiet=False), want)

    def test_alpha_of_peft(self):
        model = self.write("base.safetensors", formats.safetensors(self.model))
        changes = self.changes()
        folder = self.folder / "adapter"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(formats.safetensors(self.lora(changes, "peft")))
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}))
        twice = self.write("merged.safetensors", formats.safetensors(self.merged(changes, 2)))
        self.assertEqual(self.logits(model, "--lora", folder), self.logits(twice))
        half = self.write("half.safetensors", formats.safetensors(self.merged(changes, 1)))
        self.assertEqual(self.logits(model, "--lora", f"{folder}=0.5"), self.logits(half))
        self.assertEqual(self.logits(model, "--lora", f"{folder}=0"), self.logits(model))
        for config, expected in (({"peft_type": "IA3", "lora_alpha": 4}, "peft_type LORA"), ({}, "a number lora_alpha"),
                                 ({"lora_alpha": 4, "use_dora": True}, "found DoRA")):
            (folder / "adapter_config.json").write_text(json.dumps(config))
            self.fail_with(expected, "logits", "-m", model, "--ids", IDS, "-o", "-", "--lora", folder)

    def test_several_and_vectors(self):
        model = self.write("base.safetensors", formats.safetensors(self.model))
        first, second = self.changes(), self.changes()
        merged = self.merged(second, -1, self.merged(first, 1))
        vector = ("F32", [1, 1, 256], floats(self.small(256)))
        merged["blocks.1.att.x_w"] = vector
        one = self.write("one.safetensors", formats.safetensors(
            {**self.lora(first, "rwkv-peft"), "blocks.1.att.x_w": vector}))
        two = self.write("two=2.safetensors", formats.safetensors(self.lora(second, "rwkv-peft")))
        want = self.logits(self.write("merged.safetensors", formats.safetensors(merged)))
        self.assertEqual(self.logits(model, "--lora", one, "--lora", f"{two}=-1", quiet=False), want)
        packed = self.folder / "packed.safetensors"
        self.succeed("pack", "-m", model, "--vocab", VOCAB, "-o", packed, "--lora", one, "--lora", f"{two}=-1", quiet=False)
        self.assertEqual(self.logits(packed), want)
        self.fail_with("give --lora to skein pack", "logits", "-m", packed, "--ids", IDS, "-o", "-", "--lora", one)

    def test_what_does_not_fit(self):
        a, b = ("F32", [2, 256], floats([0] * 512)), ("F32", [256, 2], floats([0] * 512))
        stem = "blocks.0.att.key.lora_"
        for tensors, expected in (
                ({stem + "A": a}, "expected both halves"),
                ({stem + "A": a, stem + "B": ("F32", [256, 3], floats([0] * 768))}, "one rank for both halves"),
                ({stem + "A": ("F32", [2, 128], floats([0] * 256)), stem + "B": b}, "expected [rank, 256]"),
                ({"blocks.9.att.key.lora_A": a}, "of something else"),
                ({"emb.lora_A": a}, "of its embedding"),
                ({"blocks.0.att.key.weight": ("F32", [256, 256], floats([0] * 65536))}, "a low-rank change or a vector"),
                ({"anything": a}, "of something else")):
            path = self.write("lora.safetensors", formats.safetensors(tensors))
            self.fail_with(expected, "logits", "-m", MODEL, "--ids", IDS, "-o", "-", "--lora", path)
        self.fail_with("found --lora", "inspect", "--quant", "int8", "--quant-error", "--lora", path)
        self.fail_with("No such file", "logits", "-m", MODEL, "--ids", IDS, "-o", "-", "--lora", "none.pth=0.5")


class StateTest(ProgramTest):
    HEADS, SIZE, LAYERS = 4, 64, 6

    def setUp(self):
        super().setUp()
        generator = random.Random(SEED)
        count = self.HEADS * self.SIZE * self.SIZE
        # [H][V][K], as they are trained.
        self.states = [[generator.gauss(0, 1) for _ in range(count)] for _ in range(self.LAYERS)]

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def tensors(self, turned):
        size = self.SIZE
        def at(state, head, i, j):
            return state[(head * size + (j if turned else i)) * size + (i if turned else j)]
        return {f"blocks.{layer}.att.time_state": ("F32", [self.HEADS, size, size], floats(
                    [at(state, head, i, j) for head in range(self.HEADS) for i in range(size) for j in range(size)]))
                for layer, state in enumerate(self.states)}

    def saved_state(self):
        """The same as a state of ours: [L][S + 2][C], row = key, col = head * S + value, between two rows of zeros."""
        hashed = self.json_of("inspect")["hash"]
        values, size, zeros = [], self.SIZE, [0.0] * (self.HEADS * self.SIZE)
        for state in self.states:
            values += zeros
            for key in range(size):
                values += [state[(head * size + value) * size + key] for head in range(self.HEADS) for value in range(size)]
            values += zeros
        data = floats(values)
        header = {"__metadata__": {"format": "skein-state", "version": "1", "state_layout": "key_rows",
                                   "model_hash": hashed, "num_tokens": "0"},
                  "state": {"dtype": "F32", "shape": [self.LAYERS, size + 2, self.HEADS * size],
                            "data_offsets": [0, len(data)]}}
        return safetensors_bytes(header, data)

    def logits(self, *flags):
        return self.succeed("logits", "--ids", IDS, "-o", "-", *flags)

    def test_either_layout(self):
        want = self.logits("--state", self.write("ours.safetensors", self.saved_state()))
        self.assertNotEqual(want, self.logits())
        self.assertEqual(self.logits("--state", self.write("tuned.pth", formats.pth(self.tensors(False)))), want)
        turned = self.write("tuned.st", formats.safetensors(self.tensors(True)))
        self.assertEqual(self.logits("--state", turned), want)

    def test_generate_and_chat(self):
        path = self.write("tuned.pth", formats.pth(self.tensors(False)))
        arguments = ["generate", "-n", "20", "--temperature", "0", "Once upon a time"]
        tuned = self.succeed(*arguments, "--state", path, quiet=False)
        self.assertNotEqual(tuned, self.succeed(*arguments, quiet=False))
        chat = ["chat", "-n", "8", "--temperature", "0", "--seed", "1", "--state", path]
        once = self.succeed(*chat, stdin="hello\n", quiet=False)
        twice = self.succeed(*chat, stdin="hello\n/reset\nhello\n", quiet=False)
        self.assertEqual(twice, once + once)

    def test_what_does_not_fit(self):
        good = self.tensors(False)
        name = "blocks.1.att.time_state"
        dtype, shape, values = good[name]
        cases = (({**good, name: (dtype, [shape[0] * 2, 32, 64], values)}, "expected F32, F16 or BF16 [4, 64, 64]"),
                 ({n: t for n, t in good.items() if n != name}, "found 5 tensors"),
                 ({**{n: t for n, t in good.items() if n != name}, "other": good[name]}, f"'{name}', found none"),
                 ({**good, name: (dtype, shape, values[:-4] + struct.pack("<f", float("inf")))}, "expected finite values"))
        for tensors, expected in cases:
            path = self.write("bad.pth", formats.pth(tensors))
            self.fail_with(expected, "logits", "--ids", IDS, "-o", "-", "--state", path)
        self.fail_with("expected the format skein-state", "logits", "--ids", IDS, "-o", "-", "--state", MODEL)


if __name__ == "__main__":
    unittest.main()

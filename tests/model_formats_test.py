#!/usr/bin/env python3
"""The same model in every format and under every family of names gives the same logits, bit for bit.

Parts that need the packages gguf (with numpy) or torch say SKIPPED where these are missing.
"""
import ast
import json
import os
import struct
import unittest

import gguf_files
import model_formats as formats
from gguf_files import GgufFileTest, gguf
from skein_program import MODEL, VOCAB, run

if gguf is not None:
    import numpy as np
try:
    import torch
except ImportError as reason:
    torch, NO_TORCH = None, str(reason)


class FormatTest(formats.ModelFileTest):
    def format_of(self, path):
        return self.json_of("inspect", "-m", path, quiet=False)["format"]

    def expect_same(self, path, expected_format, of=MODEL):
        self.assertEqual(self.logits(path), self.logits(of))
        self.assertEqual(self.format_of(path), expected_format)


class NamesTest(FormatTest):
    def test_web_rwkv(self):
        path = self.write("m.st", formats.safetensors(formats.web_rwkv(self.model)))
        self.expect_same(path, "safetensors, low-rank matrices by rows")

    def test_hugging_face(self):
        for fuse in (False, True):
            path = self.write("m.safetensors", formats.safetensors(formats.hugging_face(self.model, fuse)))
            self.expect_same(path, "safetensors, names of Hugging Face, low-rank matrices by rows")

    def test_hugging_face_names_without_their_prefix(self):
        model = {name.removeprefix("model."): tensor for name, tensor in formats.hugging_face(self.model).items()}
        self.assertEqual(self.logits(self.write("m.safetensors", formats.safetensors(model))), self.logits(MODEL))

    def test_shards(self):
        for model, names in ((self.model, ""), (formats.hugging_face(self.model),
                                                ", names of Hugging Face, low-rank matrices by rows")):
            self.expect_same(formats.write_shards(model, self.folder), f"safetensors in 3 shards{names}")
        self.fail_with("expected", "inspect", "-m", self.folder / "model-00001-of-00003.safetensors")

    def test_a_matrix_that_lies_the_other_way_is_refused(self):
        model = dict(self.model)
        model["blocks.1.att.g2"] = formats.transposed(model["blocks.1.att.g2"])
        path = self.write("m.safetensors", formats.safetensors(model))
        self.fail_with("'blocks.1.att.g2': expected shape [64, 256], found [256, 64]", "inspect", "-m", path)

    def test_names_that_mean_the_same_are_refused(self):
        model = formats.hugging_face(self.model)
        model["norm.weight"] = model["model.norm.weight"]
        path = self.write("m.safetensors", formats.safetensors(model))
        self.fail_with("expected one tensor for 'ln_out.weight', found two", "inspect", "-m", path)


    def test_a_head_that_is_the_embedding(self):
        tied = {name: tensor for name, tensor in self.model.items() if name != "head.weight"}
        twin = {**self.model, "head.weight": self.model["emb.weight"]}
        path, same = self.write("tied.pth", formats.pth(tied)), self.write("twin.safetensors", formats.safetensors(twin))
        want = self.logits(same)
        self.assertEqual(self.logits(path, quiet=False), want)
        self.assertIn(b"the embedding is the head", run("logits", "-m", path, "--ids", self.IDS, "-o", os.devnull).stderr)
        self.assertEqual(self.format_of(path), "pth, the embedding as head")
        placed = self.succeed("logits", "-m", path, "--ids", self.IDS, "-o", "-", "--placement", "file", quiet=False)
        self.assertEqual(placed, want)

    def test_other_versions_are_named(self):
        for name, expected in (("ffn.s_emb.weight", "an RWKV-7a model (x070a"), ("qkv.qq.weight", "an RWKV-7b model (x070b"),
                               ("ffn.enn.weight", "an RWKV-8 model")):
            model = {**self.model, f"blocks.0.{name}": ("F16", [2], b"\0" * 4)}
            path = self.write("m.safetensors", formats.safetensors(model))
            self.fail_with(f"expected an RWKV-7 model, found {expected}", "inspect", "-m", path)
        model = {**self.model, "blocks.0.att.r_k": ("F16", [8, 32], self.model["blocks.0.att.r_k"][2])}
        self.fail_with("expected head size 64, found 32", "inspect", "-m",
                       self.write("m.safetensors", formats.safetensors(model)))


class VocabularyTest(FormatTest):
    TEXT = "Once upon a time,\n\tit's \"5\" o'clock\\ é"

    def tokens(self):
        for line in VOCAB.read_text(encoding="utf-8").splitlines():
            number, rest = line.split(" ", 1)
            token = ast.literal_eval(rest.rsplit(" ", 1)[0])
            yield number, token.encode() if isinstance(token, str) else token

    def as_json(self):
        def value(token):
            try:
                return token.decode()
            except UnicodeDecodeError:
                return list(token)
        return {number: value(token) for number, token in self.tokens()}

    def tokenize(self, *flags):
        return self.succeed("tokenize", self.TEXT, "--json", *flags)

    def test_json(self):
        path = self.write("vocab.json", json.dumps(self.as_json()).encode())
        self.assertEqual(self.tokenize("--vocab", path), self.tokenize())
        raw = self.write("raw.json", json.dumps(self.as_json(), ensure_ascii=False, indent=1).encode())
        self.assertEqual(self.tokenize("--vocab", raw), self.tokenize())
        listed = {number: list(token) for number, token in self.tokens()}
        self.assertEqual(self.tokenize("--vocab", self.write("l.json", json.dumps(listed).encode())), self.tokenize())

    def test_beside_a_model_of_hugging_face(self):
        path = self.write("model.safetensors", formats.safetensors(formats.hugging_face(self.model)))
        for name, content in (("rwkv_vocab_v20230424.json", json.dumps(self.as_json()).encode()),
                              ("rwkv_vocab_v20230424.txt", VOCAB.read_bytes())):
            self.write(name, content)
            self.assertEqual(self.tokenize("-m", path), self.tokenize())
        self.write("vocab.txt", VOCAB.read_bytes() + b"60000 'zzz' 3\n")
        self.fail_with("expected token ids below 837", "generate", "-m", path, "x")

    def test_json_that_is_none(self):
        for content, expected in (
                (b"{", "expected JSON"), (b'{"1": "a"', "expected JSON"), (b'{"1": "a"} x', "expected JSON"),
                (b'{"hello": 1}', "a vocabulary of another tokenizer"), (b'{"0": "a"}', "an id from 1 to"),
                (b'{"4000000000": "a"}', "an id from 1 to"), (b'{"99999999999": "a"}', "token ids as keys"),
                (b'{"-1": "a"}', "token ids as keys"), (b'{"1": ""}', "expected bytes, found none"),
                (b'{"1": []}', "expected bytes, found none"), (b'{"1": [256]}', "found a number"),
                (b'{"1": [-1]}', "found a negative number"), (b'{"1": [[1]]}', "found a list"),
                (b'{"1": ["a"]}', "found a text"), (b'{"1": {}}', "found an object"), (b'{"1": null}', "found null"),
                (b'{"1": 1.5}', "found a fraction"), (b'{"1": "a", "1": "b"}', "every id once"),
                (b'{"1": "a", "01": "b"}', "every id once"), (b'{"1": "a", "2": "a"}', "every token once"),
                (b'{"1": "\xff"}', "expected JSON"), (b'{"1": ' + b"[" * 100000, "found a list"), (b"{}", "found no tokens"),
                (b'{"1": "' + b"a" * 2000 + b'"}', "a token of 1 to")):
            self.fail_with(expected, "tokenize", "x", "--vocab", self.write("bad.json", content))


class PthTest(FormatTest):
    def test_layout_of_torch(self):
        for ordered in (False, True):
            self.expect_same(self.write("m.pth", formats.pth(self.model, ordered)), "pth")

    def test_names_and_placement(self):
        path = self.write("m.pth", formats.pth(formats.hugging_face(self.model)))
        self.expect_same(path, "pth, names of Hugging Face, low-rank matrices by rows")
        expected = self.logits(MODEL)
        for flags in (["--placement", "file"], ["--backend", "reference"]):
            found = self.succeed("logits", "-m", path, "--ids", self.IDS, "-o", "-", *flags)
            if flags[0] == "--placement":
                self.assertEqual(found, expected)

    def test_pack(self):
        path, packed = self.write("m.pth", formats.pth(self.model)), self.folder / "packed.safetensors"
        self.succeed("pack", "-m", path, "-o", packed, "--vocab", VOCAB, quiet=False)
        self.assertEqual(self.logits(packed), self.logits(MODEL))

    @unittest.skipIf(torch is None, "SKIPPED: torch cannot be loaded")
    def test_torch_itself(self):
        kinds = {"F16": torch.float16, "F32": torch.float32, "BF16": torch.bfloat16}
        state = {name: torch.frombuffer(bytearray(values), dtype=kinds[dtype]).reshape(shape)
                 for name, (dtype, shape, values) in self.model.items()}
        path = self.folder / "m.pth"
        torch.save(state, path)
        self.expect_same(path, "pth")
        bf16 = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
        torch.save(torch.nn.ParameterDict({"x": torch.ones(2)}).state_dict(), path)
        self.fail_with("expected an RWKV-7 model", "inspect", "-m", path)
        torch.save(bf16, path)
        same = {name: ("BF16", self.model[name][1], tensor.contiguous().view(torch.int16).numpy().tobytes())
                for name, tensor in bf16.items()}
        self.expect_same(path, "pth", self.write("m.safetensors", formats.safetensors(same)))
        state["blocks.0.att.key.weight"] = state["blocks.0.att.key.weight"].t()
        torch.save(state, path)
        self.fail_with("strides [1, 256]", "inspect", "-m", path)
        torch.save(bf16, path, _use_new_zipfile_serialization=False)
        self.fail_with("torch before version 1.6", "inspect", "-m", path)

    def test_hostile_pickles(self):
        class Evil:
            def __reduce__(self):
                return os.system, ("touch ran",)
        import io
        import pickle
        import zipfile
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("m/data.pkl", pickle.dumps({"emb.weight": Evil()}, protocol=2))
        path = self.write("evil.pth", file.getvalue())
        self.fail_with(".system' in its pickle; nothing of it runs", "inspect", "-m", path)
        self.fail_with("expected", "inspect", "-m", self.write("p.pth", pickle.dumps({"a": 1}, protocol=2)))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("m/data.pkl", b"\0" * 10_000_000)
        self.fail_with("compressed", "inspect", "-m", self.write("bomb.pth", file.getvalue()))


@unittest.skipIf(gguf is None, "SKIPPED: gguf cannot be loaded")
class GgufTest(GgufFileTest, FormatTest):
    def test_plain_types(self):
        for half in ("F16", "F32"):
            same = self.as_llama_cpp(self.model, half)
            path = self.write_gguf({n: (self.array(t), None) for n, t in formats.ggml(same).items()})
            twin = self.write("same.safetensors", formats.safetensors(same))
            self.expect_same(path, "gguf 3, names of ggml, low-rank matrices by rows", twin)

    def test_bf16(self):
        def round_bf16(array):
            bits = array.astype(np.float32).view(np.uint32)
            return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        plain = self.as_llama_cpp(self.model)
        same = {n: ("BF16", t[1], round_bf16(self.array(t)).tobytes()) if t[0] == "F16" else t for n, t in plain.items()}
        tensors = {}
        for name, (dtype, shape, values) in formats.ggml(same).items():
            if dtype == "BF16":
                tensors[name] = (np.frombuffer(values, np.uint8).reshape(*shape[:-1], -1), "BF16")
            else:
                tensors[name] = (np.frombuffer(values, "<f4").reshape(shape), None)
        self.expect_same(self.write_gguf(tensors), "gguf 3, names of ggml, low-rank matrices by rows",
                         self.write("same.safetensors", formats.safetensors(same)))

    def tokens(self):
        tokens = [("<s>", 3)]
        for line in VOCAB.read_text(encoding="utf-8").splitlines():
            literal = ast.literal_eval(line.split(" ", 1)[1].rsplit(" ", 1)[0])
            token = literal.encode() if isinstance(literal, str) else literal
            tokens.append((repr(token)[2:-1], 1))
        vocabulary_size = self.model["emb.weight"][1][0]
        return tokens + [(f"[PAD{i}]", 5) for i in range(len(tokens), vocabulary_size)]

    def test_its_vocabulary(self):
        tensors = {n: (self.array(t), None) for n, t in formats.ggml(self.as_llama_cpp(self.model)).items()}
        path = self.write_gguf(tensors, tokens=self.tokens())
        text = "Once upon a time,\n\tit's \"5\" o'clock\\ é \x00\xff"
        expected = self.succeed("tokenize", text.replace("\0", ""), "--json")
        self.assertEqual(self.succeed("tokenize", "-m", path, text.replace("\0", ""), "--json"), expected)
        arguments = ["-n", "20", "--temperature", "0", "Once upon a time"]
        packed = self.folder / "packed" / "m.safetensors"
        packed.parent.mkdir()
        self.succeed("pack", "-m", path, "-o", packed, quiet=False)  # its vocabulary goes along
        for model in (path, packed):
            self.assertEqual(self.succeed("generate", "-m", model, *arguments, quiet=False),
                             self.succeed("generate", *arguments, quiet=False))

    def test_broken_vocabularies(self):
        tensors = {n: (self.array(t), None) for n, t in formats.ggml(self.as_llama_cpp(self.model)).items()}
        for bad, expected in (([("<s>", 3), ("\\q", 1)], "token 1: expected the escapes"),
                              ([("<s>", 3), ("\\x1", 1)], "token 1: expected the escapes"),
                              ([("<s>", 3), ("a", 1), ("a", 1)], "expected every token once"),
                              ([("<s>", 3)], "found no tokens"),
                              (self.tokens() + [("more", 1)], "expected token ids below")):
            path = self.write_gguf(tensors, tokens=bad)
            self.fail_with(expected, "logits", "-m", path, "--ids", self.IDS, "-o", os.devnull)

    def test_other_models(self):
        tensors = {n: (self.array(t), None) for n, t in formats.ggml(self.model).items()}
        self.fail_with("expected the architecture 'rwkv7', found 'rwkv6'", "inspect", "-m",
                       self.write_gguf(tensors, arch="rwkv6"))
        self.fail_with("expected head size 64, found 32", "inspect", "-m", self.write_gguf(tensors, head_size=32))
        del tensors["blk.1.time_mix_lerp_fused.weight"]
        self.fail_with("'blocks.1.att.x_r'", "inspect", "-m", self.write_gguf(tensors))


class ContentTest(FormatTest):
    def test_what_is_no_model(self):
        for content, expected in ((b"", "an empty file"), (b"<!DOCTYPE html>", "a web page"),
                                  (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
                                  (b"fmgg" + struct.pack("<i", 101), "a model of rwkv.cpp")):
            self.fail_with(expected, "inspect", "-m", self.write("model.bin", content))


if __name__ == "__main__":
    if gguf is None:
        print(f"SKIPPED: the parts that need gguf: {gguf_files.NO_GGUF}")
    if torch is None:
        print(f"SKIPPED: the parts that need torch: {NO_TORCH}")
    unittest.main()

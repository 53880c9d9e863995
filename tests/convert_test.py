#!/usr/bin/env python3
"""`skein convert`: what goes in comes out, bit for bit where the types allow it, in little memory, whole or not at all."""
import os
import struct
import subprocess
import unittest

import model_formats as formats
from skein_program import MODEL, PROGRAM, SANITIZED, VOCAB, read_safetensors, run, safetensors_bytes

try:
    import gguf
    import numpy as np
except ImportError as reason:
    gguf, NO_GGUF = None, str(reason)

MAX_PEAK_MIB = 512


class ConvertTest(formats.ModelFileTest):
    def convert(self, source, output, *flags, quiet=True):
        output = self.folder / output
        self.succeed("convert", source, output, "--vocab", VOCAB, *flags, quiet=quiet)
        return output

    def test_every_family_of_names_becomes_blinkdls(self):
        sources = {"m.pth": formats.pth(formats.hugging_face(self.model, fuse=True)),
                   "m.st": formats.safetensors(formats.web_rwkv(self.model)),
                   "hf.safetensors": formats.safetensors(formats.hugging_face(self.model))}
        for name, content in sources.items():
            with self.subTest(source=name):
                output = self.convert(self.write(name, content), "out.safetensors")
                self.assertEqual(formats.read_model(output), self.model)

    def test_shards_become_one_file(self):
        output = self.convert(formats.write_shards(self.model, self.folder), "out.safetensors")
        self.assertEqual(formats.read_model(output), self.model)

    def test_gguf_and_back(self):
        there = self.convert(MODEL, "out.gguf")
        self.assertEqual(self.logits(there), self.logits(MODEL))
        back = self.convert(there, "back.safetensors", "--type", "f16")
        self.assertEqual({name: (dtype, values) for name, (dtype, _, values) in formats.read_model(back).items()},
                         {name: (dtype, values) for name, (dtype, _, values) in self.model.items()})
        self.assertEqual(self.logits(back), self.logits(MODEL))

    def test_the_vocabulary_goes_along(self):
        text = "Once upon a time,\n\tit's \"5\" o'clock\\ é"
        expected = self.succeed("tokenize", text, "--json")
        there = self.convert(MODEL, "there.gguf")
        self.assertEqual(self.succeed("tokenize", "-m", there, text, "--json"), expected)
        back = self.folder / "back.safetensors"
        self.succeed("convert", there, back)
        self.assertEqual(self.succeed("tokenize", "-m", back, text, "--json"), expected)
        self.assertTrue((self.folder / "back.vocab.txt").exists())
        ids = ["-n", "20", "--temperature", "0", "Once upon a time"]
        for path in (there, back):
            self.assertEqual(self.succeed("generate", "-m", path, *ids, quiet=False),
                             self.succeed("generate", *ids, quiet=False))

    def test_types(self):
        wide = self.convert(MODEL, "wide.safetensors", "--type", "f32")
        self.assertEqual({dtype for dtype, _, _ in formats.read_model(wide).values()}, {"F32"})
        self.assertEqual(formats.read_model(self.convert(wide, "narrow.safetensors", "--type", "f16")), self.model)
        rounded = formats.read_model(self.convert(MODEL, "bf16.safetensors", "--type", "bf16"))
        for name, (dtype, _, values) in rounded.items():
            self.assertEqual(dtype, "BF16")
            self.assertEqual(len(values), len(self.model[name][2]))

    def test_what_the_new_type_cannot_hold_is_an_error(self):
        model = formats.read_model(self.convert(MODEL, "wide.safetensors", "--type", "f32"))
        dtype, shape, values = model["blocks.1.ffn.key.weight"]
        model["blocks.1.ffn.key.weight"] = dtype, shape, values[:-4] + struct.pack("<f", 70000)
        source = self.write("large.safetensors", formats.safetensors(model))
        for output in ("out.gguf", "out.safetensors"):
            self.fail_with("'blocks.1.ffn.key.weight': expected values that f16 can hold", "convert", source,
                           self.folder / output, "--type", "f16")
            self.assertFalse((self.folder / output).exists())
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["large.safetensors", "wide.safetensors", "wide.vocab.txt"])
        self.succeed("convert", source, self.folder / "out.gguf", "--type", "bf16")

    def test_refusals(self):
        self.fail_with("ends in .safetensors or .gguf", "convert", MODEL, self.folder / "out.bin")
        self.fail_with("--type: expected f16 or bf16 or f32", "convert", MODEL, self.folder / "o.gguf", "--type", "q4_0")
        self.fail_with("No such file", "convert", self.folder / "none.pth", self.folder / "out.gguf")
        copy = self.write("m.safetensors", MODEL.read_bytes())
        self.fail_with("expected another file", "convert", copy, copy)
        packed = self.folder / "packed.safetensors"
        self.succeed("pack", "-o", packed, quiet=False)
        self.fail_with("found one of skein pack", "convert", packed, self.folder / "out.gguf")
        self.fail_with("No space left", "convert", MODEL, self.link_to("/dev/full", "full.gguf"))

    def link_to(self, target, name):
        path = self.folder / name
        os.symlink(target, path)
        return path

    def test_what_is_no_weight_is_said(self):
        model = {**self.model, "blocks.0.att.extra": ("F32", [1], b"\0" * 4)}
        source = self.write("m.safetensors", formats.safetensors(model))
        report = self.json_of("convert", source, self.folder / "out.gguf", quiet=False)
        self.assertTrue(any("'blocks.0.att.extra' is not part of RWKV-7" in line for line in report["warnings"]))
        self.assertIsNone(report["vocabulary"])

    @unittest.skipIf(SANITIZED, "an instrumented program takes more memory")
    def test_memory_of_a_large_model(self):
        # An embedding and a head of 1 GiB each, without a byte on the disk.
        header, data = read_safetensors(MODEL)
        rows, end = 1 << 20, 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, stop = entry["data_offsets"]
            size = stop - begin
            if name in ("emb.weight", "head.weight"):
                entry.update(dtype="F32", shape=[rows, 256])
                size = rows * 256 * 4
            entry["data_offsets"] = [end, end + size]
            end += size
        path = self.write("large.safetensors", safetensors_bytes(header, b""))
        begin = path.stat().st_size
        os.truncate(path, begin + end)
        before, entries = read_safetensors(MODEL)[0], header
        with open(path, "r+b") as file:
            for name, entry in entries.items():
                if name in ("__metadata__", "emb.weight", "head.weight"):
                    continue
                file.seek(begin + entry["data_offsets"][0])
                file.write(data[slice(*before[name]["data_offsets"])])
        for output in ("null.gguf", "null.safetensors"):
            process = subprocess.Popen([PROGRAM, "convert", path, self.link_to("/dev/null", output)],
                                       stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(status, 0)
            self.assertLess(usage.ru_maxrss / 1024, MAX_PEAK_MIB)

    @unittest.skipIf(gguf is None, "SKIPPED: gguf cannot be loaded")
    def test_the_package_gguf_reads_it(self):
        output = self.convert(MODEL, "out.gguf")
        reader = gguf.GGUFReader(output)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        expected = formats.ggml(self.model)
        for name, (dtype, shape, values) in expected.items():
            kind = {"F32": "<f4", "F16": "<f2"}[dtype]
            with self.subTest(tensor=name):
                self.assertEqual([int(n) for n in reversed(tensors[name].shape)], list(shape))
                np.testing.assert_array_equal(np.asarray(tensors[name].data, np.float32).ravel(),
                                              np.frombuffer(values, kind).astype(np.float32))
        extra = {name for name in tensors if name not in expected}
        self.assertEqual(extra, {f"blk.0.time_mix_v{i}.weight" for i in "012"})  # llama.cpp asks for them
        fields = reader.fields
        self.assertEqual(fields["general.architecture"].contents(), "rwkv7")
        self.assertEqual(fields["rwkv7.block_count"].contents(), 6)
        self.assertEqual(fields["rwkv7.wkv.head_size"].contents(), 64)
        self.assertEqual(len(fields["tokenizer.ggml.tokens"].contents()), expected["token_embd.weight"][1][0])


if __name__ == "__main__":
    if gguf is None:
        print(f"SKIPPED: the part that needs gguf: {NO_GGUF}")
    unittest.main()

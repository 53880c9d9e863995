#!/usr/bin/env python3
"""`skein pack` and packed files on the command line: the same words as without packing; every damaged, hostile or foreign file is
one line; nothing is left behind where packing fails."""
import json
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from skein_program import MODEL, PROGRAM, VOCAB, ProgramTest, read_safetensors, run, safetensors_bytes  # noqa: E402

GREEDY = ["--temperature", "0", "--tokens", "24"]
PROMPT = "Once upon a time"
KEY = "weight.blocks.3.ffn.key.weight"
NAME = "blocks.3.ffn.key.weight"


class PackTest(ProgramTest):
    def pack(self, *flags, name="packed.safetensors", **options):
        path = self.folder / name
        self.succeed("pack", *flags, "-o", path, **options)
        return path


class Pack(PackTest):
    def test_says_the_same_as_without_packing(self):
        for flags in [[], ["--quant", "int8"], ["--quant", "ffn=nf4,att=int8"], ["--layout", "row_major@128B"]]:
            with self.subTest(flags=flags):
                path = self.pack(*flags)
                want = self.succeed("generate", *GREEDY, *flags, PROMPT)
                self.assertEqual(self.succeed("generate", *GREEDY, "-m", path, "--vocab", VOCAB, PROMPT), want)
                self.assertEqual([entry.name for entry in self.folder.iterdir()], [path.name])

    def test_logits_are_the_same_bits(self):
        for flags in [[], ["--quant", "nf4"]]:
            path = self.pack(*flags)
            ids = ["--ids", "0,5,300,7", "-o", "-"]
            self.assertEqual(self.succeed("logits", "-m", path, *ids), self.succeed("logits", *flags, *ids))

    def test_a_state_goes_on_in_the_packed_model(self):
        path, state = self.pack(), self.folder / "state.safetensors"
        first, second = "What is the capital of Italy?\n", "Repeat after me: 4 7 1\n"
        packed = ["-m", path, "--vocab", VOCAB]
        head = self.succeed("chat", "--temperature", "0", stdin=first + f"/save {state}\n")
        tail = self.succeed("chat", "--temperature", "0", *packed, stdin=f"/load {state}\n" + second)
        self.assertEqual(head + tail, self.succeed("chat", "--temperature", "0", stdin=first + second))

    def test_says_what_it_wrote_and_where_a_vocabulary_is_looked_for(self):
        path = self.folder / "a.safetensors"
        text = self.succeed("pack", "--quant", "int8", "-o", path).decode()
        self.assertRegex(text, rf"written +{re.escape(str(path))}, [0-9.]+ MB in \d+ tensors")
        self.assertIn(f"none beside it: looked for {self.folder}/a.vocab.txt, {self.folder}/vocab.txt", text)
        shutil.copy(VOCAB, self.folder / "a.vocab.txt")
        result = self.json_of("pack", "-o", path)
        self.assertEqual(result["vocabulary"], str(self.folder / "a.vocab.txt"))
        self.assertEqual(result["bytes"], path.stat().st_size)
        self.assertEqual(result["warnings"], [])
        self.assertEqual(self.succeed("generate", *GREEDY, "-m", path, PROMPT), self.succeed("generate", *GREEDY, PROMPT))

    def test_the_file_is_an_ordinary_safetensors(self):
        header, data = read_safetensors(self.pack("--quant", "int8"))
        metadata = header.pop("__metadata__")
        self.assertEqual((metadata["skein_packed"], metadata["source"]), ("1", "goose-tiny.safetensors"))
        self.assertRegex(metadata[KEY], r"^dtype=int8 from=f16 shape=\d+x\d+ layout=[a-z]+\S* xxh3=[0-9a-f]{16}$")
        extents = sorted(tensor["data_offsets"] for tensor in header.values())
        self.assertEqual(extents[0][0], 0)
        self.assertEqual([begin for begin, _ in extents[1:]], [end for _, end in extents[:-1]])
        self.assertEqual(extents[-1][1], len(data))
        for name, tensor in header.items():
            self.assertEqual((tensor["dtype"], len(tensor["shape"])), ("U8", 1), name)
            if not name.startswith("__pad__"):
                self.assertEqual(tensor["data_offsets"][0] % 256, 0, name)

    def test_packing_twice_gives_the_same_bytes(self):
        one = self.pack("--quant", "nf4", "-t", "1", name="one").read_bytes()
        self.assertEqual(self.pack("--quant", "nf4", "-t", "3", name="two").read_bytes(), one)

    def test_inspect(self):
        path = self.pack("--quant", "int8", "--layout", "att=row_major@256B")
        plain = self.json_of("inspect", "--quant", "int8", "--layout", "att=row_major@256B")
        packed = self.json_of("inspect", "-m", path, "--vocab", VOCAB, "--verify")
        self.assertIsNone(plain["packed"])
        self.assertEqual(packed["format"], "packed safetensors")
        self.assertEqual((packed["packed"]["version"], packed["packed"]["source"]), ("1", "goose-tiny.safetensors"))
        self.assertEqual(packed["packed"]["verified_tensors"], len(packed["tensors"]))
        for key in ["hash", "layouts", "type", "parameters", "bytes_per_token", "tensors", "padding_bytes"]:
            self.assertEqual(packed[key], plain[key], key)
        self.assertEqual(packed["padding_bytes"], sum(tensor["padding_bytes"] for tensor in packed["tensors"]))
        text = self.succeed("inspect", "-m", path, "--verify").decode()
        self.assertIn("packed           version 1, from goose-tiny.safetensors\n", text)
        self.assertRegex(text, r"checksums +right, of \d+ tensors")

    def test_much_padding_is_a_warning(self):
        done = run("pack", "--layout", "row_major@4096B", "-o", self.folder / "wide")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), r"^skein: warning: .*wide: padding makes \d+ bytes of weights \d+: .*\n$")


class PackFails(PackTest):
    def nothing_is_left(self, *names):
        self.assertEqual(sorted(entry.name for entry in self.folder.iterdir()), sorted(names))

    def test_flags(self):
        out = self.folder / "out"
        self.fail_with("--output is required", "pack")
        self.fail_with("--output: expected a file name", "pack", "-o", "")
        self.fail_with("spiral", "pack", "--layout", "spiral", "-o", out)
        self.fail_with("expected layers 0 to 5", "pack", "--quant", "blocks.9=int8", "-o", out)
        self.fail_with("/nowhere", "pack", "-m", "/nowhere/model", "-o", out)
        self.fail_with("/nowhere", "pack", "--vocab", "/nowhere/vocab", "-o", out)
        self.fail_with("/nowhere", "pack", "-o", "/nowhere/out")
        self.fail_with("found a folder", "pack", "-o", self.folder)
        self.nothing_is_left()

    def test_the_model_itself_is_no_target(self):
        model = self.folder / "model.safetensors"
        shutil.copy(MODEL, model)
        (self.folder / "link").symlink_to(model)
        for target in [model, self.folder / "link"]:
            self.fail_with("expected another file than the model", "pack", "-m", model, "-o", target)
        self.assertEqual(model.read_bytes(), MODEL.read_bytes())

    def test_what_is_packed_is_not_packed_again(self):
        path = self.pack()
        self.fail_with("packed from 'goose-tiny.safetensors'", "pack", "-m", path, "-o", self.folder / "again")
        self.nothing_is_left(path.name)

    def test_a_full_disk(self):
        self.fail_with("/dev/full: cannot write: No space left on device", "pack", "-o", "/dev/full")
        old = self.folder / "old"
        old.write_bytes(b"old")

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        self.fail_with("File too large", "pack", "-o", old, preexec_fn=limit)
        self.assertEqual(old.read_bytes(), b"old")
        self.nothing_is_left("old")

    def test_a_vocabulary_that_does_not_fit_is_found_before_packing(self):
        vocabulary = self.folder / "large.txt"
        vocabulary.write_text("".join(f"{i} 'a{i}' {1 + len(str(i))}\n" for i in range(1, 2000)))
        for command in [["pack", "-o", self.folder / "out"], ["generate", PROMPT]]:
            self.fail_with("expected token ids below 837", *command, "--vocab", vocabulary)
        self.nothing_is_left("large.txt")

    def test_ctrl_c_leaves_nothing(self):
        # A thread may have been quick enough to finish.
        process = subprocess.Popen([PROGRAM, "pack", "-m", MODEL, "--quant", "sf4", "-o", self.folder / "out"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertFalse([entry.name for entry in self.folder.iterdir() if entry.name.startswith(".skein")])


class DamagedFiles(PackTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "packed.safetensors"
            done = run("pack", "--quant", "int8", "-o", path)
            assert done.returncode == 0, done.stderr
            cls.good = path.read_bytes()
            cls.header, cls.data = read_safetensors(path)
        cls.begin = len(cls.good) - len(cls.data)

    def write(self, content):
        path = self.folder / "bad.safetensors"
        path.write_bytes(content)
        return path

    def refuse(self, expected, content, *flags):
        path = self.write(content)
        message = self.fail_with(expected, "generate", "-m", path, "--vocab", VOCAB, *flags, "x")
        self.assertIn(str(path), message)

    def with_header(self, header):
        """The file with another header and the same data, at the same alignment."""
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 8) % 4096)
        return struct.pack("<Q", len(text)) + text + self.data

    def with_metadata(self, **fields):
        metadata = {**self.header["__metadata__"], **fields}
        return self.with_header({**self.header, "__metadata__": {key: value for key, value in metadata.items() if value is not None}})

    def with_weight(self, old, new):
        text = self.header["__metadata__"][KEY]
        changed, count = re.subn(old, new, text)
        self.assertEqual(count, 1, text)
        return self.with_metadata(**{KEY: changed})

    def test_the_whole_file_is_good(self):
        self.succeed("generate", *GREEDY, "-m", self.write(self.with_header(self.header)), "--vocab", VOCAB, PROMPT)
        self.succeed("inspect", "-m", self.folder / "bad.safetensors", "--verify")

    def test_truncated(self):
        for sixteenth in range(16):
            with self.subTest(sixteenth=sixteenth):
                self.refuse("", self.good[:len(self.good) * sixteenth // 16])
        self.refuse("", self.good[:-1])
        self.refuse("", self.good + b"x")

    def test_a_flipped_byte_is_found_by_verify(self):
        for name in ["emb.weight", NAME, "blocks.0.att.x_r .. x_g", "head.weight"]:
            begin, end = self.header[name]["data_offsets"]
            for at in [begin, (begin + end) // 2, end - 1]:
                damaged = bytearray(self.good)
                damaged[self.begin + at] ^= 1
                self.fail_with(f"tensor '{name}': expected checksum", "inspect", "-m", self.write(damaged), "--verify")

    def test_verify_needs_checksums(self):
        self.fail_with("expected a packed model, which has checksums", "inspect", "--verify")

    def test_another_version(self):
        self.refuse("expected a packed model of version 1, found version '2'", self.with_metadata(skein_packed="2"))

    def test_metadata(self):
        for key in ["dimensions", "layout", "quant", "activations", "neurons", "source", "source_hash"]:
            self.refuse(f"'{key}'", self.with_metadata(**{key: None}))
        good = self.header["__metadata__"]["dimensions"]
        self.refuse("dimensions", self.with_metadata(dimensions="layers=many"))
        self.refuse("layers", self.with_metadata(dimensions=good.replace("layers=6", "layers=4000000000")))
        self.refuse("blocks.6.ln1.weight", self.with_metadata(dimensions=good.replace("layers=6", "layers=7")))
        self.refuse("", self.with_metadata(dimensions=good.replace("hidden=", "hidden=1")))
        self.refuse("'emb.weight'", self.with_metadata(dimensions=re.sub("vocab=837", "vocab=838", good)))
        self.refuse("layout", self.with_metadata(layout="att=interleave(99999999999,1)"))
        self.refuse("quant", self.with_metadata(quant="blocks.3-1=int8\n\x1b[2J"))

    def test_weights(self):
        self.refuse(NAME, self.with_metadata(**{KEY: None}))
        self.refuse(KEY, self.with_weight("layout=\\S+", "layout=interleave(0,0)"))
        self.refuse(KEY, self.with_weight("layout=\\S+", "layout=" + "(" * 100000))
        self.refuse(KEY, self.with_weight("layout=\\S+", "layout=row_major@3B"))
        self.refuse(KEY, self.with_weight("dtype=int8", "dtype=int9"))
        self.refuse(KEY, self.with_weight("shape=", "shape=-"))
        self.refuse(KEY, self.with_weight("xxh3=", "xxh3=x"))
        self.refuse("expected shape", self.with_weight("shape=\\d+x", "shape=64x"))
        self.refuse("expected shape", self.with_weight("shape=\\d+x\\d+", "shape=4294967296x4294967296"))
        self.refuse(NAME, self.with_weight("dtype=int8", "dtype=f32"))
        self.refuse(NAME, self.with_weight("layout=\\S+", "layout=row_major@2097152B"))
        self.refuse(NAME, self.with_weight("layout=\\S+", "layout=tile(65536,65536)"))
        for name, record in [("ln_out.weight", "dtype=f16"), ("emb.weight", "dtype=int8")]:
            text = re.sub("dtype=\\S+", record, self.header["__metadata__"]["weight." + name])
            self.refuse(f"'{name}': expected a plain type", self.with_metadata(**{"weight." + name: text}))

    def test_tensors(self):
        missing = {key: value for key, value in self.header.items() if key != NAME}
        hole = {"dtype": "U8", "shape": self.header[NAME]["shape"], "data_offsets": self.header[NAME]["data_offsets"]}
        self.refuse(f"expected a packed tensor '{NAME}'", self.with_header({**missing, "other": hole}))
        begin, end = self.header[NAME]["data_offsets"]
        shorter = {**hole, "shape": [end - begin - 256], "data_offsets": [begin, end - 256]}
        rest = {"dtype": "U8", "shape": [256], "data_offsets": [end - 256, end]}
        self.refuse(f"'{NAME}': expected {end - begin} bytes", self.with_header({**self.header, NAME: shorter, "other": rest}))
        wrong = {**hole, "dtype": "F16", "shape": [(end - begin) // 2]}
        self.refuse(f"'{NAME}': expected bytes", self.with_header({**self.header, NAME: wrong}))
        square = {**hole, "shape": [2, (end - begin) // 2]}
        self.refuse(f"'{NAME}': expected bytes", self.with_header({**self.header, NAME: square}))
        overlap = {**hole, "data_offsets": [begin - 256, end - 256]}
        self.refuse("an overlap", self.with_header({**self.header, NAME: overlap}))

    def test_alignment_and_room_behind(self):
        self.refuse("expected its data at a multiple of 256 bytes", safetensors_bytes(self.header, self.data))
        last = max((name for name in self.header if name.startswith("__pad__")), key=lambda name: self.header[name]["data_offsets"])
        header = {key: value for key, value in self.header.items() if key != last}
        whole = self.with_header(header)
        self.refuse("'emb.weight': expected 128 bytes of the file behind it, found 0",
                    whole[:len(whole) - self.header[last]["shape"][0]])

    def test_what_is_asked_for_must_be_there(self):
        for flags, expected in [
                (["--quant", "nf4"], "packed as int8"), (["--quant", "att=file"], "asked for f16"),
                (["--layout", "row_major"], "asked for int8 row_major"), (["--placement", "file"], "asked for placement=file"),
                (["--plan", "x.json"], "expected no plan for a packed model")]:
            self.refuse(expected, self.good, *flags)
        path = self.write(self.good)
        for flags in [["--quant", "int8"], ["--quant", "ffn=int8"], ["--activations", "separate"], ["--plan", "none"]]:
            self.succeed("generate", *GREEDY, "-m", path, "--vocab", VOCAB, *flags, PROMPT)

    def test_quant_error_needs_the_values(self):
        self.fail_with("found a packed one", "inspect", "-m", self.write(self.good), "--quant-error")


if __name__ == "__main__":
    unittest.main()

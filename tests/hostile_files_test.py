#!/usr/bin/env python3
"""Model files made to harm: each is refused in one line, with status 2, in milliseconds, and nothing of it runs."""
import io
import json
import os
import pickle
import struct
import time
import unittest
import zipfile

import model_formats as formats
from skein_program import MODEL, SANITIZED, ProgramTest, read_safetensors

# Start-up, a page fault or two and a message; a busy machine and instrumented code get more.
MAX_SECONDS = 5 if SANITIZED else 0.5


class Evil:
    def __reduce__(self):
        return os.system, ("touch HARMED",)


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def text(value):
    return u64(len(value)) + value


def archive(entries, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return file.getvalue()


def pickled(code):
    """A .pth file around that pickle, with one storage of 16 bytes."""
    return archive({"m/data.pkl": b"\x80\x02" + code, "m/data/0": b"\0" * 16})


def unicode(value):
    return b"X" + u32(len(value)) + value


def storage(key=b"0", count=b"K\x04"):
    return b"(" + unicode(b"storage") + b"ctorch\nFloatStorage\n" + unicode(key) + unicode(b"cpu") + count + b"tQ"


def tensor(shape=b"K\x04\x85", strides=b"K\x01\x85", offset=b"K\x00", of=None):
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (of or storage()) + offset + shape + strides + b"tR"


def dictionary(value, name=b"emb.weight"):
    return b"}" + unicode(name) + value + b"s."


MINUS_ONE = b"J\xff\xff\xff\xff"
HUGE = b"\x8a\x08" + struct.pack("<q", 2**62)


def pth_files():
    yield "os.system", archive({"m/data.pkl": pickle.dumps({"emb.weight": Evil()}, protocol=2)}), "nothing of it runs"
    yield "os.system, protocol 4", archive({"m/data.pkl": pickle.dumps(Evil(), protocol=4)}), "protocol 2"
    yield "builtins.eval", pickled(b"c__builtin__\neval\n" + unicode(b"1") + b"\x85R."), "'__builtin__.eval'"
    yield "torch.load inside", pickled(b"ctorch\nload\n" + unicode(b"x") + b"\x85R."), "'torch.load'"
    yield "a class instance", pickled(b"(iposix\nsystem\n."), "opcode 0x69"
    yield "negative shape", pickled(dictionary(tensor(MINUS_ONE + b"\x85"))), "a tensor without a shape"
    yield "negative stride", pickled(dictionary(tensor(strides=MINUS_ONE + b"\x85"))), "a tensor without a shape"
    yield "negative offset", pickled(dictionary(tensor(offset=MINUS_ONE))), "a tensor without a storage"
    yield "negative storage", pickled(dictionary(tensor(of=storage(count=MINUS_ONE)))), "no description of a storage"
    yield "huge shape", pickled(dictionary(tensor(HUGE + HUGE + b"\x86", HUGE + b"K\x01\x86"))), "less than 2^64 bytes"
    yield "shape beyond the storage", pickled(dictionary(tensor(b"M\x00\x10\x85"))), "expected F32 elements [4096]"
    yield "overlapping strides", pickled(dictionary(tensor(b"K\x04K\x04\x86", b"K\x00K\x01\x86"))), "elements in order"
    yield "no such storage", pickled(dictionary(tensor(of=storage(key=b"1")))), "no such entry"
    yield "a path as storage", pickled(dictionary(tensor(of=storage(key=b"../../0")))), "no such entry"
    yield "a string of 4 GiB", pickled(b"X\xff\xff\xff\xffabc"), "cut short"
    yield "a name of 1 MiB", pickled(dictionary(tensor(), b"x" * (1 << 20))), "expected a name of 1 to"
    long_key = storage(key=b"k" * (1 << 20))
    yield "long keys used again and again", pickled(long_key + b"q\x00" + b"h\x00" * 100000), "names of 64 bytes"
    again = (b"ctorch._utils\n_rebuild_tensor_v2\nq\x01(" + storage() + b"K\x00K\x04\x85K\x01\x85tq\x02R" +
             b"h\x01h\x02R" * 400000)
    yield "a tensor for every five bytes", pickled(again), "at most 65536 tensors"
    yield "a list in itself", pickled(b"]q\x00h\x00a."), "expected a dictionary of tensors, found a list"
    yield "a dictionary in itself", pickled(b"}q\x00" + unicode(b"emb.weight") + b"h\x00s."), "found a dictionary"
    yield "marks without end", pickled(b"(" * 1000000), "cut short"
    yield "tuples in tuples", pickled(b")" + b"\x85" * 1000000 + b"."), "expected a dictionary of tensors"
    yield "a bomb", archive({"m/data.pkl": b"\0" * 30_000_000}, zipfile.ZIP_DEFLATED), "compressed"
    yield "entries over each other", overlapping(), "expected its own bytes"
    yield "a directory of 4 billion entries", archive({"m/data.pkl": b""})[:-22] + b"PK\5\6" + b"\0" * 6 + \
        b"\xff\xfe" + u32(46) + u32(0) + b"\0\0", "more entries than its directory has room for"
    yield "zip64 beyond the file", archive({"m/data.pkl": b""})[:-22] + b"PK\6\7" + u32(0) + u64(2**63) + u32(1) + \
        b"PK\5\6" + b"\0" * 4 + b"\xff\xff" * 2 + b"\xff" * 8 + b"\0\0", "outside of it"
    yield "no pickle", archive({"m/data/0": b"1234"}), "without data.pkl"
    yield "two pickles", archive({"a/data.pkl": b"", "b/data.pkl": b""}), "expected one data.pkl"
    yield "big-endian", archive({"m/data.pkl": b"", "m/byteorder": b"big"}), "little-endian"


def overlapping():
    """Two entries of the directory that are the same bytes: what makes small archives large."""
    plain = archive({"a": b"1" * 50, "b": b"2" * 50})
    at = plain.index(b"PK\1\2", plain.index(b"PK\1\2") + 4)
    first = plain.index(b"PK\1\2")
    return plain[:at] + plain[first:at] + plain[at + (at - first):]


def gguf(keys=b"", num_keys=0, tensors=b"", num_tensors=0, version=3):
    return b"GGUF" + u32(version) + u64(num_tensors) + u64(num_keys) + keys + tensors


def gguf_tensor(name, dims, kind=0, offset=0):
    return text(name) + u32(len(dims)) + b"".join(u64(n) for n in dims) + u32(kind) + u64(offset)


def gguf_files():
    key = text(b"k")
    for value, expected in ((u32(8) + u64(2**32), "cut short"), (u32(8) + u64(2**64 - 1), "cut short"),
                            (u32(9) + u32(8) + u64(2**40), "cut short"), (u32(9) + u32(4) + u64(2**62), "cut short"),
                            (u32(9) + u32(9) + u64(1), "an array of numbers or strings"), (u32(99), "found number 99")):
        yield f"a value of {value.hex()}", gguf(key + value, 1), expected
    yield "a key of 4 GiB", gguf(u64(2**32) + b"abc", 1), "cut short"
    yield "a billion keys", gguf(num_keys=10**9), "at most"
    yield "a billion tensors", gguf(num_tensors=10**9), "at most"
    yield "a million tensors in no bytes", gguf(num_tensors=10**6), "cut short"
    yield "2^64 elements", gguf(tensors=gguf_tensor(b"t", [2**32, 2**32]), num_tensors=1), "less than 2^64 bytes"
    yield "negative dimensions", gguf(tensors=gguf_tensor(b"t", [2**64 - 1]), num_tensors=1), "less than 2^64 bytes"
    yield "4 billion dimensions", gguf(tensors=text(b"t") + u32(2**32 - 1), num_tensors=1), "at most 4 dimensions"
    yield "an offset beyond", gguf(tensors=gguf_tensor(b"t", [8], offset=2**63), num_tensors=1), "expected 32 bytes"
    yield "no alignment", gguf(text(b"general.alignment") + u32(4) + u32(0), 1), "a power of two"
    yield "a huge alignment", gguf(text(b"general.alignment") + u32(10) + u64(2**63), 1), "a power of two"
    yield "half a block", gguf(tensors=gguf_tensor(b"t", [33], 8), num_tensors=1), "whole blocks of Q8_0"
    yield "an unknown codec", gguf(tensors=gguf_tensor(b"t", [256], 16), num_tensors=1), "found IQ2_XXS"
    yield "no type", gguf(tensors=gguf_tensor(b"t", [256], 4242), num_tensors=1), "found number 4242"
    two = gguf_tensor(b"t", [8]) + gguf_tensor(b"u", [8])
    yield "tensors over each other", gguf(tensors=two, num_tensors=2) + b"\0" * 96, "its own bytes"
    yield "nothing", gguf(), "found none"
    yield "version 1", gguf(version=1), "found 1"
    yield "big-endian", b"GGUF" + struct.pack(">I", 3) + b"\0" * 16, "big-endian"


class HostileTest(ProgramTest):
    def refuse(self, expected, path):
        seconds = []
        for _ in range(2):
            start = time.monotonic()
            self.fail_with(expected, "inspect", "-m", path)
            seconds.append(time.monotonic() - start)
        self.assertLess(min(seconds), MAX_SECONDS)
        self.assertFalse(os.path.exists("HARMED"))

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def test_pth(self):
        for what, content, expected in pth_files():
            with self.subTest(what=what):
                self.refuse(expected, self.write("m.pth", content))

    def test_gguf(self):
        for what, content, expected in gguf_files():
            with self.subTest(what=what):
                self.refuse(expected, self.write("m.gguf", content))

    def test_shards(self):
        index = self.folder / "model.safetensors.index.json"
        other = self.folder / "other.safetensors.index.json"
        def refer(path, name, tensors=("emb.weight",)):
            path.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}))
        refer(index, index.name)
        self.refuse("expected", index)  # a shard is no index, so there is no way round
        refer(index, other.name)
        refer(other, index.name)
        self.refuse("expected", index)
        for name in ("../model.safetensors", "/etc/passwd", "..", ".", "", "a\\b", "a\0b", "a/b"):
            refer(index, name)
            self.refuse("the name of a file in the same folder", index)
        os.symlink("loop.safetensors", self.folder / "loop.safetensors")
        refer(index, "loop.safetensors")
        self.refuse("loop.safetensors", index)
        os.mkfifo(self.folder / "fifo.safetensors")
        refer(index, "fifo.safetensors")
        self.refuse("fifo.safetensors", index)
        refer(index, "none.safetensors")
        self.refuse("No such file", index)
        index.write_text(json.dumps({"weight_map": {f"t{i}": f"{i}.safetensors" for i in range(2000)}}))
        self.refuse("at most 1024 shards", index)
        index.write_text('{"weight_map": ' + '{"a": ' * 100000)
        self.refuse("no JSON", index)
        index.write_text('{"weight_map": {}}')
        self.refuse("found none", index)
        index.write_bytes(b'{"a": "' + b"x" * (17 << 20))
        self.refuse("expected", index)

    def test_cut_short_everywhere(self):
        model = formats.read_model(MODEL)
        converted = self.folder / "whole.gguf"
        self.succeed("convert", MODEL, converted)
        files = {"cut.safetensors": MODEL.read_bytes(), "cut.pth": formats.pth(model), "cut.gguf": converted.read_bytes()}
        for name, content in files.items():
            for part in range(16):
                with self.subTest(file=name, sixteenths=part):
                    self.refuse("expected", self.write(name, content[:len(content) * part // 16]))

    def test_cut_shards(self):
        index = formats.write_shards(formats.read_model(MODEL), self.folder)
        shard = self.folder / "model-00002-of-00003.safetensors"
        content = shard.read_bytes()
        for part in range(16):
            shard.write_bytes(content[:len(content) * part // 16])
            self.refuse("model-00002-of-00003.safetensors", index)

    def test_names_that_are_no_text(self):
        header, data = read_safetensors(MODEL)
        header["evil\n\x1b[2Jname"] = {"dtype": "F16", "shape": [0], "data_offsets": [len(data), len(data)]}
        body = json.dumps(header).encode()
        self.refuse("without control characters", self.write("m.safetensors", u64(len(body)) + body + data))


if __name__ == "__main__":
    unittest.main()

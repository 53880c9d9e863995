"""What the tests of the program share: running it, judging how it fails, and files in its formats. Standard library only."""
import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("SKEIN_SOURCE_DIR", Path(__file__).resolve().parent.parent))
PROGRAM = os.environ.get("SKEIN_PROGRAM", str(ROOT / "build/release/skein"))
MODEL = ROOT / "models/goose-tiny/goose-tiny.safetensors"
VOCAB = ROOT / "models/goose-tiny/vocab.txt"
GOLDEN = ROOT / "models/goose-tiny/goose-tiny.golden.safetensors"
# Instrumented programs are slow: figures and the largest inputs are tried with an ordinary build only.
SANITIZED = bool(os.environ.get("SKEIN_SANITIZE"))


def run(*arguments, stdin=b"", timeout=300, **options):
    """The finished process of `skein ARGUMENTS`; stdout and stderr are bytes."""
    environment = {**os.environ, "SKEIN_MODELS": str(ROOT / "models"), "SKEIN_PLAN": "none", **options.pop("env", {})}
    if "stdin_file" in options:
        options["stdin"] = options.pop("stdin_file")
    else:
        options["input"] = stdin.encode() if isinstance(stdin, str) else stdin
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([PROGRAM, *map(os.fsencode, map(str_or_bytes, arguments))], stderr=subprocess.PIPE, timeout=timeout,
                          env=environment, check=False, **options)


def str_or_bytes(argument):
    return argument if isinstance(argument, bytes) else str(argument)


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, and the two ways in which the program may end."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def succeed(self, *arguments, quiet=True, **options):
        """stdout of a run that must work, and by default says nothing else."""
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        if quiet:
            self.assertEqual(done.stderr, b"", arguments)
        return done.stdout

    def fail_with(self, expected, *arguments, **options):
        """One line on stderr that says `expected`, nothing on stdout, status 2."""
        done = run(*arguments, **options)
        message = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, 2, (arguments, message))
        self.assertTrue(message.startswith("skein: "), (arguments, message))
        self.assertTrue(message.endswith("\n"), message)
        self.assertEqual(message.count("\n"), 1, message)
        self.assertLess(len(message), 1000, message)
        self.assertIn(expected, message, arguments)
        if options.get("stdout", subprocess.PIPE) == subprocess.PIPE:
            self.assertEqual(done.stdout, b"", arguments)
        return message

    def json_of(self, *arguments, **options):
        return json.loads(self.succeed(*arguments, "--json", **options))


def missing_adapter():
    """Why backend webgpu does not open, or nothing."""
    done = run("inspect", "--backend", "webgpu", "--json")
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()


def read_safetensors(path):
    """(header, data) of a file: the header as a dict, the bytes behind it."""
    file = Path(path).read_bytes()
    length, = struct.unpack("<Q", file[:8])
    return json.loads(file[8:8 + length]), file[8 + length:]


def safetensors_bytes(header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def read_npy(file):
    """The rows of a two-dimensional f32 array, as tuples."""
    assert file[:8] == b"\x93NUMPY\x01\x00", file[:8]
    length, = struct.unpack("<H", file[8:10])
    header = eval(file[10:10 + length].decode(), {"__builtins__": {}})  # a literal, as NumPy reads it
    assert header["descr"] == "<f4" and header["fortran_order"] is False, header
    rows, cols = header["shape"]
    values = struct.unpack(f"<{rows * cols}f", file[10 + length:])
    return [values[row * cols:(row + 1) * cols] for row in range(rows)]

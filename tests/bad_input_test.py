#!/usr/bin/env python3
"""Bad input on the command line, in files and in the system: each is one clear line on stderr and exit status 2, nothing
crashes, and nothing is written."""
import os
import signal
import struct
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
from skein_program import (GOLDEN, MODEL, PROGRAM, ROOT, SANITIZED, VOCAB, ProgramTest, read_safetensors,  # noqa: E402
                           run, safetensors_bytes)

COMMANDS = ["generate", "chat", "tokenize", "logits", "perplexity", "bench", "pack", "tune", "inspect", "layout", "devices"]


class CommandLine(ProgramTest):
    def test_commands_and_flags_that_do_not_exist(self):
        self.fail_with("unknown command 'fly'; see skein --help", "fly")
        self.fail_with("see skein --help", "--fly")
        for command in COMMANDS:
            self.fail_with(f"unexpected argument '--fly'; see skein {command} --help", command, "--fly")

    def test_values_out_of_range(self):
        for flags, expected in [
                (["-t", "0"], "--threads: expected a whole number from 1 to 1024, found '0'"),
                (["-t", "4096"], "--threads: expected a whole number from 1 to 1024, found '4096'"),
                (["-t", "-1"], "--threads"), (["-t", "two"], "found 'two'"), (["-t", ""], "found ''"),
                (["-t", "99999999999999999999"], "--threads"), (["--tokens"], "--tokens: "),
                (["-m", ""], "--model: expected a file name, found ''"), (["--vocab", ""], "--vocab: expected a file name"),
                (["--backend", "gpu"], "expected auto or reference or cpu or webgpu, found 'gpu'"),
                (["--precision", "half"], "expected exact or fast, found 'half'"),
                (["--tokens", "0"], "--tokens"), (["--tokens", "1e3"], "--tokens"),
                (["--temperature", "-1"], "--temperature"), (["--temperature", "nan"], "--temperature"),
                (["--top-k", "-1"], "--top-k"), (["--top-p", "0"], "--top-p"), (["--top-p", "1.1"], "--top-p"),
                (["--min-p", "2"], "--min-p"), (["--presence-penalty", "inf"], "--presence-penalty"),
                (["--frequency-penalty", "x"], "--frequency-penalty"), (["--penalty-decay", "1.5"], "--penalty-decay"),
                (["--seed", "-3"], "--seed"), (["--stop", ""], "--stop"),
                (["--layout", "spiral"], "spiral"), (["--layout", "nose=row_major"], "nose"),
                (["--quant", "int3"], "found 'int3'"),
                (["--activations", "loose"], "expected packed or separate, found 'loose'"),
                (["--placement", "up"], "expected hot or file, found 'up'"), (["--plan", ""], "--plan: expected a file name"),
                (["--plan", "/nowhere/plan.json"], "/nowhere/plan.json"), (["--plan", str(VOCAB)], "expected JSON")]:
            with self.subTest(flags=flags):
                self.fail_with(expected, "generate", *flags, "x")

    def test_every_command_checks_its_own(self):
        out = str(self.folder / "out.npy")
        for arguments, expected in [
                (["logits", "-o", out], "--ids"), (["logits", "--ids", "1"], "--output"), (["logits", "--ids"], "--ids: expected a value, found none"),
                (["logits", "--ids", "1", "-o", ""], "--output: expected a file name"), (["bench", "-m", ""], "--model"),
                (["logits", "--ids", "1,,2", "-o", out], "--ids"), (["logits", "--ids", "1,x", "-o", out], "found 'x'"),
                (["logits", "--ids", "837", "-o", out], "expected ids from 0 to 836, found 837"),
                (["logits", "--ids", "1", "--chunk", "0", "-o", out], "--chunk"),
                (["tokenize", "--decode", "1,2", "text"], "--decode"), (["tokenize", "--decode", "x"], "--decode"),
                (["perplexity"], "textfile"), (["perplexity", "/nowhere/text"], "/nowhere/text"),
                (["perplexity", str(self.folder)], str(self.folder)),
                (["bench", "-t", "0,1"], "--threads"), (["bench", "-t", "1,4096"], "--threads"),
                (["bench", "--repeat", "0"], "--repeat"), (["bench", "--prefill", "0", "--tokens", "0"], "nothing to measure"),
                (["bench", "--layout", "spiral"], "spiral"), (["devices", "now"], "now"), (["inspect", "now"], "now"),
                (["layout"], "layout"), (["layout", "spiral", "2", "2"], "spiral"), (["layout", "morton(4)", "0", "2"], "0"),
                (["tune", "--budget", "0"], "--budget: expected a time"), (["tune", "-o", ""], "--output: expected a file name"),
                (["chat", "hello"], "hello")]:
            with self.subTest(arguments=arguments):
                self.fail_with(expected, *arguments)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_environment(self):
        self.fail_with("pentium", "generate", "x", env={"SKEIN_CPU": "pentium"})


class ModelFiles(ProgramTest):
    """Mutations of the shipped model. The vocabulary is always named, so that the model is what fails."""

    @classmethod
    def setUpClass(cls):
        cls.header, cls.data = read_safetensors(MODEL)
        cls.file = MODEL.read_bytes()

    def write(self, content, name="bad.safetensors"):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def refuse(self, expected, content):
        path = self.write(content)
        message = self.fail_with(expected, "generate", "-m", path, "--vocab", VOCAB, "x")
        self.assertIn(str(path), message)
        self.assertEqual([entry.name for entry in self.folder.iterdir()], [path.name])

    def changed(self, name, **fields):
        return {**self.header, name: {**self.header[name], **fields}}

    def test_no_file(self):
        self.fail_with("/nowhere/model", "generate", "-m", "/nowhere/model", "x")
        self.fail_with(str(self.folder), "generate", "-m", self.folder, "x")
        self.fail_with("/dev/null", "generate", "-m", "/dev/null", "x")

    def test_no_permission(self):
        path = self.write(self.file)
        path.chmod(0)
        if os.geteuid() != 0:
            self.fail_with("Permission denied", "generate", "-m", path, "--vocab", VOCAB, "x")
            return
        # Root may read anything, so the program runs as nobody, where nobody may run it.
        self.folder.chmod(0o755)
        become_nobody = lambda: os.setuid(65534)  # noqa: E731
        try:
            run("--version", preexec_fn=become_nobody)
        except (PermissionError, subprocess.SubprocessError) as reason:
            self.skipTest(f"nobody may not run the program: {reason}")
        self.fail_with("Permission denied", "generate", "-m", path, "--vocab", VOCAB, "x", preexec_fn=become_nobody)

    def test_empty_and_truncated(self):
        self.refuse("", b"")
        for sixteenth in range(1, 16):
            with self.subTest(sixteenth=sixteenth):
                self.refuse("", self.file[:len(self.file) * sixteenth // 16])
        self.refuse("", self.file[:-1])
        self.refuse("", self.file[:7])

    def test_header(self):
        self.refuse("", struct.pack("<Q", 1 << 60) + self.file[8:])
        self.refuse("", struct.pack("<Q", 0) + self.file[8:])
        nested = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        self.refuse("", struct.pack("<Q", len(nested)) + nested)
        self.refuse("", struct.pack("<Q", 4) + b"\xff\xfe{}")

    def test_tensors(self):
        name = "blocks.3.ffn.key.weight"
        huge = 1 << 62
        self.refuse(name, safetensors_bytes(self.changed(name, shape=[huge, huge]), self.data))
        self.refuse("", safetensors_bytes(self.changed(name, data_offsets=self.header["emb.weight"]["data_offsets"]), self.data))
        self.refuse(name, safetensors_bytes(self.changed(name, dtype="I16"), self.data))
        self.refuse(name, safetensors_bytes(self.changed(name, dtype="F17"), self.data))
        shape = self.header[name]["shape"]
        self.refuse(name, safetensors_bytes(self.changed(name, shape=shape[::-1]), self.data))
        renamed = {("unknown" if key == name else key): value for key, value in self.header.items()}
        self.refuse(name, safetensors_bytes(renamed, self.data))

    def test_another_kind_of_file(self):
        self.refuse("", GOLDEN.read_bytes())
        self.refuse("", VOCAB.read_bytes())

    def test_not_a_number_is_a_warning(self):
        data = bytearray(self.data)
        begin = self.header["blocks.2.att.key.weight"]["data_offsets"][0]
        data[begin:begin + 2] = struct.pack("<H", 0x7e00)
        path = self.write(safetensors_bytes(self.header, bytes(data)))
        done = run("generate", "-m", path, "--vocab", VOCAB, "--tokens", "1", "x")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr.decode(), r"^skein: warning: [^\n]*blocks\.2\.att\.key\.weight[^\n]*\n$")

    def test_vocabularies(self):
        self.fail_with("/nowhere/vocab", "generate", "--vocab", "/nowhere/vocab", "x")
        path = self.folder / "vocab.txt"
        for content in [b"1 'a' 2\n", b"1 'a\n", b"x 'a' 1\n", b"1 'a' 1\n1 'b' 1\n", b"9999999 'a' 1\n", b"\xff\xfe\n"]:
            with self.subTest(content=content):
                path.write_bytes(content)
                self.fail_with(str(path), "tokenize", "--vocab", path, "x")
        path.write_bytes(VOCAB.read_bytes() + b"5000 'too far' 7\n")
        self.fail_with("5000", "generate", "--vocab", path, "x")
        path.write_bytes(b"1 'a' 1\n")
        self.fail_with("", "tokenize", "--vocab", path, "ab")
        alone = self.write(self.file, "alone.safetensors")
        path.unlink()
        self.fail_with("vocab", "generate", "-m", alone, "x")


class States(ProgramTest):
    def chat(self, expected, line):
        return self.fail_with(expected, "chat", stdin=line + "\n")

    def test_saving(self):
        self.chat("No space left", "/save /dev/full")
        self.chat("/nowhere", "/save /nowhere/state")
        self.chat(str(self.folder), f"/save {self.folder}")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_loading(self):
        self.chat("/nowhere/state", "/load /nowhere/state")
        self.chat(str(MODEL), f"/load {MODEL}")
        path = self.folder / "state"
        self.succeed("chat", stdin=f"/save {path}\n")
        state = path.read_bytes()
        for content in [b"", state[:-1], state[:len(state) // 2], state + b"x"]:
            path.write_bytes(content)
            self.chat(str(path), f"/load {path}")
        header, data = read_safetensors(MODEL)
        header["emb.weight"], header["head.weight"] = header["head.weight"], header["emb.weight"]
        other = self.folder / "other.safetensors"
        other.write_bytes(safetensors_bytes(header, data))
        path.write_bytes(state)
        self.fail_with(str(path), "chat", "-m", other, "--vocab", VOCAB, stdin=f"/load {path}\n")

    def test_commands(self):
        self.chat("unknown command '/fly'", "/fly")
        self.chat("/save: expected a file name", "/save")
        self.chat("/reset: expected nothing", "/reset now")


class Prompts(ProgramTest):
    def test_invalid_utf8_is_text_like_any_other(self):
        for prompt in [b"\xff\xfe\x80", b"caf\xc3", b"\xed\xa0\x80", bytes(range(1, 256))]:
            out = self.succeed("generate", "--tokens", "3", stdin=prompt)
            out.decode()  # what comes back is UTF-8
        self.succeed("generate", "--tokens", "3", b"\xff\xfe")
        self.succeed("generate", "--tokens", "3", stdin=b"a\0b")
        self.succeed("generate", "--tokens", "3", stdin=b"")

    @unittest.skipIf(SANITIZED, "takes minutes")
    def test_a_megabyte(self):
        text = (b"Once upon a time, there was a little goose named Pip. " * 20_000)[:1 << 20]
        self.succeed("generate", "--tokens", "1", stdin=text, timeout=600)

    def test_no_prompt(self):
        primary, secondary = os.openpty()
        self.addCleanup(os.close, primary)
        self.addCleanup(os.close, secondary)
        self.fail_with("no prompt", "generate", stdin_file=secondary)

    def test_stdin_that_cannot_be_read(self):
        folder = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        for command in ["generate", "tokenize", "chat"]:
            self.fail_with("stdin: cannot read", command, stdin_file=folder)


class Stdout(ProgramTest):
    WRITING = [["generate", "--tokens", "5", "x"], ["tokenize", "x"], ["logits", "--ids", "1,2", "-o", "-"], ["inspect"],
               ["layout", "row_major", "2", "3"], ["devices"], ["--help"], ["generate", "--help"], ["--version"], [],
               ["tokenize", "--json", "x"], ["inspect", "--json"], ["generate", "--json", "--tokens", "1", "x"]]

    def test_full_disk(self):
        for arguments in self.WRITING:
            with self.subTest(arguments=arguments), open("/dev/full", "wb") as full:
                self.fail_with("stdout: cannot write: No space left", *arguments, stdout=full)
        self.fail_with("No space left", "logits", "--ids", "1", "-o", "/dev/full")
        with open("/dev/full", "wb") as full:
            self.fail_with("No space left", "chat", stdin="What is 1 + 1?\n", stdout=full)

    def test_closed_by_its_reader(self):
        for arguments in self.WRITING:
            with self.subTest(arguments=arguments):
                read_end, write_end = os.pipe()
                os.close(read_end)
                with open(write_end, "wb") as pipe:
                    self.fail_with("stdout: cannot write: Broken pipe", *arguments, stdout=pipe)

    def test_closed_from_the_start(self):
        for arguments in self.WRITING:
            with self.subTest(arguments=arguments):
                self.fail_with("stdout: cannot write", *arguments, stdout=None, preexec_fn=lambda: os.close(1))

    def test_closed_standard_descriptors_are_not_given_to_files(self):
        out = self.folder / "out.npy"
        self.succeed("logits", "--ids", "1", "-o", out)
        expected = out.read_bytes()
        out.unlink()
        done = subprocess.run(["sh", "-c", 'exec "$0" logits --ids 1 -o "$1" <&- >&- 2>&-', PROGRAM, str(out)], check=False,
                              env={**os.environ, "SKEIN_MODELS": str(ROOT / "models")})
        self.assertEqual(done.returncode, 0)
        self.assertEqual(out.read_bytes(), expected)

    def test_a_signal_still_ends_it(self):
        child = subprocess.Popen([PROGRAM, "chat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env={**os.environ, "SKEIN_MODELS": str(ROOT / "models")})
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The program `skein` as a user and a script see it: what its commands print, and that their outputs agree with each other."""
import math
import os
import pty
import re
import select
import signal
import struct
import sys
import time
import unittest

sys.dont_write_bytecode = True
from skein_program import (GOLDEN, MODEL, PROGRAM, ROOT, SANITIZED, VOCAB, ProgramTest, read_npy, read_safetensors,  # noqa: E402
                           run)

STORY = "Once upon a time, there was a little goose named Pip. Pip lived by a quiet lake.\n"


class Help(ProgramTest):
    def test_every_command_has_examples(self):
        text = self.succeed("--help").decode()
        self.assertEqual(self.succeed().decode(), text)
        for command in ["generate", "chat", "tokenize", "logits", "perplexity", "bench", "profile", "pack", "tune", "inspect",
                        "layout", "devices"]:
            self.assertIn(f"\n  {command} ", text)
            self.assertRegex(self.succeed(command, "--help").decode(), f"Examples:\n *skein {command}")

    def test_version(self):
        self.assertRegex(self.succeed("--version").decode(), r"^skein \d+\.\d+\.\d+\n$")

    @unittest.skipIf(SANITIZED, "instrumented programs start slowly")
    def test_starts_within_10_ms(self):
        def seconds():
            start = time.perf_counter()
            self.succeed("--help")
            return time.perf_counter() - start
        best = min(seconds() for _ in range(20))
        self.assertLess(best, 0.010)


class Generate(ProgramTest):
    GREEDY = ["--temperature", "0", "--tokens", "40"]

    def test_a_story_goes_on(self):
        text = self.succeed("generate", *self.GREEDY, "Once upon a time").decode()
        self.assertRegex(text, r"^, \w+ .*\w+\.")
        self.assertNotIn("Once upon", text)
        echoed = self.succeed("generate", *self.GREEDY, "--echo", "Once upon a time").decode()
        self.assertEqual(echoed, "Once upon a time" + text)

    def test_prompt_comes_from_arguments_or_stdin(self):
        text = self.succeed("generate", *self.GREEDY, "Once upon a time")
        self.assertEqual(self.succeed("generate", *self.GREEDY, stdin="Once upon a time"), text)
        self.assertEqual(self.succeed("generate", *self.GREEDY, "Once", "upon", "a time"), text)

    def test_a_prompt_is_taken_as_it_is(self):
        for prompt in ["[1,2]", "{}", "chat", "-5", "--help me", "", "%s %d", "a\\nb"]:
            self.assertEqual(self.succeed("generate", *self.GREEDY, "--", prompt),
                             self.succeed("generate", *self.GREEDY, stdin=prompt), prompt)

    def test_threads_backends_and_layouts_agree(self):
        expected = self.succeed("generate", *self.GREEDY, STORY)
        for flags in [["-t", "1"], ["-t", "2"], ["-t", "5"], ["--backend", "cpu"], ["--backend", "reference"],
                      ["--layout", "row_major"], ["--precision", "fast"], ["-m", MODEL], ["--vocab", VOCAB]]:
            self.assertEqual(self.succeed("generate", *self.GREEDY, *flags, STORY), expected, flags)

    def test_a_seed_reproduces_the_text(self):
        def text(*flags):
            return self.succeed("generate", "--tokens", "60", "--top-p", "1", *flags, STORY)
        self.assertEqual(text("--seed", "7"), text("--seed", "7", "-t", "1"))
        self.assertGreater(len({text("--seed", str(seed)) for seed in range(5)}), 1)
        self.assertGreater(len({text() for _ in range(5)}), 1)

    def test_stop_texts_end_it(self):
        text = self.succeed("generate", *self.GREEDY, STORY).decode()
        stop = text[10:14]
        self.assertEqual(self.succeed("generate", *self.GREEDY, "--stop", stop, "--stop", "never", STORY).decode(),
                         text[:text.index(stop)])

    def test_json(self):
        result = self.json_of("generate", *self.GREEDY, "--seed", "3", STORY)
        self.assertEqual(set(result), {"prompt", "text", "stop_reason", "seed", "prompt_tokens", "tokens", "prefill_seconds",
                                       "decode_seconds"})
        self.assertEqual(result["text"].encode(), self.succeed("generate", *self.GREEDY, STORY))
        self.assertEqual((result["prompt"], result["seed"]), (STORY, 3))
        self.assertLessEqual(result["tokens"], 40)
        self.assertEqual(self.json_of("generate", "--tokens", "1", stdin=b"\xff")["prompt"], "\ufffd")


class Chat(ProgramTest):
    def test_questions_and_answers(self):
        lines = "What is the capital of France?\n\n  What is 2 + 3?  \n"
        self.assertEqual(self.succeed("chat", "--temperature", "0", stdin=lines).decode(),
                         "The capital of France is Paris.\n2 + 3 = 5.\n")

    def test_a_conversation_is_saved_and_resumed(self):
        path = self.folder / "state.safetensors"
        first, second = "What is the capital of Italy?\n", "Repeat after me: 4 7 1\n"
        whole = self.succeed("chat", "--temperature", "0", stdin=first + second)
        head = self.succeed("chat", "--temperature", "0", stdin=first + f"/save {path}\n")
        tail = self.succeed("chat", "--temperature", "0", stdin=f"/load {path}\n" + second)
        self.assertEqual(head + tail, whole)

    def test_a_model_file_names_its_template(self):
        model, other = self.folder / "model.gguf", self.folder / "other.gguf"
        self.succeed("convert", MODEL, model)
        other.write_bytes(model.read_bytes().replace(b"rwkv-world", b"chatml\n-it"))
        for path, warning in ((model, b""), (other, b"found 'chatml -it'; RWKV's is used")):
            done = run("chat", "-m", path, "--temperature", "0", stdin="What is 2 + 3?\n")
            self.assertEqual((done.returncode, done.stdout), (0, b"2 + 3 = 5.\n"))
            self.assertIn(warning, done.stderr)
            self.assertEqual(warning == b"", b"template" not in done.stderr)

    def test_reset_forgets(self):
        lines = "Hello!\n/reset\n/stats\n"
        done = run("chat", "--temperature", "0", stdin=lines)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stderr.startswith(b"0 tokens in the conversation"), done.stderr)

    def test_help_is_no_answer(self):
        done = run("chat", stdin="/help\n")
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        for command in [b"/reset", b"/save FILE", b"/load FILE", b"/stats"]:
            self.assertIn(command, done.stderr)


class Terminal(ProgramTest):
    """Under a pseudo-terminal, as a person uses it."""

    def start(self, *arguments):
        child, terminal = pty.fork()
        if child == 0:
            os.environ["SKEIN_MODELS"] = str(ROOT / "models")
            os.execv(PROGRAM, [PROGRAM, *arguments])
        self.addCleanup(os.close, terminal)
        self.screen = ""
        self.child, self.terminal = child, terminal

    def expect(self, text, seconds=60):
        """Waits until `text` stands on the screen, behind what was expected before."""
        end = time.monotonic() + seconds
        while text not in self.screen:
            self.assertGreater(end, time.monotonic(), f"waiting for {text!r}: {self.screen!r}")
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:  # the program has ended
                    self.assertIn(text, self.screen)
        self.screen = self.screen[self.screen.index(text) + len(text):]

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def finish(self):
        """The exit status."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if select.select([self.terminal], [], [], 0.1)[0]:
                    os.read(self.terminal, 65536)
            except OSError:
                pass
            child, status = os.waitpid(self.child, os.WNOHANG)
            if child:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        self.fail("the program did not end")

    def test_chat_ends_with_control_d(self):
        self.start("chat", "--temperature", "0")
        self.expect("> ")
        self.type("What is the capital of France?\n")
        self.expect("is Paris.")
        self.expect("> ")
        self.type("/fly\n")
        self.expect("skein: unknown command '/fly'")
        self.expect("> ")
        self.type("\x04")
        self.assertEqual(self.finish(), 0)

    def test_control_c_ends_an_answer_and_twice_the_program(self):
        # So hot that an answer hardly ends by itself.
        self.start("chat", "--temperature", "1000", "--top-p", "1", "--tokens", "100000000", "--seed", "1")
        self.expect("> ")
        self.type("Tell me a story.\n")
        self.expect("story.")
        time.sleep(0.3)
        self.type("\x03")
        self.expect("> ")
        self.type("/stats\n")
        self.expect("tokens in the conversation")
        self.expect("> ")
        self.type("\x03")
        self.expect("Ctrl-C again")
        self.type("\x03")
        self.assertEqual(self.finish(), 0)

    def test_a_person_sees_the_prompt_and_the_speed(self):
        self.start("generate", "--temperature", "0", "--tokens", "5", "Once upon a time")
        self.expect("Once upon a time,")
        self.expect("skein: 5 prompt tokens at")
        self.assertEqual(self.finish(), 0)


class Tokenize(ProgramTest):
    TEXTS = [b"Once upon a time", "Grüße, 漢字 🦢!\n\n".encode(), bytes(range(256)), b"\xf0\x9f", b"' \\ \""]

    def test_round_trip(self):
        for text in self.TEXTS:
            result = self.json_of("tokenize", stdin=text)
            self.assertEqual(len(result["ids"]), len(result["tokens"]))
            ids = ",".join(map(str, result["ids"]))
            self.assertEqual(self.succeed("tokenize", "--decode", ids), text)
            lines = self.succeed("tokenize", stdin=text).decode().splitlines()
            self.assertEqual([int(line.split()[0]) for line in lines], result["ids"])

    def test_json_has_ids_and_tokens(self):
        result = self.json_of("tokenize", "Once upon a time")
        self.assertEqual(set(result), {"ids", "tokens"})
        self.assertEqual("".join(result["tokens"]), "Once upon a time")

    def test_needs_no_model(self):
        expected = self.succeed("tokenize", "a goose")
        self.assertEqual(self.succeed("tokenize", "--vocab", VOCAB, "a goose", env={"SKEIN_MODELS": "/nowhere"}), expected)

    def test_greedy_longest_match(self):
        tokens = {}
        for line in VOCAB.read_text(encoding="utf-8").splitlines():
            number, rest = line.split(" ", 1)
            literal = eval(rest.rsplit(" ", 1)[0], {"__builtins__": {}})  # the format is Python's repr
            tokens[literal if isinstance(literal, bytes) else literal.encode()] = int(number)
        text, expected, at = STORY.encode() * 3, [], 0
        while at < len(text):
            piece = next(text[at:at + n] for n in range(64, 0, -1) if text[at:at + n] in tokens)
            expected.append(tokens[piece])
            at += len(piece)
        self.assertEqual(self.json_of("tokenize", stdin=text)["ids"], expected)


class Logits(ProgramTest):
    @classmethod
    def setUpClass(cls):
        header, data = read_safetensors(GOLDEN)

        def values(name, letter):
            begin, end = header[name]["data_offsets"]
            return struct.unpack(f"<{(end - begin) // 4}{letter}", data[begin:end])
        cls.ids = ",".join(map(str, values("ids", "i")))
        cls.golden = values("logits", "f")
        cls.shape = header["logits"]["shape"]

    def test_golden(self):
        path = self.folder / "out.npy"
        for flags in [[], ["--backend", "reference"], ["--chunk", "1"], ["--chunk", "5", "-t", "1"]]:
            self.assertEqual(self.succeed("logits", "--ids", self.ids, "-o", path, *flags), b"")
            rows = read_npy(path.read_bytes())
            self.assertEqual([len(rows), len(rows[0])], self.shape)
            found = [value for row in rows for value in row]
            error = max(abs(a - b) for a, b in zip(found, self.golden))
            self.assertTrue(error <= 2e-3, (flags, error))

    def test_stdout_is_the_same_file(self):
        path = self.folder / "out.npy"
        self.succeed("logits", "--ids", "0,5,9", "-o", path)
        self.assertEqual(self.succeed("logits", "--ids", "0,5,9", "-o", "-"), path.read_bytes())


class Perplexity(ProgramTest):
    def text_file(self):
        path = self.folder / "story.txt"
        path.write_text(STORY * 4, encoding="utf-8")
        return path

    def test_is_the_mean_surprise_of_the_logits(self):
        path = self.text_file()
        ids = [0] + self.json_of("tokenize", stdin=path.read_bytes())["ids"]
        rows = read_npy(self.succeed("logits", "--ids", ",".join(map(str, ids)), "-o", "-"))

        def surprise(row, target):
            top = max(row)
            return top + math.log(sum(math.exp(value - top) for value in row)) - row[target]
        expected = sum(surprise(row, target) for row, target in zip(rows, ids[1:])) / (len(ids) - 1)
        result = self.json_of("perplexity", path)
        self.assertEqual(set(result), {"model", "tokens", "bytes", "perplexity", "nats_per_token", "bits_per_byte"})
        self.assertEqual((result["tokens"], result["bytes"]), (len(ids) - 1, path.stat().st_size))
        self.assertAlmostEqual(result["nats_per_token"], expected, delta=1e-3)
        self.assertAlmostEqual(result["perplexity"], math.exp(result["nats_per_token"]), delta=1e-6)
        self.assertIn("perplexity", self.succeed("perplexity", "-", stdin=path.read_bytes()).decode())

    def test_against_itself(self):
        against = self.json_of("perplexity", self.text_file(), "--against", MODEL)["against"]
        self.assertEqual(set(against), {"model", "perplexity", "mean_kl", "max_kl", "same_top_token"})
        self.assertEqual((against["mean_kl"], against["same_top_token"]), (0, 1))

    def test_against_other_arithmetic(self):
        for flags in [["--precision", "fast", "--against-precision", "exact"], ["--against-backend", "reference"]]:
            against = self.json_of("perplexity", self.text_file(), *flags)["against"]
            self.assertTrue(0 <= against["mean_kl"] < 1e-2, against)
            self.assertGreater(against["same_top_token"], 0.95)
        self.assertIn("mean KL", self.succeed("perplexity", self.text_file(), "--against-backend", "reference").decode())


class Bench(ProgramTest):
    FLAGS = ["--prefill", "16", "--tokens", "4", "--repeat", "3"]

    def test_json(self):
        result = self.json_of("bench", *self.FLAGS, "-t", "1,2", "--layout", "row_major", "--layout", "interleave(16,64,1)")
        self.assertLessEqual({"machine", "bandwidth_gb_s", "results"}, set(result))
        self.assertGreater(result["bandwidth_gb_s"], 0)
        self.assertIn("cpu", result["machine"])
        self.assertEqual([(entry["threads"], entry["test"]) for entry in result["results"]],
                         [(1, "pp16"), (1, "tg4"), (2, "pp16"), (2, "tg4")] * 2)
        for entry in result["results"]:
            self.assertEqual(list(entry), ["model", "type", "layout", "plan", "backend", "threads", "test", "tokens_per_s",
                                           "tokens_per_s_samples", "bytes_per_token", "gb_s", "bandwidth_percent", "floor_tokens_per_s", "dispatches_per_token"])
            self.assertEqual(len(entry["tokens_per_s_samples"]), 3)
            self.assertEqual(sorted(entry["tokens_per_s_samples"])[1], entry["tokens_per_s"])
            self.assertAlmostEqual(entry["gb_s"], entry["tokens_per_s"] * entry["bytes_per_token"] / 1e9)

    def skipped_share(self, *flags):
        info = self.json_of("inspect", *flags)
        value_bytes = sum(tensor["bytes"] for tensor in info["tensors"] if tensor["group"] == "ffn.value")
        state_bytes = info["layers"] * info["heads"] * info["head_size"] ** 2 * 4
        decode, = self.json_of("bench", *flags, "--prefill", "0", "--tokens", "8", "--repeat", "1")["results"]
        return (info["bytes_per_token"] + state_bytes - decode["bytes_per_token"]) / value_bytes

    def test_skipped_weights_are_not_counted(self):
        # 78 to 96 % of the activations of the shipped model are zero.
        skipped = self.skipped_share()
        self.assertTrue(0.78 < skipped < 0.96, skipped)
        # Of quantized weights a zero skips the codes, 16 of 17 bytes of nf4, not the scales that others of its block need.
        of_codes = self.skipped_share("--quant", "nf4")
        self.assertAlmostEqual(of_codes, skipped * 16 / 17, delta=0.02)

    def test_table(self):
        lines = self.succeed("bench", *self.FLAGS).decode().splitlines()
        self.assertTrue(all(line.startswith("|") for line in lines[:4]), lines)
        self.assertIn("goose-tiny", lines[2])
        self.assertRegex(lines[3], r"\| +tg4 \| +[\d.]+ ± [\d.]+ \|")
        self.assertEqual(len({len(line) for line in lines[:4]}), 1)


class Looking(ProgramTest):
    def test_inspect(self):
        info = self.json_of("inspect")
        header, _ = read_safetensors(MODEL)
        self.assertEqual(info["parameters"], sum(math.prod(tensor["shape"]) for tensor in header.values()))
        self.assertEqual((info["vocab"], info["emb"], info["type"]), (837, 256, "f16"))
        names = {tensor["name"] for tensor in info["tensors"]}
        self.assertIn("blocks.3.ffn.value.weight", names)
        for tensor in info["tensors"]:
            self.assertEqual(set(tensor), {"name", "group", "shape", "file_type", "type", "layout", "bytes", "padding_bytes"})
        text = self.succeed("inspect").decode()
        self.assertIn("| blocks.3.ffn.value.weight ", text)

    def test_inspect_shows_the_layout_that_was_asked_for(self):
        info = self.json_of("inspect", "--layout", "row_major")
        layouts = {tensor["layout"] for tensor in info["tensors"] if tensor["group"] == "att"}
        self.assertEqual(layouts, {"row_major"})

    def test_devices(self):
        result = self.json_of("devices")
        self.assertLessEqual({"machine", "targets", "target", "backends"}, set(result))
        self.assertIn(result["target"], result["targets"])
        self.assertEqual([backend["name"] for backend in result["backends"]], ["reference", "cpu", "webgpu"])
        for backend in result["backends"]:
            # Where there is no GPU the reason is one line.
            if backend["name"] == "webgpu" and not backend["available"]:
                self.assertEqual(backend["reason"].count("\n"), 0, backend)
                continue
            self.assertTrue(backend["kernels"], backend)
        self.assertIn(result["machine"]["cpu"], self.succeed("devices").decode())

    def test_a_target_can_be_forced(self):
        for target in self.json_of("devices")["targets"]:
            self.assertEqual(self.json_of("devices", env={"SKEIN_CPU": target})["target"], target)

    def test_layout(self):
        result = self.json_of("layout", "morton(4)@64B", "6", "10", "--dtype", "f16")
        self.assertEqual(list(result), ["layout", "rows", "cols", "dtype", "num_elems", "span_elems", "offsets"])
        offsets = [offset for row in result["offsets"] for offset in row]
        self.assertEqual((len(result["offsets"]), len(offsets), result["num_elems"]), (6, 60, 60))
        self.assertEqual(len(set(offsets)), 60)
        self.assertLess(max(offsets), result["span_elems"])


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`skein tune --backend webgpu`: forms are measured, written, found by the next command, and refused where they make no sense.

Without an adapter the test fails in CI and is skipped elsewhere."""
import copy
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from skein_program import SANITIZED, ProgramTest, missing_adapter, run  # noqa: E402

GPU = ["--backend", "webgpu"]


class TuneOnAGpu(ProgramTest):
    @classmethod
    def setUpClass(cls):
        """Tunes once for all, in a folder where the next command would find the plan."""
        with tempfile.TemporaryDirectory() as folder:
            done = run("tune", *GPU, "--budget", "2s", "--json", env={"SKEIN_PLAN": "", "XDG_CONFIG_HOME": folder})
            assert (done.returncode, done.stderr) == (0, b""), done.stderr
            cls.result = json.loads(done.stdout)
            place = Path(cls.result["path"])
            cls.own_place = place.relative_to(folder)
            cls.own_plan = json.loads(place.read_text())

    def setUp(self):
        super().setUp()
        self.env = {"SKEIN_PLAN": "", "XDG_CONFIG_HOME": str(self.folder)}
        self.path = self.folder / self.own_place
        self.path.parent.mkdir(parents=True)

    def write(self, device=None, **forms):
        """The plan with other forms: group=form, a dot in the group as two underscores."""
        plan = copy.deepcopy(self.own_plan)
        for matrix in plan["matrices"]:
            matrix.pop("form", None)
            if matrix["group"].replace(".", "__") in forms:
                matrix["form"] = forms[matrix["group"].replace(".", "__")]
        if device:
            plan["device"]["device"] = device
        self.path.write_text(json.dumps(plan))

    def source(self, *flags, warning=None):
        done = run("inspect", *GPU, "--json", *flags, env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        if warning is None:
            self.assertEqual(done.stderr, b"")
        else:
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            self.assertIn(warning, done.stderr.decode())
        return json.loads(done.stdout)["plan"]["source"]

    def test_what_was_tuned(self):
        self.assertTrue(self.own_place.name.startswith("webgpu-"), self.own_place)
        self.assertIn("features", self.own_plan["device"])
        self.assertNotIn("cores", self.own_plan["device"])
        self.assertEqual([matrix["group"] for matrix in self.own_plan["matrices"]],
                         ["att", "low_rank", "ffn.key", "ffn.value", "head"])
        for matrix in self.own_plan["matrices"]:
            self.assertLessEqual({entry["tokens"] for entry in matrix["tried"]}, {1, 512})
            for entry in matrix["tried"]:
                self.assertGreater(entry["microseconds"], 0)
        self.assertTrue(any("form" in entry for matrix in self.own_plan["matrices"] for entry in matrix["tried"]))
        self.assertEqual(self.result["contenders"][0]["plan"], "default")

    def test_the_next_command_finds_it(self):
        self.assertEqual(self.source(), "default")
        self.write(att="group(64,4,4,8)+tile(32,32,4,4)", ffn__value="group(64,8,1,8)", head="group(64,4,1,4)")
        self.assertEqual(self.source(), "found")
        self.assertEqual(self.source("--plan", "none"), "default")
        greedy = ["generate", "--temperature", "0", "--tokens", "20", "Once upon a time"]
        expected = self.succeed(*greedy, "--backend", "cpu")
        self.assertEqual(self.succeed(*greedy, *GPU, env=self.env), expected)
        bench = self.json_of("bench", *GPU, "--prefill", "0", "--tokens", "4", "-r", "1", env=self.env)["results"][0]
        self.assertIn("forms=att=group(64,4,4,8)+tile(32,32,4,4),ffn.value=group(64,8,1,8),head=", bench["layout"])
        # The CPU has no part in it.
        done = run("inspect", "--backend", "cpu", "--json", env=self.env)
        self.assertEqual(json.loads(done.stdout)["plan"]["source"], "default")

    def test_a_packed_model_has_its_forms(self):
        packed = self.folder / "packed.safetensors"
        self.succeed("pack", *GPU, "-o", packed)
        self.write(att="group(64,4,4,8)+tile(32,32,4,4)")

        def layout(*flags):
            return self.json_of("bench", *GPU, "-m", packed, "--prefill", "0", "--tokens", "2", "-r", "1", *flags,
                                env=self.env)["results"][0]["layout"]
        # Only where they were measured with the layout that is in the file.
        att, = (matrix for matrix in self.own_plan["matrices"] if matrix["group"] == "att")
        forms = "forms=att=group(64,4,4,8)+tile(32,32,4,4)"
        self.assertEqual(forms in layout(), att["layout"] == "row_major")
        self.assertNotIn("forms=", layout("--plan", "none"))
        self.assertIn("forms=att=group(64,8,1,4)", layout("--forms", "att=group(64,8,1,4)"))
        self.fail_with("expected no plan for a packed model", "inspect", *GPU, "-m", packed, "--plan", self.path)

    def test_a_plan_of_another_adapter_counts_only_by_name(self):
        self.write(device="Another GPU (Vulkan, discrete GPU, driver 9)", att="group(64,4,1,4)")
        self.assertEqual(self.source(warning="found one for webgpu: Another GPU"), "default")
        self.assertEqual(self.source("--plan", self.path, warning="it counts since it was named"), "named")

    def test_absurd_forms_are_one_line(self):
        for form, message in [("group(0,32,2,16)", "from 32 to 1024"), ("group(64,8,1000000000,4)", "found 1000000000"),
                              ("cake", "found 'cake'"), ("tile(256,256,4,4)", "on this device, found 4096"),
                              ("group(64,8,1,4)" * 1000, "expected")]:
            self.write(att=form)
            self.assertEqual(self.source(warning=message), "default")
            self.fail_with(message, "inspect", *GPU, "--plan", self.path)
        self.fail_with("expected GROUP=FORM", "bench", *GPU, "--forms", "group(64,8,1,4)")
        self.fail_with("from 1 to 8", "bench", *GPU, "--forms", "head=group(64,8,9,4)")
        self.fail_with("backend cpu: expected no forms", "bench", "--backend", "cpu", "--forms", "head=group(64,8,1,4)")


if __name__ == "__main__":
    if SANITIZED:
        print("skipped: an instrumented program compiles shaders for minutes; the unit tests run")
        sys.exit(77)
    if reason := missing_adapter():
        print(f"no GPU adapter: {reason}")
        sys.exit(1 if os.environ.get("CI") == "true" else 77)
    unittest.main()

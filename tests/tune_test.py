#!/usr/bin/env python3
"""`skein tune` and plan files: what is measured, written, found again, overridden and refused."""
import copy
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from skein_program import SANITIZED, VOCAB, ProgramTest, run  # noqa: E402

BUDGET = ["--budget", "0.5s"]


class Plans(ProgramTest):
    """Around a plan that a hand has written, so that nothing depends on what is fast here."""

    @classmethod
    def setUpClass(cls):
        """Tunes once for all: instrumented programs take most of a minute for it."""
        with tempfile.TemporaryDirectory() as folder:
            done = run("tune", *BUDGET, "--json", env={"SKEIN_PLAN": "", "XDG_CONFIG_HOME": folder})
            assert done.returncode == 0, done.stderr
            place = Path(json.loads(done.stdout)["path"])
            cls.own_place = place.relative_to(folder)
            cls.own_plan = json.loads(place.read_text())

    def setUp(self):
        super().setUp()
        self.path = self.folder / "plan.json"
        self.env = {"SKEIN_PLAN": "", "XDG_CONFIG_HOME": str(self.folder)}

    def write(self, plan, path=None):
        (path or self.path).write_text(json.dumps(plan))

    def tuned(self, *flags):
        self.succeed("tune", *BUDGET, *flags, "-o", self.path, quiet=False)
        return json.loads(self.path.read_text())

    def plan_with(self, **layouts):
        """A plan of this machine with other layouts: group=layout, a dot in the group as two underscores."""
        plan = copy.deepcopy(self.own_plan)
        for matrix in plan["matrices"]:
            matrix["layout"] = layouts.get(matrix["group"].replace(".", "__"), matrix["layout"])
        self.write(plan)
        return plan

    def place_of_own(self):
        """Where this machine's plan is looked for; its folder is there."""
        place = self.folder / self.own_place
        place.parent.mkdir(parents=True)
        return str(place)

    def layouts(self, *flags, **options):
        info = self.json_of("inspect", *flags, **options)
        return {tensor["group"]: tensor["layout"] for tensor in info["tensors"]}, info["plan"]

    def test_a_named_plan_counts(self):
        self.plan_with(att="row_major", ffn__value="col_major@64B", head="morton(16)")
        groups, plan = self.layouts("--plan", self.path)
        self.assertEqual((groups["att"], groups["ffn.value"], groups["head"]), ("row_major", "col_major@64B", "morton(16)"))
        self.assertEqual(plan, {"source": "named", "path": str(self.path)})
        self.assertEqual(self.layouts(env={"SKEIN_PLAN": str(self.path)})[1]["source"], "named")
        self.assertIn(f"plan             {self.path} (named)", self.succeed("inspect", "--plan", self.path).decode())
        # What the flags say counts more; other numbers of threads and precisions have only what was named.
        groups, _ = self.layouts("--plan", self.path, "--layout", "att=tile(16,32)")
        self.assertEqual((groups["att"], groups["head"]), ("tile(16,32)", "morton(16)"))
        bench = self.json_of("bench", "--prefill", "16", "--tokens", "4", "-r", "1", "--plan", self.path)["results"][0]
        self.assertEqual(bench["plan"]["source"], "named")
        self.assertIn("att=row_major ", bench["layout"])
        text = self.succeed("bench", "--prefill", "0", "--tokens", "4", "-r", "1", "--plan", "none", "--plan", self.path).decode()
        self.assertRegex(text, r"\| default +\|(.|\n)*\| plan.json \|")
        self.assertRegex(text, rf"layout plan.json: att=row_major .* \(plan {self.path}\)")
        greedy = ["generate", "--temperature", "0", "--tokens", "20", "Once upon a time"]
        self.assertEqual(self.succeed(*greedy, "--plan", self.path), self.succeed(*greedy))

    def test_a_plan_of_this_machine_is_found(self):
        self.assertEqual(self.layouts(env=self.env)[1], {"source": "default", "path": None})
        plan = self.plan_with(att="row_major")
        place = self.place_of_own()
        self.assertTrue(place.startswith(str(self.folder / "skein/plans/cpu-")), place)
        with open(place, "w", encoding="utf-8") as file:
            json.dump(plan, file)
        groups, found = self.layouts(env=self.env)
        self.assertEqual((groups["att"], found), ("row_major", {"source": "found", "path": place}))
        for flags, env in [(["--plan", "none"], {}), ([], {"SKEIN_PLAN": "none"}), (["-t", "1"], {}),
                           (["--precision", "fast"], {}), (["--backend", "reference"], {}), (["--quant", "int8"], {})]:
            self.assertEqual(self.layouts(*flags, env={**self.env, **env})[1]["source"], "default" if "--quant" not in flags
                             else "found", flags)

    def test_a_plan_says_nothing_of_other_matrices(self):
        plan = self.plan_with(att="row_major")
        plan["matrices"] = [matrix for matrix in plan["matrices"] if matrix["group"] == "att"]
        plan["matrices"][0]["type"] = "bf16"
        self.write(plan)
        done = run("inspect", "--plan", self.path, "--json")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"expected a plan for the matrices of", done.stderr)
        self.assertEqual(json.loads(done.stdout)["plan"]["source"], "default")

    def test_a_plan_of_another_machine_counts_only_by_name(self):
        plan = self.plan_with(att="row_major")
        place = self.place_of_own()
        plan["device"]["device"] = "Another CPU, avx9 kernels, 2 threads"
        self.write(plan)
        with open(place, "w", encoding="utf-8") as file:
            json.dump(plan, file)
        for flags, source in [([], "default"), (["--plan", self.path], "named")]:
            done = run("inspect", "--json", *flags, env=self.env)
            self.assertEqual(done.returncode, 0)
            self.assertEqual(done.stderr.count(b"\n"), 1)
            self.assertIn(b"found one for cpu: Another CPU", done.stderr)
            self.assertEqual(json.loads(done.stdout)["plan"]["source"], source)

    def test_a_broken_plan_is_an_error_only_by_name(self):
        place = self.place_of_own()
        for text, message in [("", "expected JSON"), ("[" * 100000, "nested"), ('{"format": "cake"}', "cake")]:
            for path in [place, self.path]:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            self.fail_with(message, "inspect", "--plan", self.path)
            self.fail_with(message, "inspect", env={"SKEIN_PLAN": str(self.path)})
            done = run("inspect", "--json", env=self.env)
            self.assertEqual(done.returncode, 0)
            self.assertIn(message, done.stderr.decode())
            self.assertEqual(json.loads(done.stdout)["plan"]["source"], "default")
        self.fail_with("missing.json", "generate", "--plan", self.folder / "missing.json", "x")
        with open(self.path, "wb") as file:
            file.truncate(5 << 20)
        self.fail_with("plan.json", "inspect", "--plan", self.path)

    @unittest.skipIf(SANITIZED, "takes a minute; setUpClass has tuned")
    def test_tuning_again_keeps_other_models(self):
        first = self.tuned()
        both = self.tuned("--quant", "int8")
        types = {(matrix["group"], matrix["type"]) for matrix in both["matrices"]}
        self.assertLessEqual({("att", "f16"), ("att", "int8"), ("ffn.value", "int8"), ("low_rank", "f16")}, types)
        self.assertEqual(len(both["matrices"]), len(first["matrices"]) + 4)


class Tune(ProgramTest):
    def test_json(self):
        path = self.folder / "new" / "folder" / "plan.json"
        result = self.json_of("tune", "--budget", "2s", "-t", "1", "-o", path)
        self.assertLessEqual({"machine", "bandwidth_gb_s", "ffn_density", "contenders", "chosen", "default_loss_percent",
                              "path", "seconds", "plan"}, set(result))
        self.assertEqual(result["plan"], json.loads(path.read_text()))
        self.assertTrue(0 < result["ffn_density"] < 0.5, result["ffn_density"])
        groups = [matrix["group"] for matrix in result["plan"]["matrices"]]
        self.assertEqual(groups, ["att", "low_rank", "ffn.key", "ffn.value", "head"])
        for matrix in result["plan"]["matrices"]:
            tried = {entry["layout"] for entry in matrix["tried"]}
            self.assertIn(matrix["layout"], tried)
            self.assertGreater(len(tried), 10)
            self.assertEqual({entry["tokens"] for entry in matrix["tried"]},
                             {1} if matrix["group"] == "head" else {1, 128})
            for entry in matrix["tried"]:
                self.assertGreater(entry["microseconds"], 0)
        self.assertGreaterEqual(result["default_loss_percent"]["both"], 0)

    @unittest.skipIf(SANITIZED, "takes most of a minute; test_json tunes")
    def test_table(self):
        done = run("tune", *BUDGET, "--quant", "nf4", "-o", self.folder / "plan.json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        text = done.stdout.decode()
        self.assertRegex(text, r"\| att +\| nf4 +\| interleave\(16,64,8\) +\|")
        self.assertRegex(text, r"without a plan the\s+defaults lose")
        self.assertIn(f"plan written to {self.folder}/plan.json (use it with --plan)", text)

    @unittest.skipIf(SANITIZED, "takes most of a minute; test_json tunes")
    def test_mixed_types_keep_the_defaults(self):
        result = self.json_of("tune", *BUDGET, "--quant", "blocks.0-2=int8", "-o", self.folder / "plan.json")
        self.assertEqual([matrix["group"] for matrix in result["plan"]["matrices"]], ["low_rank", "head"])

    def test_errors(self):
        for budget in ["", "0", "-1s", "nan", "soon", "1h", "inf", "99999m"]:
            self.fail_with("--budget", "tune", "--budget", budget)
        self.fail_with("/dev/full", "tune", *BUDGET, "-o", "/dev/full")
        self.fail_with("missing", "tune", "-m", self.folder / "missing")
        precious = self.folder / "precious.txt"
        precious.write_text("letters")
        self.fail_with("expected a plan file to add to", "tune", *BUDGET, "-o", precious)
        self.assertEqual(precious.read_text(), "letters")
        self.fail_with("found reference", "tune", "--backend", "reference")
        self.succeed("pack", "-o", self.folder / "packed.safetensors")
        self.fail_with("found a packed one", "tune", "-m", self.folder / "packed.safetensors", "--vocab", VOCAB)
        self.fail_with("-o", "tune", *BUDGET, env={"XDG_CONFIG_HOME": "", "HOME": ""})


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`skein profile` as a user and a script see it: the JSON that is promised, the files beside it, and how it refuses."""
import re
import sys
import time
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
from skein_program import MODEL, SANITIZED, ProgramTest  # noqa: E402

IDEAS = {"transposed": ([10, 20], 5), "interleaved": ([15, 25], 15), "swizzled": ([10, 15], 20), "packed": ([5, 10], 10),
         "aligned": ([5, 10], 5), "hot_cold": ([5, 5], 15)}
ORDER = ["aligned", "packed", "transposed", "interleaved", "swizzled", "hot_cold"]
FIELDS = {"name", "tokens_per_s", "baseline_tokens_per_s", "gb_s", "bandwidth_percent", "cache_hit_percent", "cache_source",
          "seed_bandwidth_percent", "seed_cache_percent"}
OPS = {"embed", "mix6", "project_in", "project_out", "wkv", "output", "mix", "ffn_key", "ffn_value", "head"}
QUICK = ["--tokens", "4", "--prefill", "16", "--budget", "0.5"]


class Profile(ProgramTest):
    def check_figures(self, entry, bandwidth):
        for field in ["tokens_per_s", "baseline_tokens_per_s", "gb_s", "bandwidth_percent", "ratio", "prefill_tokens_per_s"]:
            self.assertGreater(entry[field], 0, field)
        self.assertAlmostEqual(entry["bandwidth_percent"], 100 * entry["gb_s"] / bandwidth, places=6)
        self.assertAlmostEqual(entry["gb_s"], entry["tokens_per_s"] * entry["bytes_per_token"] / 1e9, places=6)

    def test_json_has_what_is_promised(self):
        result = self.json_of("profile", *QUICK, "--simulate-cache", "-t", "2")
        self.assertLessEqual({"machine", "bandwidth_gb_s", "ideas", "ops", "layouts", "extras", "notes"}, set(result))
        self.assertEqual([idea["name"] for idea in result["ideas"]], ORDER)
        for idea in result["ideas"]:
            self.assertLessEqual(FIELDS, set(idea))
            self.check_figures(idea, result["bandwidth_gb_s"])
            self.check_figures(idea["added"], result["bandwidth_gb_s"])
            self.assertEqual(idea["cache_source"], "simulated")
            self.assertEqual((idea["seed_bandwidth_percent"], idea["seed_cache_percent"]), IDEAS[idea["name"]])
        kinds = {re.match("[a-z_]+", layout["name"])[0] for layout in result["layouts"]}
        self.assertEqual(kinds, {"row_major", "col_major", "interleave", "tile", "morton"})
        self.assertEqual({op["op"] for op in result["ops"]}, OPS)
        self.assertEqual(result["threads"], 2)
        notes = " ".join(result["notes"])
        self.assertTrue("fit the outermost cache" in notes or "caches are not known" in notes, notes)

    @unittest.skipIf(SANITIZED, "instrumented programs are slow")
    def test_without_counters_or_simulation_it_says_so(self):
        result = self.json_of("profile", *QUICK)
        source = result["ideas"][0]["cache_source"]
        if source is None:
            self.assertIn("no cache hit rates", " ".join(result["notes"]))
            self.assertIsNone(result["ideas"][0]["cache_hit_percent"])
        else:
            self.assertEqual(source, "counters")

    def test_table_markdown_and_plot(self):
        markdown, svg = self.folder / "p.md", self.folder / "p.svg"
        text = self.succeed("profile", *QUICK, "-m", MODEL, "--markdown", markdown, "--svg", svg).decode()
        for name in ["Transposed Weights", "Block-Interleaved", "Swizzled Layout", "Packed Activations", "Aligned Dimensions",
                     "Hot/Cold Separation"]:
            self.assertRegex(text, rf"(?m)^\| {name}.*\+\d")
            self.assertIn(name, markdown.read_text(encoding="utf-8"))
        root = xml.etree.ElementTree.parse(svg).getroot()
        self.assertTrue(root.tag.endswith("svg"))
        self.assertIn("Swizzled Layout", "".join(root.itertext()))

    @unittest.skipIf(SANITIZED, "instrumented programs are slow")
    def test_the_shipped_model_ends_within_a_minute(self):
        start = time.monotonic()
        self.succeed("profile", "--simulate-cache")
        self.assertLess(time.monotonic() - start, 60)

    def test_refusals(self):
        for flags, message in [(["--budget", "0"], "from 0.1"), (["--tokens", "0"], "from 1"), (["--prefill", "x"], "found 'x'"),
                               (["-m", self.folder / "none"], "none"), (["--quant", "int3"], "int8"),
                               (["--svg", self.folder / "no" / "x.svg", *QUICK], "no/x.svg")]:
            self.fail_with(message, "profile", *flags)


if __name__ == "__main__":
    unittest.main()

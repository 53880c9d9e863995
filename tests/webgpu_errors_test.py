#!/usr/bin/env python3
"""`--backend webgpu` where something is missing: no library, no driver, an API or adapter that is not there. One line and status 2;
with `--backend auto` a warning, and the CPU goes on. No GPU is needed."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
from skein_program import ProgramTest, run  # noqa: E402

GENERATE = ["generate", "--temperature", "0", "--tokens", "3", "Once upon a time"]
NO_LIBRARY = {"SKEIN_WGPU_LIBRARY": "/nonexistent"}
NO_DRIVER = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent", "WGPU_BACKEND": "vulkan"}
NO_ADAPTER = "webgpu: expected an adapter, found none"


def why_no_library():
    """Why this machine cannot even ask for adapters, or nothing."""
    done = run("inspect", "--backend", "webgpu", env=NO_DRIVER)
    message = done.stderr.decode(errors="replace")
    return "" if NO_ADAPTER in message else message.strip()


class WebGpuErrors(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.text = run(*GENERATE, "--backend", "cpu").stdout

    def warn_with(self, expected, *flags, **options):
        """The same text as on the CPU, behind one line of warning."""
        done = run(*GENERATE, "--backend", "auto", *flags, **options)
        message = done.stderr.decode(errors="replace")
        self.assertEqual((done.returncode, done.stdout), (0, self.text), message)
        self.assertTrue(message.startswith("skein: warning: backend auto: the CPU, not a GPU: "), message)
        self.assertEqual(message.count("\n"), 1, message)
        self.assertIn(expected, message)


class WithoutTheLibrary(WebGpuErrors):
    def test_no_library(self):
        for command in (GENERATE, ["bench", "--tokens", "2"], ["tune"], ["profile"], ["inspect"]):
            self.fail_with("found none: /nonexistent", *command, "--backend", "webgpu", env=NO_LIBRARY)
        self.warn_with("found none: /nonexistent", "--adapter", "0", env=NO_LIBRARY)

    def test_a_file_that_is_no_library(self):
        path = self.folder / "library.so"
        path.write_text("no ELF")
        self.fail_with(str(path), *GENERATE, "--backend", "webgpu", env={"SKEIN_WGPU_LIBRARY": str(path)})

    def test_packing_is_for_the_cpu_unless_a_gpu_is_named(self):
        packed, expected = self.folder / "packed.safetensors", self.folder / "expected.safetensors"
        self.succeed("pack", "--backend", "cpu", "-o", expected, env=NO_LIBRARY)
        self.succeed("pack", "-o", packed, env=NO_LIBRARY)
        self.assertEqual(packed.read_bytes(), expected.read_bytes())
        done = run("pack", "--adapter", "0", "-o", packed, env=NO_LIBRARY)
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (0, 1), done.stderr)
        self.assertIn(b"backend auto: the CPU, not a GPU: ", done.stderr)
        self.fail_with("found none: /nonexistent", "pack", "--backend", "webgpu", "-o", packed, env=NO_LIBRARY)

    def test_devices_are_shown_without_it(self):
        backends = {backend["name"]: backend for backend in self.json_of("devices", env=NO_LIBRARY)["backends"]}
        self.assertTrue(backends["cpu"]["available"])
        self.assertFalse(backends["webgpu"]["available"])
        self.assertIn("found none: /nonexistent", backends["webgpu"]["reason"])
        self.assertIn("webgpu: not here: ", self.succeed("devices", env=NO_LIBRARY).decode())


class WithTheLibrary(WebGpuErrors):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if reason := why_no_library():
            assert os.environ.get("CI") != "true", reason
            raise unittest.SkipTest(reason)

    def test_no_adapter(self):
        self.fail_with(NO_ADAPTER, *GENERATE, "--backend", "webgpu", env=NO_DRIVER)
        self.warn_with(NO_ADAPTER, "--adapter", "0", env=NO_DRIVER)

    def test_an_adapter_that_is_not_there(self):
        # Where there is none at all the line says so.
        done = run("inspect", "--backend", "webgpu")
        expected = "webgpu: expected an adapter from 0 to" if done.returncode == 0 else NO_ADAPTER
        self.fail_with(expected, *GENERATE, "--backend", "webgpu", "--adapter", "99")
        self.warn_with(expected, "--adapter", "99")

    def test_an_api_that_does_not_exist(self):
        expected = "webgpu: WGPU_BACKEND: expected vulkan, metal, dx12 or gl, found 'abacus'"
        self.fail_with(expected, *GENERATE, "--backend", "webgpu", env={"WGPU_BACKEND": "abacus"})
        self.warn_with(expected, "--adapter", "0", env={"WGPU_BACKEND": "abacus"})


if __name__ == "__main__":
    if "was built without it" in run("inspect", "--backend", "webgpu").stderr.decode(errors="replace"):
        print("skipped: the program was built without the WebGPU backend")
        sys.exit(77)
    unittest.main()

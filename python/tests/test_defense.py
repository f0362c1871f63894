"""Splits from Python, without torch or numpy. Run by `cargo xtask wheel --check`; targets and pipelines: interop/check_defense.py."""

import json
import pathlib
import tempfile
import unittest

import dualmd
from dualmd import tuned


class Splits(unittest.TestCase):
    def test_a_split_is_drawn_copied_and_read(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            split = dualmd.split("fashion", members=10, nonmembers=20, out=place / "split.json", copy_to=place / "sides", seed=4)
            self.assertEqual([len(split.d1), len(split.d2), len(split.nonmembers)], [5, 5, 20])
            self.assertEqual({image.half for image in split.nonmembers}, {None})
            first = split.d2[0]
            self.assertEqual(split[first.id], first)
            self.assertEqual(split[first.name], first)
            files = sorted(file.name for file in (place / "sides/members").glob("*.png"))
            self.assertEqual(len(files), 10)
            self.assertEqual(split.hash, dualmd.Split(place / "split.json").hash)
            with self.assertRaisesRegex(KeyError, "no name or id"):
                split["elsewhere"]

    def test_names_that_several_images_have_are_no_keys(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "split.json"
            member = {"id": "a" * 32, "half": 1, "name": "x.png"}
            other = {"id": "b" * 32, "name": "x.png"}
            file.write_text(json.dumps({"members": [member], "nonmembers": [other]}))
            split = dualmd.Split(file)
            self.assertEqual(split["b" * 32].half, None)
            # An image without a name is called by its id.
            file.write_text(json.dumps({"members": [{"id": "c" * 32, "half": 2}], "nonmembers": []}))
            self.assertEqual(dualmd.Split(file).d2[0].name, "c" * 32)
            with self.assertRaisesRegex(KeyError, "several images"):
                split["x.png"]
            file.write_text("[]")
            with self.assertRaisesRegex(ValueError, "is no split"):
                dualmd.Split(file)

    def test_teachers_are_callables(self):
        with self.assertRaisesRegex(TypeError, "a teacher is a network or a callable"):
            dualmd.DistillMD(1, 2, "split.json")

    def test_pipelines_are_no_teachers(self):
        class DDPMPipeline:
            unet = object()

            def __call__(self):
                pass

        with self.assertRaisesRegex(TypeError, "the pipeline DDPMPipeline: give pipe.unet"):
            dualmd.DistillMD(DDPMPipeline(), DDPMPipeline(), "split.json")

    def test_one_model_is_no_pair_of_teachers(self):
        class Model:
            def ask(self, x, t):
                return x

        model = Model()
        for teacher in (len, model.ask):
            with self.assertRaisesRegex(ValueError, "both teachers are one model"):
                dualmd.DistillMD(teacher, teacher if teacher is len else model.ask, "split.json")
        # Two of a kind are two.
        with self.assertRaises(FileNotFoundError):
            dualmd.DistillMD(model.ask, Model().ask, "split.json")


class Pairs(unittest.TestCase):
    """Pipelines themselves: interop/check_defense.py."""

    class Pipe:
        class Network:
            peft_config = {"a": 1, "b": 2}

            def set_adapter(self, name):
                pass

        class PNDMScheduler:
            pass

        def __init__(self):
            self.unet, self.scheduler = self.Network(), self.PNDMScheduler()

    def test_what_is_no_pair_is_refused_before_it_generates(self):
        pipe = self.Pipe()
        for second, adapters, error, words in (
            (None, None, TypeError, "give the second pipeline"),
            (pipe, None, ValueError, "the same model"),
            (None, ("a", "c"), ValueError, "no adapter 'c' .loaded are 'a', 'b'."),
            (None, ("a", "a"), ValueError, "are one"),
            (None, "ab", TypeError, "the names of two"),
            (None, ("a", "b"), ValueError, "keeps earlier predictions"),
        ):
            with self.assertRaisesRegex(error, words):
                dualmd.DualMDPipeline(pipe, second, adapters=adapters)


class Tuned(unittest.TestCase):
    """Pipelines themselves: interop/check_tune.py."""

    def test_adapters_and_their_base_are_found_by_their_folders(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            with self.assertRaisesRegex(FileNotFoundError, "a run of dualmd tune"):
                dualmd.tuned_pair(place)
            adapter = place / "models/teacher-1"
            (place / "models/base").mkdir(parents=True)
            adapter.mkdir()
            with self.assertRaisesRegex(ValueError, "names no base"):
                tuned._base(adapter)
            for named, found in (("../base", str(adapter / "../base")), ("someone/model", "someone/model"), ("/base", "/base")):
                (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
                self.assertEqual(tuned._base(adapter), found)
            (adapter / "pytorch_lora_weights.safetensors").touch()
            self.assertEqual(tuned._file(adapter).name, "pytorch_lora_weights.safetensors")
            with self.assertRaisesRegex(FileNotFoundError, "teacher-2"):
                dualmd.tuned_pair(place)


if __name__ == "__main__":
    unittest.main()

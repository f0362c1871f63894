"""Splits from Python, without torch or numpy. Run by `cargo xtask wheel --check`; targets and pipelines: interop/check_defense.py."""

import contextlib
import json
import pathlib
import sys
import tempfile
import types
import unittest
from unittest import mock

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

    def test_images_are_found_by_paths_and_by_themselves(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "split.json"
            member = {"id": "a" * 32, "half": 1, "name": "train/x.png"}
            file.write_text(json.dumps({"members": [member, {"id": "b" * 32, "half": 2, "name": "y.png"}], "nonmembers": []}))
            split = dualmd.Split(file)
            for key in (split.d1[0], "train/x.png", pathlib.Path("train/x.png")):
                self.assertEqual(split[key], split.d1[0])
            for key in (pathlib.Path("sides/members/y.png"), "sides/members/y.png"):
                self.assertEqual(split[key], split.d2[0])
            self.assertIsInstance(split.d1[0], dualmd.Image)
            for key in (pathlib.Path("z.png"), "sides/z.png", "", 3, ["y.png"]):
                with self.assertRaisesRegex(KeyError, "is no name or id"):
                    split[key]

    def test_targets_of_one_timestep_of_training_teachers_and_of_nothing(self):
        """By a stand-in for torch; with torch itself: interop/check_defense.py."""

        class Rows:
            device, dtype, ndim = "cpu", None, 1

            def __init__(self, rows):
                self.rows, self.shape = list(rows), (len(rows),)

            def __len__(self):
                return len(self.rows)

            def __getitem__(self, at):
                return Rows([self.rows[row] for row in at.rows])

            def __setitem__(self, at, other):
                for row, value in zip(at.rows, other.rows):
                    self.rows[row] = value

            def to(self, *_):
                return self

            def expand(self, n):
                return Rows(self.rows * n)

            def new_empty(self, shape):
                return Rows([None] * shape[0])

        class Teacher:
            def __init__(self, number):
                self.number, self.training = number, True

            def eval(self):
                self.training = False

            def __call__(self, x, t):
                assert not self.training
                return Rows([(self.number, one, at) for one, at in zip(x.rows, t.rows)])

        torch = types.ModuleType("torch")
        torch.no_grad = contextlib.nullcontext
        torch.tensor = lambda rows, device: Rows(rows)
        torch.as_tensor = lambda value, device: Rows(value if isinstance(value, list) else [value])
        torch.empty = lambda shape, dtype, device: Rows([None] * shape[0])
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(sys.modules, torch=torch):
            file = pathlib.Path(folder) / "split.json"
            file.write_text(json.dumps({"members": [{"id": "a", "half": 1}, {"id": "b", "half": 2}], "nonmembers": []}))
            first, second = Teacher(1), Teacher(2)
            distill = dualmd.DistillMD(first, second, file)
            for t in (5, [5, 5], Rows([5, 5])):
                # As a loop that sets all its models to training.
                first.training = second.training = True
                made = distill.target(Rows(["x", "y"]), t, None, ["b", distill.split.d1[0]])
                self.assertEqual(made.rows, [(1, "x", 5), (2, "y", 5)])
            self.assertEqual(distill.target(Rows([]), Rows([])).rows, [])
            with self.assertRaisesRegex(ValueError, "2 noisy images and 3 timesteps"):
                distill.target(Rows(["x", "y"]), [1, 2, 3], None, ["a", "b"])

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

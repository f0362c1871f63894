"""Splits from Python, without torch or numpy. Run by `cargo xtask wheel --check`; targets and pipelines: interop/check_defense.py."""

import json
import pathlib
import tempfile
import unittest

import dualmd


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
            with self.assertRaisesRegex(KeyError, "several images"):
                split["x.png"]
            file.write_text("[]")
            with self.assertRaisesRegex(ValueError, "is no split"):
                dualmd.Split(file)

    def test_teachers_are_callables(self):
        with self.assertRaisesRegex(TypeError, "a teacher is a network or a callable"):
            dualmd.DistillMD(1, 2, "split.json")


if __name__ == "__main__":
    unittest.main()

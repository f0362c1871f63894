"""What Python makes of what the program says and writes, with a program of a few lines in its place. Run by `cargo xtask wheel --check`."""

import contextlib
import inspect
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
from pathlib import Path
from unittest import mock

import dualmd
from dualmd import live, process, results

SIDES = {"members": "m/", "nonmembers": "n/"}
HEAD = """import json, os, sys, time
from pathlib import Path
arguments = sys.argv[1:]
def value(flag):
    return arguments[arguments.index(flag) + 1]
def say(text):
    print(text, file=sys.stderr, flush=True)
def report(folder, seed=0, **verdict):
    half = {"auc": 0.75, "auc_ci": [0.5, 0.9], "n_members": 4, "finding": "leak"}
    results = [{"attack": "sima", "status": "ok", "auc": round(0.75 + seed / 100, 2), "auc_ci": [0.5, 0.9]}]
    models = [{"name": "model", "title": "model", "primary": "pooled", "results": results}]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"schema": 1, "run": {"seed": seed}, "models": models, "verdict": verdict}))
"""


def value_of(arguments, flag):
    """What stands behind a flag."""
    return arguments[arguments.index(flag) + 1]


class Case(unittest.TestCase):
    """A working folder of its own, and a program in place of the real one, which keeps what it was called with."""

    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.place = Path(made.name)
        # The temporary folder of what is tested, in which nothing may be left.
        (self.place / "temporary").mkdir()
        before = os.getcwd()
        os.chdir(self.place)
        self.addCleanup(os.chdir, before)
        engine = dualmd.Engine(Path("/nowhere"), "of the test")
        temporary = str(self.place / "temporary")
        for patch in (mock.patch.object(process, "find", lambda: engine), mock.patch.object(tempfile, "tempdir", temporary)):
            patch.start()
            self.addCleanup(patch.stop)

    def program(self, body):
        """What the program does from now on."""
        file = self.place / "program"
        file.write_text(f"#!{sys.executable}\n{HEAD}Path({str(self.place / 'heard')!r}).write_text(json.dumps(arguments))\n{body}")
        file.chmod(0o700)
        patch = mock.patch.object(process, "PROGRAM", file)
        patch.start()
        self.addCleanup(patch.stop)

    @property
    def heard(self):
        return json.loads((self.place / "heard").read_text())

    def nothing_is_left(self):
        self.assertEqual(list((self.place / "temporary").iterdir()), [])


CHECKED = {
    "models": [{"name": "model", "described": "my-model", "says": None, "attacks": ["sima", "loss"]}],
    "n_members": 12,
    "n_nonmembers": 11,
    "shape": [3, 16, 16],
    "seconds_to_generate": 1.5,
    "seconds_to_attack": 2.0,
    "batch": 23,
    "whole_batch": True,
    "held_gb": 0.25,
    "memory_gb": 16.0,
    "problems": ["few images: with 12 members"],
    "lines": ["model: my-model", "look at: few images: with 12 members"],
}


class Checks(Case):
    def test_a_check_is_typed_and_leaves_nothing(self):
        self.program(f"say('warning: slow disk')\nsay('opening')\nprint({json.dumps(CHECKED)!r})")
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            found = dualmd.audit("my-model", **SIDES, check=True, summary=True)
        self.assertIsInstance(found, dualmd.Check)
        self.assertEqual((found.n_members, found.n_nonmembers, found.shape), (12, 11, (3, 16, 16)))
        self.assertEqual((found.seconds, found.seconds_to_attack, found.held_gb, found.memory_gb), (3.5, 2.0, 0.25, 16.0))
        self.assertEqual((found.models[0].name, found.models[0].attacks), ("model", ["sima", "loss"]))
        self.assertEqual(found.problems, ["few images: with 12 members"])
        # For people, once: in words.
        self.assertEqual(shown.getvalue(), "warning: slow disk\nopening\n" + str(found) + "\n")
        self.assertEqual(str(found).splitlines(), CHECKED["lines"])
        self.assertEqual(self.heard[:6], ["audit", "my-model", "--members", "m/", "--nonmembers", "n/"])
        self.assertEqual(self.heard[-2:], ["--check", "--json"])
        self.assertNotIn("--summary", self.heard)
        self.nothing_is_left()
        # Quiet: the program's warnings alone, as Python's.
        with contextlib.redirect_stderr(io.StringIO()) as shown, self.assertWarnsRegex(UserWarning, "^slow disk$") as warned:
            dualmd.audit("my-model", **SIDES, check=True, quiet=True)
        self.assertEqual((shown.getvalue(), warned.filename), ("", __file__))

    def test_no_network_no_seconds(self):
        found = dualmd.Check.of({**CHECKED, "seconds_to_generate": None, "seconds_to_attack": None, "held_gb": None})
        self.assertIsNone(found.seconds)

    def test_what_would_be_refused_is_raised(self):
        self.program("say('error: members 3 and non-members 7 are the same image')\nsys.exit(2)")
        with self.assertRaisesRegex(dualmd.ProgramError, "are the same image") as caught:
            dualmd.audit("my-model", **SIDES, check=True, quiet=True)
        self.assertEqual(caught.exception.status, 2)
        self.nothing_is_left()

    def test_a_callable_is_checked_where_it_is(self):
        self.program(f"assert value('--denoiser').startswith('unix:')\nprint({json.dumps(CHECKED)!r})")
        found = dualmd.audit(lambda x, t, c: x, shape=(3, 16, 16), **SIDES, check=True, quiet=True)
        self.assertEqual(found.batch, 23)


class Quiet(Case):
    """What is wrong is not lost where nothing is shown."""

    FAILED = (
        "report(value('--out'))\n"
        "file = Path(value('--out'), 'report.json')\nfound = json.loads(file.read_text())\n"
        "found['models'][0]['results'].append({'attack': 'pia', 'status': 'failed', 'reason': 'RuntimeError: it broke'})\n"
        "file.write_text(json.dumps(found))\n"
        "say('warning: attack pia failed: RuntimeError: it broke')\nsay('note: m/: 3 pictures resized')\n"
    )

    def warned(self, call):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = call()
        self.assertEqual({one.filename for one in warned}, {__file__})
        return found, [one.message for one in warned]

    def test_usual_attacks_that_failed_and_notes_are_warned_of(self):
        self.program(self.FAILED)
        _, warned = self.warned(lambda: dualmd.audit("m", **SIDES, out="a", quiet=True))
        self.assertEqual([str(one) for one in warned], ["m/: 3 pictures resized", "pia gave no result on model: RuntimeError: it broke"])

    def test_what_a_callable_raised_is_the_cause(self):
        error = RuntimeError("it broke")

        @contextlib.contextmanager
        def serving(served, heard):
            try:
                raise error
            except RuntimeError as raised:
                heard(raised)
            yield "unix:x"

        def call():
            return dualmd.audit(len, shape=(1, 2, 2), **SIDES, out="a", quiet=True)

        with mock.patch.dict(dualmd.audit.__globals__, serving=serving):
            self.program(self.FAILED)
            _, warned = self.warned(call)
            self.assertEqual([one.__cause__ for one in warned], [None, error])
            self.assertRegex(str(warned[1]), r"^pia gave no result.*it broke \(raised in .*test_program.py:\d+, serving\)$")
            # Also where no attack says so.
            self.program("report(value('--out'))")
            _, (warned,) = self.warned(call)
            self.assertRegex(str(warned), "^the model in Python raised RuntimeError: it broke")
            self.assertIs(warned.__cause__, error)

    def test_reasons_that_are_above_are_in_the_exception(self):
        reasons = ["attack pia failed: no answer; its last words: out of memory", "attack loss failed: no answer"]
        words = "".join(f"say('warning: {reason}')\n" for reason in reasons)
        self.program(words + "for n in range(30):\n    say(f'score {n}')\nsay('error: every attack failed; the reasons are above')\nsys.exit(1)")
        for quiet in (True, False):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(dualmd.ProgramError) as caught:
                dualmd.audit("m", **SIDES, quiet=quiet)
            self.assertEqual(str(caught.exception).splitlines(), [*reasons, "error: every attack failed; the reasons are above"])
            self.assertEqual(pickle.loads(pickle.dumps(caught.exception)).warnings, reasons)

    def test_a_model_is_found_by_the_name_that_it_was_given(self):
        run = {"seed": 0, "models": [{"name": "model", "model": {"config": {"name": "mine"}}}, {"name": "other", "model": None}, {"name": "third", "model": "text"}, "fourth"]}
        self.program(
            "report(value('--out'))\nfile = Path(value('--out'), 'report.json')\n"
            f"file.write_text(json.dumps({{**json.loads(file.read_text()), 'run': {run}}}))"
        )
        found = dualmd.audit(len, name="mine", shape=(1, 2, 2), **SIDES, out="a", quiet=True)
        self.assertTrue("mine" in found.models and "model" in found.models and "yours" not in found.models)
        self.assertEqual(pickle.loads(pickle.dumps(found.models))["mine"].name, "model")
        self.assertEqual((list(found.models), found.models["mine"]), (["model"], found.models["model"]))
        with self.assertRaisesRegex(KeyError, "the report has 'model'"):
            found.models["yours"]

    def test_scores_that_are_gone_are_no_empty_table(self):
        self.program("report(value('--out'))")
        found = dualmd.audit("m", **SIDES, quiet=True)
        found.delete()
        with self.assertRaisesRegex(FileNotFoundError, "scores go with the folder"):
            found.scores()


class Parts(Case):
    WORDS = (
        "say('model: audit of my-model')\n"
        "say('warning: attack gsa2 failed: no gradients; the call without --part tries it again')\n"
        "say('left to the call without --part, since images are generated for it: nn, density')\n"
        "say('model        part 2/3: 2 of its 2 batches made now; 3 of 5 batches are there')\n"
        "say('with a long name part 2/3: nothing to do; no attack without scores asks the network')\n"
    )

    def test_a_part_says_what_is_missing(self):
        # Batches 1 and 4 are those of part 2, batch 0 is of part 1, which has another one to do: 3.
        self.program(
            self.WORDS + "folder = Path(value('--out'), 'scores', 'model.parts')\nfolder.mkdir(parents=True)\n"
            "for name in ('of', 'shared', '0.safetensors', '1.safetensors', '4.safetensors'):\n    (folder / name).touch()"
        )
        with self.assertWarnsRegex(UserWarning, "gsa2 failed"):
            found = dualmd.audit("my-model", **SIDES, out="audit", part="2/3", quiet=True)
        self.assertIsInstance(found, dualmd.Part)
        self.assertEqual((found.folder, found.number, found.of), (self.place / "audit", 2, 3))
        one = found.models["model"]
        self.assertEqual((one.batches, one.there, one.own, one.made), (5, 3, 2, 2))
        self.assertEqual((one.left, one.failed), (["nn", "density"], {"gsa2": "no gradients"}))
        self.assertEqual((one.missing, found.missing, found.complete), ([1, 3], ["1/3", "3/3"], False))
        other = found.models["with a long name"]
        self.assertEqual((other.batches, other.left, other.failed, other.complete), (0, [], {}, True))
        self.assertIn("missing: 1/3, 3/3", str(found))
        self.assertEqual(self.heard[-2:], ["--part", "2/3"])

    def test_lines_of_json_are_heard_as_well(self):
        texts = [line.split("'")[1] for line in self.WORDS.splitlines()]
        name, note = texts[3].split(maxsplit=1)
        events = [{"event": "message", "text": text} for text in texts[:3]] + [{"event": "finished", "model": name, "note": note}]
        self.program("".join(f"say({json.dumps(event)!r})\n" for event in [{"event": "progress", "step": 1}, *events]))
        with self.assertWarnsRegex(UserWarning, "^attack gsa2 failed"):
            found = dualmd.audit("m", **SIDES, out="a", part="2/3", log_format="json", quiet=True).models["model"]
        self.assertEqual((found.there, found.left, found.failed), (3, ["nn", "density"], {"gsa2": "no gradients"}))
        self.program("say('{\"event\": \"error\", \"text\": \"no such model\"}')\nsys.exit(1)")
        with self.assertRaisesRegex(dualmd.ProgramError, "^error: no such model$"):
            dualmd.audit("m", **SIDES, out="a", log_format="json", quiet=True)

    def test_with_a_shadow_those_are_named_of_which_nothing_is_there(self):
        words = results.PartWords()
        words.hear("model        part 1/4: 1 of its 2 batches made now; 3 of 8 batches are there")
        folder = self.place / "audit/scores/model.parts"
        folder.mkdir(parents=True)
        for name in ("0", "shadow-0", "shadow-5"):
            (folder / f"{name}.safetensors").touch()
        found = words.part(self.place / "audit", 1, 4, True)
        self.assertEqual((found.missing, found.complete), (["3/4", "4/4"], False))

    def test_all_parts_are_there(self):
        words = results.PartWords()
        words.hear("model        part 1/2: 0 of its 2 batches made now; 4 of 4 batches are there")
        found = words.part(self.place, 1, 2, False)
        self.assertEqual((found.missing, found.complete), ([], True))
        self.assertIn("without part", str(found))

    def test_a_part_needs_a_number_and_a_folder(self):
        for part, more, error, words in (
            ("2", {"out": "a"}, ValueError, "K/N"),
            (2, {"out": "a"}, ValueError, "K/N"),
            ("1/2", {}, TypeError, "needs out"),
            ("1/2", {"out": "a", "check": True}, TypeError, "one of them"),
        ):
            with self.assertRaisesRegex(error, words):
                dualmd.audit("my-model", **SIDES, part=part, **more)


SEEDS = """
out, seeds = value('--out'), int(value('--seeds'))
for seed in range(7, 7 + seeds) if seeds > 1 else [7]:
    folder = f'{out}/seed-{seed}' if seeds > 1 else out
    if seeds > 1:
        say(folder)
    if '--until' not in arguments:
        report(folder, seed, summary=[f'It leaks, says {seed}.'], models=[{'model': 'model', 'finding': 'leak' if seed > 7 else 'chance', 'text': ''}])
"""
RUN_CHECK = {
    "schema": 1,
    "folder": "runs",
    "seeds": 2,
    "problems": [],
    "look_at": ["few images"],
    "unchecked": ["quality"],
    "images": {"records": 30, "duplicates": 1, "members": 12, "nonmembers": 11, "outside": 7},
    "side_by_side": 2,
    "threads": 1,
    "trainings": [{"name": "teacher-1", "steps": 10, "batch": 4, "timed_batch": 4, "step_seconds": 0.5, "seconds": 5.0}],
    "stages": [{"stage": "train", "models": 2, "seconds": 3700.0}, {"stage": "sample", "models": 2, "seconds": None}],
    "seconds": None,
    "memory": {"one_gb": 0.5, "all_gb": 1.0, "there_gb": 16.0, "whole": False},
    "disk": {"needed_gb": 0.1, "free_gb": None},
    "method": "two steps",
}
FRONTIER = {
    "title": "Privacy against quality",
    "seeds": [7, 8],
    "facts": ["The student gives less away."],
    "notes": [],
    "pictures": ["frontier.svg"],
    "numbers": [
        {
            "dataset": "mine",
            "model": "student",
            "method": "DistillMD",
            "attack": "sima",
            "metric": "auc",
            "values": [[7, 0.5], [8, 0.7]],
            "runs": 2,
            "n": 2,
            "mean": 0.6,
            "between_sd": 0.14,
            "between_ci": [0.4, 0.8],
            "within_se": None,
            "image_ci": None,
            "note": None,
            "paper": [],
        }
    ],
}


class Runs(Case):
    def test_several_seeds_have_a_report_each_and_their_means(self):
        self.program(SEEDS + f"Path(out, 'frontier.json').write_text({json.dumps(FRONTIER)!r})")
        # Left of an earlier call with other seeds.
        Path("runs/seed-3").mkdir(parents=True)
        with contextlib.redirect_stderr(io.StringIO()):
            found = dualmd.run("experiment.toml", out="./runs/", seeds=2, set=["train.steps=4"])
        self.assertIsInstance(found, dualmd.Seeds)
        self.assertEqual((found.folder, list(found.runs)), (self.place / "runs", [7, 8]))
        self.assertEqual([run.models["model"].shown["sima"].auc for run in found.runs.values()], [0.82, 0.83])
        number = found.combined.numbers[0]
        self.assertEqual((number.model, number.attack, number.mean, number.interval), ("student", "sima", 0.6, (0.4, 0.8)))
        self.assertEqual(number.values, [(7, 0.5), (8, 0.7)])
        self.assertIn("It leaks, says 8.", str(found))
        self.assertIn("The student gives less away.", str(found))
        self.assertEqual(self.heard, ["run", "experiment.toml", "--out", "runs", "--seeds", "2", "--set", "train.steps=4"])
        rows = found.aucs()
        rows = rows if isinstance(rows, list) else rows.to_dict("records")
        self.assertEqual(rows[1], {"seed": 8, "model": "model", "attack": "sima", "auc": 0.83, "low": 0.5, "high": 0.9})
        # A page that is gone leaves the words.
        self.assertIn("seed 8</summary><pre>It leaks", found._repr_html_())
        # The folder as a whole is no report, and says what is.
        with self.assertRaisesRegex(FileNotFoundError, "several seeds: name one of seed-7, seed-8"):
            dualmd.Audit("runs")

    def test_means_of_other_seeds_are_not_theirs(self):
        self.program(SEEDS + f"Path(out, 'frontier.json').write_text({json.dumps({**FRONTIER, 'seeds': [0, 1, 2]})!r})")
        found = dualmd.run("e.toml", out="runs", seeds=2, quiet=True)
        self.assertIsNone(found.combined)
        self.assertIn("frontier.json is of the seeds 0, 1, 2", str(found))

    def test_no_means_have_a_reason(self):
        self.program(SEEDS)
        self.assertIn("fewer than two methods", str(dualmd.run("e.toml", out="runs", seeds=2, quiet=True)))
        self.assertIn("of one seed", str(dualmd.run("e.toml", out="run", seeds=1, quiet=True)))

    def test_a_check_is_typed_also_where_it_finds_problems(self):
        for problems, status in (([], 0), (["too few images"], 1)):
            self.program(f"say('warning: slow disk')\nprint({json.dumps({**RUN_CHECK, 'problems': problems}, indent=1)!r})\nsys.exit({status})")
            for call, words in (
                (lambda quiet: dualmd.run("e.toml", out="runs", seeds=2, until="train", check=True, quiet=quiet), ["run", "e.toml", "--out", "runs", "--seeds", "2", "--until", "train"]),
                (lambda quiet: dualmd.tune("b", images="i", out="runs", check=True, json=True, quiet=quiet), ["tune", "b", "--images", "i", "--out", "runs"]),
            ):
                with contextlib.redirect_stderr(io.StringIO()) as shown:
                    found = call(False)
                self.assertEqual(self.heard, [*words, "--check", "--json"])
                self.assertIsInstance(found, dualmd.RunCheck)
                self.assertEqual((found.problems, found.images.members, found.trainings[0].seconds), (problems, 12, 5.0))
                self.assertEqual((found.stages[1].seconds, found.memory.all_gb, found.disk.free_gb), (None, 1.0, None))
                self.assertEqual(shown.getvalue(), f"warning: slow disk\n{found}\n")
                self.assertIn("train: 2 models, about 1 h 1 min", str(found))
                with contextlib.redirect_stderr(io.StringIO()) as shown, self.assertWarnsRegex(UserWarning, "^slow disk$") as warned:
                    call(True)
                self.assertEqual((shown.getvalue(), warned.filename), ("", __file__))
        self.assertFalse(Path("runs").exists())
        self.program("say('error: e.toml: no such file')\nsys.exit(1)")
        with self.assertRaisesRegex(dualmd.ProgramError, "no such file"):
            dualmd.run("e.toml", out="runs", check=True, quiet=True)
        with self.assertRaisesRegex(ValueError, "seeds=0"):
            dualmd.run("e.toml", out="runs", seeds=0, check=True)

    def test_one_seed_is_a_run_of_its_own(self):
        self.program(SEEDS)
        found = dualmd.run("e.toml", out="run", seeds=1, quiet=True)
        self.assertEqual({seed: run.folder for seed, run in found.runs.items()}, {7: self.place / "run"})
        self.program("report(value('--out'))")
        self.assertIsInstance(dualmd.run(preset="demo", out="run", quiet=True), dualmd.Audit)
        self.assertEqual(self.heard, ["run", "--out", "run", "--preset", "demo"])

    def test_an_early_stage_has_no_report(self):
        self.program(SEEDS)
        found = dualmd.run("e.toml", out="runs", seeds=2, until="train", quiet=True)
        self.assertEqual((found.until, found.runs), ("train", [self.place / "runs/seed-7", self.place / "runs/seed-8"]))
        self.program("pass")
        self.assertEqual(dualmd.run("e.toml", out="one", until="split", quiet=True).runs, [self.place / "one"])

    def test_what_fail_on_names_brings_all_seeds(self):
        self.program(SEEDS + "sys.exit(3)")
        with self.assertRaisesRegex(dualmd.FailOn, "It leaks, says 8") as caught:
            dualmd.run("e.toml", out="runs", seeds=2, fail_on="leak", quiet=True)
        self.assertEqual((list(caught.exception.seeds.runs), caught.exception.audit.folder.name), ([7, 8], "seed-8"))

    def test_adapters_are_tuned(self):
        self.program("report(value('--out'))")
        found = dualmd.tune("base/", images="photos/", out="tuned", rival=["early-stopping", "dp-sgd"], rank=8, quiet=True)
        self.assertIsInstance(found, dualmd.Audit)
        self.assertEqual(self.heard[:6], ["tune", "base/", "--images", "photos/", "--out", "tuned"])
        self.assertEqual(self.heard[6:], ["--rival", "early-stopping", "--rival", "dp-sgd", "--rank", "8"])

    def test_wrong_numbers_of_seeds_are_named(self):
        for seeds in (0, 2.0, "3", True):
            with self.assertRaisesRegex(ValueError, "seeds="):
                dualmd.run("e.toml", out="runs", seeds=seeds)

    def test_reports_are_written_anew_and_compared(self):
        self.program("report(value('--out') if '--out' in arguments else arguments[1])")
        found = dualmd.report("audit", no_images=True, also=["sarif=r.sarif"], quiet=True)
        self.assertEqual(self.heard, ["report", "audit", "--no-images", "--also", "sarif=r.sarif"])
        self.assertEqual(dualmd.report(found, quiet=True).folder, found.folder)
        both = dualmd.compare(found, "audit", out="both", names=["a", "b"], quiet=True)
        self.assertEqual(self.heard, ["compare", f"a={found.folder}", "b=audit", "--out", "both"])
        self.assertEqual(both.folder, self.place / "both")
        with self.assertRaisesRegex(TypeError, "two or more"):
            dualmd.compare(found, out="both")


class Commands(Case):
    def test_an_extraction_is_read(self):
        attack = {"name": "cliques", "members": {"extracted": 3, "n": 12, "share": 0.25, "share_ci": [0.05, 0.57]}, "p_value": 0.04}
        self.program(
            "folder = Path(value('--out'))\nfolder.mkdir()\n"
            f"(folder / 'extraction.json').write_text(json.dumps({{'schema': 1, 'attacks': [{json.dumps(attack)}], 'n_members': 12}}))\n"
            "say('model generate 1/2')\nprint('cliques: 3 of 12')"
        )
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            found = dualmd.extract(("a/", "b/"), **SIDES, out="extraction", images=64, method="inpaint")
        self.assertEqual(found.report.attacks[0].members.extracted, 3)
        self.assertEqual(found.report.attacks[0].members.share_ci, (0.05, 0.57))
        self.assertEqual((str(found), found.folder), ("cliques: 3 of 12", self.place / "extraction"))
        self.assertEqual(shown.getvalue(), "model generate 1/2\ncliques: 3 of 12\n")
        wanted = ["extract", "a/", "b/", "--members", "m/", "--nonmembers", "n/", "--out", "extraction", "--images", "64", "--method", "inpaint"]
        self.assertEqual(self.heard, wanted)
        with self.assertRaisesRegex(TypeError, "a tuple of 3"):
            dualmd.extract(("a", "b", "c"), **SIDES, out="x")

    def test_memorised_prompts_are_read(self):
        counts = {"n_members": 4, "n_nonmembers": 5}
        detection = {"auc": 0.9, "auc_ci": [0.8, 1.0], "auc_ci_method": "newcombe", "balanced_accuracy": 0.8, **counts}
        measured = {"mean_norm": {"detection": detection}, "fit": {"reason": "no head"}}
        self.program(f"folder = Path(value('--out'))\nfolder.mkdir()\n(folder / 'memorisation.json').write_text({json.dumps(measured)!r})")
        found = dualmd.memorisation("model/", memorised="known.txt", others="random.txt", out="m", number=2, quiet=True).report
        self.assertEqual((found.mean_norm.detection.auc, found.t_error.detection), (0.9, None))
        # It is measured, or there is a reason.
        self.assertEqual((found.fit.reason, found.fit.relative), ("no head", None))
        self.assertEqual(self.heard[1:4], ["model/", "--out", "m"])
        with self.assertRaisesRegex(TypeError, "no prompts"):
            dualmd.memorisation("model/", out="m")

    def test_metrics_are_typed(self):
        distance = {"value": 12.5, "mean_term": 2.5, "dim": 8, "n": [4, None], "rank_deficient": True}
        measured = {"missing": ["no head"], "of": "x", "frechet_to_statistics": {"file": "s.npz", "n": None, "distance": distance}}
        self.program(f"print({json.dumps(measured)!r})")
        found = dualmd.metrics("images/", real="heldout/", features="none", quiet=True)
        self.assertIsInstance(found, dualmd.Metrics)
        self.assertEqual((found.missing, found.frechet, found.of_), (["no head"], None, "x"))
        self.assertEqual((found.frechet_to_statistics.file, found.frechet_to_statistics.distance.value), ("s.npz", 12.5))
        self.assertEqual(found.frechet_to_statistics.distance.n, (4, None))
        self.assertIn("Fréchet distance to s.npz: 12.5", str(found))
        self.assertIn("not measured: no head", str(found))
        self.assertEqual(self.heard, ["metrics", "images/", "--real", "heldout/", "--json", "--features", "none"])

    def test_a_loras_size_is_typed(self):
        errors = {"recovered": 3, "n": 4, "recovered_ci": [0.2, 0.99], "mean_error": 2.0, "guess_error": 4.0}
        size = {"size": 16, "votes": {"8": 1, "16": 3}, "references": {"8": 2, "16": 2}, **errors}
        self.program(f"print({json.dumps(size)!r})")
        found = dualmd.lora_size(Path("lora.safetensors"), references="references/")
        self.assertEqual((found.size, found.votes, found.recovered_ci), (16, {8: 1, 16: 3}, (0.2, 0.99)))
        self.assertEqual(self.heard, ["lora-size", "lora.safetensors", "--references", "references/", "--json"])

    def test_attacks_are_listed(self):
        self.program("print('[{\"name\": \"sima\", \"network_calls_per_sample\": 1, \"parameters\": {\"t\": 200}, \"usual\": true}]')")
        (one,) = dualmd.attacks()
        self.assertEqual((one.name, one.network_calls_per_sample, one.parameters, one.usual), ("sima", 1, {"t": 200}, True))
        self.assertEqual(self.heard, ["list", "attacks", "--json"])

    def test_evidence_that_does_not_agree_is_no_exception(self):
        self.program("print('scores/a.csv: row 3 differs\\nimage x: member\\nroot: 4f1c\\n1 thing does not agree')\nsys.exit(1)")
        found = dualmd.verify("evidence/", root="4f1c", image="x.png", salt="s")
        self.assertEqual((bool(found), found.root), (False, "4f1c"))
        self.assertEqual((found.differences, found.image), (["scores/a.csv: row 3 differs"], ["image x: member"]))
        self.assertEqual(self.heard, ["verify", "evidence/", "--root", "4f1c", "--image", "x.png", "--with", "s"])
        self.program("print('root: 4f1c\\neverything agrees: 4 files, 90 values computed again')")
        self.assertTrue(dualmd.verify("evidence/"))
        self.program("say('error: evidence: no manifest.json')\nsys.exit(1)")
        with self.assertRaisesRegex(dualmd.ProgramError, "no manifest"):
            dualmd.verify("evidence/")
        with self.assertRaisesRegex(TypeError, "both, or neither"):
            dualmd.verify("evidence/", image="x")


class Wrong(Case):
    """What is wrong is named by its argument, before anything is started."""

    def test_paths_and_options_of_wrong_types(self):
        self.program("sys.exit(9)")
        for call, words in (
            (lambda: dualmd.audit("m", members=["a.png", "b.png"], nonmembers="n"), "members is of type list: give a path"),
            (lambda: dualmd.audit("m", members="m", nonmembers=None), "nonmembers is of type NoneType"),
            (lambda: dualmd.audit({"a": 3}, **SIDES), "the model 'a' is of type int"),
            (lambda: dualmd.audit("m", **SIDES, attacks=5), "attacks=5: give names"),
            (lambda: dualmd.audit("m", **SIDES, attacks=["sima", 3]), "give names"),
            (lambda: dualmd.audit("m", **SIDES, alpha={"a": 1}), "alpha is of type dict: options are"),
            (lambda: dualmd.audit("m", **SIDES, help=True), "help is no option of a call: see help"),
            (lambda: dualmd.run("e.toml", out="r", version=True), "see dualmd.__version__"),
            (lambda: dualmd.audit("m", **SIDES, batch=4.0), "batch=4.0: give a whole number"),
            (lambda: dualmd.audit("m", **SIDES, batch=True), "batch=True: give a whole number"),
            (lambda: dualmd.split("d", members=10.5), "members=10.5: give a whole number"),
            (lambda: dualmd.split("d", members=10, nonmembers=True), "nonmembers=True: give a whole number"),
            (lambda: dualmd.tune("b", images="i", out="t", members=True), "members=True: give a whole number"),
            (lambda: dualmd.audit(len, shape=(1, 2, 2), **SIDES, denoiser="python serve.py"), "denoiser: in place of a model in Python"),
            (lambda: dualmd.audit(len, shape=(1, 2, 2), **SIDES, pair=("a/", "b/")), "pair: in place of a model in Python"),
            (lambda: dualmd.audit(pair=("a/", "b/", "c/"), **SIDES), "the folders of two models"),
            (lambda: dualmd.audit("m", **SIDES, out=3), "out is of type int"),
            (lambda: dualmd.run("e.toml", out=None), "out is of type NoneType"),
            (lambda: dualmd.split(["a.png"], members=2), "data is of type list"),
            (lambda: dualmd.Audit(None), "folder is of type NoneType"),
            (lambda: dualmd.call("list attacks"), "is one text: give a list"),
        ):
            with self.assertRaisesRegex(TypeError, words):
                call()
        self.assertFalse((self.place / "heard").exists())
        self.nothing_is_left()

    def test_a_pair_is_of_two(self):
        self.program("sys.exit(9)")
        for name in ("a", "b", "other"):
            Path(name, "unet").mkdir(parents=True)
            Path(name, "unet/diffusion_pytorch_model.safetensors").write_text("other" if name == "other" else "same")
        Path("x.safetensors").write_text("x")
        for call in (
            lambda: dualmd.audit(pair=("a/", "./a"), **SIDES),
            lambda: dualmd.audit(pair=["a", "b"], **SIDES),
            lambda: dualmd.audit(pair=("a", "a"), lora=["x.safetensors", "./x.safetensors"], **SIDES),
            lambda: dualmd.extract(("a", "b"), **SIDES, out="e"),
            lambda: dualmd.memorisation(("gone", "gone/"), members="m", out="e"),
            lambda: dualmd.tuned_pair("x.safetensors", "x.safetensors", base=object()),
        ):
            with self.assertRaisesRegex(ValueError, "are the same model"):
                call()
        self.assertFalse((self.place / "heard").exists())
        self.program("report(value('--out'))")
        dualmd.audit(pair=("a", "other"), **SIDES, out="o", quiet=True)
        self.assertEqual(self.heard[self.heard.index("--pair") :][:3], ["--pair", "a", "other"])

    def test_nothing_is_no_choice(self):
        self.program("sys.exit(9)")
        for attacks in ([], "", " , "):
            with self.assertRaisesRegex(ValueError, "attacks is empty"):
                dualmd.audit("m", **SIDES, attacks=attacks)
        with self.assertRaisesRegex(ValueError, "no scores"):
            dualmd.roc([], [])

    def test_values_with_a_sign_are_no_flags(self):
        self.program("report(value('--out'))")
        dualmd.audit("m", **SIDES, out="a", guidance=-1.5, set=["-x", "y"], quiet=True)
        for words in (["--guidance=-1.5"], ["--set=-x", "--set", "y"]):
            at = self.heard.index(words[0])
            self.assertEqual(self.heard[at : at + len(words)], words)

    def test_numbers_of_numpy_are_numbers(self):
        class Scalar:
            shape = ()

            def __init__(self, value):
                self.value = value

            def item(self):
                return self.value

        self.program("report(value('--out'))")
        dualmd.audit("m", **SIDES, out="a", batch=Scalar(64), no_images=Scalar(True), known_fraction=Scalar(0.25), quiet=True)
        self.assertEqual(self.heard[-7:-2], ["--batch", "64", "--no-images", "--known-fraction", "0.25"])

    def test_the_device_of_a_folder_is_the_programs(self):
        self.program("report(value('--out'))")
        dualmd.audit("m", **SIDES, out="a", device="cuda:1", quiet=True)
        self.assertEqual(value_of(self.heard, "--device"), "cuda:1")
        # Of a callable it is where its tensors are put.
        dualmd.audit(lambda x, t, c: x, shape=(1, 2, 2), **SIDES, out="a", device="cuda:1", quiet=True)
        self.assertNotIn("--device", self.heard)
        with self.assertRaisesRegex(TypeError, "shape: for a callable"):
            dualmd.audit("m", **SIDES, shape=(1, 2, 2))

    def test_a_script_that_serves_is_named(self):
        self.program("report(value('--out'))")
        dualmd.audit(denoiser="python serve.py", **SIDES, out="a", quiet=True)
        self.assertEqual((self.heard[1], value_of(self.heard, "--denoiser")), ("--members", "python serve.py"))
        with self.assertRaisesRegex(TypeError, "no model: give one; or generated=.*pair=.*denoiser="):
            dualmd.audit(**SIDES)

    def test_a_misspelt_setting_is_named(self):
        self.program("report(value('--out'))")
        for option, meant in (("predictions", "prediction"), ("schedules", "schedule"), ("member", "members"), ("image", "images"), ("fail_one", "fail_on")):
            with self.assertRaisesRegex(TypeError, f"^{option} is no option: did you mean {meant}\\?$"):
                dualmd.audit("m", **SIDES, **{option: 1})
        # Flags of the program that look like one, and whatever looks like none, are the program's.
        dualmd.audit(generated="g/", **SIDES, out="a", no_images=True, nonsense=3, quiet=True)
        self.assertEqual((value_of(self.heard, "--generated"), value_of(self.heard, "--nonsense")), ("g/", "3"))
        self.assertIn("--no-images", self.heard)

    def test_what_is_given_in_place_of_a_model_is_named(self):
        with self.assertRaisesRegex(TypeError, "pair='first/': give the folders of two"):
            dualmd.audit(pair="first/", **SIDES)
        with self.assertRaisesRegex(TypeError, "b.onnx in a dict.*by itself"):
            dualmd.audit({"a": "a/", "b": "b.onnx"}, **SIDES)
        with self.assertRaisesRegex(TypeError, "^first is of type NoneType: give a path"):
            dualmd.tuned_pair(None)

    def test_names_of_a_comparison_are_said_as_in_python(self):
        with self.assertRaisesRegex(TypeError, "one by one, as in dualmd.compare.first, second"):
            dualmd.compare(["a/", "b/"], out="both")
        self.program("say('error: two models would be called \"audit\": give their audits different names (NAME=FOLDER)'); sys.exit(1)")
        with self.assertRaisesRegex(dualmd.ProgramError, "different names .names=.'first', 'second'..") as caught:
            dualmd.compare("1/audit", "2/audit", out="both", quiet=True)
        self.assertEqual(caught.exception.status, 1)

    def test_folders_that_are_no_report(self):
        with self.assertRaisesRegex(FileNotFoundError, "nowhere/report.json is not there: there is no such folder"):
            dualmd.Audit("nowhere")
        Path("empty").mkdir()
        with self.assertRaisesRegex(FileNotFoundError, "finished audit or run"):
            dualmd.Audit("empty")
        for text, words in (("{", "no JSON.*dualmd.report"), ("[]", "no report")):
            Path("empty/report.json").write_text(text)
            with self.assertRaisesRegex(ValueError, words):
                dualmd.Audit("empty")
        for text in ("{", "{}", "[]", '{"members": [3], "nonmembers": []}'):
            Path("split.json").write_text(text)
            with self.assertRaisesRegex(ValueError, "split.json is no split"):
                dualmd.Split("split.json")

    def test_scores_that_are_no_numbers(self):
        with self.assertRaisesRegex(TypeError, "a score is 'auc'"):
            dualmd.roc(["auc"], [1])

    def test_a_program_that_is_not_there(self):
        with mock.patch.object(process, "PROGRAM", self.place / "gone"), self.assertRaisesRegex(dualmd.ProgramError, "install dualmd again"):
            dualmd.call(["list", "attacks"])

    def test_errors_can_be_handed_to_another_process(self):
        error = pickle.loads(pickle.dumps(dualmd.ProgramError(2, "no such flag", "out")))
        self.assertEqual((error.status, str(error), error.output), (2, "no such flag", "out"))


class OutStream(io.StringIO):
    """What a notebook has in place of standard error."""

    __module__ = "ipykernel.iostream"


class Notebooks(Case):
    """Progress is a line that changes, and what is said besides stays."""

    def shown(self, call):
        with contextlib.redirect_stderr(OutStream()) as stream, mock.patch.object(live, "_EVERY", 0.0):
            call()
        return stream.getvalue()

    def events(self, *events):
        return "".join(f"say({json.dumps(event)!r})\n" for event in events)

    def test_progress_is_a_line_that_changes(self):
        at = {"event": "progress", "model": "model", "stage": "attack", "total": 120, "images_per_second": 25.04}
        self.program(
            self.events(
                {"event": "message", "text": "note: images were resized"},
                {**at, "step": 40, "run_seconds_left": 90},
                {"event": "message", "text": "attack 1 of 2"},
                {**at, "step": 120},
                {**at, "task": "quality", "stage": "measure", "step": 1},
                {"event": "finished", "model": "model", "note": "attacked in 3 s"},
                {"event": "result", "model": "model", "finding": "leak"},
            )
            + "report(value('--out'))"
        )
        said = self.shown(lambda: dualmd.audit("m", **SIDES, out="a"))
        self.assertEqual(self.heard[-2:], ["--log-format", "json"])
        line = "model: score 40/120, 25 images/s, about 90 s left in all"
        taken = f"\r{' ' * len(line)}\r"
        last = "model, quality: image 1/120, 25 images/s"
        expected = ["note: images were resized\n", line, taken, "attack 1 of 2\n", line, taken, last, f"\r{' ' * len(last)}\r", "model attacked in 3 s\n"]
        self.assertEqual(said, "".join(expected))

    def test_what_nobody_counts_goes_on_in_the_same_line(self):
        at = {"event": "progress", "model": "model", "stage": "attack", "total": 120, "images_per_second": 25.04}
        self.program(
            self.events(
                {"event": "working", "task": "reading images", "seconds": 5},
                {**at, "step": 40, "run_seconds_left": 300, "run_left_without": ["report"]},
                {"event": "working", "model": "model", "seconds": 7},
                {**at, "step": 120},
            )
            + "report(value('--out'))"
        )
        said = self.shown(lambda: dualmd.audit("m", **SIDES, out="a"))
        score = "model: score 40/120, 25 images/s, at least 5 min left in all"
        lines = ["reading images: at work for 5 s", score, f"{score}; last counted 7 s ago"]
        self.assertEqual(said, "".join(f"{line}\r{' ' * len(line)}\r" for line in lines))

    def test_errors_are_the_programs_words_there_too(self):
        self.program(self.events({"event": "message", "text": "warning: few images"}, {"event": "error", "text": "no such model"}) + "sys.exit(1)")

        def call():
            with self.assertRaisesRegex(dualmd.ProgramError, "^error: no such model$") as caught:
                dualmd.audit("m", **SIDES, out="a")
            self.assertEqual(caught.exception.warnings, ["few images"])

        self.assertEqual(self.shown(call), "warning: few images\nerror: no such model\n")

    def test_who_asks_for_lines_or_for_nothing_has_them(self):
        self.program("report(value('--out'))")
        for told in ({"quiet": True}, {"log_format": "text"}):
            self.assertEqual(self.shown(lambda: dualmd.audit("m", **SIDES, out="a", **told)), "")
            self.assertNotIn("json", self.heard)
        dualmd.audit("m", **SIDES, out="a")
        self.assertNotIn("json", self.heard)
        for words in (["report", "--out", "a"], ["audit", "-q", "--out", "a"]):
            self.assertEqual(self.shown(lambda: dualmd.call(words)), "")
            self.assertNotIn("json", self.heard)
        # What is no event is shown as it is.
        self.program("print(json.dumps({'model': {'a': 1}}))\nreport(value('--out'))")
        self.assertEqual(self.shown(lambda: dualmd.audit("m", **SIDES, out="a")), '{"model": {"a": 1}}\n')


class Stops(Case):
    """Ctrl-C: the program is asked to stop, and is waited for; a second one ends it at once."""

    def interrupt(self, times, between=0.0):
        def work():
            while not Path("at-work").exists():
                time.sleep(0.01)
            for number in range(times):
                time.sleep(between * number)
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=work)
        thread.start()
        self.addCleanup(thread.join)

    def test_the_program_finishes_its_step(self):
        self.program(
            "import signal\ndef stop(*_):\n    Path('saved').touch()\n    sys.exit(130)\n"
            "signal.signal(signal.SIGINT, stop)\nPath('at-work').touch()\ntime.sleep(60)"
        )
        for call in (
            lambda: dualmd.audit("m", **SIDES, out="a", quiet=True),
            lambda: dualmd.audit("m", **SIDES, check=True, quiet=True),
            lambda: dualmd.extract("m", **SIDES, out="e", quiet=True),
            lambda: dualmd.run("e.toml", out="r", seeds=2, quiet=True),
        ):
            for name in ("saved", "at-work"):
                Path(name).unlink(missing_ok=True)
            self.interrupt(1)
            with self.assertRaises(KeyboardInterrupt):
                call()
            self.assertTrue(Path("saved").exists())
        self.nothing_is_left()

    def test_a_second_one_ends_it_at_once(self):
        self.program("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nPath('at-work').touch()\ntime.sleep(60)")
        self.interrupt(2, 0.3)
        began = time.monotonic()
        with contextlib.redirect_stderr(io.StringIO()) as shown, self.assertRaisesRegex(KeyboardInterrupt, "at once, by a second"):
            dualmd.call(["train"])
        self.assertLess(time.monotonic() - began, 30)
        # Said once, after the first.
        self.assertEqual(shown.getvalue(), "finishing the step; Ctrl-C again stops at once\n")

    def test_where_it_goes_on_is_said(self):
        self.program("import signal\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(130))\nPath('at-work').touch()\ntime.sleep(60)")
        for call in (lambda: dualmd.audit("m", **SIDES, out="a", quiet=True), lambda: dualmd.run("e.toml", out="a", quiet=True)):
            Path("at-work").unlink(missing_ok=True)
            self.interrupt(1)
            with contextlib.redirect_stderr(io.StringIO()) as shown, self.assertRaisesRegex(KeyboardInterrupt, "with out='a' goes on there"):
                call()
            self.assertEqual(shown.getvalue(), "")


class Reading(Case):
    def test_every_public_name_is_explained(self):
        for name in dualmd.__all__:
            if name != "__version__":
                self.assertGreater(len(getattr(dualmd, name).__doc__ or ""), 20, name)
        of_package = (dualmd.Attack, dualmd.Check, dualmd.LoraSize, dualmd.Metrics, dualmd.Part, dualmd.RunCheck, dualmd.Staged, dualmd.Verified, dualmd.Written)
        for kind in (*of_package, results.CheckedModel, results.ModelPart, results.SeedNumber, results.Combined, *(getattr(results, f"Run{of}") for of in ("Images", "Training", "Stage", "Memory", "Disk"))):
            own = kind.__annotations__ if kind is dualmd.Metrics else kind.__dataclass_fields__
            for field in own:
                self.assertIn(f"\n{field}: ", inspect.cleandoc(kind.__doc__), kind.__name__)

    def test_checkpoints_are_explained_and_say_that_they_need_torch(self):
        # In a process of its own: here others may have imported it.
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", "import dualmd; help(dualmd.convert)"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        self.assertIn("Checkpoints of other projects", done.stdout, done.stderr)
        with self.assertRaisesRegex(AttributeError, "no attribute 'converter'"):
            dualmd.converter
        Path("model.pt").touch()
        with mock.patch.dict(sys.modules, {"torch": None}), self.assertRaisesRegex(ModuleNotFoundError, "model.pt needs torch.*pip install torch"):
            dualmd.convert.load("model.pt", image_size=32)

    def test_a_page_that_is_gone_leaves_the_verdict(self):
        self.program("report(value('--out'), summary=['a < b'])")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = dualmd.audit("m", **SIDES, out="a", quiet=True)
        self.assertEqual(found._repr_html_(), "<pre>a &lt; b</pre>")


if __name__ == "__main__":
    unittest.main()

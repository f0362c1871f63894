"""Run by `cargo xtask wheel --check` in a fresh environment, in a folder where `dualmd run tiny.toml --out run` has been."""

import contextlib
import inspect
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import unittest
import warnings
from pathlib import Path
from unittest import mock

import dualmd
from dualmd import defense, engine
from dualmd.called import called
from dualmd.convert import Told
from dualmd.flags import misspelt
from dualmd.process import _words, answer

SPLIT = {"members": "fashion#member", "nonmembers": "fashion#nonmember", "split": "run/split.json"}


@contextlib.contextmanager
def own_temporary_folder():
    """What is left in the temporary folder can be looked at."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(tempfile, "tempdir", folder):
        yield Path(folder)


class Reports(unittest.TestCase):
    def test_a_teachers_numbers_are_those_of_its_own_half(self):
        """As the report shows them; `attacks` stays as report.json is, over all members."""
        half = {"auc": 1.0, "auc_ci": [0.9, 1.0], "n_members": 4, "finding": "leak"}
        sima = {"attack": "sima", "status": "ok", "auc": 0.67, "auc_ci": [0.5, 0.8], "n_members": 8, "d1": half, "d2": {**half, "auc": 0.4}, "parameters": {"p": 4, "t": 100, "x": 1}}
        gsa = {"attack": "gsa2", "status": "failed", "reason": "no gradients", "parameters": {"of": {"loss": {"t": 200}}}}
        models = [{"name": name, "title": name, "primary": of, "results": [sima, gsa]} for name, of in (("a", "d1"), ("b", "d2"), ("c", "pooled"))]
        training = {"batch": 64.0, "steps": 150.0, "train_loss": 2.0}
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "report.json").write_text(json.dumps({"schema": 1, "models": [{**models[0], "utility": training}, *models[1:]]}))
            found = dualmd.Audit(folder)
            self.assertEqual([found.models[name].attacks["sima"].auc for name in "abc"], [0.67] * 3)
            self.assertEqual([found.models[name].shown["sima"].auc for name in "abc"], [1.0, 0.4, 0.67])
            self.assertEqual([found.models[name].shown["sima"].n_members for name in "abc"], [4, 4, 8])
            self.assertEqual(found.models["a"].shown["sima"].interval, (0.9, 1.0))
            self.assertEqual(set(found.models["c"].shown), {"sima"})
            self.assertEqual(str(found.models["a"]), "a (a), members of D1\n  sima: AUC 1.000 (0.900-1.000)\n  gsa2: no result (no gradients)")
            # What is there is named.
            for named in (found.models["c"].attacks, found.models["c"].shown):
                with self.assertRaisesRegex(KeyError, "'nope': there are 'sima'"):
                    named["nope"]
            with self.assertRaisesRegex(ValueError, "pooled, d1 or d2"):
                found.models["a"].attacks["sima"].view("d3")
            sima_of, gsa_of = (found.models["a"].attacks[name].parameters for name in ("sima", "gsa2"))
            self.assertEqual((sima_of.t, sima_of.draws, gsa_of.of_["loss"].t), (100, None, 200))
            # Counts are whole numbers, also where the program keeps floats.
            trained = found.models["a"].utility
            self.assertEqual(repr((trained.batch, trained.steps, trained.train_loss)), "(64, 150, 2.0)")
            self.assertEqual(found.verdict.summary, [])
            self.assertEqual(str(found).count("gsa2 gave no result on"), 3)
            self.assertEqual(found.failures(["sima"]), [])
            # A short form, in which no list is spelt out.
            self.assertLess(len(repr(found.models["a"])), 200)
            with self.assertRaisesRegex(ValueError, "was not made for this audit"):
                found.delete()
            self.assertTrue(found.folder.is_dir())

    def test_a_report_that_lacks_what_every_version_writes_is_refused_by_its_name(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "report.json").write_text(json.dumps({"schema": 1, "models": [], "verdict": {"models": [{"model": "a"}]}}))
            with self.assertRaisesRegex(ValueError, "report.json: ModelVerdict without finding, text"):
                dualmd.Audit(folder)

    def test_a_void_report_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "report.json").write_text(json.dumps({"schema": 1, "models": [], "verdict": {"void": "the sets differ"}}))
            self.assertEqual(str(dualmd.Audit(folder)), "The report is void: the sets differ")

    def test_fields_are_explained(self):
        from dualmd import report_types

        for kind in (report_types.AttackResult, report_types.Verdict, report_types.OperatingPoint):
            for name in kind.__dataclass_fields__:
                self.assertIn(f"\n{name}: ", inspect.cleandoc(kind.__doc__))
        self.assertIn("`leak`", report_types.ModelVerdict.__doc__)
        for kind in (dualmd.Denoiser, dualmd.Engine, defense.Image, Told):
            for name in kind.__dataclass_fields__:
                self.assertIn(f"\n{name}: ", inspect.cleandoc(kind.__doc__))

    def test_a_run_is_read_with_types(self):
        run = dualmd.Audit("run")
        model = run.models["baseline"]
        self.assertEqual(set(model.attacks), {"loss", "sima", "nn"})
        sima = model.attacks["sima"]
        low, high = sima.interval
        self.assertTrue(0 <= low <= sima.auc <= high <= 1)
        self.assertEqual((sima.n_members, sima.n_nonmembers, sima.status), (8, 16, "ok"))
        self.assertIn("AUC", str(sima))
        self.assertTrue(run.verdict.summary and str(run))
        self.assertEqual((run.verdict.models[0].model, run.verdict.models[0].name), ("baseline", "baseline"))
        rows = run.scores()
        self.assertNotIn("pandas", sys.modules)
        self.assertEqual(len(rows), 3 * 24)
        self.assertEqual(sum(row["member"] for row in rows if row["attack"] == "loss"), 8)
        self.assertIn("<iframe", run._repr_html_())

    def test_a_models_own_name_is_as_good_everywhere(self):
        models = [{"name": "model", "title": "model"}]
        plan = {"models": [{"name": "model", "model": {"config": {"name": "mine"}}}]}
        verdict = {"models": [{"model": "model", "finding": "chance", "text": "", "conclusion": {"kind": "unknown"}}]}
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "report.json").write_text(json.dumps({"schema": 1, "models": models, "run": plan, "verdict": verdict}))
            found = dualmd.Audit(folder)
        for name in ("model", "mine"):
            self.assertTrue(name in found.models and found.models[name] is found.models.get(name), name)
        self.assertEqual(("other" in found.models, found.models.get("other"), found.models.get("other", 3)), (False, None, 3))
        self.assertEqual(found.verdict.models[0].name, "model")

    def test_a_report_of_a_later_version_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "report.json").write_text('{"schema": 99, "models": []}')
            with self.assertRaisesRegex(ValueError, "version 99"):
                dualmd.Audit(folder)

    def test_all_fields_of_the_report_are_known(self):
        """A field that report.json has and the types have not would be lost."""

        def compare(value, record, at):
            for key, inner in value.items():
                self.assertTrue(hasattr(record, key), f"{at}.{key}")
                own = getattr(record, key)
                pairs = zip(inner, own) if isinstance(inner, list) else [(inner, own)]
                for a, b in pairs:
                    if isinstance(a, dict) and not isinstance(b, dict):
                        compare(a, b, f"{at}.{key}")

        value = json.loads(Path("run/report.json").read_text())
        compare(value, dualmd.Audit("run").report, "report")


class Audits(unittest.TestCase):
    def test_a_model_is_audited(self):
        found = dualmd.audit("run/models/baseline", **SPLIT, attacks=["loss", "sima"], images=4, steps=2, quiet=True)
        self.addCleanup(found.delete)
        self.assertEqual(set(found.models["model"].attacks) - {"nn"}, {"loss", "sima"})
        # The same scores as in the run, by the same code.
        own = {(r["attack"], r["sample_id"]): r["score"] for r in dualmd.Audit("run").scores() if r["attack"] != "nn"}
        again = {(r["attack"], r["sample_id"]): r["score"] for r in found.scores() if r["attack"] != "nn"}
        self.assertEqual(own, again)

    def test_a_check_says_what_an_audit_takes(self):
        found = dualmd.audit("run/models/baseline", **SPLIT, attacks=["loss", "sima"], images=4, steps=2, check=True, quiet=True)
        self.assertEqual((found.n_members, found.n_nonmembers, found.shape[1:]), (8, 16, (8, 8)))
        self.assertEqual((found.models[0].name, found.models[0].attacks), ("model", ["loss", "sima"]))
        self.assertTrue(found.seconds >= 0 and found.held_gb > 0 and found.memory_gb > 0 and found.batch > 0)
        self.assertTrue(any(said.startswith("few non-members") for said in found.problems))
        self.assertTrue(any("to generate images" in line for line in found.lines))

    def test_parts_say_what_is_missing_and_the_last_call_has_a_report(self):
        how = {**SPLIT, "attacks": "loss,sima", "images": 4, "steps": 2, "batch": 6, "out": "parts", "quiet": True}
        # 24 images are four batches.
        first = dualmd.audit("run/models/baseline", **how, part="1/2").models["model"]
        self.assertEqual((first.batches, first.there, first.own, first.made, first.missing), (4, 2, 2, 2, [2]))
        with self.assertRaisesRegex(FileNotFoundError, "unfinished"):
            dualmd.Audit("parts")
        second = dualmd.audit("run/models/baseline", **how, part="2/2")
        self.assertEqual((second.complete, second.missing), (True, []))
        self.assertEqual(set(dualmd.audit("run/models/baseline", **how).models["model"].shown) - {"nn"}, {"loss", "sima"})

    def test_two_seeds_are_two_reports(self):
        staged = dualmd.run("tiny.toml", out="seeds", seeds=2, until="split", quiet=True)
        self.assertEqual([run.name for run in staged.runs], ["seed-0", "seed-1"])
        found = dualmd.run("tiny.toml", out="seeds", seeds=2, quiet=True)
        self.assertEqual({seed: run.folder.name for seed, run in found.runs.items()}, {0: "seed-0", 1: "seed-1"})
        self.assertEqual({row["attack"] for row in found.aucs()}, {"loss", "sima", "nn"})
        # One method alone is compared with nothing.
        self.assertIsNone(found.combined)

    def test_attacks_are_listed(self):
        known = {one.name: one for one in dualmd.attacks()}
        self.assertTrue(known["sima"].usual and known["sima"].network_calls_per_sample == 1 and known["sima"].formula)

    def test_a_report_is_written_anew(self):
        self.assertTrue(dualmd.report("run", no_images=True, quiet=True).report.images_left_out)
        # What was left out stays so until it is asked for.
        self.assertTrue(dualmd.report("run", quiet=True).report.images_left_out)
        self.assertFalse(dualmd.report("run", with_images=True, quiet=True).report.images_left_out)

    def test_evidence_is_verified(self):
        dualmd.call(["export", "evidence", "run", "-o", "evidence"], quiet=True)
        found = dualmd.verify("evidence")
        self.assertTrue(found.holds and found.root and not found.differences, str(found))
        other = dualmd.verify("evidence", root="00")
        self.assertEqual((bool(other), len(other.differences)), (False, 1))

    def test_errors_are_the_programs_own_words(self):
        with self.assertRaises(dualmd.ProgramError) as caught:
            dualmd.audit("nowhere", **SPLIT, quiet=True)
        self.assertEqual(caught.exception.status, 1)
        self.assertIn("nowhere", str(caught.exception))
        with self.assertRaises(dualmd.ProgramError) as caught:
            dualmd.audit("run/models/baseline", **SPLIT, nonsense=3, quiet=True)
        self.assertEqual(caught.exception.status, 2)
        self.assertIn("--nonsense", str(caught.exception))

    def test_every_flag_of_the_program_passes_for_no_misspelt_one(self):
        flags = re.findall(r"--([a-z][a-z0-9-]+)", answer(["audit", "--help"]))
        self.assertIn("known-fraction", flags)
        misspelt((flag.replace("-", "_") for flag in flags), dualmd.audit.__globals__["_KNOWN"])

    def test_a_temporary_folder_stays_until_it_is_deleted_and_goes_when_the_audit_fails(self):
        with own_temporary_folder() as place:
            with self.assertRaises(dualmd.ProgramError):
                dualmd.audit("nowhere", **SPLIT, quiet=True)
            with self.assertRaises(dualmd.ProgramError):
                dualmd.split("nowhere", members=2)
            self.assertEqual(list(place.iterdir()), [])
            found = dualmd.audit("run/models/baseline", **SPLIT, attacks="sima, loss", images=4, steps=2, quiet=True)
            self.assertEqual(found.temporary.parent, place)
            self.assertTrue((found.folder / "report.html").is_file())
            found.delete()
            self.assertEqual(list(place.iterdir()), [])
            self.assertIn("sima", found.models["model"].shown)

    def test_an_attack_that_was_asked_for_and_gave_nothing_is_warned_of(self):
        def told(arguments, quiet, more):
            folder = Path(arguments[arguments.index("--out") + 1])
            folder.mkdir()
            results = [{"attack": name, "status": "failed", "reason": "no gradients"} for name in ("gsa2", "gsa1")]
            (folder / "report.json").write_text(json.dumps({"schema": 1, "models": [{"name": "model", "results": results}]}))
            return ["model: gsa2 failed: no gradients", "3 pictures brought to 8 x 8"]

        with own_temporary_folder(), mock.patch.dict(dualmd.audit.__globals__, told=told), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for attacks in ("gsa2, sima", ["gsa2"], None):
                found = dualmd.audit("model", **SPLIT, attacks=attacks, quiet=True)
                self.assertIn("gsa1 gave no result on model: no gradients", str(found))
        own, of_program = "gsa2 gave no result on model: no gradients", "3 pictures brought to 8 x 8"
        # Of usual attacks, which nobody named, each is warned of.
        wanted = [of_program, own] * 2 + [of_program, own, own.replace("gsa2", "gsa1")]
        self.assertEqual([str(one.message) for one in warned], wanted)
        self.assertEqual({one.filename for one in warned}, {__file__})

    def test_what_fail_on_names_is_raised_with_the_report(self):
        # A program that has written its report and leaves with the status of a finding.
        with own_temporary_folder() as place:
            for status in (3, 4):

                def ended(arguments, quiet, more, status=status):
                    folder = Path(arguments[arguments.index("--out") + 1])
                    folder.mkdir()
                    (folder / "report.json").write_text(json.dumps({"schema": 1, "models": [], "verdict": {"summary": ["It leaks."]}}))
                    raise dualmd.ProgramError(status, "progress")

                with mock.patch.dict(dualmd.audit.__globals__, told=ended):
                    with self.assertRaisesRegex(dualmd.FailOn, "It leaks") as caught:
                        dualmd.audit("model", **SPLIT, fail_on="leak,void")
                self.assertIsInstance(caught.exception, dualmd.ProgramError)
                self.assertEqual(caught.exception.status, status)
                self.assertEqual(caught.exception.audit.verdict.summary, ["It leaks."])
                self.assertIn(str(caught.exception.audit.folder), str(caught.exception))
                caught.exception.audit.delete()
            self.assertEqual(list(place.iterdir()), [])

    def test_a_stopped_audit_names_its_temporary_folder(self):
        def stopped(arguments, quiet, more):
            Path(arguments[arguments.index("--out") + 1]).mkdir()
            raise KeyboardInterrupt

        with own_temporary_folder() as place, mock.patch.dict(dualmd.audit.__globals__, told=stopped):
            with self.assertRaisesRegex(KeyboardInterrupt, "The same call with out='.*/audit' goes on there"):
                dualmd.audit("model", **SPLIT)
            (left,) = place.iterdir()
            self.assertTrue((left / "audit").is_dir())
            with self.assertRaises(KeyboardInterrupt) as caught:
                dualmd.audit("model", **SPLIT, out=place / "mine")
            self.assertIn(f"the same call with out={str(place / 'mine')!r} goes on there", str(caught.exception))

    def test_the_program_is_told_the_call(self):
        heard = []

        def told(arguments, quiet, more):
            heard.append(more["DUALMD_CALLED_AS"])
            raise dualmd.ProgramError(1, "enough")

        with mock.patch.dict(dualmd.audit.__globals__, told=told):
            for model, options in ((Path("my-model"), {"attacks": ["sima"]}), (lambda x, t, c: x, {"shape": (3, 8, 8), "quiet": True, "out": "a/"})):
                # Equal calls are told alike: no socket and no temporary folder is in it.
                for _ in range(2):
                    with self.assertRaises(dualmd.ProgramError):
                        dualmd.audit(model, members="m/", nonmembers="n/", **options)
        self.assertEqual(heard[0], "dualmd.audit('my-model', members='m/', nonmembers='n/', attacks=['sima'])")
        self.assertEqual(heard[2], "dualmd.audit(<function>, members='m/', nonmembers='n/', out='a/', shape=(3, 8, 8))")
        self.assertEqual(heard[::2], heard[1::2])
        self.assertEqual(called("audit", "", {"a": None, "b": Path("x"), "c": (1,), "d": {"e": object}}), "dualmd.audit(b='x', c=(1,), d={'e': <type>})")
        self.assertLess(len(called("audit", "", {"a": "x" * 9999})), 4100)

    def test_a_model_of_another_type_is_refused(self):
        with self.assertRaisesRegex(TypeError, "a model of type object cannot be audited"):
            dualmd.audit(object(), **SPLIT)
        with self.assertRaisesRegex(TypeError, "names='ab' is one text"):
            dualmd.compare("run", "run", out="both", names="ab")
        self.assertIs(dualmd.run, dualmd.experiment)

    def test_warnings_of_a_quiet_program_are_pythons(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "program")
            program.write_text("#!/bin/sh\necho 'warning: few images' >&2\necho 'model score 1/2' >&2\nexit $1\n")
            program.chmod(0o700)
            with mock.patch.dict(dualmd.call.__globals__, PROGRAM=program), self.assertWarnsRegex(UserWarning, "^few images$") as warned:
                dualmd.call(["0"], quiet=True)
            self.assertEqual(warned.filename, __file__)
            with mock.patch.dict(dualmd.call.__globals__, PROGRAM=program), self.assertRaisesRegex(dualmd.ProgramError, "--fail-on names"):
                dualmd.call(["3"], quiet=True)

    def test_the_last_words_are_no_progress(self):
        progress = ["model score 1/2\n", "model score 2/2\n"]
        self.assertEqual(_words(1, [*progress, "error: no\n", "why\n"]), "error: no\nwhy")
        self.assertEqual(_words(3, progress), "the report has a finding that --fail-on names")
        self.assertIn("memory", _words(-9, progress))

    def test_how_to_type_a_command_is_no_word_of_an_exception(self):
        typed = ["error: unexpected argument '--x' found\n", "\n", "  tip: a similar one: '--y'\n", "\n", "Usage: dualmd audit --members <DATA>\n", "           <MODEL>...\n", "\n"]
        more = ["For more information, try '--help'.\n"]
        wanted = "error: unexpected argument '--x' found\n\n  tip: a similar one: '--y'"
        for lines in (typed + more, typed, typed[:4] + more, ["".join(typed + more)]):
            self.assertEqual(_words(2, lines), wanted)

    def test_ctrl_c_stops_it_and_the_same_call_goes_on(self):
        text = Path("tiny.toml").read_text().replace("steps = 4", "steps = 4000")
        Path("long.toml").write_text(text)

        def interrupt():
            while not list(Path("long").glob("logs/*.jsonl")):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with self.assertRaises(KeyboardInterrupt):
            dualmd.experiment("long.toml", out="long", quiet=True)
        self.assertTrue(list(Path("long/checkpoints").rglob("*")), "what was trained is kept")
        Path("long.toml").unlink()


class Rocs(unittest.TestCase):
    def test_numbers_and_files_are_measured_alike(self):
        # Of the four pairs of a member and another three are in order.
        found = dualmd.roc([3, 2, 1, 2.5], [True, True, False, 0], fpr=[0.5])
        self.assertEqual((found.auc, found.n_members, found.n_nonmembers), (0.75, 2, 2))
        self.assertEqual([(point.fpr, point.tp, point.fp) for point in found.tpr_at_fpr], [(0.5, 2, 1)])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "s.csv")
            file.write_text("attack,member,score\na,1,3\na,1,2\na,0,1\na,0,2.5\nb,1,0\nb,0,1\n")
            of_file = dualmd.roc(file)
            self.assertEqual({attack: one.auc for attack, one in of_file.items()}, {"a": 0.75, "b": 0.0})
            self.assertEqual([point.fpr for point in of_file["a"].tpr_at_fpr], [0.1, 0.01, 0.001])
            self.assertEqual(of_file["a"].interval, found.interval)

    def test_what_cannot_be_measured_is_refused(self):
        for scores, labels, words in (
            ([1.0], [1, 0], "1 scores and 2 labels"),
            ([1.0, 2.0], [1, 2], "a label is 2"),
            ([1.0, float("nan")], [1, 0], "a score is nan"),
            ([[1.0], [2.0]], [1, 0], "one dimension"),
        ):
            with self.assertRaisesRegex(ValueError, words):
                dualmd.roc(scores, labels)
        with self.assertRaisesRegex(TypeError, "labels are missing"):
            dualmd.roc([1.0, 2.0])
        with self.assertRaisesRegex(dualmd.ProgramError, "nowhere.csv"):
            dualmd.roc("nowhere.csv")

    def test_what_is_no_list_or_no_rate_is_named(self):
        for given, words in (
            ((5, [1]), "scores is of type int: give a list"),
            (([1.0], "1"), "labels is of type str: give a list"),
            (({1.0: 1}, [1]), "scores is of type dict: give a list"),
        ):
            with self.assertRaisesRegex(TypeError, words):
                dualmd.roc(*given)
        for fpr in ("a few", [None], [[0.1]]):
            with self.assertRaisesRegex(TypeError, "give a rate of false alarms or several"):
                dualmd.roc([1.0, 2.0], [1, 0], fpr=fpr)
        with self.assertRaisesRegex(ValueError, "fpr is empty"):
            dualmd.roc([1.0, 2.0], [1, 0], fpr=[])
        asked = []

        def answered(arguments):
            asked.append(arguments[-1])
            return json.dumps([{"attack": "a", "auc": 1.0, "auc_ci": [0.5, 1.0], "finding": "chance"}])

        with mock.patch.dict(dualmd.roc.__globals__, answer=answered):
            for fpr in (0.25, "0.25", [0.25], (0.25, 0.5), "0.25, 0.5", mock.Mock(spec=["tolist"], tolist=lambda: 0.25)):
                dualmd.roc([1.0, 2.0], [1, 0], fpr=fpr)
        self.assertEqual(asked, ["--fpr=0.25"] * 3 + ["--fpr=0.25,0.5"] * 2 + ["--fpr=0.25"])


class Engines(unittest.TestCase):
    def test_a_libtorch_of_another_version_is_refused_wherever_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, DUALMD_LIBTORCH=folder):
            place = Path(folder)
            (place / "lib").mkdir()
            (place / "lib/libtorch_cpu.so").touch()
            for name, text in (
                ("build-version", "2.99.0+cpu\n"),
                ("version.py", "__version__ = '2.99.0+cu130'\n"),
                ("include/torch/csrc/api/include/torch/version.h", '#define TORCH_VERSION "2.99.0"\n'),
            ):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
                with self.assertRaisesRegex(dualmd.NoEngine, "is libtorch 2.99.0"):
                    dualmd.find()
                (place / name).write_text(text.replace("2.99.0", f"{engine._SERIES}.0"))
                self.assertEqual(dualmd.find().libraries, place / "lib")
                (place / name).unlink()


if __name__ == "__main__":
    unittest.main()

"""Run by `cargo xtask wheel --check` in a fresh environment, in a folder where `dualmd run tiny.toml --out run` has been."""

import os
import signal
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import dualmd

SPLIT = {"members": "fashion#member", "nonmembers": "fashion#nonmember", "split": "run/split.json"}


class Reports(unittest.TestCase):
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
        self.assertEqual(run.verdict.models[0].model, "baseline")
        rows = run.scores()
        self.assertNotIn("pandas", sys.modules)
        self.assertEqual(len(rows), 3 * 24)
        self.assertEqual(sum(row["member"] for row in rows if row["attack"] == "loss"), 8)
        self.assertIn("<iframe", run._repr_html_())

    def test_a_report_of_a_later_version_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "report.json").write_text('{"schema": 99, "models": []}')
            with self.assertRaisesRegex(ValueError, "version 99"):
                dualmd.Audit(folder)

    def test_all_fields_of_the_report_are_known(self):
        """A field that report.json has and the types have not would be lost."""
        import json

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
        self.assertEqual(set(found.models["model"].attacks) - {"nn"}, {"loss", "sima"})
        # The same scores as in the run, by the same code.
        own = {(r["attack"], r["sample_id"]): r["score"] for r in dualmd.Audit("run").scores() if r["attack"] != "nn"}
        again = {(r["attack"], r["sample_id"]): r["score"] for r in found.scores() if r["attack"] != "nn"}
        self.assertEqual(own, again)

    def test_errors_are_the_programs_own_words(self):
        with self.assertRaises(dualmd.ProgramError) as caught:
            dualmd.audit("nowhere", **SPLIT, quiet=True)
        self.assertEqual(caught.exception.status, 1)
        self.assertIn("nowhere", str(caught.exception))
        with self.assertRaises(dualmd.ProgramError) as caught:
            dualmd.audit("run/models/baseline", **SPLIT, nonsense=3, quiet=True)
        self.assertEqual(caught.exception.status, 2)
        self.assertIn("--nonsense", str(caught.exception))

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


if __name__ == "__main__":
    unittest.main()

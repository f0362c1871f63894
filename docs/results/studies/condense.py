"""What stays here of a run that `dualmd reproduce` made: its plan, and its report without curves, histograms and images.

    python docs/results/studies/condense.py runs/reproduce/cpu/SET/seed-S docs/results/studies/cpu/SET/seed-S
"""

import json
import sys
from pathlib import Path

RUN = "models", "trainings", "train", "epochs", "data", "sample", "seed", "versions", "hardware", "split_hash"
MODEL = "name", "defense", "title", "utility", "image_utility"
RESULT = "attack", "title", "status", "auc", "auc_ci", "tpr_at_fpr", "n_members", "n_nonmembers"
HALF = "auc", "auc_ci", "n_members", "n_nonmembers"


def some(keys, of):
    return {key: of[key] for key in keys if key in of}


def result(of):
    halves = {half: some(HALF, of[half]) for half in ("d1", "d2") if of.get(half)}
    return {**some(RESULT, of), **halves}


def write(path, value):
    path.write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def main(run, out):
    report = json.loads((run / "report.json").read_text())
    models = [{**some(MODEL, m), "results": [result(r) for r in m["results"]]} for m in report["models"]]
    out.mkdir(parents=True, exist_ok=True)
    write(out / "report.json", {"schema": report["schema"], "run": some(RUN, report["run"]), "models": models})
    write(out / "plan.json", json.loads((run / "plan.json").read_text()))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

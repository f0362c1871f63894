"""What stays here of runs that `dualmd reproduce` made: of each its report without curves, histograms and images.

    python docs/results/studies/condense.py runs/reproduce/cpu/SET/seed-S docs/results/studies/cpu/SET/seed-S
    python docs/results/studies/condense.py runs/reproduce/cpu/SET docs/results/PLACE

Of one run its plan is kept too. Of a folder of runs (GROUP/seed-S) it is what the table of defences needs: the point at 1 % false alarms, the halves
of teachers alone, what was extracted from the models, and what those trainings cost that have no entry in the report; where the runs lay is not.
"""

import json
import sys
from pathlib import Path

RUN = "models", "trainings", "train", "epochs", "data", "sample", "seed", "versions", "hardware", "split_hash"
MODEL = "name", "defense", "title", "utility", "image_utility", "primary", "weights_blake3", "chosen", "sets"
RESULT = "attack", "title", "status", "access", "auc", "auc_ci", "tpr_at_fpr", "n_members", "n_nonmembers"
HALF = "auc", "auc_ci", "tpr_at_fpr", "n_members", "n_nonmembers"
POINT = "fpr", "realised_fpr", "tp", "fp", "n_members", "n_nonmembers", "tpr", "tpr_ci", "measurable"
RATE = 0.01
BLIND = "auc", "auc_ci", "p_value", "outcome"
TRAINING = "name", "defense", "steps", "epochs", "batch", "seconds"


def some(keys, of):
    return {key: of[key] for key in keys if of.get(key) is not None}


def result(of):
    halves = {half: some(HALF, of[half]) for half in ("d1", "d2") if of.get(half)}
    return {**some(RESULT, of), **halves}


def brief(of, teacher):
    """A result with nothing but what the table of defences shows."""
    views = [of] + [of[half] for half in ("d1", "d2") if half in of]
    for view in views:
        view["tpr_at_fpr"] = [some(POINT, p) for p in view.get("tpr_at_fpr", []) if p["fpr"] == RATE]
    return of if teacher else {key: value for key, value in of.items() if key not in ("d1", "d2")}


def read(path):
    return json.loads(path.read_text())


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def report(run, out, form=lambda of, teacher: of):
    """Writes what is kept of a run's report, and gives it. `form`: what becomes of a result."""
    whole = read(run / "report.json")
    teacher = {m["name"]: m.get("primary", "pooled") != "pooled" for m in whole["models"]}
    models = [
        {**some(MODEL, m), "results": [form(result(r), teacher[m["name"]]) for r in m["results"]]} for m in whole["models"]
    ]
    kept = {"schema": whole["schema"], "run": some(RUN, whole["run"]), "models": models}
    blind = whole.get("controls", {}).get("blind_baseline")
    if blind:
        kept["controls"] = {"blind_baseline": some(BLIND, blind)}
    write(out / "report.json", kept)
    return kept


def one(run, out):
    report(run, out)
    write(out / "plan.json", read(run / "plan.json"))


def several(folder, out):
    for path in sorted(folder.glob("*/seed-*/report.json")):
        run = path.parent
        place = out / run.relative_to(folder)
        kept = report(run, place, brief)
        told = {m["name"] for m in kept["models"] if m.get("utility")}
        for training in kept["run"]["trainings"]:
            file = run / "models" / training["name"] / "training.json"
            if training["name"] not in told and file.exists():
                write(place / file.relative_to(run), some(TRAINING, read(file)))
        for file in sorted(run.glob("extraction/*/extraction.json")):
            found = read(file)
            found["models"] = [str(Path(*Path(model).parts[-2:])) for model in found["models"]]
            del found["command"]
            write(place / file.relative_to(run), found)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    (one if (source / "report.json").exists() else several)(source, target)

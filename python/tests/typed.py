"""What calls give back, for `mypy --strict` alone (`cargo xtask wheel` runs it where mypy is installed): nothing here is ever run."""

from __future__ import annotations

import dualmd
from dualmd.extraction_types import Extraction
from dualmd.memorisation_types import Memorisation
from dualmd.report_types import Measurement


def audits() -> None:
    report: dualmd.Audit = dualmd.audit("m", members="a", nonmembers="b", batch=64)
    check: dualmd.Check = dualmd.audit("m", members="a", nonmembers="b", check=True)
    part: dualmd.Part = dualmd.audit("m", members="a", nonmembers="b", out="c", part="1/4")
    seconds: float | None = check.seconds
    names: list[str] = part.missing
    whether, perhaps = bool(names), names[0] if names else None
    checked: dualmd.Audit | dualmd.Check = dualmd.audit("m", members="a", nonmembers="b", check=whether)
    in_parts: dualmd.Audit | dualmd.Part = dualmd.audit("m", members="a", nonmembers="b", out="c", part=perhaps)
    found: dualmd.ModelReport | None = report.models.get("m")
    # A part lies in a folder that all parts share.
    dualmd.audit("m", members="a", nonmembers="b", part="1/4")  # type: ignore[call-overload]
    dualmd.audit("m", members="a", nonmembers="b", check=True, out="c", part="1/4")  # type: ignore[call-overload]
    shown: Measurement = report.models["m"].shown["sima"]
    print(seconds, names, shown, checked, in_parts, found)


def runs() -> None:
    one: dualmd.Audit = dualmd.run("e.toml", out="r")
    several: dualmd.Seeds = dualmd.run("e.toml", out="r", seeds=3)
    staged: dualmd.Staged = dualmd.run("e.toml", out="r", until="train")
    tuned: dualmd.Audit = dualmd.tune("base", images="photos", out="t")
    both: dualmd.Seeds = dualmd.tune("base", images="photos", out="t", seeds=2)
    first: dualmd.Audit = several.runs[0]
    before: dualmd.RunCheck = dualmd.run("e.toml", out="r", seeds=3, check=True)
    before_tuning: dualmd.RunCheck = dualmd.tune("base", images="photos", out="t", check=True)
    problems: list[str] = before.problems + before_tuning.problems
    report: dualmd.Report = one.report
    model: dualmd.ModelReport = one.models["m"]
    dualmd.run("e.toml", out="r", until="tomorrow")  # type: ignore[call-overload]
    print(one, staged, tuned, both, first, problems, report, model)


def others() -> None:
    extraction: dualmd.Written[Extraction] = dualmd.extract("m", members="a", nonmembers="b", out="c")
    prompts: dualmd.Written[Memorisation] = dualmd.memorisation(("m", "n"), memorised="p.txt", out="c")
    measured: dualmd.Metrics = dualmd.metrics("g", real="b")
    size: dualmd.LoraSize = dualmd.lora_size("l.safetensors", references="r")
    agrees: dualmd.Verified = dualmd.verify("e")
    formulas: list[str] = [one.formula for one in dualmd.attacks()]
    of_numbers: Measurement = dualmd.roc([1.0, 0.5], [1, 0], fpr=0.1)
    of_file: dict[str, Measurement] = dualmd.roc("scores.csv")
    print(extraction, prompts, measured, size, agrees, formulas, of_numbers, of_file)

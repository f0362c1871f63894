"""Audits from Python, and their reports as typed values."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Union

from .adapters import denoiser_of_pipeline, is_pipeline
from .denoiser import Denoiser, denoiser_of, serving
from .flags import flags
from .lora import opened
from .process import call
from .report_types import ModelReport, Report, Verdict

StrPath = Union[str, "os.PathLike[str]"]
# The version of report.json that these types are of.
_SCHEMA = 1
# Options of an audit that are the model's, not the program's.
_SETTINGS = [*(field.name for field in fields(Denoiser) if field.name != "call"), "image_size"]


class Audit:
    """A finished audit, or a run of an experiment: its folder and its report."""

    def __init__(self, folder: StrPath) -> None:
        """Reads the report of a folder that `dualmd audit` or `dualmd run` made."""
        self.folder = Path(folder).absolute()
        file = self.folder / "report.json"
        value = json.loads(file.read_text(encoding="utf-8"))
        if value.get("schema", 1) > _SCHEMA:
            raise ValueError(f"{file} is of version {value['schema']}, and this dualmd knows {_SCHEMA}: install a newer one")
        self.report: Report = Report.of(value)
        """Everything that report.json says."""

    @property
    def verdict(self) -> Verdict | None:
        """What follows, in words and for each model."""
        return self.report.verdict

    @property
    def models(self) -> dict[str, ModelReport]:
        """The models by name."""
        return {model.name or "": model for model in self.report.models}

    def scores(self) -> Any:
        """Every image's score by every attack, with the model's name: a pandas DataFrame, or a list of dicts without pandas."""
        rows: list[dict[str, Any]] = []
        for file in sorted((self.folder / "scores").glob("*.csv")):
            with file.open(newline="", encoding="utf-8") as source:
                for row in csv.DictReader(source):
                    rows.append({"model": file.stem, **row, "member": row["member"] == "1", "score": float(row["score"])})
        try:
            import pandas  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def __str__(self) -> str:
        return "\n".join(self.verdict.summary if self.verdict else [])

    def __repr__(self) -> str:
        return f"Audit({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """The report itself, in a notebook. It is a page of its own, so it gets a frame."""
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        quoted = page.replace("&", "&amp;").replace('"', "&quot;")
        return f'<iframe srcdoc="{quoted}" sandbox="allow-scripts" style="width:100%;height:900px;border:0"></iframe>'


def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath | None = None,
    attacks: Sequence[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> Audit:
    """Attacks a model and returns the report.

    `model`: a pipeline folder in the diffusers layout, or several by name; or a pipeline object of diffusers, of the classes in
    `dualmd.adapters`; or any callable `(x, t, c) -> prediction`, with the settings of `dualmd.Denoiser`:
    `shape=(3, 32, 32)`, `schedule=scheduler`, `prediction="v"`, `parameters=network.parameters()` (for attacks on gradients), ... Pipelines and callables are asked where they are, in a thread of
    this process. None with `generated="images/"`: nothing is there but images that it generated. `members` and `nonmembers`: images that it was trained
    on, and images of the same kind that it never saw (folder, parquet, npz...). `out`: folder of the audit (default: a new one
    in the temporary folder; with a folder of your own the same call goes on where it was stopped). Other options are those of
    `dualmd audit` with underscores: `known_fraction=0.3`, `pair=(a, b)`, `lora="lora.safetensors"`, `batch=64`; `True` sets a flag, a list repeats the option.
    `lora` may also be an adapter folder of PEFT.

    Raises `ProgramError` with the program's own words, `NoEngine` where there is no libtorch, `KeyboardInterrupt` when stopped.
    """
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="dualmd-")) / "audit"
    own = {name: options.pop(name) for name in _SETTINGS if name in options}
    served: Denoiser | None = None
    if model is None and (options.get("generated") or options.get("pair")):
        arguments = ["audit"]
    elif isinstance(model, (str, os.PathLike)):
        arguments = ["audit", os.fspath(model)]
    elif isinstance(model, Mapping):
        arguments = ["audit"]
        for name, place in model.items():
            arguments += ["--model", f"{name}={os.fspath(place)}"]
    elif isinstance(model, Denoiser):
        served = model
    elif is_pipeline(model):
        served = denoiser_of_pipeline(model, **own)
    elif callable(model):
        served = denoiser_of(model, **own)
    else:
        raise TypeError(
            f"cannot audit a {type(model).__name__}: give a folder, a dict of folders by name, a pipeline of diffusers, or a callable "
            "(x, t, c) -> prediction"
        )
    if served is None or served is model:
        if own:
            raise TypeError(f"{', '.join(own)}: for a callable or a pipeline, and the model is a {type(model).__name__}")
    images = ["--members", os.fspath(members), "--nonmembers", os.fspath(nonmembers), "--out", os.fspath(folder)]
    if attacks is not None:
        images += ["--attacks", ",".join(attacks)]
    if "lora" in options:
        options["lora"] = opened(options["lora"])
    images += flags(options)
    if served is None:
        call([*arguments, *images], quiet)
    else:
        with serving(served) as place:
            call(["audit", "--denoiser", place, *images], quiet)
    return Audit(folder)


def compare(*audits: Audit | StrPath, out: StrPath, names: Sequence[str] | None = None, quiet: bool = False, **options: Any) -> Audit:
    """Several audits, or runs, of the same images as one report in the new folder `out` (`dualmd compare`).

    `names`: what each is called there (default: its folder's name).
    """
    folders = [one.folder if isinstance(one, Audit) else Path(one) for one in audits]
    if names is not None and len(names) != len(folders):
        raise ValueError(f"{len(folders)} audits and {len(names)} names: one for each is needed")
    named = [os.fspath(f) for f in folders] if names is None else [f"{name}={os.fspath(f)}" for name, f in zip(names, folders)]
    call(["compare", *named, "--out", os.fspath(out), *flags(options)], quiet)
    return Audit(out)


def experiment(file: StrPath, *, out: StrPath, quiet: bool = False, **options: Any) -> Audit:
    """Does everything that an experiment file asks for (`dualmd run`): trains, samples, attacks, reports."""
    call(["run", os.fspath(file), "--out", os.fspath(out), *flags(options)], quiet)
    return Audit(out)

"""Audits from Python, and their reports as typed values."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from .process import call
from .report_types import ModelReport, Report, Verdict

StrPath = Union[str, "os.PathLike[str]"]
# The version of report.json that these types are of.
_SCHEMA = 1


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
    model: StrPath | Mapping[str, StrPath],
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath | None = None,
    attacks: Sequence[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> Audit:
    """Attacks a model and returns the report.

    `model`: a pipeline folder in the diffusers layout, or several by name. `members` and `nonmembers`: images that it was trained
    on, and images of the same kind that it never saw (folder, parquet, npz...). `out`: folder of the audit (default: a new one
    in the temporary folder; with a folder of your own the same call goes on where it was stopped). Other options are those of
    `dualmd audit` with underscores: `known_fraction=0.3`, `pair=(a, b)`, `batch=64`; `True` sets a flag, a list repeats the option.

    Raises `ProgramError` with the program's own words, `NoEngine` where there is no libtorch, `KeyboardInterrupt` when stopped.
    """
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="dualmd-")) / "audit"
    several = isinstance(model, Mapping)
    arguments = ["audit", *([] if several else [os.fspath(model)])]  # type: ignore[arg-type]
    if isinstance(model, Mapping):
        for name, place in model.items():
            arguments += ["--model", f"{name}={os.fspath(place)}"]
    arguments += ["--members", os.fspath(members), "--nonmembers", os.fspath(nonmembers), "--out", os.fspath(folder)]
    if attacks is not None:
        arguments += ["--attacks", ",".join(attacks)]
    call([*arguments, *_flags(options)], quiet)
    return Audit(folder)


def experiment(file: StrPath, *, out: StrPath, quiet: bool = False, **options: Any) -> Audit:
    """Does everything that an experiment file asks for (`dualmd run`): trains, samples, attacks, reports."""
    call(["run", os.fspath(file), "--out", os.fspath(out), *_flags(options)], quiet)
    return Audit(out)


def _flags(options: Mapping[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            flags.append(flag)
        elif isinstance(value, tuple):
            flags += [flag, *map(str, value)]
        elif isinstance(value, list):
            for one in value:
                flags += [flag, str(one)]
        elif value is not None and value is not False:
            flags += [flag, str(value)]
    return flags

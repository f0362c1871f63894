"""Audits from Python, and their reports as typed values."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Union

from .adapters import denoiser_of_pipeline, is_pipeline
from .called import VARIABLE, called
from .defense import NOT_AS_ONE, is_pair
from .denoiser import Denoiser, denoiser_of, serving
from .flags import flags
from .lora import opened
from .process import FOUND, VOID, ProgramError, told
from .report_types import ModelReport, Report, Verdict

StrPath = Union[str, "os.PathLike[str]"]
# The version of report.json that these types are of.
_SCHEMA = 1
# Options of an audit that are the model's, not the program's.
_SETTINGS = [*(field.name for field in fields(Denoiser) if field.name != "call"), "image_size"]
# What the report calls a model that has no name.
_NAME = "a model in Python"


class FailOn(ProgramError):
    """The report has what `fail_on` names, or is void. audit: the audit, with its report. status: 3, or 4 of a void report."""

    def __init__(self, status: int, audit: Audit) -> None:
        why = "In a void report nothing that fail_on names can be ruled out." if status == VOID else "This is what fail_on names."
        super().__init__(status, f"{audit}\n{why} The report: {audit.folder / 'report.html'}")
        self.audit = audit


class Audit:
    """A finished audit, or a run of an experiment: its folder and its report.

    folder: where the report lies, and beside it scores and images of the audit: as confidential as the training images.
    report: everything that report.json says.
    temporary: the folder that was made for an audit without `out`, which nobody deletes but `delete`; else None.
    """

    def __init__(self, folder: StrPath) -> None:
        """Reads the report of a folder that `dualmd audit` or `dualmd run` made."""
        self.folder = Path(folder).absolute()
        self.temporary: Path | None = None
        file = self.folder / "report.json"
        value = json.loads(file.read_text(encoding="utf-8"))
        if value.get("schema", 1) > _SCHEMA:
            raise ValueError(f"{file} is of version {value['schema']}, and this dualmd knows {_SCHEMA}: install a newer one")
        try:
            self.report: Report = Report.of(value)
        except ValueError as error:
            raise ValueError(f"{file}: {error}; write it anew (dualmd report {self.folder})") from error

    @property
    def verdict(self) -> Verdict:
        """What follows, in words and for each model."""
        return self.report.verdict

    @property
    def models(self) -> dict[str, ModelReport]:
        """The models by name."""
        return {model.name: model for model in self.report.models}

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

    def failures(self, attacks: Sequence[str] | None = None) -> list[str]:
        """A sentence for each attack that gave no result, of all or of those named."""
        return [
            f"{attack} gave no result on {name}: {why}"
            for name, model in self.models.items()
            for attack, why in model.failed.items()
            if attacks is None or attack in attacks
        ]

    def delete(self) -> None:
        """Deletes the folder of an audit that was made without `out`. What was read of it stays; the scores go.

        Raises `ValueError` for a folder that somebody named: that is theirs to delete.
        """
        if self.temporary is None:
            raise ValueError(f"{self.folder} was not made for this audit: delete it yourself (shutil.rmtree)")
        shutil.rmtree(self.temporary)

    def __str__(self) -> str:
        return "\n".join([str(self.verdict), *self.failures()])

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
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    **options: Any,
) -> Audit:
    """Attacks a model and returns the report.

    `model`: a pipeline folder in the diffusers layout, or several by name; or a pipeline object of diffusers, of the classes in
    `dualmd.adapters`; or any callable `(x, t, c) -> prediction`, with the settings that `help(dualmd.Denoiser)` explains:
    `shape=(3, 32, 32)`, `schedule=scheduler`, `prediction="v"`, `parameters=network.parameters()` (for attacks on gradients), ... Pipelines and
    callables are asked where they are, in a thread of this process. None with `generated="images/"`: nothing is there but images that it
    generated. None, or a dict, with `pair=(a, b)`: the folders of two models that take turns. A `DualMDPipeline`, which answers by the order of the
    questions, is refused.

    `members` and `nonmembers`: images that it was trained on, and images of the same kind that it never saw (folder, parquet, npz...).
    `attacks`: names, as a list or a text with commas. One that gives no result is warned of, with the reason. `out`: folder of the audit; the same
    call with it goes on where it was stopped, and more attacks are added to it. Without `out` it is a new one in the temporary folder
    (`.folder` of the result). It holds scores and training images, and stays until `.delete()`; what fails leaves none.
    Other options are those of `dualmd audit` with underscores: `known_fraction=0.3`, `lora="lora.safetensors"`, `batch=64`; `True` sets a flag,
    a list repeats the option. `quiet` leaves out what the program says, but for its warnings, which are Python's then. `lora` may also be an adapter folder of PEFT.

    Raises `ProgramError` with the program's own words, whose `__cause__` is what a callable raised; `FailOn`, with the report as `.audit`, where it has
    what `fail_on="leak"` names; `NoEngine` where there is no libtorch; `KeyboardInterrupt` when stopped, with the folder where `out` was not given.
    """
    attacks = [name.strip() for name in attacks.split(",")] if isinstance(attacks, str) else attacks
    own = {name: options.pop(name) for name in _SETTINGS if name in options}
    said = {"members": members, "nonmembers": nonmembers, "attacks": attacks, "out": out, **own, **options}
    served: Denoiser | None = None
    given = f"<{type(model).__name__}>"
    if model is None and (options.get("generated") or options.get("pair")):
        arguments, given = ["audit"], ""
    elif isinstance(model, (str, os.PathLike)):
        arguments, given = ["audit", os.fspath(model)], repr(os.fspath(model))
    elif isinstance(model, Mapping):
        arguments, given = ["audit"], repr({name: os.fspath(place) for name, place in model.items()})
        for name, place in model.items():
            arguments += ["--model", f"{name}={os.fspath(place)}"]
    elif is_pair(model) or (isinstance(model, Denoiser) and is_pair(model.call)):
        raise TypeError(NOT_AS_ONE)
    elif isinstance(model, Denoiser):
        served, given = model, f"<{model.name or type(model).__name__}>"
    elif is_pipeline(model):
        served = denoiser_of_pipeline(model, **own)
        given = f"<{served.name or type(model).__name__}>"
    elif callable(model):
        served = denoiser_of(model, **own)
    else:
        raise TypeError(
            f"a model of type {type(model).__name__} cannot be audited: give a folder, a dict of folders by name, a pipeline of diffusers, or a "
            "callable (x, t, c) -> prediction"
        )
    if (served is None or served is model) and own:
        raise TypeError(f"{', '.join(own)}: for a callable or a pipeline, and the model is of type {type(model).__name__}")
    if "lora" in options:
        options["lora"] = opened(options["lora"])
    images = ["--members", os.fspath(members), "--nonmembers", os.fspath(nonmembers)]
    if attacks is not None:
        images += ["--attacks", ",".join(attacks)]
    images += flags(options)
    with _folder(out) as folder:
        images += ["--out", os.fspath(folder)]
        variables = {VARIABLE: called("audit", given, said)}
        with _report(folder, None if out is not None else folder.parent) as read:
            if served is None:
                unseen = told([*arguments, *images], quiet, variables)
            else:
                unseen = _ask(replace(served, name=served.name or _NAME), images, quiet, variables)
        found = read[0]
    # Of attacks that failed the program warns as well.
    reasons = [why for model in found.models.values() for why in model.failed.values()]
    unseen = [line for line in unseen if not any(why and why in line for why in reasons)]
    for line in [*unseen, *(found.failures(attacks) if attacks is not None else [])]:
        warnings.warn(line, stacklevel=2)
    return found


def _ask(served: Denoiser, images: Sequence[str], quiet: bool, variables: Mapping[str, str]) -> list[str]:
    """Audits a model of this process. Gives what `told` gives."""
    raised: list[Exception] = []

    def heard(error: Exception) -> None:
        # One: each holds on to what its frames hold.
        raised[:] = [error]
        if not quiet:
            traceback.print_exception(error)

    with serving(served, heard) as place:
        try:
            return told(["audit", "--denoiser", place, *images], quiet, variables)
        except ProgramError as error:
            if raised and error.status == 1:
                raise error from raised[0]
            raise


@contextmanager
def _folder(out: StrPath | None) -> Iterator[Path]:
    """The folder of an audit. One that nobody named goes when the audit fails, and is named when it was stopped."""
    if out is not None:
        yield Path(out)
        return
    made = Path(tempfile.mkdtemp(prefix="dualmd-"))
    folder = made / "audit"
    try:
        yield folder
    except FailOn:
        raise
    except KeyboardInterrupt:
        if not folder.exists():
            shutil.rmtree(made, ignore_errors=True)
            raise
        raise KeyboardInterrupt(
            f"stopped; what was done lies in {folder}. The same call with out={os.fspath(folder)!r} goes on there; delete the folder if you do not want it"
        ) from None
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


@contextmanager
def _report(folder: StrPath, temporary: Path | None = None) -> Iterator[list[Audit]]:
    """Gives a list that has the report when the block is done. What `fail_on` names is raised with the report."""
    read: list[Audit] = []

    def add() -> None:
        read.append(Audit(folder))
        read[0].temporary = temporary

    try:
        yield read
    except ProgramError as error:
        if error.status not in (FOUND, VOID):
            raise
        add()
        raise FailOn(error.status, read[0]) from None
    add()


def compare(*audits: Audit | StrPath, out: StrPath, names: Sequence[str] | None = None, quiet: bool = False, **options: Any) -> Audit:
    """Several audits, or runs, of the same images as one report in the new folder `out` (`dualmd compare`).

    `names`: what each is called there (default: its folder's name). Raises as `audit` does.
    """
    folders = [one.folder if isinstance(one, Audit) else Path(one) for one in audits]
    if isinstance(names, str):
        raise TypeError(f"names={names!r} is one text: give a list of them, one for each audit")
    if names is not None and len(names) != len(folders):
        raise ValueError(f"{len(folders)} audits and {len(names)} names: one for each is needed")
    named = [os.fspath(f) for f in folders] if names is None else [f"{name}={os.fspath(f)}" for name, f in zip(names, folders)]
    with _report(out) as read:
        unseen = told(["compare", *named, "--out", os.fspath(out), *flags(options)], quiet, {})
    for line in unseen:
        warnings.warn(line, stacklevel=2)
    return read[0]


def run(file: StrPath, *, out: StrPath, quiet: bool = False, **options: Any) -> Audit:
    """Does everything that an experiment file asks for (`dualmd run`): trains, samples, attacks, reports. Raises as `audit` does."""
    with _report(out) as read:
        unseen = told(["run", os.fspath(file), "--out", os.fspath(out), *flags(options)], quiet, {})
    for line in unseen:
        warnings.warn(line, stacklevel=2)
    return read[0]


experiment = run
"""`run` under its earlier name."""

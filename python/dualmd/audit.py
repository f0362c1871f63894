"""Audits from Python, and their reports as typed values."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, overload

from .adapters import denoiser_of_pipeline, is_pipeline
from .called import VARIABLE, called
from .defense import NOT_AS_ONE, is_pair
from .denoiser import Denoiser, denoiser_of, serving
from .flags import COUNTS, apart, count, flags, misspelt, place
from .launcher import variables
from .lora import opened
from .onnx import is_onnx, onnx
from .process import FOUND, VOID, ProgramError, Told, surroundings, told, watched
from .report_types import ModelReport, Report, Verdict
from .results import Check, Models, Part, PartWords, RunCheck, Seeds, Staged, frame, hearing

StrPath = Union[str, "os.PathLike[str]"]
# The version of report.json that these types are of.
_SCHEMA = 1
Stage = Literal["split", "train", "sample", "attack"]
"""Stages of a run before its report."""

T = TypeVar("T")
Outcome = TypeVar("Outcome", bound="Audit | Seeds")
# Options of an audit that are the model's, not the program's.
_SETTINGS = [*(field.name for field in fields(Denoiser) if field.name != "call"), "image_size"]
# What Python knows of `audit`: its arguments, settings of a model, counts, and flags that it looks at, or that are all but a setting (`generated`).
_KNOWN = {"model", "members", "nonmembers", "out", "attacks", "quiet", "check", "part", "denoiser", "fail_on", "generated", "known_fraction", "lora", "pair"}
_KNOWN |= {*_SETTINGS, *COUNTS}
# Findings that `fail_on` may name, beside `void`.
_FINDINGS = ("leak", "inverted", "set", "copies")
# What the report calls a model that has no name.
_NAME = "a model in Python"


class FailOn(ProgramError):
    """The report has what `fail_on` names.

    audit: the audit, with its report; of several seeds the first that has such a finding.
    seeds: all of several seeds; else None.
    status: 3, or 4 of a void report.
    """

    def __init__(self, status: int, found: Audit | Seeds) -> None:
        self.seeds = found if isinstance(found, Seeds) else None
        self.audit = _first(status, found) if isinstance(found, Seeds) else found
        why = "In a void report nothing that fail_on names can be ruled out." if status == VOID else "This is what fail_on names."
        super().__init__(status, f"{self.audit}\n{why} The report: {self.audit.folder / 'report.html'}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.seeds or self.audit)


def _first(status: int, seeds: Seeds) -> Audit:
    """The first of several runs that is void, or else has a finding."""

    def has(run: Audit) -> bool:
        void = run.verdict.void is not None
        return void if status == VOID else not void and any(model.finding in _FINDINGS for model in run.verdict.models)

    runs = list(seeds.runs.values())
    return next((run for run in runs if has(run)), runs[0])


class Audit:
    """A finished audit, or a run of an experiment: its folder and its report.

    folder: where the report lies, and beside it scores and images of the audit: as confidential as the training images.
    report: everything that report.json says.
    temporary: the folder that was made for an audit without `out`, which nobody deletes but `delete`; else None.
    """

    def __init__(self, folder: StrPath) -> None:
        """Reads the report of a folder that `dualmd audit` or `dualmd run` made.

        Raises `FileNotFoundError` where there is none, `ValueError` for a report of a newer version, or a damaged one.
        """
        self.folder = Path(place(folder, "folder")).absolute()
        self.temporary: Path | None = None
        file = self.folder / "report.json"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there: {_instead(self.folder)}")
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{file} is no JSON ({error}); write it anew: dualmd.report({os.fspath(self.folder)!r})") from error
        if not isinstance(value, dict):
            raise ValueError(f"{file} is no report")
        if value.get("schema", 1) > _SCHEMA:
            raise ValueError(f"{file} is of version {value['schema']}, and this dualmd knows {_SCHEMA}: install a newer one")
        try:
            self.report: Report = Report.of(value)
        except ValueError as error:
            raise ValueError(f"{file}: {error}; write it anew: dualmd.report({os.fspath(self.folder)!r})") from error

    @property
    def verdict(self) -> Verdict:
        """What follows, in words and for each model."""
        return self.report.verdict

    @property
    def models(self) -> dict[str, ModelReport]:
        """The models by name. A callable's is `model`; what `name=` called it will do as well: `found.models["my model"]`."""
        return Models({model.name: model for model in self.report.models}, _own_names(self.report.run))

    def scores(self) -> Any:
        """Every image's score by every attack, with the model's name: a pandas DataFrame, or a list of dicts without pandas.

        Raises `FileNotFoundError` where the scores are gone, as after `delete`.
        """
        rows: list[dict[str, Any]] = []
        if not (self.folder / "scores").is_dir():
            raise FileNotFoundError(f"{self.folder / 'scores'} is not there: the scores go with the folder (delete), and a comparison has none of its own")
        for file in sorted((self.folder / "scores").glob("*.csv")):
            with file.open(newline="", encoding="utf-8") as source:
                for row in csv.DictReader(source):
                    rows.append({"model": file.stem, **row, "member": row["member"] == "1", "score": float(row["score"])})
        return frame(rows, ["model", "sample_id", "group", "member", "attack", "score", "name"])

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
        """The report itself, in a notebook. It is a page of its own, so it gets a frame. The verdict alone where the page is gone."""
        try:
            page = (self.folder / "report.html").read_text(encoding="utf-8")
        except OSError:
            return f"<pre>{html.escape(str(self))}</pre>"
        quoted = page.replace("&", "&amp;").replace('"', "&quot;")
        return f'<iframe srcdoc="{quoted}" sandbox="allow-scripts" style="width:100%;height:900px;border:0"></iframe>'


def _own_names(run: Any) -> dict[str, str]:
    """What models in Python, or of a server, call themselves (`name=`), with their names in the report."""
    own: dict[str, str] = {}
    models = run.get("models") if isinstance(run, Mapping) else None
    for one in models if isinstance(models, list) else []:
        # As plan.json has it; whatever is of another form has no name of its own.
        model = one.get("model") if isinstance(one, Mapping) else None
        config = model.get("config") if isinstance(model, Mapping) else None
        if isinstance(config, Mapping) and isinstance(config.get("name"), str):
            own[config["name"]] = str(one.get("name"))
    return own


def _instead(folder: Path) -> str:
    """What may be meant by a folder without a report."""
    if not folder.is_dir():
        return "there is no such folder"
    if seeds := sorted(file.parent.name for file in folder.glob("seed-*/report.json")):
        return f"the folder holds runs of several seeds: name one of {', '.join(seeds)}"
    return "name the folder of a finished audit or run (an unfinished one goes on when it is called again)"


@overload
def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath | None = None,
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    check: Literal[False] = False,
    part: None = None,
    **options: Any,
) -> Audit: ...


@overload
def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath | None = None,
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    check: Literal[True],
    part: None = None,
    **options: Any,
) -> Check: ...


@overload
def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath,
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    check: Literal[False] = False,
    part: str,
    **options: Any,
) -> Part: ...


@overload
def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath | None = None,
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    check: bool,
    part: None = None,
    **options: Any,
) -> Audit | Check: ...


@overload
def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath,
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    check: Literal[False] = False,
    part: str | None,
    **options: Any,
) -> Audit | Part: ...


def audit(
    model: StrPath | Mapping[str, StrPath] | Denoiser | Any = None,
    *,
    members: StrPath,
    nonmembers: StrPath,
    out: StrPath | None = None,
    attacks: Sequence[str] | str | None = None,
    quiet: bool = False,
    check: bool = False,
    part: str | None = None,
    **options: Any,
) -> Audit | Check | Part:
    """Attacks a model and returns the report.

    `model`: a pipeline folder in the diffusers layout, or several by name; or an ONNX file (`dualmd.convert.onnx`); or a pipeline object of diffusers, of the classes in
    `dualmd.adapters`; or any callable `(x, t, c) -> prediction`, with the settings that `help(dualmd.Denoiser)` explains:
    `shape=(3, 32, 32)`, `schedule=scheduler`, `prediction="v"`, `parameters=network.parameters()` (for attacks on gradients), ... Pipelines and
    callables are asked where they are, in a thread of this process. `name="my model"` names it in the report; in `.models` that is as good as `model`, which files call it. None with `generated="images/"`: nothing is there but images that it
    generated. None with `denoiser="python serve.py"`: a script that serves it (`dualmd.serve`), or the
    address of one that does. None, or a dict, with `pair=(a, b)`: the folders of two models that take turns. A `DualMDPipeline`, which answers by the
    order of the questions, is refused.

    `members` and `nonmembers`: images that it was trained on, and images of the same kind that it never saw (path of a folder, parquet, npz...).
    `attacks`: names, as a list or a text with commas (`dualmd.attacks()` has them; default: the usual ones). Each that gives no
    result is warned of, with the reason; what a callable raised is the warning's `__cause__`. `out`: folder of the audit; the same call with it goes on where it was stopped, and more attacks are added to it. Without `out` it is a new one in the temporary folder
    (`.folder` of the result). It holds scores and training images, and stays until `.delete()`; what fails leaves none.
    Other options are those of `dualmd audit` with underscores: `known_fraction=0.3`, `lora="lora.safetensors"`, `batch=64`; `True` sets a flag,
    a list repeats the option. `device="cuda:0"` is where the program computes; of a callable, where its tensors are put. `quiet` leaves out what the
    program says, but for its warnings and its notes on the images (resized, made grey), which are Python's warnings then. `lora` may also be an adapter folder of PEFT.

    `check=True` opens the model and the images, asks the model a few times, and returns a `Check`: what would be audited, about how long it takes,
    memory, and what speaks against it. Nothing is written. `part="1/4"` does the first of four parts of the attacks, in a folder `out` that all parts
    share, and returns a `Part`, which says what is missing; the call without `part` makes the report.

    Raises `ProgramError` with the program's own words, whose `__cause__` is what a callable raised; `FailOn`, with the report as `.audit`, where it has
    what `fail_on="leak"` names; `NoEngine` where there is no libtorch; `TypeError` for a model, path or option of a wrong type; `KeyboardInterrupt` when
    stopped, with the folder where `out` was not given.
    """
    attacks = _names(attacks)
    misspelt(options, _KNOWN)
    numbers = _number(part, check, out) if part is not None else (0, 0)
    own = {name: options.pop(name) for name in _SETTINGS if name in options}
    said = {"members": members, "nonmembers": nonmembers, "attacks": attacks, "out": out, **own, **options}
    served: Denoiser | None = None
    given = f"<{type(model).__name__}>"
    if options.get("pair") is not None:
        options["pair"] = _pair(options["pair"], options.get("lora"))
    if model is None or (isinstance(model, (str, os.PathLike, Mapping, Denoiser)) and not is_onnx(model)):
        # There it is the program's.
        options.update({name: own.pop(name) for name in ("device",) if name in own})
    if model is None and any(options.get(name) for name in ("generated", "pair", "denoiser")):
        arguments, given = ["audit"], ""
    elif is_onnx(model):
        served, given = onnx(model, **own), repr(os.fspath(model))
    elif isinstance(model, (str, os.PathLike)):
        arguments, given = ["audit", os.fspath(model)], repr(os.fspath(model))
    elif isinstance(model, Mapping):
        if files := [os.fsdecode(one) for one in model.values() if is_onnx(one)]:
            raise TypeError(
                f"{files[0]} in a dict: a dict has folders, and an ONNX file is audited by itself, dualmd.audit({files[0]!r}, ...); "
                "dualmd.compare puts audits of the same images into one report"
            )
        folders = {name: place(folder, f"the model {name!r}") for name, folder in model.items()}
        arguments, given = ["audit"], repr(folders)
        for name, where in folders.items():
            arguments += ["--model", f"{name}={where}"]
    elif is_pair(model) or (isinstance(model, Denoiser) and is_pair(model.call)):
        raise TypeError(NOT_AS_ONE)
    elif isinstance(model, Denoiser):
        served, given = model, f"<{model.name or type(model).__name__}>"
    elif is_pipeline(model):
        served = denoiser_of_pipeline(model, **own)
        given = f"<{served.name or type(model).__name__}>"
    elif callable(model):
        served = denoiser_of(model, **own)
    elif model is None:
        raise TypeError("no model: give one; or generated='images/' (images alone), pair=('first/', 'second/'), or denoiser='python serve.py'")
    else:
        raise TypeError(
            f"a model of type {type(model).__name__} cannot be audited: give a folder, a dict of folders by name, an ONNX file, a pipeline of diffusers, or a "
            "callable (x, t, c) -> prediction"
        )
    if (served is None or served is model) and own:
        raise TypeError(f"{', '.join(own)}: for a callable, a pipeline or an ONNX file, and the model is of type {type(model).__name__}")
    if served is not None and (beside := [name for name in ("denoiser", "pair", "model") if options.get(name)]):
        raise TypeError(f"{', '.join(beside)}: in place of a model in Python, which is of type {type(model).__name__}: give one of them")
    if "lora" in options:
        options["lora"] = opened(options["lora"])
    if check:
        # It is printed when it is read.
        options = {name: value for name, value in options.items() if name not in ("json", "summary")}
    images = ["--members", place(members, "members"), "--nonmembers", place(nonmembers, "nonmembers")]
    if attacks is not None:
        images += ["--attacks", ",".join(attacks)]
    images += flags(options)
    call = {VARIABLE: called("audit", given, said)}

    raised: list[Exception] = []

    def go(more: Sequence[str], how: Callable[[list[str]], T]) -> T:
        if served is None:
            return how([*arguments, *images, *more])
        with _asked(replace(served, name=served.name or _NAME), quiet, raised) as address:
            return how(["audit", "--denoiser", address, *images, *more])

    if check:
        with _nowhere(out) as nowhere:
            ended = go(["--out", nowhere, "--check", "--json"], lambda all: watched(all, quiet, surroundings(call), output=True))
        checked = Check.of(json.loads(ended.output))
        if not quiet:
            print(checked, file=sys.stderr)
        return _warned(ended.unseen, checked, raised)
    if part is not None:
        assert out is not None
        words, folder = PartWords(), Path(place(out, "out"))
        ended = go(["--out", os.fspath(folder), "--part", part], lambda all: watched(all, quiet, surroundings(call), words.hear))
        return _warned(ended.unseen, words.part(folder.absolute(), *numbers, "shadow" in options), raised)
    with _folder(out) as folder:
        with _report(lambda: _of(folder, None if out is not None else folder.parent)) as read:
            unseen = go(["--out", os.fspath(folder)], lambda all: told(all, quiet, call))
        found = read[0]
    # Of attacks that failed the program warns as well: once is enough.
    failed = found.failures(attacks)
    reasons = [
        why for model in found.models.values() for attack, why in model.failed.items() if attacks is None or attack in attacks
    ]
    unseen = [line for line in unseen if not any(why and why in line for why in reasons)]
    return _warned([*unseen, *failed], found, raised)


def _warned(lines: Sequence[str], found: T, raised: Sequence[Exception] = ()) -> T:
    """What was found, once Python has warned of these, on behalf of whoever called the caller. What a callable `raised` last is the cause of the
    warnings that have its words, and has a warning of its own where none has."""
    lines, error = list(lines), raised[-1] if raised else None
    said = f"{type(error).__name__}: {error}"
    if error is not None and not any(said in line for line in lines):
        lines.append(f"the model in Python raised {said}")
    for line in lines:
        warning = UserWarning(line)
        if error is not None and said in line:
            where = traceback.extract_tb(error.__traceback__)[-1:]
            warning = UserWarning("".join([line, *(f" (raised in {at.filename}:{at.lineno}, {at.name})" for at in where)]))
            warning.__cause__ = error
        warnings.warn(warning, stacklevel=3)
    return found


def _pair(pair: Any, lora: Any) -> tuple[Any, ...]:
    """The two models of a pair, which are not one: two folders, or two LoRAs over one base."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"pair={pair!r}: give the folders of two models, as in pair=('first/', 'second/')")
    first, second = (place(one, "pair") for one in pair)
    if isinstance(lora, (list, tuple)) and len(lora) == 2:
        apart(place(lora[0], "lora"), place(lora[1], "lora"), "lora")
    else:
        apart(first, second, "pair")
    return first, second


def _names(attacks: Sequence[str] | str | None) -> list[str] | None:
    """Names of attacks, one by one."""
    if attacks is None:
        return None
    if isinstance(attacks, str):
        attacks = [name.strip() for name in attacks.split(",") if name.strip()]
    names = list(attacks) if isinstance(attacks, Iterable) else [attacks]
    if not names:
        raise ValueError("attacks is empty: name at least one (dualmd.attacks() has them), or leave it out for the usual ones")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"attacks={attacks!r}: give names, as a list or a text with commas (dualmd.attacks() has them)")
    return names


def _number(part: str, check: bool, out: StrPath | None) -> tuple[int, int]:
    """K and N of a part, where one can be."""
    found = re.fullmatch(r"(\d+)/(\d+)", part) if isinstance(part, str) else None
    if found is None:
        raise ValueError(f"part={part!r}: write K/N for part K of N, as in part='3/8'")
    if check:
        raise TypeError("check and part: give one of them")
    if out is None:
        raise TypeError("part needs out=...: the folder that all parts share")
    return int(found[1]), int(found[2])


@contextmanager
def _asked(served: Denoiser, quiet: bool, raised: list[Exception]) -> Iterator[str]:
    """Serves a model of this process while it is audited. Gives its address; the last exception of the model goes into `raised`."""

    def heard(error: Exception) -> None:
        # One: each holds on to what its frames hold.
        raised[:] = [error]
        if not quiet:
            traceback.print_exception(error)

    with serving(served, heard) as address:
        try:
            yield address
        except ProgramError as error:
            if raised and error.status == 1:
                raise error from raised[0]
            raise


@contextmanager
def _nowhere(out: StrPath | None) -> Iterator[str]:
    """The folder of an audit that is not made."""
    if out is not None:
        yield place(out, "out")
        return
    with tempfile.TemporaryDirectory(prefix="dualmd-") as made:
        yield os.fspath(Path(made, "audit"))


@contextmanager
def _folder(out: StrPath | None) -> Iterator[Path]:
    """The folder of an audit. One that nobody named goes when the audit fails, and is named when it was stopped."""
    if out is not None:
        named = Path(place(out, "out"))
        with _goes_on(named):
            yield named
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
def _goes_on(folder: Path) -> Iterator[None]:
    """Says where what was stopped goes on."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(f"{str(stopped) or 'stopped'}; the same call with out={os.fspath(folder)!r} goes on there") from None


def _of(folder: Path, temporary: Path | None = None) -> Audit:
    """The audit of a folder, which was made for it where it is temporary."""
    found = Audit(folder)
    found.temporary = temporary
    return found


@contextmanager
def _report(read: Callable[[], Outcome]) -> Iterator[list[Outcome]]:
    """Gives a list that has what `read` reads when the block is done. What `fail_on` names is raised with it."""
    found: list[Outcome] = []
    try:
        yield found
    except ProgramError as error:
        if error.status not in (FOUND, VOID):
            raise
        failed = FailOn(error.status, read())
        failed.warnings = error.warnings
        raise failed from None
    found.append(read())


def compare(*audits: Audit | StrPath, out: StrPath, names: Sequence[str] | None = None, quiet: bool = False, **options: Any) -> Audit:
    """Several audits, or runs, of the same images as one report in the new folder `out` (`dualmd compare`).

    `audits`: two or more, as they were returned or by their folders. `names`: what each is called there (default: its folder's name).
    Other options are those of `dualmd compare` with underscores. Needs no libtorch. Raises as `audit` does.
    """
    if any(isinstance(one, (list, tuple)) for one in audits):
        raise TypeError("a list in place of an audit: give them one by one, as in dualmd.compare(first, second, out='both/') or dualmd.compare(*audits, out='both/')")
    folders = [one.folder if isinstance(one, Audit) else Path(place(one, "an audit")) for one in audits]
    if len(folders) < 2:
        raise TypeError(f"{len(folders)} audits: give two or more, as in dualmd.compare(first, second, out='both/')")
    if isinstance(names, str):
        raise TypeError(f"names={names!r} is one text: give a list of them, one for each audit")
    if names is not None and len(names) != len(folders):
        raise ValueError(f"{len(folders)} audits and {len(names)} names: one for each is needed")
    named = [os.fspath(f) for f in folders] if names is None else [f"{name}={os.fspath(f)}" for name, f in zip(names, folders)]
    where = place(out, "out")
    with _report(lambda: Audit(where)) as read:
        try:
            ended = watched(["compare", *named, "--out", where, *flags(options)], quiet, variables())
        except ProgramError as error:
            # How a name is given in a shell.
            words = str(error).replace("NAME=FOLDER", "names=['first', 'second']")
            raise ProgramError(error.status, words, error.output, error.warnings) from None
    return _warned(ended.unseen, read[0])


def report(folder: Audit | StrPath, *, quiet: bool = False, **options: Any) -> Audit:
    """Writes the report of an audit or a run anew from its files (`dualmd report`): after an update of dualmd, or in another form.

        dualmd.report("audit/", no_images=True)                         # pages that may leave the house
        dualmd.report("audit/", also=["sarif=report.sarif", "annex=annex.md"])

    What an earlier `no_images=True` left out stays so; `with_images=True` puts it back.

    Other options are those of `dualmd report` with underscores. Needs no libtorch. Raises as `audit` does.
    """
    where = os.fspath(folder.folder) if isinstance(folder, Audit) else place(folder, "folder")
    temporary = folder.temporary if isinstance(folder, Audit) else None
    with _report(lambda: _of(Path(where), temporary)) as read:
        ended = watched(["report", where, *flags(options)], quiet, variables())
    return _warned(ended.unseen, read[0])


@overload
def run(
    file: StrPath | None = None,
    *,
    out: StrPath,
    seeds: None = None,
    until: Literal["report"] | None = None,
    quiet: bool = False,
    check: Literal[False] = False,
    **options: Any,
) -> Audit: ...


@overload
def run(
    file: StrPath | None = None,
    *,
    out: StrPath,
    seeds: int,
    until: Literal["report"] | None = None,
    quiet: bool = False,
    check: Literal[False] = False,
    **options: Any,
) -> Seeds: ...


@overload
def run(
    file: StrPath | None = None,
    *,
    out: StrPath,
    seeds: int | None = None,
    until: Stage,
    quiet: bool = False,
    check: Literal[False] = False,
    **options: Any,
) -> Staged: ...


@overload
def run(
    file: StrPath | None = None,
    *,
    out: StrPath,
    seeds: int | None = None,
    until: Stage | Literal["report"] | None = None,
    quiet: bool = False,
    check: Literal[True],
    **options: Any,
) -> RunCheck: ...


def run(
    file: StrPath | None = None,
    *,
    out: StrPath,
    seeds: int | None = None,
    until: str | None = None,
    quiet: bool = False,
    check: bool = False,
    **options: Any,
) -> Audit | Seeds | Staged | RunCheck:
    """Does everything that an experiment file asks for (`dualmd run`): trains, samples, attacks, reports.

        dualmd.run("experiment.toml", out="run/")
        dualmd.run(preset="demo", out="demo/", set=["train.steps=600"])

    `file`: the experiment; None with `preset=`, or for a run that is in `out` already. `out`: the run's folder; the same call goes on where it was
    stopped. `seeds`: that many runs, each with its own seed, images, split and weights; then a `Seeds` is returned, with the reports in `.runs` and means
    and intervals over the seeds in `.combined`. `until`: the last stage, `split`, `train`, `sample` or `attack`; then a `Staged` is returned, for there is no
    report yet. `check=True` trains nothing: it says what speaks against the run and about what it takes, as a `RunCheck`. Other options are those of `dualmd run` with
    underscores: `set=["train.steps=600"]`, `ranks=2`, `device="cuda"`. Raises as `audit` does.
    """
    words = ["run"] if file is None else ["run", place(file, "file")]
    if check:
        return _warned(*_checked(words, out, quiet, {"seeds": seeds, "until": until, **options}))
    return _runs(words, out, seeds, until, quiet, options)


experiment = run
"""`run` under its earlier name."""


@overload
def tune(
    base: StrPath, *, images: StrPath, out: StrPath, seeds: None = None, quiet: bool = False, check: Literal[False] = False, **options: Any
) -> Audit: ...


@overload
def tune(
    base: StrPath, *, images: StrPath, out: StrPath, seeds: int, quiet: bool = False, check: Literal[False] = False, **options: Any
) -> Seeds: ...


@overload
def tune(
    base: StrPath, *, images: StrPath, out: StrPath, seeds: int | None = None, quiet: bool = False, check: Literal[True], **options: Any
) -> RunCheck: ...


def tune(
    base: StrPath, *, images: StrPath, out: StrPath, seeds: int | None = None, quiet: bool = False, check: bool = False, **options: Any
) -> Audit | Seeds | RunCheck:
    """Trains adapters (LoRA) on a text-to-image model: plain, as a pair, and a student; attacks them, and reports (`dualmd tune`).

        dualmd.tune("stable-diffusion-v1-5/", images="photos/", out="tuned/", rival=["early-stopping", "dp-sgd"])
        pipe = dualmd.tuned_pair("tuned/")                              # the pair that takes turns

    `base`: its folder in the diffusers layout. `images`: photographs of one subject or style, with captions. `out`: the run's folder; the same call goes on where
    it was stopped. `seeds` and `check`: as of `run`. Other options are those of `dualmd tune` with underscores: `members=64`, `rank=8`, `epochs=100`. Raises as
    `audit` does.
    """
    for name in ("members", "nonmembers"):
        count(name, options.get(name))
    words = ["tune", place(base, "base"), "--images", place(images, "images")]
    if check:
        return _warned(*_checked(words, out, quiet, {"seeds": seeds, **options}))
    found = _runs(words, out, seeds, None, quiet, options)
    assert not isinstance(found, Staged)
    return found


def _check_seeds(seeds: int | None) -> None:
    """A number of seeds, where there is one."""
    if seeds is not None and (isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1):
        raise ValueError(f"seeds={seeds!r}: give their number, as in seeds=3")


def _checked(words: Sequence[str], out: StrPath, quiet: bool, options: Mapping[str, Any]) -> tuple[list[str], RunCheck]:
    """What `--check` says of a run that is not begun, after the warnings that nobody saw."""
    _check_seeds(options.get("seeds"))
    # It is printed when it is read.
    more = flags({name: value for name, value in options.items() if name not in ("json", "summary")})
    unseen: list[str] = []
    try:
        ended = watched([*words, "--out", place(out, "out"), *more, "--check", "--json"], quiet, surroundings({}), output=True)
        output, unseen = ended.output, ended.unseen
    except ProgramError as error:
        # Problems leave with 1 as failures do, but have an answer.
        output, unseen = error.output, error.warnings if quiet else []
        if error.status != 1 or not output.lstrip().startswith("{"):
            raise
    found = RunCheck.of(json.loads(output))
    if not quiet:
        print(found, file=sys.stderr)
    return unseen, found


def _runs(
    words: Sequence[str], out: StrPath, seeds: int | None, until: str | None, quiet: bool, options: Mapping[str, Any]
) -> Audit | Seeds | Staged:
    """One run or several, and what came of it."""
    _check_seeds(seeds)
    folder = Path(place(out, "out"))
    several = seeds is not None and seeds > 1
    runs, hear = hearing(folder)
    more = flags({"seeds": seeds, "until": until, **options})

    def all_of() -> Seeds:
        found = (Audit(run) for run in (_folders(folder, seeds or 1, runs) if several else [folder]))
        return Seeds(folder.absolute(), {_seed(one): one for one in found})

    def work() -> Told:
        with _goes_on(folder):
            return watched([*words, "--out", os.fspath(folder), *more], quiet, surroundings({}), hear)

    made: Audit | Seeds | Staged
    if until is not None and until != "report":
        ended = work()
        made = Staged(folder.absolute(), until, [run.absolute() for run in _folders(folder, seeds or 1, runs)] if several else [folder.absolute()])
    elif seeds is not None:
        with _report(all_of) as several_read:
            ended = work()
        made = several_read[0]
    else:
        with _report(lambda: Audit(folder)) as read:
            ended = work()
        made = read[0]
    for line in ended.unseen:
        # On behalf of whoever called `run` or `tune`.
        warnings.warn(line, stacklevel=3)
    return made


def _folders(folder: Path, seeds: int, heard: Sequence[Path]) -> list[Path]:
    """The folders of several seeds: those that the program named, or else as many as there are seeds from the lowest one on."""
    if len(heard) == seeds:
        return list(heard)
    numbers = sorted(int(one.name[5:]) for one in folder.glob("seed-*") if one.name[5:].isdigit())
    return [folder / f"seed-{numbers[0] + more}" for more in range(seeds)] if numbers else []


def _seed(run: Audit) -> int:
    """The seed of a run."""
    return int(run.report.run["seed"])

"""What calls give back that end without one report: a check, a part, several seeds, an early stage, an extraction, a verified folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .reading import Record

if TYPE_CHECKING:
    from .audit import Audit
    from .report_types import ModelReport

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, repr=False)
class CheckedModel(Record):
    """A model that would be audited.

    name: Its name in files and in the report.
    described: Where it is, and what it calls itself.
    says: What a model in another process, or in this one, says of itself; None of a folder.
    attacks: The attacks that would be run, by their names.
    """

    name: str
    described: str = ""
    says: dict[str, Any] | None = None
    attacks: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Check(Record):
    """What `check=True` found out before an audit. `print` shows all of it.

    models: What would be audited.
    n_members: Members.
    n_nonmembers: Non-members.
    shape: Channels, height and width of the images as the audit would use them.
    seconds_to_generate: About how many seconds it takes to generate images on this machine; None where no network is asked.
    seconds_to_attack: The same of the attacks. Image quality, copies, controls and statistics come on top.
    batch: Images that the network was asked about at a time; 0 where none is asked.
    whole_batch: Were as many asked about at a time as the audit does?
    held_gb: The most memory that the program held meanwhile, in GB (of a model in Python without what Python holds); None where that is not known.
    memory_gb: The machine's memory in GB; None where that is not known.
    problems: What speaks against beginning, such as too few images: a sentence each. What an audit would refuse is an exception.
    lines: All of it in words.
    """

    models: list[CheckedModel] = field(default_factory=list)
    n_members: int
    n_nonmembers: int
    shape: tuple[int, int, int]
    seconds_to_generate: float | None = None
    seconds_to_attack: float | None = None
    batch: int = 0
    whole_batch: bool = False
    held_gb: float | None = None
    memory_gb: float | None = None
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """About how long generated images and attacks take together, in seconds; None where no network is asked. It leaves out image quality, copies,
        controls and statistics, as the text says (`print`)."""
        both = [one for one in (self.seconds_to_generate, self.seconds_to_attack) if one is not None]
        return sum(both) if both else None

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, kw_only=True, repr=False)
class RunImages(Record):
    """Images as a run would divide them.

    records: Images of the source, exact duplicates left out.
    duplicates: Exact duplicates.
    members: Members.
    nonmembers: Non-members.
    outside: Others, for a model to compare with, for early stopping to watch, or for an attacker that learns along.
    """

    records: int = 0
    duplicates: int = 0
    members: int = 0
    nonmembers: int = 0
    outside: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class RunTraining(Record):
    """A training of a run.

    name: The model.
    steps: Optimiser steps.
    batch: Images of a step.
    timed_batch: Images of a step as it was timed; fewer than `batch` where a whole one would have taken long.
    step_seconds: Seconds of a whole step.
    seconds: Seconds of the training, alone on its threads, with the losses that are watched.
    """

    name: str
    steps: int = 0
    batch: int = 0
    timed_batch: int = 0
    step_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, repr=False)
class RunStage(Record):
    """A stage of a run.

    stage: `train`, `sample` or `attack`.
    models: Models that it still has to work on.
    seconds: Seconds by the clock; None where they could not be measured.
    """

    stage: str
    models: int = 0
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class RunMemory(Record):
    """Memory of a run, in GB (10^9 bytes).

    one_gb: About what one training holds.
    all_gb: The same for those side by side.
    there_gb: What may be used; None where the system does not tell.
    whole: Were all steps timed with as many images as the run has? If not, it holds more.
    """

    one_gb: float = 0.0
    all_gb: float = 0.0
    there_gb: float | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class RunDisk(Record):
    """Room on the disk of a run's folder, in GB (10^9 bytes).

    needed_gb: What models, checkpoints and images take, of all runs.
    free_gb: What is free; None where the system does not tell.
    """

    needed_gb: float = 0.0
    free_gb: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class RunCheck(Record):
    """What `check=True` found out before a run or a tuning: what speaks against it, and about what it takes. All times are estimates. `print` shows it.

    folder: The run's folder; of several seeds, the folder of their folders.
    seeds: Runs, one for each seed.
    problems: What stops the run, now or after hours; each with its remedy. Where there are none, nothing was found that does.
    look_at: What stops nothing, and should be known before.
    unchecked: What was not checked, and why.
    images: The images; None where they were not read to the end.
    side_by_side: Trainings side by side.
    threads: Threads of each of them.
    trainings: The trainings of one run that are still to be done, in their order.
    stages: The stages of one run that are asked for.
    seconds: Seconds by the clock of all these stages of all runs; None where one of them could not be measured.
    memory: Memory; None where the system does not tell.
    disk: Room on the disk; None where nothing could be measured.
    method: How the estimates came about, and what they leave out.
    """

    folder: str = ""
    seeds: int = 1
    problems: list[str] = field(default_factory=list)
    look_at: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    images: RunImages | None = None
    side_by_side: int = 1
    threads: int = 1
    trainings: list[RunTraining] = field(default_factory=list)
    stages: list[RunStage] = field(default_factory=list)
    seconds: float | None = None
    memory: RunMemory | None = None
    disk: RunDisk | None = None
    method: str = ""

    def __str__(self) -> str:
        lines = [f"problem: {said}" for said in self.problems]
        lines.append(f"run: {self.folder}{f', {self.seeds} runs' if self.seeds > 1 else ''}")
        if (of := self.images) is not None:
            lines.append(f"images: {of.members} members and {of.nonmembers} non-members of {of.records} ({of.duplicates} exact duplicates dropped), {of.outside} others")
        lines += [f"{one.stage}: {one.models} models, {_seconds(one.seconds)}" for one in self.stages]
        lines += [f"  {one.name}: {one.steps} steps of {one.step_seconds:.3f} s, {_seconds(one.seconds)}" for one in self.trainings]
        if self.stages:
            lines.append(f"all: {_seconds(self.seconds)}")
        if (held := self.memory) is not None:
            there = "" if held.there_gb is None else f" of {held.there_gb:.1f} GB"
            lines.append(f"memory: about {held.one_gb:.2f} GB a training, {held.all_gb:.2f} GB side by side{there}{'' if held.whole else ', or more'}")
        if (room := self.disk) is not None:
            lines.append(f"disk: about {room.needed_gb:.2f} GB{'' if room.free_gb is None else f', {room.free_gb:.1f} GB are free'}")
        lines += [f"not checked: {said}" for said in self.unchecked]
        lines += [f"look at: {said}" for said in self.look_at]
        if self.method:
            lines.append(f"estimated: {self.method}")
        return "\n".join(lines)


def _seconds(seconds: float | None) -> str:
    """Seconds in words."""
    if seconds is None:
        return "not measured"
    whole = math.ceil(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min {whole % 60} s" if minutes else f"about {whole} s"


class Models(dict[str, "ModelReport"]):
    """The models of a report by name, and by what models in Python call themselves (`name=`)."""

    def __init__(self, models: Mapping[str, ModelReport], own: Mapping[str, str]) -> None:
        super().__init__(models)
        self._own = dict(own)

    def __missing__(self, key: str) -> ModelReport:
        name = self._own.get(key)
        if name is None or name not in self.keys():
            raise KeyError(f"{key!r}: the report has {', '.join(map(repr, self)) or 'no model'}")
        return self[name]

    @overload
    def get(self, key: str, default: None = None, /) -> ModelReport | None: ...

    @overload
    def get(self, key: str, default: ModelReport, /) -> ModelReport: ...

    @overload
    def get(self, key: str, default: T, /) -> ModelReport | T: ...

    def get(self, key: str, default: Any = None, /) -> Any:
        """The model of a name, as `[]` finds it; else the default."""
        return self[key] if key in self else default

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and super().__contains__(self._own.get(key)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self._own)


@dataclass(frozen=True)
class ModelPart:
    """What a part did on one model.

    batches: Batches of the whole audit that ask this model; 0 where nothing was to be done.
    there: Of these, those that are done, whichever part did them.
    own: Batches of this part.
    made: Of these, those made by this call; the others were there.
    left: Attacks that the call without `part` does, since they compare generated images.
    failed: Attacks that failed on this part, and why; the call without `part` tries them again.
    missing: The numbers K of the parts K of N whose batches are not all there. With a shadow model (`shadow=`) those of which nothing is there.
    """

    batches: int
    there: int
    own: int
    made: int
    left: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Are the batches of all parts there?"""
        return self.there >= self.batches


@dataclass(frozen=True)
class Part:
    """What `part="K/N"` did. There is no report yet: the same call without `part` makes it, when all parts have ended.

    folder: The audit's folder, which all parts share.
    number: K.
    of: N.
    models: What was done, by the models' names.
    """

    folder: Path
    number: int
    of: int
    models: dict[str, ModelPart]

    @property
    def missing(self) -> list[str]:
        """The parts that have still something to do, as `part` names them: `["2/4", "4/4"]`. One that is at work just now is among them."""
        numbers = sorted({number for model in self.models.values() for number in model.missing})
        return [f"{number}/{self.of}" for number in numbers]

    @property
    def complete(self) -> bool:
        """Are the batches of all parts there, for all models? Then the call without `part` has them all."""
        return bool(self.models) and all(model.complete for model in self.models.values())

    def __str__(self) -> str:
        lines = [f"part {self.number}/{self.of} in {self.folder}"]
        for name, model in self.models.items():
            done = f"{model.there} of {model.batches} batches are there, {model.made} made now" if model.batches else "nothing to do"
            lines.append(f"  {name}: {done}")
            lines += [f"  {name}: {attack} failed: {why}" for attack, why in model.failed.items()]
        lines.append("all parts are there: call it without part" if self.complete else f"missing: {', '.join(self.missing) or 'batches of other parts'}")
        return "\n".join(lines)


# The program's words about a part (crates/dualmd/src/audit/mod.rs; their form is in crates/cli/tests/parts.rs).
_DONE = re.compile(r"^(.+?) +part \d+/\d+: (?:(\d+) of its (\d+) batches made now; (\d+) of (\d+) batches are there|(nothing to do).*)$")
_LEFT = re.compile(r"^left to the call without --part.*?: (.+)$")
_FAILED = re.compile(r"^warning: attack (\S+) failed: (.*); the call without --part tries it again$")


class PartWords:
    """Hears what the program says of a part."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.failed: dict[str, str] = {}
        self.done: dict[str, ModelPart] = {}

    def hear(self, line: str) -> None:
        """Takes note of a line. What concerns a model comes before the line that ends it."""
        if found := _LEFT.match(line):
            self.left = [name.strip() for name in found[1].split(",")]
        elif found := _FAILED.match(line):
            self.failed[found[1]] = found[2]
        elif found := _DONE.match(line):
            made, own, there, batches = (int(text or 0) for text in found.group(2, 3, 4, 5))
            self.done[found[1]] = ModelPart(batches, there, own, made, self.left, self.failed)
            self.left, self.failed = [], {}

    def part(self, folder: Path, number: int, of: int, shadowed: bool) -> Part:
        """What was done, with the parts that the folder lacks."""
        models = {}
        for name, done in self.done.items():
            there = {file.stem for file in (folder / "scores" / f"{name}.parts").glob("*.safetensors")}
            numbers = range(1, of + 1)
            if done.complete:
                lacking: list[int] = []
            elif shadowed:
                # How many batches are the shadow's is not told.
                some = {int(stem.removeprefix("shadow-")) % of + 1 for stem in there if stem.removeprefix("shadow-").isdigit()}
                lacking = [one for one in numbers if one not in some]
            else:
                lacking = [one for one in numbers if any(str(batch) not in there for batch in range(one - 1, done.batches, of))]
            models[name] = ModelPart(done.batches, done.there, done.own, done.made, done.left, done.failed, lacking)
        return Part(folder, number, of, models)


@dataclass(frozen=True, kw_only=True, repr=False)
class SeedNumber(Record):
    """One number over several seeds.

    dataset: The experiment.
    model: The model as the experiment names it.
    method: Its name in the table.
    attack: The attack; None of image quality and cost.
    metric: What the number is, such as `auc`.
    values: (seed, number) of the runs that have it.
    runs: Runs that were looked at.
    n: Runs that have it.
    mean: Its mean over the seeds; None where no run has it.
    between_sd: Its standard deviation between seeds; None of one seed.
    between_ci: The 95 % interval of the mean over seeds, by Student's t; None of one seed.
    within_se: The standard error of one typical seed, where that is known.
    image_ci: The 95 % interval over the images, of the one run there is.
    note: What more is to be said of it.
    """

    dataset: str = ""
    model: str = ""
    method: str = ""
    attack: str | None = None
    metric: str = ""
    values: list[tuple[int, float]] = field(default_factory=list)
    runs: int = 0
    n: int = 0
    mean: float | None = None
    between_sd: float | None = None
    between_ci: tuple[float, float] | None = None
    within_se: float | None = None
    image_ci: tuple[float, float] | None = None
    note: str | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval between seeds, or over the images where there is one run."""
        return self.between_ci if self.between_ci is not None else self.image_ci


@dataclass(frozen=True, kw_only=True, repr=False)
class Combined(Record):
    """Privacy against quality of all seeds together: frontier.json.

    title: What it is.
    numbers: The numbers with their means and intervals.
    facts: What follows, in sentences.
    notes: How the table is to be read.
    pictures: Names of pictures in the folder.
    seeds: The seeds.
    """

    title: str = ""
    numbers: list[SeedNumber] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([self.title, *self.facts])


class Seeds:
    """The runs of an experiment with several seeds, each with its own images, split and weights.

    folder: The folder of all of them.
    runs: The reports by their seeds.
    combined: Means and intervals over the seeds, as the program stores them (frontier.json); None where fewer than two methods have both an
        attack and image quality. `aucs` has the numbers of all runs in any case.
    uncombined: Why `combined` is None, for people; None where it is not.
    """

    def __init__(self, folder: Path, runs: Mapping[int, Audit]) -> None:
        self.folder = folder
        self.runs = dict(runs)
        self.uncombined: str | None = None
        self.combined = self._combined()

    def _combined(self) -> Combined | None:
        file = self.folder / "frontier.json"
        if not file.is_file():
            few = "of one seed" if len(self.runs) < 2 else "fewer than two methods have both an attack and image quality"
            self.uncombined = f"no means over seeds: {few}; aucs() has the numbers of all runs"
            return None
        found = Combined.of(json.loads(file.read_text(encoding="utf-8")))
        # An earlier call may have had other seeds.
        if sorted(found.seeds) == sorted(self.runs):
            return found
        others = ", ".join(map(str, sorted(found.seeds)))
        self.uncombined = f"no means over seeds: {file.name} is of the seeds {others}, of an earlier call; aucs() has the numbers of all runs"
        return None

    def aucs(self) -> Any:
        """The AUC of every attack on every model in every run, with its interval over the images, as the reports show them: a pandas DataFrame
        with the columns seed, model, attack, auc, low, high, or a list of dicts without pandas.

            seeds.aucs().groupby(["model", "attack"]).auc.mean()
        """
        rows: list[dict[str, Any]] = []
        for seed, run in self.runs.items():
            for name, model in run.models.items():
                for attack, shown in model.shown.items():
                    low, high = shown.auc_ci
                    rows.append({"seed": seed, "model": name, "attack": attack, "auc": shown.auc, "low": low, "high": high})
        return frame(rows, ["seed", "model", "attack", "auc", "low", "high"])

    def __str__(self) -> str:
        parts = [f"seed {seed}: {run}" for seed, run in self.runs.items()]
        return "\n".join([*parts, str(self.combined) if self.combined is not None else str(self.uncombined)])

    def __repr__(self) -> str:
        return f"Seeds({str(self.folder)!r}: {', '.join(map(str, self.runs))})"

    def _repr_html_(self) -> str:
        """The reports, each behind its seed."""
        return "".join(f"<details><summary>seed {seed}</summary>{run._repr_html_()}</details>" for seed, run in self.runs.items())


def frame(rows: list[dict[str, Any]], columns: list[str]) -> Any:
    """A DataFrame, or the rows where there is no pandas."""
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return rows
    return pandas.DataFrame(rows, columns=columns if not rows else None)


@dataclass(frozen=True)
class Staged:
    """A run that ended with an earlier stage (`until=`), and has no report yet. The same call with a later stage, or without, goes on.

    folder: The run's folder; of several seeds, the folder of all of them.
    until: The last stage: `split`, `train`, `sample` or `attack`.
    runs: The folders of the runs: of one seed the folder itself.
    """

    folder: Path
    until: str
    runs: list[Path]


@dataclass(frozen=True)
class Written(Generic[R]):
    """A result and its folder.

    folder: Where it lies. It is as confidential as the training images.
    report: Everything that its JSON file says.
    text: What the program says of it, for people.
    """

    folder: Path
    report: R
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True, repr=False)
class LoraSize(Record):
    """How many images a LoRA was trained on.

    size: As most of its layers have it.
    votes: How many layers have each size.
    references: References of each size.
    recovered: References whose size the others recover.
    n: Of so many.
    recovered_ci: Their share's exact 95 % interval (Clopper-Pearson).
    mean_error: How far the others' answers for the references are off, on average, in images.
    guess_error: How far the middle one of the references' sizes is off, on average: a guess that looks at no weights.
    """

    size: int
    votes: dict[int, int] = field(default_factory=dict)
    references: dict[int, int] = field(default_factory=dict)
    recovered: int
    n: int
    recovered_ci: tuple[float, float]
    mean_error: float
    guess_error: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Attack(Record):
    """An attack that the program knows.

    name: As `attacks=` takes it.
    title: Its name in reports.
    paper: Where it is from.
    access: What it needs: `white-box`, `grey-box` or `black-box`.
    formula: How it scores an image; higher for what is rather a member.
    network_calls_per_sample: Network calls for each image.
    parameters: Its settings, such as timesteps.
    misses: What it does not see.
    usual: Is it run where `attacks` names none?
    """

    name: str
    title: str = ""
    paper: str = ""
    access: str = ""
    formula: str = ""
    network_calls_per_sample: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    misses: str = ""
    usual: bool = False


@dataclass(frozen=True)
class Verified:
    """What came of checking an evidence folder; `if found:` asks whether everything agrees.

    holds: Does everything agree?
    root: The root of the folder's manifest, by which it is known.
    differences: What does not agree, a sentence each.
    image: What the folder says of the image that was asked for, a line each.
    text: The conclusion in words.
    """

    holds: bool
    root: str
    differences: list[str]
    image: list[str]
    text: str

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return "\n".join([*self.differences, *self.image, f"root: {self.root}", self.text])


_AGREES = re.compile(r"^(?:everything agrees: .*|(\d+) things? do(?:es)? not agree)$")


def verified(output: str) -> Verified | None:
    """What the program printed; None where it came to no conclusion."""
    lines = output.splitlines()
    found = _AGREES.match(lines[-1]) if lines else None
    if found is None or len(lines) < 2 or not lines[-2].startswith("root: "):
        return None
    n = int(found[1] or 0)
    said = lines[:-2]
    return Verified(n == 0, lines[-2].removeprefix("root: "), said[:n], said[n:], lines[-1])


def hearing(folder: Path) -> tuple[list[Path], Callable[[str], None]]:
    """A list of the runs of several seeds in a folder, and what fills it with those that the program says it works on."""
    runs: list[Path] = []
    before = f"{folder}/seed-"

    def hear(line: str) -> None:
        if line.startswith(before) and line.removeprefix(before).isdigit() and Path(line) not in runs:
            runs.append(Path(line))

    return runs, hear

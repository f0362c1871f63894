"""The defences for whoever trains with a script of their own: a split into halves, DistillMD's targets, a pipeline of two that take turns.

    split = dualmd.split("photos/", members=1000, nonmembers=1000, out="split.json", copy_to="sides/")
    split.d1, split.d2                          # train teacher 1 and teacher 2 on these

    distill = dualmd.DistillMD(teacher_1, teacher_2, split)
    target = distill.target(x_t, t, condition, names)       # in the student's loop, in place of the noise
    loss = mse_loss(student(x_t, t, condition).sample, target)

    pipe = dualmd.DualMDPipeline(pipe_1, pipe_2)            # the two teachers, alternating while they draw

torch is imported when the first target is asked for or the first pipeline is made.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from .adapters import is_pipeline
from .denoiser import ASKED
from .flags import count, flags, place
from .process import told

StrPath = Union[str, "os.PathLike[str]"]

# Samplers whose step needs the present prediction alone. Others keep earlier ones and would mix those of both models.
_WITHOUT_MEMORY = (
    "DDIMScheduler",
    "DDPMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
)

NOT_AS_ONE = (
    "two models that take turns are not audited as one: what they answer depends on the order of the questions. Save each pipeline by itself "
    "(pipe_1.save_pretrained('first'), pipe_2.save_pretrained('second')) and call dualmd.audit(pair=('first', 'second'), ...); of two adapters over one base "
    "dualmd.audit(pair=(base, base), lora=[first, second], ...)"
)
"""Why a pair is no model of an audit, and what to do."""

_NOT_SAVED = (
    "a pair has no folder of its own: save the two pipelines apart, each with save_pretrained. `dualmd export pair FIRST SECOND -o pair/` makes one folder of them"
)


@dataclass(frozen=True)
class Image:
    """An image of a split.

    id: its content id.
    name: its name where it came from: the file's, the row's number, or what `id_column` says. Its id where the split has no names.
    half: 1 or 2 of a member, None of a non-member.
    group: what it was kept together with.
    """

    id: str
    name: str
    half: int | None
    group: str | None


class Split:
    """A split file: who is a member, and of which half.

    file: its path. hash: of ids, sides and halves, which models store. members, nonmembers: lists of `Image`; `d1` and `d2` are the halves of the members.
    """

    def __init__(self, file: StrPath) -> None:
        """Reads a split that `dualmd split` or a run wrote (`split.json`). Raises `FileNotFoundError`, or `ValueError` for another file."""
        self.file = Path(place(file, "file"))
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            self.hash: str = content.get("hash", "")

            def images(side: str) -> list[Image]:
                return [Image(one["id"], one.get("name") or one["id"], one.get("half"), one.get("group")) for one in content[side]]

            self.members = images("members")
            """All members."""
            self.nonmembers = images("nonmembers")
            """Images that no model may see."""
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.file} is no split: name a file that dualmd split wrote") from error
        self._by_key: dict[str, Image | None] = {}
        for image in [*self.members, *self.nonmembers]:
            for key in {image.id, image.name}:
                # Two images of one name can be told by their ids only.
                self._by_key[key] = image if key not in self._by_key else None

    @property
    def d1(self) -> list[Image]:
        """Members of the first half, which teacher 1 is trained on."""
        return [image for image in self.members if image.half == 1]

    @property
    def d2(self) -> list[Image]:
        """Members of the second half, which teacher 2 is trained on."""
        return [image for image in self.members if image.half == 2]

    def __getitem__(self, key: str | os.PathLike[str] | Image) -> Image:
        """An image by its name or its content id; by an `Image` of the split; or by a path, as text too, of which the file's name is enough."""
        if isinstance(key, Image):
            key = key.id
        path = os.fspath(key) if isinstance(key, (str, os.PathLike)) else None
        found = path if path in self._by_key else Path(path).name if path is not None else None
        if found is None or found not in self._by_key:
            raise KeyError(f"{key!r} is no name or id of {self.file}")
        image = self._by_key[found]
        if image is None:
            raise KeyError(f"several images of {self.file} are called {key!r}: use their content ids")
        return image

    def __repr__(self) -> str:
        return f"Split({str(self.file)!r}: {len(self.d1)} + {len(self.d2)} members, {len(self.nonmembers)} non-members)"


def split(data: StrPath, *, members: int, out: StrPath | None = None, nonmembers: int | None = None, quiet: bool = True, **options: Any) -> Split:
    """Draws members, in two halves, and non-members from an image set: near-duplicates and groups stay together (`dualmd split`).

    `data`: a folder of images, parquet, npz, ... `members`, `nonmembers`: how many; without the latter all that are left. `out`: where the
    split file goes. Without it it lies in the temporary folder (`.file` of the result): name a place, for the file is the only record of who was trained on. Other options are those of `dualmd split` with
    underscores: `group_column="patient"`, `copy_to="sides/"`, `seed=1`. Raises `ProgramError` with the program's own words, such as that there are too few images.
    """
    for name, number in (("members", members), ("nonmembers", nonmembers)):
        count(name, number)
    more = flags({"nonmembers": nonmembers, **options})
    made = Path(tempfile.mkdtemp(prefix="dualmd-")) if out is None else None
    try:
        where = place(out, "out") if made is None else os.fspath(made / "split.json")
        unseen = told(["split", place(data, "data"), "--members", members, "--out", where, *more], quiet, {})
        found = Split(where)
    except BaseException:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise
    for line in unseen:
        warnings.warn(line, stacklevel=2)
    return found


class DistillMD:
    """The targets of DistillMD (Algorithm 2 of the paper): for each image what the teacher predicts that never saw it."""

    def __init__(self, teacher_1: Callable[..., Any], teacher_2: Callable[..., Any], split: Split | StrPath) -> None:
        """`teacher_1` was trained on D1, `teacher_2` on D2: networks of diffusers, or any `(x_t, t, condition)` -> prediction, of the kind
        that the student is to predict. They are set to evaluation where they can be. One model as both teachers is refused: it saw every image.
        """
        for teacher in (teacher_1, teacher_2):
            if is_pipeline(teacher):
                part = next((name for name in ("unet", "transformer") if getattr(teacher, name, None) is not None), "unet")
                raise TypeError(f"a teacher is a network, and this is the pipeline {type(teacher).__name__}: give pipe.{part}")
            if not callable(teacher):
                raise TypeError(f"a teacher is a network or a callable (x_t, t, condition) -> prediction, and this is of type {type(teacher).__name__}")
            if is_pair(teacher):
                raise TypeError("a teacher is one network, and this is a pair that takes turns: give the network of each half by itself")
        if _same(teacher_1, teacher_2):
            raise ValueError("both teachers are one model, which saw the images of both halves: give the one trained on D1 and the one trained on D2")
        for teacher in (teacher_1, teacher_2):
            if hasattr(teacher, "eval"):
                teacher.eval()
        self.teachers = (teacher_1, teacher_2)
        self.split = split if isinstance(split, Split) else Split(split)

    def stranger(self, image: str | os.PathLike[str] | Image) -> int:
        """Which teacher never saw an image: 2 of D1, 1 of D2. `image`: a name, a content id, a path, or an `Image` of the split."""
        half = self.split[image].half
        if half not in (1, 2):
            raise ValueError(f"{image!r} is no member of {self.split.file}: the student is trained on members alone")
        return 3 - half

    def target(self, x_t: Any, t: Any, condition: Any = None, images: Sequence[str | os.PathLike[str] | Image] = ()) -> Any:
        """What the student is to predict for a batch, without gradients.

        `x_t`: noisy images [B, ...], `t`: timesteps [B], or one number for all. `condition`: None; or a tensor or list of B rows, which the teachers are given
        third (`encoder_hidden_states` of a conditional U-Net); or a dict of such, given by name. `images`: the name or content id of each
        image, as the split has them; of folders that `copy_to` or `dualmd export images` made, `original` or `id` of metadata.jsonl, for files may have
        other names. Paths and the split's own `Image`s will do. Each teacher is asked for its own rows only, in evaluation mode. An empty batch has an empty target.
        """
        torch = importlib.import_module("torch")
        if isinstance(images, str):
            raise TypeError(f"images={images!r} is one text: give a list of names, one for each noisy image")
        n = len(x_t)
        if len(images) != n:
            raise ValueError(f"{n} noisy images and {len(images)} names: one for each is needed")
        if getattr(t, "ndim", 1 if hasattr(t, "__len__") else 0) == 0:
            t = torch.as_tensor(t, device=x_t.device).expand(n)
        elif not hasattr(t, "device"):
            t = torch.as_tensor(t, device=x_t.device)
        if len(t) != n:
            raise ValueError(f"{n} noisy images and {len(t)} timesteps: one for each is needed")
        strangers = [self.stranger(image) for image in images]
        for teacher in self.teachers:
            # A training loop may have set its models to training since.
            if hasattr(teacher, "eval"):
                teacher.eval()
        out: Any = x_t.new_empty(x_t.shape) if n == 0 else None
        with torch.no_grad():
            for which in (1, 2):
                rows = [row for row, stranger in enumerate(strangers) if stranger == which]
                if not rows:
                    continue
                at = torch.tensor(rows, device=x_t.device)
                said = _asked(self.teachers[which - 1], x_t[at], t[at.to(t.device)], _rows(condition, rows, n))
                if tuple(said.shape) != (len(rows), *x_t.shape[1:]):
                    raise ValueError(f"teacher {which} answered {tuple(said.shape)} to noisy images {(len(rows), *x_t.shape[1:])}")
                if out is None:
                    out = torch.empty((n, *said.shape[1:]), dtype=said.dtype, device=said.device)
                out[at.to(out.device)] = said.to(out.device, out.dtype)
        return out


def _rows(condition: Any, rows: list[int], n: int) -> Any:
    """The rows of a condition that belong to some images."""
    if isinstance(condition, Mapping):
        return {name: _rows(value, rows, n) for name, value in condition.items()}
    if condition is None:
        return None
    if len(condition) != n:
        raise ValueError(f"{n} noisy images and a condition of {len(condition)} rows: one for each is needed")
    if isinstance(condition, (list, tuple)):
        return [condition[row] for row in rows]
    torch = importlib.import_module("torch")
    return condition[torch.tensor(rows, device=condition.device)]


def _asked(teacher: Callable[..., Any], x_t: Any, t: Any, condition: Any) -> Any:
    if condition is None:
        said = teacher(x_t, t)
    elif isinstance(condition, Mapping):
        said = teacher(x_t, t, **condition)
    else:
        said = teacher(x_t, t, condition)
    said = getattr(said, "sample", said)
    return said[0] if isinstance(said, tuple) else said


def _same(one: Any, other: Any) -> bool:
    """Are two models one: the same object, or networks of the same weights?"""
    if one is other or (inspect.ismethod(one) and one == other):
        return True
    if not (hasattr(one, "parameters") and hasattr(other, "parameters")):
        return False
    torch = importlib.import_module("torch")
    ones, others = list(one.parameters()), list(other.parameters())

    def alike(a: Any, b: Any) -> bool:
        # Of another size, or without numbers yet: nothing can be said.
        kinds = [(p.shape, p.dtype, p.device) for p in (a, b)]
        return kinds[0] == kinds[1] and a.device.type != "meta" and bool(torch.equal(a, b))

    return bool(ones) and len(ones) == len(others) and all(alike(a, b) for a, b in zip(ones, others))


def is_pair(model: Any) -> bool:
    """Is it a pair that takes turns, from here or from `dualmd export pair`, or a network that has one in it?"""
    parts = [model, *(getattr(model, name, None) for name in ("unet", "transformer"))]
    if all(getattr(model, name, None) is not None for name in ("unet", "unet_2")):
        return True
    inner = getattr(model, "named_modules", None)
    if callable(inner) and not isinstance(model, type):
        parts += [part for _, part in inner()]
    return any(getattr(type(part), "takes_turns", False) is True for part in parts)


def DualMDPipeline(first: Any, second: Any = None, *, adapters: tuple[str, str] | None = None) -> Any:
    """A pipeline of diffusers in which two models take turns from step to step: the first takes the first (noisiest) step.

    `second`: a pipeline of the same class with the other model. Or `adapters`: the names of two LoRAs that are loaded into `first`
    (`load_lora_weights(..., adapter_name=...)`), so that one base serves both. What comes back is used as `first` is; encoders,
    scheduler and all else are its own. Samplers that keep earlier predictions are refused, also later: they would mix both models'. It
    cannot be saved, nor audited as one model (`dualmd.audit(pair=(a, b), ...)` audits the two folders).

    It protects images that are given out, not the weights: whoever has the pipeline has both models.
    """
    if (second is None) == (adapters is None):
        raise TypeError("give the second pipeline, or the names of two adapters of the first")
    if is_pair(first) or is_pair(second):
        raise TypeError("this is a pair already: give pipelines of one model each")
    part = next((name for name in ("unet", "transformer") if getattr(first, name, None) is not None), None)
    if part is None:
        raise TypeError(f"{type(first).__name__} has no unet and no transformer: it is no pipeline whose models can take turns")
    network = getattr(first, part)
    other = None
    if second is not None:
        if type(second) is not type(first):
            raise TypeError(f"{type(first).__name__} and {type(second).__name__} cannot take turns: give two pipelines of one class")
        other = getattr(second, part)
        differ = [key for key in ("in_channels", "sample_size", "cross_attention_dim") if _config(network, key) != _config(other, key)]
        if differ:
            raise ValueError(f"the two models differ in {', '.join(differ)}: they cannot take turns")
        if _same(network, other):
            raise ValueError("both pipelines have the same model, which saw all its images: give the two that were trained on the two halves")
    if adapters is not None:
        _check_adapters(network, adapters)
    _without_memory(first.scheduler)
    pipe = copy.copy(first)
    pipe.__class__ = _pair_of(type(first))
    # As an attribute alone: the pipeline's record of its parts stays that of the first model.
    pipe.__dict__[part] = _turns(network, other, adapters)
    return pipe


def _without_memory(scheduler: Any) -> None:
    """Refuses samplers that keep earlier predictions."""
    name = type(scheduler).__name__
    if name not in _WITHOUT_MEMORY:
        raise ValueError(
            f"{name} keeps earlier predictions, which would mix both models': set pipe.scheduler to one of {', '.join(_WITHOUT_MEMORY)} "
            "(DDIMScheduler.from_config(pipe.scheduler.config))"
        )


def _check_adapters(network: Any, adapters: Any) -> None:
    """Two names of adapters that the network has."""
    if isinstance(adapters, str) or len(adapters) != 2:
        raise TypeError(f"adapters={adapters!r}: give the names of two, as in adapters=('first', 'second')")
    if adapters[0] == adapters[1]:
        raise ValueError(f"adapters={tuple(adapters)!r} are one: give the names of two")
    known = getattr(network, "peft_config", None)
    loaded = list(known) if isinstance(known, Mapping) else []
    missing = [name for name in adapters if name not in loaded]
    if missing or not hasattr(network, "set_adapter"):
        there = f"loaded are {', '.join(map(repr, loaded))}" if loaded else "none is loaded"
        raise ValueError(
            f"{type(network).__name__} has no adapter {' and no '.join(map(repr, missing or adapters))} ({there}): "
            "pipe.load_lora_weights(FILE, adapter_name=...) loads one"
        )


def _pair_of(kind: type) -> type:
    """The class of a pipeline, for a pair: what would save or mix the two is refused."""

    class Pair(kind):  # type: ignore[misc]
        takes_turns = True

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "scheduler":
                _without_memory(value)
            super().__setattr__(name, value)

        def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
            """Refused."""
            raise TypeError(_NOT_SAVED)

        push_to_hub = save_pretrained

    # By these diffusers finds what belongs to a pipeline.
    Pair.__name__, Pair.__qualname__, Pair.__module__, Pair.__doc__ = kind.__name__, kind.__qualname__, kind.__module__, kind.__doc__
    return Pair


def _config(network: Any, key: str) -> Any:
    return getattr(getattr(network, "config", None), key, None)


def _turns(first: Any, second: Any, adapters: tuple[str, str] | None) -> Any:
    """A network that is one of two, step by step."""
    module = importlib.import_module("torch.nn").Module

    class TakingTurns(module):  # type: ignore[misc,valid-type]
        """Asks one network or the other. A new timestep is a new step; one above the last begins a new image."""

        takes_turns = True

        def __init__(self) -> None:
            super().__init__()
            self.first = first
            if second is not None:
                self.second = second
            self.last: float | None = None
            self.turn = 0

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                # Configuration, number format and whatever else a pipeline asks of its network.
                return getattr(super().__getattr__("first"), name)

        def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
            """Refused."""
            raise TypeError(_NOT_SAVED)

        push_to_hub = save_pretrained

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if ASKED.get():
                raise TypeError(NOT_AS_ONE)
            timestep = kwargs.get("timestep", args[1] if len(args) > 1 else None)
            if timestep is None:
                raise TypeError("the network was asked without a timestep, by which turns are told")
            now = float(timestep.flatten()[0]) if hasattr(timestep, "flatten") else float(timestep)
            if self.last is None or now > self.last:
                self.turn = 0
            elif now < self.last:
                self.turn = 1 - self.turn
            self.last = now
            if adapters is not None:
                self.first.set_adapter(adapters[self.turn])
                return self.first(*args, **kwargs)
            return (self.second if self.turn else self.first)(*args, **kwargs)

    return TakingTurns()

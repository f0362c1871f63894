"""Commands of the program beside audits and runs: extraction, memorised prompts, image quality, LoRAs' sizes, evidence."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

from .extraction_types import Extraction
from .flags import apart, flags, place
from .memorisation_types import Memorisation
from .process import ProgramError, answer, surroundings, watched
from .reading import Record
from .results import Attack, LoraSize, Verified, Written, verified
from .utility_types import Frechet, Utility

StrPath = Union[str, "os.PathLike[str]"]
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True, repr=False)
class ToStatistics(Record):
    """The distance of generated images to statistics in a file.

    file: The file.
    n: Images that the statistics are of, where the file says.
    distance: The distance.
    """

    file: str
    n: int | None = None
    distance: Frechet


@dataclass(frozen=True, kw_only=True, repr=False)
class Metrics(Utility):
    """What `dualmd.metrics` measured: the fields of `Utility` (help(dualmd.utility_types.Utility)), and one more.

    frechet_to_statistics: The distance to the statistics of `statistics=`; None without.
    """

    frechet_to_statistics: ToStatistics | None = None

    def __str__(self) -> str:
        """A line for each measure, and what was not measured."""
        lines: list[str] = []
        if self.n_generated:
            features = f", features {self.features}" if self.features else ""
            lines.append(f"{self.n_generated} generated images against {self.n_real} real ones{features}")
        if (of := self.frechet) is not None:
            lines.append(f"Fréchet distance: {of.distance.value:.4g} ({of.ci[0]:.4g}-{of.ci[1]:.4g})")
        if (to := self.frechet_to_statistics) is not None:
            lines.append(f"Fréchet distance to {to.file}: {to.distance.value:.4g}")
        if self.kid is not None:
            lines.append(f"KID: {self.kid.full:.4g} (standard error {self.kid.full_se:.2g})")
        if (near := self.precision_recall) is not None:
            lines.append(f"precision {near.precision:.3f}, recall {near.recall:.3f}")
        if (crowd := self.density_coverage) is not None:
            lines.append(f"density {crowd.density:.3f}, coverage {crowd.coverage:.3f}")
        if self.inception_score is not None:
            lines.append(f"Inception score: {self.inception_score.mean:.4g}")
        if (gap := self.gap) is not None:
            lines.append(f"distance to members less distance to non-members: {gap.gap:.4g}")
        for one in self.copies or []:
            lines.append(
                f"copies of members by {one.features}: {one.found.copies} of {one.n_generated} generated images; "
                f"at {one.control.n} images a side {one.control.members.copies}, where chance explains {one.control.heldout.copies}"
            )
        return "\n".join([*lines, *(f"not measured: {said}" for said in self.missing or [])])


def extract(
    model: StrPath | tuple[StrPath, StrPath], *, members: StrPath, nonmembers: StrPath, out: StrPath, quiet: bool = False, **options: Any
) -> Written[Extraction]:
    """Training images that can be got out of generated ones, beside as many images that the model never saw (`dualmd extract`).

        found = dualmd.extract("my-model/", members="train/", nonmembers="heldout/", out="extraction/")
        print(found)                                                    # in words
        found.report.attacks[0].members.extracted                       # help(dualmd.extraction_types.Extraction)

    `model`: its folder; of two that take turns a tuple of both. `members` and `nonmembers`: images that it was trained on, and images of the same kind
    that it never saw. `out`: the folder of the result, which holds training images; the same call goes on where it was stopped. Other
    options are those of `dualmd extract` with underscores: `images=65536`, `method="inpaint"`, `base="base/"`, `no_images=True`.

    Raises `ProgramError` with the program's own words, `NoEngine` where there is no libtorch, `KeyboardInterrupt` when stopped.
    """
    images = ["--members", place(members, "members"), "--nonmembers", place(nonmembers, "nonmembers")]
    return _written("extract", [*_models(model), *images], out, "extraction.json", Extraction, quiet, options)


def memorisation(
    model: StrPath | tuple[StrPath, StrPath], *, out: StrPath, members: StrPath | None = None, quiet: bool = False, **options: Any
) -> Written[Memorisation]:
    """For which prompts a text-to-image model remembers training images (`dualmd memorisation`).

        found = dualmd.memorisation("my-model/", memorised="known.txt", others="random.txt", out="memorisation/")
        found.report.mean_norm.detection                                # help(dualmd.memorisation_types.Memorisation)

    `model`: its folder; of two that take turns a tuple of both. `members`, and perhaps `nonmembers=`: images whose first captions are the prompts; or
    `memorised=`, and perhaps `others=`: files of prompts, one a line. `out`: the folder of the result. Other options are those of `dualmd memorisation`
    with underscores: `number=4` (images for each prompt), `mitigate="wen"`, `clip="clip-folder/"`. Raises as `extract` does; what was stopped begins anew.
    """
    if members is None and options.get("memorised") is None:
        raise TypeError("no prompts: give members='train/' (captioned images), or memorised='prompts.txt'")
    images = [] if members is None else ["--members", place(members, "members")]
    return _written("memorisation", [*_models(model), *images], out, "memorisation.json", Memorisation, quiet, options)


def metrics(generated: StrPath, *, real: StrPath, members: StrPath | None = None, quiet: bool = False, **options: Any) -> Metrics:
    """Quality of generated images against real ones: Fréchet distance, KID, precision and recall, and copies of members (`dualmd metrics`).

        found = dualmd.metrics("images/", real="heldout/", members="train/")
        found.frechet.distance.value                                    # help(dualmd.utility_types.Utility)
        found.missing                                                   # what was not measured, and why

    `generated`: a folder, parquet, npz, ... of images. `real`: images of the same kind that the model never saw. `members`: images that it was trained on, to
    count copies of. Other options are those of `dualmd metrics` with underscores: `features="inception-2048"` with `weights="pt_inception.safetensors"`,
    `features="none"`, `copies="sscd"`, `statistics="stats.npz"`. Raises as `extract` does.
    """
    words = ["metrics", place(generated, "generated"), "--real", place(real, "real")]
    words += [] if members is None else ["--members", place(members, "members")]
    ended = watched([*words, "--json", *flags(options)], quiet, surroundings({}), output=True)
    for line in ended.unseen:
        warnings.warn(line, stacklevel=2)
    return Metrics.of(json.loads(ended.output))


def attacks() -> list[Attack]:
    """The attacks that `attacks=` may name (`dualmd list attacks`). Needs no libtorch.

        [one.name for one in dualmd.attacks() if one.network_calls_per_sample <= 1]
    """
    return [Attack.of(one) for one in json.loads(answer(["list", "attacks", "--json"]))]


def lora_size(lora: StrPath, *, references: StrPath) -> LoraSize:
    """How many images a LoRA was trained on, by its weights and LoRAs of known sizes (`dualmd lora-size`).

        dualmd.lora_size("lora.safetensors", references="references/").size

    `lora`: a file, or an adapter's folder. `references`: a folder of LoRAs that you trained like this one, by their numbers of images: `references/16/a.safetensors`; at
    least two sizes, and two of each. Believe it no more than `recovered_ci` says of the references. Raises as `extract` does.
    """
    words = ["lora-size", place(lora, "lora"), "--references", place(references, "references"), "--json"]
    return LoraSize.of(json.loads(watched(words, True, surroundings({}), output=True).output))


def verify(bundle: StrPath, *, root: str | None = None, image: StrPath | None = None, salt: StrPath | None = None) -> Verified:
    """Checks an evidence folder: every file, every row of scores, every number that the other files give (`dualmd verify`).

        assert dualmd.verify("evidence/", root="4f1c...")               # what does not agree is in .differences

    `bundle`: the folder that `dualmd export evidence` wrote. `root`: the root that you were told beforehand; another one is a difference.
    `image` with `salt`: also where this image stands in it; a picture's file or its content id, and its key or the file of the salt. Needs no libtorch.

    Raises `ProgramError` for a folder that is none, or files that cannot be read. A folder that does not agree is no exception.
    """
    if (image is None) != (salt is None):
        raise TypeError("image and salt: give both, or neither")
    words = ["verify", place(bundle, "bundle"), *flags({"root": root, "image": image, "with": salt})]
    try:
        output = answer(words)
    except ProgramError as error:
        # Differences leave with 1 as failures do, but have a conclusion.
        output = error.output
        if error.status != 1 or verified(output) is None:
            raise
    found = verified(output)
    if found is None:
        raise ProgramError(0, f"dualmd verify came to no conclusion: {output.strip()}")
    return found


def _models(model: StrPath | tuple[StrPath, StrPath]) -> list[str]:
    """One folder, or two."""
    if not isinstance(model, tuple):
        return [place(model, "model")]
    if len(model) != 2:
        raise TypeError(f"model is a tuple of {len(model)}: give one folder, or two that take turns")
    first, second = (place(one, "model") for one in model)
    apart(first, second, "model")
    return [first, second]


def _written(
    command: str, words: Sequence[str], out: StrPath, file: str, kind: type[R], quiet: bool, options: dict[str, Any]
) -> Written[R]:
    """The result that a command writes into a folder."""
    folder = Path(place(out, "out"))
    # Read from the file: what is printed is for people.
    more = flags({name: value for name, value in options.items() if name != "json"})
    ended = watched([command, *words, "--out", os.fspath(folder), *more], quiet, surroundings({}), output=True)
    if not quiet:
        sys.stderr.write(ended.output)
    for line in ended.unseen:
        warnings.warn(line, stacklevel=3)
    value = json.loads((folder / file).read_text(encoding="utf-8"))
    return Written(folder.absolute(), kind.of(value), ended.output.strip())



"""`dualmd roc` from Python: AUC, intervals and members found, of any scores."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union, overload

from .process import answer
from .report_types import Measurement

StrPath = Union[str, "os.PathLike[str]"]


@overload
def roc(scores: StrPath, *, fpr: Sequence[float] | float | None = None) -> dict[str, Measurement]: ...


@overload
def roc(scores: Sequence[float] | Any, labels: Sequence[Any] | Any, *, fpr: Sequence[float] | float | None = None) -> Measurement: ...


def roc(scores: Any, labels: Any = None, *, fpr: Sequence[float] | float | None = None) -> Measurement | dict[str, Measurement]:
    """AUC with its interval, and members found at rates of false alarms, by the code of a report.

        dualmd.roc(scores, labels).auc                     # numbers, higher for what is rather a member; 1 or True of members
        dualmd.roc("scores.csv")["sima"].interval          # a file with columns member, score and perhaps attack: by attack

    `scores` and `labels`: lists, arrays or tensors of one length, of which NaN is refused. `fpr`: one rate or several (default: 0.1, 0.01, 0.001). Intervals
    named `adjusted` are corrected for the number of attacks in the file. Raises `ProgramError` with what is wrong with the scores.
    """
    if isinstance(scores, (str, os.PathLike)):
        if labels is not None:
            raise TypeError("labels are for numbers: a file has them in its column member")
        return _measured(scores, fpr)
    if labels is None:
        raise TypeError("labels are missing: 1 or True for each score of a member, 0 or False for each other one")
    numbers, members = _plain(scores), _plain(labels)
    if len(numbers) != len(members):
        raise ValueError(f"{len(numbers)} scores and {len(members)} labels: one for each is needed")
    if not numbers:
        raise ValueError("no scores: give at least one of a member and one of another image")
    if words := [score for score in numbers if not isinstance(score, (int, float))]:
        raise TypeError(f"a score is {words[0]!r}: scores are numbers, one for each image")
    if infinite := [score for score in numbers if not math.isfinite(score)]:
        raise ValueError(f"a score is {infinite[0]}: leave out attacks that failed")
    if wrong := [label for label in members if label not in (0, 1)]:
        raise ValueError(f"a label is {wrong[0]!r}: give 1 or True for members, 0 or False for others")
    with tempfile.TemporaryDirectory(prefix="dualmd-") as folder:
        file = Path(folder, "scores.csv")
        with file.open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(["member", "score"])
            rows.writerows([int(member), repr(float(score))] for member, score in zip(members, numbers))
        (found,) = _measured(file, fpr).values()
    return found


def _plain(values: Any) -> list[Any]:
    """A list of an array, a tensor or any sequence."""
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    if any(isinstance(value, list) for value in values):
        raise ValueError("scores and labels have one dimension")
    return [value.item() if hasattr(value, "item") else value for value in values]


def _measured(file: StrPath, fpr: Sequence[float] | float | None) -> dict[str, Measurement]:
    asked = [fpr] if isinstance(fpr, (int, float)) else fpr
    # Joined, as a negative rate would pass for a flag, and the program says what is wrong with it.
    rates = [f"--fpr={','.join(str(float(rate)) for rate in asked)}"] if asked is not None else []
    entries: list[dict[str, Any]] = json.loads(answer(["roc", os.fspath(file), "--json", *rates]))
    return {entry["attack"]: Measurement.of(entry) for entry in entries}

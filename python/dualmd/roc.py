"""`dualmd roc` from Python: AUC, intervals and members found, of any scores."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Union, overload

from .process import answer
from .report_types import Measurement

StrPath = Union[str, "os.PathLike[str]"]


@overload
def roc(scores: StrPath, *, fpr: Sequence[float] | float | str | None = None) -> dict[str, Measurement]: ...


@overload
def roc(scores: Sequence[float] | Any, labels: Sequence[Any] | Any, *, fpr: Sequence[float] | float | str | None = None) -> Measurement: ...


def roc(scores: Any, labels: Any = None, *, fpr: Sequence[float] | float | str | None = None) -> Measurement | dict[str, Measurement]:
    """AUC with its interval, and members found at rates of false alarms, by the code of a report.

        dualmd.roc(scores, labels).auc                     # numbers, higher for what is rather a member; 1 or True of members
        dualmd.roc("scores.csv")["sima"].interval          # a file with columns member, score and perhaps attack: by attack

    `scores` and `labels`: lists, arrays or tensors of one length, of which NaN is refused. `fpr`: one rate or several, or a text of them (default: 0.1, 0.01, 0.001). Intervals
    named `adjusted` are corrected for the number of attacks in the file. Raises `ProgramError` with what is wrong with the scores.
    """
    if isinstance(scores, (str, os.PathLike)):
        if labels is not None:
            raise TypeError("labels are for numbers: a file has them in its column member")
        return _measured(scores, fpr)
    if labels is None:
        raise TypeError("labels are missing: 1 or True for each score of a member, 0 or False for each other one")
    numbers, members = _plain(scores, "scores"), _plain(labels, "labels")
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


def _plain(values: Any, what: str) -> list[Any]:
    """A list of an array, a tensor or any sequence."""
    given = values
    if hasattr(values, "tolist"):
        values = values.tolist()
    elif isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping, Set)):
        values = list(values)
    if not isinstance(values, list):
        raise TypeError(f"{what} is of type {type(given).__name__}: give a list, an array or a tensor with one for each image")
    if any(isinstance(value, list) for value in values):
        raise ValueError("scores and labels have one dimension")
    return [value.item() if hasattr(value, "item") else value for value in values]


def _measured(file: StrPath, fpr: Sequence[float] | float | str | None) -> dict[str, Measurement]:
    asked = None if fpr is None else _rates(fpr)
    # Joined, as a negative rate would pass for a flag, and the program says what is wrong with it.
    rates = [f"--fpr={','.join(map(str, asked))}"] if asked is not None else []
    entries: list[dict[str, Any]] = json.loads(answer(["roc", os.fspath(file), "--json", *rates]))
    return {entry["attack"]: Measurement.of(entry) for entry in entries}


def _rates(fpr: Any) -> list[float]:
    """Rates of false alarms, of a number, a text with commas, or several numbers."""
    fpr = fpr.tolist() if hasattr(fpr, "tolist") else fpr
    given = fpr.split(",") if isinstance(fpr, str) else list(fpr) if isinstance(fpr, Iterable) else [fpr]
    if not given:
        raise ValueError("fpr is empty: give at least one rate, as in fpr=0.01, or leave it out")
    try:
        return [float(rate) for rate in given]
    except (TypeError, ValueError):
        raise TypeError(f"fpr={fpr!r}: give a rate of false alarms or several, as in fpr=0.01 or fpr=[0.1, 0.01]") from None

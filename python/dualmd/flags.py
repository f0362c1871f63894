"""Options of Python as flags of the program."""

from __future__ import annotations

import difflib
import filecmp
import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

# Options that show something and end: the call would come back with nothing done.
_SHOW = {"help": "help() of the function", "version": "dualmd.__version__"}
# How files of weights end.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".ckpt")
COUNTS = frozenset(
    ("batch", "captions", "clique", "clusters", "epochs", "images", "mitigate_steps", "number", "per_prompt")
    + ("rank", "ranks", "search_steps", "seed", "seeds", "steps", "threads")
)
"""Options that are counts. A flag alone, or 4.0, is none."""
# How much alike two names are that may be one misspelt: all flags of the program are less alike to what is theirs in Python.
_ALIKE = 0.81


def flags(options: Mapping[str, Any]) -> list[str]:
    """`known_fraction=0.3` is `--known-fraction 0.3`; True sets a flag, a tuple is several values, a list repeats the flag. None and False leave it out.

    Raises `TypeError` for what no flag can be, such as a dict; for a count that is no whole number; and for `help` and `version`, which do nothing else.
    """
    out: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        value = _plain(value)
        if name in _SHOW and value is not None and value is not False:
            raise TypeError(f"{name} is no option of a call: see {_SHOW[name]}")
        if name in COUNTS:
            count(name, value)
        if value is True:
            out.append(flag)
        elif isinstance(value, tuple):
            out += [flag, *(_text(name, one) for one in value)]
        elif isinstance(value, list):
            for one in value:
                out += _one(flag, _text(name, one))
        elif value is not None and value is not False:
            out += _one(flag, _text(name, value))
    return out


def _one(flag: str, text: str) -> list[str]:
    """A flag with one value. Behind a sign only the joined form is a value."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def count(name: str, value: Any) -> None:
    """Raises `TypeError` for what is no count: a float, True, or a path. Texts of digits, as in a shell, are counts; None is left out."""
    value = _plain(value)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not whole and not (isinstance(value, str) and value.strip().lstrip("+-").isdigit()):
        raise TypeError(f"{name}={value!r}: give a whole number, as in {name}=64")


def misspelt(options: Iterable[str], known: Iterable[str]) -> None:
    """Raises `TypeError` for an option that is all but one of those known. Others are the program's to judge."""
    known = sorted(known)
    for name in options:
        meant = [] if name in known else difflib.get_close_matches(name, known, 1, _ALIKE)
        if meant:
            raise TypeError(f"{name} is no option: did you mean {meant[0]}?")


def apart(first: Any, second: Any, what: str) -> None:
    """Raises `ValueError` where two models of a pair are one: the same file or folder, or weights of the same bytes. Names that are no path are compared as such."""
    one, other = Path(os.fsdecode(first)), Path(os.fsdecode(second))
    if one.resolve() == other.resolve() or _alike(one, other):
        raise ValueError(f"{what}: {one} and {other} are the same model, which saw all its images: name the two that were trained on the two halves")


def _alike(one: Path, other: Path) -> bool:
    """Have two files, or the networks of two folders, the same bytes?"""
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    for part in (".", "unet", "transformer"):
        ones, others = (sorted(file for file in (folder / part).glob("*") if file.suffix in _WEIGHTS) for folder in (one, other))
        if ones or others:
            names = [[file.name for file in files] for files in (ones, others)]
            return names[0] == names[1] and all(filecmp.cmp(a, b, shallow=False) for a, b in zip(ones, others))
    return False


def place(value: Any, what: str) -> str:
    """A path as text. Raises `TypeError` for what is none, such as a list of files."""
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsdecode(value)
    raise TypeError(f"{what} is of type {type(value).__name__}: give a path as text or pathlib.Path, as in {what}='train/'")


def _plain(value: Any) -> Any:
    """A number of numpy as Python's own."""
    return value.item() if not isinstance(value, (str, bytes)) and getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _text(name: str, value: Any) -> str:
    """One value as it is typed."""
    value = _plain(value)
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, (int, float)):
        return str(value)
    raise TypeError(f"{name} is of type {type(value).__name__}: options are texts, paths, numbers, True, or a list of these")

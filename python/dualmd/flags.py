"""Options of Python as flags of the program."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def flags(options: Mapping[str, Any]) -> list[str]:
    """`known_fraction=0.3` is `--known-fraction 0.3`; True sets a flag, a tuple is several values, a list repeats the flag. None and False leave it out.

    Raises `TypeError` for what no flag can be, such as a dict.
    """
    out: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        value = _plain(value)
        if value is True:
            out.append(flag)
        elif isinstance(value, tuple):
            out += [flag, *(_text(name, one) for one in value)]
        elif isinstance(value, list):
            for one in value:
                out += [flag, _text(name, one)]
        elif value is not None and value is not False:
            out += [flag, _text(name, value)]
    return out


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

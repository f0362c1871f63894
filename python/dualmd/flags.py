"""Options of Python as flags of the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flags(options: Mapping[str, Any]) -> list[str]:
    """`known_fraction=0.3` is `--known-fraction 0.3`; True sets a flag, a tuple is several values, a list repeats the flag."""
    out: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            out.append(flag)
        elif isinstance(value, tuple):
            out += [flag, *map(str, value)]
        elif isinstance(value, list):
            for one in value:
                out += [flag, str(one)]
        elif value is not None and value is not False:
            out += [flag, str(value)]
    return out

"""A call of Python as text, for the report: what repeats an audit that no line of a shell can."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

VARIABLE = "DUALMD_CALLED_AS"
"""The variable by which the program is told."""

# A variable may not be of any length.
_LONGEST = 4000


def called(function: str, given: str, options: Mapping[str, Any]) -> str:
    """`dualmd.audit(<DDPMPipeline my-model>, members='train/', ...)`. Options that are None are left out, as they may be in the call."""
    parts = [given] if given else []
    parts += [f"{name}={_value(value)}" for name, value in options.items() if value is not None]
    text = f"dualmd.{function}({', '.join(parts)})"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _value(value: Any) -> str:
    """A plain value as it is typed; of another one that it was given."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(key)}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f"<{type(value).__name__}>"

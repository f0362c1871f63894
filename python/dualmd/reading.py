"""How typed records are made of JSON, and what some of them say beside their fields."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any, TypeVar

R = TypeVar("R", bound="Record")


class Record:
    """A JSON object with named fields. Fields that this version does not know are passed over."""

    @classmethod
    def of(cls: type[R], value: dict[str, Any]) -> R:
        """The record of a JSON object."""
        hints = typing.get_type_hints(cls)
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{key: _made(hints[key], v) for key, v in value.items() if key in known})


def _made(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _made(next(a for a in arguments if a is not type(None)), value)
    if origin is list:
        return [_made(arguments[0], v) for v in value]
    if origin is tuple:
        return tuple(_made(a, v) for a, v in zip(arguments, value))
    if origin is dict:
        return {key: _made(arguments[1], v) for key, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record) and isinstance(value, dict):
        return hint.of(value)
    return value


class ModelReading(Record):
    """What can be asked of a model of a report."""

    results: list[Any]

    @property
    def attacks(self) -> dict[str, Any]:
        """The results by the attacks' names, such as `sima`."""
        return {result.attack: result for result in self.results}


class AttackReading(Record):
    """What can be asked of an attack's result."""

    auc: float | None
    auc_ci: tuple[float, float] | None
    attack: str | None
    status: str | None
    reason: str | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the AUC."""
        return self.auc_ci

    def __str__(self) -> str:
        if self.auc is None or self.auc_ci is None or self.status != "ok":
            return f"{self.attack}: {self.reason or self.status}"
        return f"{self.attack}: AUC {self.auc:.3f} ({self.auc_ci[0]:.3f}-{self.auc_ci[1]:.3f})"

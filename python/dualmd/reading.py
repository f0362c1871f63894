"""How typed records are made of JSON, and what some of them say beside their fields."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .report_types import AttackResult, Measurement

R = TypeVar("R", bound="Record")
T = TypeVar("T")

# Letters of a text that a record's short form shows.
_LETTERS = 60
# What the groups of members are called, as the report has it.
_GROUPS = {"d1": "members of D1", "d2": "members of D2"}


class Record:
    """A JSON object with named fields. Fields that this version does not know are passed over. A field `of` of the file is `of_` here."""

    @classmethod
    def of(cls: type[R], value: dict[str, Any]) -> R:
        """The record of a JSON object. Raises `ValueError` where a field is missing that every version writes."""
        value = {"of_" if key == "of" else key: inner for key, inner in value.items()}
        hints = typing.get_type_hints(cls)
        own = fields(cls)  # type: ignore[arg-type]
        missing = [f.name for f in own if f.default is MISSING and f.default_factory is MISSING and f.name not in value]
        if missing:
            raise ValueError(f"{cls.__name__} without {', '.join(missing)}: it is not of this version of dualmd")
        known = {f.name for f in own}
        return cls(**{key: _made(hints[key], v) for key, v in value.items() if key in known})

    def __repr__(self) -> str:
        """Its plain fields, and of others how much there is: whole records fill a screen."""
        held = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        said = [f"{name}={_short(value)}" for name, value in held if value is not None and value != [] and value != {}]
        return f"{type(self).__name__}({', '.join(said)})"


def _short(value: Any) -> str:
    if isinstance(value, Record):
        return f"<{type(value).__name__}>"
    if isinstance(value, (list, dict)):
        return f"<{len(value)}>"
    if isinstance(value, str) and len(value) > _LETTERS:
        return repr(value[:_LETTERS] + "...")
    return repr(value)


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
        # JSON has texts alone as keys.
        return {int(key) if arguments[0] is int else key: _made(arguments[1], v) for key, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record) and isinstance(value, dict):
        return hint.of(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _numbers(auc: float, interval: tuple[float, float]) -> str:
    return f"AUC {auc:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


class Named(dict[str, T]):
    """Values by name. A name that is not there is refused with those that are."""

    def __missing__(self, key: str) -> T:
        raise KeyError(f"{key!r}: there are {', '.join(map(repr, self)) or 'none'}")


class ModelReading(Record):
    """What can be asked of a model of a report."""

    if TYPE_CHECKING:
        name: str
        title: str
        primary: str
        results: list[AttackResult]

    @property
    def attacks(self) -> dict[str, AttackResult]:
        """The results by the attacks' names, such as `sima`, as report.json has them: the numbers of a result are of all members.
        Of a teacher, which was trained on half of them, see `shown`."""
        return Named({result.attack: result for result in self.results})

    @property
    def shown(self) -> dict[str, Measurement]:
        """What the report shows of each attack that gave a result, by name: the numbers of the members that this model was trained on
        (`primary`: of a teacher its own half, of other models all)."""
        found = ((result.attack, result.view(self.primary)) for result in self.results if result.status == "ok")
        return Named({attack: measured for attack, measured in found if measured is not None})

    @property
    def failed(self) -> dict[str, str]:
        """The attacks that gave no result, by name, and why."""
        return {result.attack: result.reason or result.status for result in self.results if result.status != "ok"}

    def __str__(self) -> str:
        """A line for each attack, with the numbers that the report shows."""
        about = f", {_GROUPS[self.primary]}" if self.primary in _GROUPS else ""
        lines = [f"  {attack}: {_numbers(of.auc, of.auc_ci)}" for attack, of in self.shown.items()]
        lines += [f"  {attack}: no result ({why})" for attack, why in self.failed.items()]
        return "\n".join([f"{self.name} ({self.title}){about}", *lines])


class AttackReading(Record):
    """What can be asked of an attack's result."""

    if TYPE_CHECKING:
        auc: float | None
        auc_ci: tuple[float, float] | None
        attack: str
        status: str
        reason: str | None
        d1: Measurement | None
        d2: Measurement | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the AUC over all members; None where there is no result."""
        return self.auc_ci

    def view(self, members: str) -> Measurement | None:
        """The numbers of a group of members: `pooled` (all), `d1` or `d2`. None where the attack has none of it."""
        if members in _GROUPS:
            return self.d1 if members == "d1" else self.d2
        if members != "pooled":
            raise ValueError(f"members={members!r}: it is pooled, d1 or d2")
        if self.auc is None or self.auc_ci is None:
            return None
        from .report_types import Measurement

        return Measurement(**{f.name: getattr(self, f.name) for f in fields(Measurement)})

    def __str__(self) -> str:
        if self.auc is None or self.auc_ci is None or self.status != "ok":
            return f"{self.attack}: {self.reason or self.status}"
        return f"{self.attack}: {_numbers(self.auc, self.auc_ci)}"


class MeasurementReading(Record):
    """What can be asked of a measurement."""

    if TYPE_CHECKING:
        auc: float
        auc_ci: tuple[float, float]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the AUC."""
        return self.auc_ci

    def __str__(self) -> str:
        return _numbers(self.auc, self.auc_ci)


class ModelVerdictReading(Record):
    """What can be asked of the verdict on a model."""

    if TYPE_CHECKING:
        model: str

    @property
    def name(self) -> str:
        """The model's name, as that of a model of the report: the same as `model`."""
        return self.model


class VerdictReading(Record):
    """What can be asked of a verdict."""

    if TYPE_CHECKING:
        void: str | None
        summary: list[str]

    def __str__(self) -> str:
        """In words: the summary, or why there is none."""
        return f"The report is void: {self.void}" if self.void else "\n".join(self.summary)

"""Progress in a notebook: one line below the cell that changes, where a terminal has bars."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

# Commands that work for long and tell how far they are.
_LONG = ("attack", "audit", "demo", "extract", "lira", "memorisation", "metrics", "run", "sample", "train", "tune")
# What is counted in a stage; in others it is images.
_UNITS = {"train": "step", "attack": "score"}
# Seconds between two states of the line, and letters that it has at most.
_EVERY, _WIDTH = 0.25, 150


def live(arguments: Sequence[Any], quiet: bool) -> Live | None:
    """The line of a command in a notebook; None where there is none. The command is to be told `Live.FLAGS`."""
    notebook = type(sys.stderr).__module__.partition(".")[0] == "ipykernel"
    told = any(isinstance(one, str) and (one in ("--", "-q", "--quiet") or one.startswith("--log-format")) for one in arguments)
    return Live() if notebook and not quiet and not told and arguments and arguments[0] in _LONG else None


class Live:
    """A line that is written over as lines of JSON come in."""

    FLAGS = ("--log-format", "json")

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.working = ""
        self.width = 0
        self.last = -math.inf

    def took(self, line: str) -> bool:
        """Shows progress; whether the line was nothing else."""
        if not line.startswith("{"):
            return False
        try:
            event = json.loads(line)
        except ValueError:
            return False
        kind = event.get("event")
        if kind not in ("progress", "working", "finished"):
            self.working = ""
            # A result is said in words as well.
            return bool(kind == "result")
        title = ", ".join(filter(None, [event.get("model"), event.get("task")]))
        if kind == "working":
            # Of what is counted, how long ago it was.
            seconds = event.get("seconds", 0)
            self.working = f"last counted {seconds} s ago" if title in self.shown else f"{title}: at work for {seconds} s"
            self._write(self._line())
            return True
        self.working = ""
        if kind == "finished":
            # And whatever of it did not get to its end.
            self.shown = {name: text for name, text in self.shown.items() if name.partition(", ")[0] != title}
            return False
        ends = event.get("step", 0) >= event.get("total", 0)
        if ends:
            self.shown.pop(title, None)
        else:
            self.shown[title] = f"{title}: {_state(event)}"
        now = time.monotonic()
        if ends or now - self.last >= _EVERY:
            self.last = now
            self._write(self._line())
        return True

    def say(self, text: str) -> None:
        """Writes a line that stays, and the changing one below it."""
        self.clear()
        sys.stderr.write(text)
        self._write(self._line())

    def clear(self) -> None:
        """Takes the changing line away."""
        self._write("")

    def _line(self) -> str:
        return "; ".join([*self.shown.values(), *filter(None, [self.working])])[:_WIDTH]

    def _write(self, text: str) -> None:
        if self.width:
            sys.stderr.write(f"\r{' ' * self.width}\r")
        sys.stderr.write(text)
        sys.stderr.flush()
        self.width = len(text)


def _state(event: dict[str, Any]) -> str:
    """As in `score 40/120, 25 images/s, about 90 s left in all`; `at least` where not all is counted."""
    said = [f"{_UNITS.get(event.get('stage', ''), 'image')} {event['step']}/{event['total']}"]
    if event.get("loss") is not None:
        said.append(f"loss {event['loss']:.4f}")
    if event.get("images_per_second"):
        said.append(f"{event['images_per_second']:.3g} images/s")
    left = event.get("run_seconds_left")
    if left is not None:
        about = "at least" if event.get("run_left_without") else "about"
        said.append(f"{about} {left // 60} min left in all" if left >= 120 else f"{about} {left} s left in all")
    return ", ".join(said)

"""The program as a child process of Python."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Union

from .engine import find
from .launcher import PROGRAM, environment, variables
from .live import live

StrPath = Union[str, "os.PathLike[str]"]

FOUND, VOID = 3, 4
"""Exit statuses of `fail_on`."""

# How the program begins a warning, and a note on what it made of the images (resized, made grey), which changes the numbers.
_WARNINGS = ("warning: ", "note: ")
# Most warnings that an exception repeats.
_REPEATED = 50
# What an error says whose reasons are warnings before it.
_ABOVE = "the reasons are above"
# What an error about arguments says to whoever typed them: the usage, to the next empty line, and where to read on.
_TYPED = re.compile(r"\n+Usage: .*?(?=\n\n|\Z)|\n+For more information, try [^\n]*", re.DOTALL)
_STOPPING = "finishing the step; Ctrl-C again stops at once"
# What a status means that no line of the program says.
_MEANS = {
    FOUND: "the report has a finding that --fail-on names",
    VOID: "the report is void, so nothing that --fail-on names can be ruled out",
    -signal.SIGKILL: "the program was killed, as systems do when memory runs out",
}


class ProgramError(RuntimeError):
    """The program ended with an error; the text is its own last words.

    status: its exit status: 1 failure, 2 wrong arguments, 3 and 4 as `--fail-on` says, 130 stopped.
    output: what it wrote on its standard output before, where that was asked for.
    warnings: what it had warned of and noted before, such as attacks that failed.
    """

    def __init__(self, status: int, words: str, output: str = "", warnings: Sequence[str] = ()) -> None:
        super().__init__(words or f"dualmd ended with status {status}")
        self.status = status
        self.output = output
        self.warnings = list(warnings)

    def __reduce__(self) -> tuple[Any, ...]:
        # By what it was made with: other processes hand it on.
        return type(self), (self.status, str(self), self.output, self.warnings)


@dataclass
class Told:
    """What the program said beside what was shown as it came.

    unseen: warnings and notes that nobody saw, since it was quiet.
    output: what it wrote on its standard output, where that was asked for.
    """

    unseen: list[str] = field(default_factory=list)
    output: str = ""


def call(arguments: Sequence[StrPath | float], quiet: bool = False) -> None:
    """Runs the program, with what it says on `sys.stderr` as it comes (in a notebook: below the cell, with progress as one line that changes). `quiet`: of that its warnings alone, as Python's.

        dualmd.call(["sample", "my-model/", "-n", 64, "-o", "images/"])     # any command; paths and numbers may be given as they are

    Ctrl-C stops it as in a shell: it finishes its step and saves it, and the same call goes on later; a second Ctrl-C stops at once. Raises
    `ProgramError` if it fails, `NoEngine` where there is no libtorch for it.
    """
    if isinstance(arguments, (str, bytes)):
        raise TypeError(f"arguments={arguments!r} is one text: give a list of them, as in dualmd.call(['list', 'attacks'])")
    for line in told(arguments, quiet, {}):
        warnings.warn(line, stacklevel=2)


def told(arguments: Sequence[Any], quiet: bool, more: Mapping[str, str]) -> list[str]:
    """As `call`, with more variables of the program's environment. Gives the warnings that nobody saw: the program's, where it was quiet."""
    return watched(arguments, quiet, surroundings(more)).unseen


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that computes, with more variables. Raises `NoEngine`."""
    return {**environment(find(), dict(os.environ)), **more}


def watched(
    arguments: Sequence[Any], quiet: bool, given: Mapping[str, str], hear: Callable[[str], None] | None = None, output: bool = False
) -> Told:
    """Runs the program with the environment `given` to its end. `hear` is called with each line that it says. With `output` its standard
    output is no part of that, and of what is given back."""
    found = Told()
    shown = live(arguments, quiet)
    if shown is not None:
        arguments = [*arguments, *shown.FLAGS]
    with contextlib.ExitStack() as until:
        kept = until.enter_context(tempfile.TemporaryFile()) if output else None
        child = _started(arguments, given, quiet, kept)
        stream = child.stderr if child.stderr is not None else child.stdout
        assert stream is not None
        last: collections.deque[str] = collections.deque(maxlen=20)
        warned: collections.deque[str] = collections.deque(maxlen=_REPEATED)
        stopped = at_once = False
        with stream:
            while True:
                try:
                    for line in stream:
                        if shown is not None and shown.took(line):
                            continue
                        said = _said(line)
                        last.append(said)
                        if hear is not None:
                            hear(said.rstrip("\n"))
                        warning = _warning(said)
                        if warning is not None:
                            warned.append(warning)
                        if shown is not None:
                            shown.say(said)
                        elif not quiet:
                            sys.stderr.write(line)
                        elif warning is not None:
                            found.unseen.append(warning)
                    child.wait()
                    if shown is not None:
                        shown.clear()
                    break
                except KeyboardInterrupt:
                    child.send_signal(signal.SIGKILL if stopped else signal.SIGINT)
                    if not stopped and not quiet:
                        print(_STOPPING, file=sys.stderr, flush=True)
                    at_once, stopped = stopped, True
                except BaseException:
                    child.kill()
                    child.wait()
                    raise
        if stopped:
            raise KeyboardInterrupt("stopped at once, by a second Ctrl-C" if at_once else "stopped by Ctrl-C")
        if kept is not None:
            kept.seek(0)
            found.output = kept.read().decode("utf-8", "replace")
        if child.returncode:
            raise ProgramError(child.returncode, _words(child.returncode, list(last), list(warned)), found.output, list(warned))
    return found


def _started(arguments: Sequence[Any], given: Mapping[str, str], quiet: bool, kept: IO[bytes] | None) -> subprocess.Popen[str]:
    """The program as a child, whose standard error is read; and its standard output too, where it is not kept or left out."""
    apart = quiet or kept is not None
    try:
        return subprocess.Popen(
            [os.fspath(PROGRAM), *map(_argument, arguments)],
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=kept if kept is not None else subprocess.DEVNULL if quiet else subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C reaches Python alone, which passes it on once: the program takes a second one as "at once".
            start_new_session=True,
        )
    except OSError as error:
        raise _unstartable(error) from error


def _argument(value: Any) -> str:
    """An argument as it is typed."""
    return os.fsdecode(value) if isinstance(value, (str, bytes, os.PathLike)) else str(value)


def _unstartable(error: OSError) -> ProgramError:
    return ProgramError(1, f"cannot start {PROGRAM}: {error}; install dualmd again")


def answer(arguments: Sequence[Any]) -> str:
    """What the program writes on its standard output; nothing else is shown. Raises `ProgramError`; for what computes nothing no libtorch is needed."""
    return watched(arguments, True, variables(), output=True).output


def _said(line: str) -> str:
    """A line for people: of one that is JSON (`log_format="json"`) what it would be without."""
    if not line.startswith("{"):
        return line
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if "text" in event:
        error = event.get("event") == "error" and not event["text"].startswith("error:")
        return f"{'error: ' if error else ''}{event['text']}\n"
    return f"{event.get('model') or event.get('task')} {event.get('note')}\n" if event.get("event") == "finished" else line


def _warning(said: str) -> str | None:
    """The text of a warning or a note; None of any other line."""
    for beginning in _WARNINGS:
        if said.startswith(beginning):
            return said.removeprefix(beginning).strip()
    return None


def _words(status: int, lines: list[str], warned: Sequence[str] = ()) -> str:
    """Why it ended: its own error, or what its status means. Progress says nothing of that. An error whose reasons are warnings before it has them above."""
    errors = [n for n, line in enumerate(lines) if line.startswith("error:")]
    if status in _MEANS and not errors:
        return _MEANS[status]
    words = _TYPED.sub("", "".join(lines[errors[-1] if errors else 0 :])).strip()
    return "\n".join([*dict.fromkeys(warned), words]) if _ABOVE in words else words

"""The program as a child process of Python."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Union

from .engine import find
from .launcher import PROGRAM, environment, variables

StrPath = Union[str, "os.PathLike[str]"]

FOUND, VOID = 3, 4
"""Exit statuses of `fail_on`."""

# How the program begins a warning.
_WARNING = "warning: "
# What a status means that no line of the program says.
_MEANS = {
    FOUND: "the report has a finding that --fail-on names",
    VOID: "the report is void, so nothing that --fail-on names can be ruled out",
    -signal.SIGKILL: "the program was killed, as systems do when memory runs out",
}


class ProgramError(RuntimeError):
    """The program ended with an error; the text is its own last words.

    status: its exit status: 1 failure, 2 wrong arguments, 3 and 4 as `--fail-on` says, 130 stopped.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words or f"dualmd ended with status {status}")
        self.status = status


def call(arguments: Sequence[StrPath], quiet: bool = False) -> None:
    """Runs the program, with what it says on `sys.stderr` as it comes (in a notebook: below the cell). `quiet`: of that its warnings alone, as Python's.

    Ctrl-C stops it as in a shell: it finishes its step and saves it, and the same call goes on later. Raises `ProgramError`
    if it fails, `NoEngine` where there is no libtorch for it.
    """
    for line in told(arguments, quiet, {}):
        warnings.warn(line, stacklevel=2)


def told(arguments: Sequence[StrPath], quiet: bool, more: Mapping[str, str]) -> list[str]:
    """As `call`, with more variables of the program's environment. Gives the warnings that nobody saw: the program's, where it was quiet."""
    unseen: list[str] = []
    child = subprocess.Popen(
        [PROGRAM, *arguments],
        env={**environment(find(), dict(os.environ)), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else subprocess.STDOUT,
        text=True,
        errors="replace",
        # Ctrl-C reaches Python alone, which passes it on once: the program takes a second one as "at once".
        start_new_session=True,
    )
    stream = child.stderr if quiet else child.stdout
    assert stream is not None
    last: collections.deque[str] = collections.deque(maxlen=20)
    stopped = False
    with stream:
        while True:
            try:
                for line in stream:
                    last.append(line)
                    if not quiet:
                        sys.stderr.write(line)
                    elif line.startswith(_WARNING):
                        unseen.append(line.removeprefix(_WARNING).strip())
                child.wait()
                break
            except KeyboardInterrupt:
                child.send_signal(signal.SIGKILL if stopped else signal.SIGINT)
                stopped = True
            except BaseException:
                child.kill()
                child.wait()
                raise
    if stopped:
        raise KeyboardInterrupt
    if child.returncode:
        raise ProgramError(child.returncode, _words(child.returncode, list(last)))
    return unseen


def answer(arguments: Sequence[StrPath]) -> str:
    """What the program writes on its standard output. Raises `ProgramError`; for what computes nothing no libtorch is needed."""
    done = subprocess.run([PROGRAM, *arguments], env=variables(), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise ProgramError(done.returncode, _words(done.returncode, done.stderr.splitlines(keepends=True)))
    return done.stdout


def _words(status: int, lines: list[str]) -> str:
    """Why it ended: its own error, or what its status means. Progress says nothing of that."""
    errors = [n for n, line in enumerate(lines) if line.startswith("error:")]
    if status in _MEANS and not errors:
        return _MEANS[status]
    return "".join(lines[errors[-1] if errors else 0 :]).strip()

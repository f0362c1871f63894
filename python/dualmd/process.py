"""The program as a child process of Python."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from .engine import find
from .launcher import PROGRAM, environment


class ProgramError(RuntimeError):
    """The program ended with an error; the text is its own last words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words or f"dualmd ended with status {status}")
        self.status = status
        """Exit status: 1 failure, 2 wrong arguments, 3 and 4 as `--fail-on` says, 130 stopped."""


def call(arguments: Sequence[str | os.PathLike[str]], quiet: bool = False) -> None:
    """Runs the program, with what it says on `sys.stderr` as it comes (in a notebook: below the cell).

    Ctrl-C stops it as in a shell: it finishes its step and saves it, and the same call goes on later. Raises `ProgramError`
    if it fails, `NoEngine` where there is no libtorch for it.
    """
    child = subprocess.Popen(
        [PROGRAM, *arguments],
        env=environment(find(), dict(os.environ)),
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
        errors = [n for n, line in enumerate(last) if line.startswith("error:")]
        raise ProgramError(child.returncode, "".join(list(last)[errors[-1] if errors else 0 :]).strip())

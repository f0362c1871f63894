"""Starts the program with the libtorch that was found.

`bin/` has two files: `dualmd`, which is started, and `dualmd-engine`, which it becomes for what computes.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from .engine import Engine, NoEngine, find, setup

__version__ = version("dualmd")

PROGRAM = Path(__file__).parent / "bin" / "dualmd"

# What libraries read when they are loaded (crates/front/src/environment.rs says why).
_EARLY = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
}

_SETUP_HELP = """\
Fetches the libtorch that this version of dualmd runs on (for the CPU) into the cache folder.

Usage: dualmd setup

It is used where the Python environment has no torch of the right version, and never touches one that is there. For a GPU install
dualmd[torch] into an environment of its own instead (pipx install 'dualmd[torch]').
DUALMD_CACHE names another folder; DUALMD_LIBTORCH a libtorch of your own.
"""


def environment(engine: Engine, given: "dict[str, str]") -> "dict[str, str]":
    """The variables of the program's process."""
    libraries = [str(engine.libraries), *filter(None, [given.get("LD_LIBRARY_PATH")])]
    path = os.pathsep.join(libraries)
    # What the program starts for --denoiser has a torch of its own, and gets its libraries back.
    outer = given.get("DUALMD_OUTER_LIBRARY_PATH", given.get("LD_LIBRARY_PATH", ""))
    # And --denoiser model.onnx is served by this package.
    here = {"DUALMD_PYTHON": given.get("DUALMD_PYTHON", sys.executable), "DUALMD_OUTER_LIBRARY_PATH": outer}
    return {**_EARLY, **given, "DUALMD_SETTLED": "1", "LD_LIBRARY_PATH": path, **here}


def main() -> int:
    """The command `dualmd`: becomes the program, so that signals and the exit status are its own."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["setup"]:
            return _setup(arguments[1:])
        os.execve(PROGRAM, [str(PROGRAM), *arguments], variables())
    except NoEngine as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: cannot start {PROGRAM}: {error}; install dualmd again", file=sys.stderr)
        return 1


def variables() -> "dict[str, str]":
    """Those of the program. Where there is no libtorch, it does what needs none, such as reports, and says why it does nothing else."""
    given = dict(os.environ)
    try:
        return environment(find(), given)
    except NoEngine as error:
        return {**given, "DUALMD_NO_ENGINE": str(error)}


def _setup(arguments: "list[str]") -> int:
    if arguments in (["--help"], ["-h"]):
        print(_SETUP_HELP, end="")
        return 0
    if arguments:
        print(f"error: dualmd setup takes no {arguments[0]} (see dualmd setup --help)", file=sys.stderr)
        return 2
    print(f"libtorch {setup().described}", file=sys.stderr)
    return 0

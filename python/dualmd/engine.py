"""Which libtorch the program runs on: that of this environment, or one in the cache folder."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What `cargo xtask` pins: the version, and the files of the package index that it comes in.
_PINS: "dict[str, Any]" = json.loads((Path(__file__).parent / "engine.json").read_text())
_VERSION: str = _PINS["version"]
_SERIES = ".".join(_VERSION.split(".")[:2])
# As `cargo xtask setup` calls its folder, which holds the headers too.
_STAMP = "dualmd-complete.json"
_LIBRARY = "libtorch_cpu.so"


class NoEngine(RuntimeError):
    """There is no libtorch that the program can run on. The text says how to get one."""


@dataclass(frozen=True)
class Engine:
    """A libtorch.

    libraries: the folder of its shared libraries.
    described: version and place, for people.
    """

    libraries: Path
    described: str


def cache() -> Path:
    """The folder of what is kept between calls: `DUALMD_CACHE`, or `dualmd` in the user's cache folder."""
    if folder := os.environ.get("DUALMD_CACHE"):
        return Path(folder).absolute()
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder).absolute() / "dualmd"
    return Path.home() / ".cache" / "dualmd"


def _folders() -> "tuple[Path, Path]":
    """Of `dualmd setup`, and of `cargo xtask setup`."""
    return cache() / f"libtorch-{_VERSION}-cpu-run", cache() / f"libtorch-{_VERSION}-cpu"


# Where a libtorch says its version: the archive of one, Python's torch, and the headers of both.
_STATED = {
    "build-version": r"^([0-9][^\s]*)",
    "version.py": r"__version__\s*=\s*['\"]([^'\"]+)",
    "include/torch/csrc/api/include/torch/version.h": r"#define\s+TORCH_VERSION\s+\"([^\"]+)",
    "include/torch/version.h": r"#define\s+TORCH_VERSION\s+\"([^\"]+)",
}


def _version(folder: Path) -> "str | None":
    """The version of the libtorch in a folder; None where it does not say."""
    for name, pattern in _STATED.items():
        with contextlib.suppress(OSError):
            if found := re.search(pattern, (folder / name).read_text(errors="replace")):
                return found.group(1)
    return None


def _torch_here() -> "tuple[Path, str] | None":
    """Folder and version of the torch of this environment, without importing it."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    version = _version(folder)
    return (folder, version) if version else None


def find() -> Engine:
    """The libtorch to use: `DUALMD_LIBTORCH`, the torch of this environment, or what `dualmd setup` fetched.

    Raises `NoEngine` if there is none of the right version.
    """
    if given := os.environ.get("DUALMD_LIBTORCH"):
        folder = Path(given).absolute()
        if not (folder / "lib" / _LIBRARY).is_file():
            raise NoEngine(f"DUALMD_LIBTORCH={given} has no lib/{_LIBRARY}: name the folder of a libtorch {_SERIES}, or unset it")
        stated = _version(folder)
        if stated is not None and not stated.startswith(f"{_SERIES}."):
            raise NoEngine(f"DUALMD_LIBTORCH={given} is libtorch {stated}: dualmd needs {_SERIES}")
        return Engine(folder / "lib", f"of DUALMD_LIBTORCH: {folder}")
    here = _torch_here()
    if here and here[1].startswith(f"{_SERIES}.") and (here[0] / "lib" / _LIBRARY).is_file():
        return Engine(here[0] / "lib", f"{here[1]}: {here[0]}")
    for folder in _folders():
        if (folder / _STAMP).is_file() and (folder / "lib" / _LIBRARY).is_file():
            return Engine(folder / "lib", f"{_VERSION}: {folder}")
    there = f"torch {here[1]} is installed here, and this dualmd needs {_SERIES}" if here else f"dualmd needs libtorch {_SERIES}"
    raise NoEngine(
        f"{there}: run `dualmd setup` (fetches it into {cache()} and leaves your torch alone), "
        f"or install 'dualmd[torch]' into an environment of its own (pipx install 'dualmd[torch]')"
    )


def setup() -> Engine:
    """Fetches the pinned libtorch (for the CPU) into the cache folder, if it is not there, and returns it.

    Raises `NoEngine` if that fails.
    """
    folder = _folders()[0]
    if not (folder / _STAMP).is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _scratch(folder.parent) as scratch:
                fresh = scratch / "engine"
                for wheel in _PINS["wheels"]:
                    _take(_fetch(wheel, scratch), wheel, fresh)
                # Written last: a folder without it was never finished.
                (fresh / _STAMP).write_text(json.dumps([w["sha256"] for w in _PINS["wheels"]]))
                # Another set-up may have been quicker; then its folder stays.
                with contextlib.suppress(OSError):
                    fresh.rename(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise NoEngine(f"cannot fill {folder}: {error}; DUALMD_CACHE names another folder") from error
    if not (folder / _STAMP).is_file():
        raise NoEngine(f"{folder} is in the way and not complete: delete it")
    return Engine(folder / "lib", f"{_VERSION}: {folder}")


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A folder that goes in the end. It is named by the process, so that what a killed set-up left can be told and goes too."""
    prefix = ".unpacking-"
    for left in cache.glob(f"{prefix}*"):
        if not Path("/proc", left.name.removeprefix(prefix)).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = cache / f"{prefix}{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(wheel: "dict[str, Any]", scratch: Path) -> Path:
    """The pinned file: where `cargo xtask` keeps it, or through pip, which knows the user's index, proxy and certificates."""
    kept: Path = cache() / "downloads" / wheel["file"]
    if kept.is_file() and _sha256(kept) == wheel["sha256"]:
        return kept
    print(f"downloading {wheel['file']}", file=sys.stderr)
    # Three signs: a mirror's 2.13.0+cpu would be "equal" by two, and is another file.
    requirement = f"{wheel['name']}==={wheel['version']}"
    command = [sys.executable, "-m", "pip", "download", *_PINS["pip"], "--dest", str(scratch), requirement]
    if subprocess.run(command).returncode:
        raise NoEngine(
            f"pip could not fetch {requirement} (its words are above): check the network and pip's index settings; an environment "
            "without pip gets it by `python -m ensurepip`, or installs 'dualmd[torch]'"
        )
    file: Path = scratch / wheel["file"]
    if not file.is_file() or _sha256(file) != wheel["sha256"]:
        raise NoEngine(f"what the index gave for {requirement} is not {wheel['file']} with its pinned checksum; it was not used")
    return file


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _take(file: Path, wheel: "dict[str, Any]", folder: Path) -> None:
    """Unpacks the libraries of a wheel."""
    with zipfile.ZipFile(file) as archive:
        for source, name in wheel["take"]:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(source) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)

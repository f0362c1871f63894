"""Networks in the ONNX format as denoisers, asked through ONNX Runtime.

    dualmd.audit("model.onnx", members="train/", nonmembers="heldout/")
    dualmd.audit(dualmd.convert.onnx("model.onnx", schedule=scheduler, prediction="v"), members="train/", nonmembers="heldout/")
    dualmd audit --denoiser model.onnx --members train/ --nonmembers heldout/ -o audit/

onnxruntime and numpy are imported when a file is opened.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard, Union

from .denoiser import Denoiser, check_sides, denoiser_of
from .networks import NotKnown

StrPath = Union[str, "os.PathLike[str]"]

# Numbers that inputs may be of, as numpy calls them.
_KINDS = {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(double)": "f8", "tensor(int64)": "i8", "tensor(int32)": "i4"}


def is_onnx(model: Any) -> TypeGuard[StrPath]:
    """Is it the path of an ONNX file?"""
    return isinstance(model, (str, os.PathLike)) and os.fsdecode(model).lower().endswith(".onnx")


def onnx(file: StrPath, *, shape: Sequence[int] | str | None = None, device: Any = None, **settings: Any) -> Denoiser:
    """The denoiser in an ONNX file: a network of images or latents [B, C, H, W] and timesteps (sigma, s: see `prediction`) [B] or [1].

    `shape`: [C, H, W], or "C,H,W" as in a shell, where the file leaves them open. `device`: "cuda" or "cuda:1", where this onnxruntime has CUDA; None: the CPU. `settings`: fields of
    `Denoiser`: `schedule=scheduler`, `prediction="v"`, `clip=1.0`, ... Its first output is the prediction; of twice as many channels the second half, a learnt
    variance, is left. A batch that is fixed in the file is filled up. Attacks on gradients cannot be run.

    Raises `NotKnown` for a file that takes something else, `ModuleNotFoundError` where there is no onnxruntime.
    """
    path = Path(file)
    if isinstance(shape, str):
        shape = [int(side) if side.strip().isdecimal() else 0 for side in shape.split(",")]
    if shape is not None:
        check_sides("shape", shape)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: name an ONNX file")
    session = _session(path, device)
    inputs = session.get_inputs()
    images = [one for one in inputs if len(one.shape or ()) == 4]
    levels = [one for one in inputs if len(one.shape or ()) < 2]
    if len(inputs) != 2 or len(images) != 1 or len(levels) != 1:
        takes = ", ".join(f"{one.name} {list(one.shape or ())}" for one in inputs)
        raise NotKnown(
            f"{path} takes {takes}, and a denoiser takes images [B, C, H, W] and timesteps [B]: ask it by a callable, "
            "dualmd.audit(lambda x, t, c: session.run(...)[0], arrays='numpy', shape=..., ...)"
        )
    (image,), (level,) = images, levels
    for one in inputs:
        if one.type not in _KINDS:
            raise NotKnown(f"{path}: {one.name} is of {one.type}, and must be one of {', '.join(_KINDS)}")
    sides = list(image.shape[1:])
    if shape is None:
        if not all(isinstance(side, int) for side in sides):
            raise NotKnown(f"{path} leaves open which images it takes ({sides}): pass shape=(channels, height, width), in the shell --shape C,H,W")
        shape = sides
    elif any(isinstance(fixed, int) and fixed != side for fixed, side in zip(sides, shape)):
        raise NotKnown(f"{path} takes images {sides}, and shape={tuple(shape)}")
    size = image.shape[0] if isinstance(image.shape[0], int) else None
    # A level for all images, where the batch has not that length by itself.
    one_level = list(level.shape or ()) in ([], [1]) and size != 1
    output = session.get_outputs()[0].name

    def ask(x: Any, at: Any, texts: list[str] | None) -> Any:
        numpy = importlib.import_module("numpy")
        answer = numpy.empty(x.shape, "f4")
        for rows in groups(at.tolist(), size, one_level):
            asked = rows + [rows[-1]] * ((size or 0) - len(rows))
            told = at[asked[:1] if one_level else asked].astype(_KINDS[level.type]).reshape(() if not level.shape else (-1,))
            (made,) = session.run([output], {image.name: x[asked].astype(_KINDS[image.type]), level.name: told})
            if made.ndim != 4 or made.shape[2:] != x.shape[2:] or made.shape[1] not in (x.shape[1], 2 * x.shape[1]):
                raise ValueError(f"{path} answers {list(made.shape)} to images {[len(asked), *x.shape[1:]]}")
            answer[rows] = made[: len(rows), : x.shape[1]]
        return answer

    made = denoiser_of(ask, shape=tuple(map(int, shape)), arrays="numpy", **{"name": path.name[:200], **settings})
    if _KINDS[level.type].startswith("i") and made.prediction in ("flow", "edm"):
        raise NotKnown(f"{path}: {level.name} is of {level.type}, and prediction={made.prediction!r} has levels that are no whole numbers")
    return made


def groups(levels: Sequence[float], size: int | None, one_level: bool) -> list[list[int]]:
    """Rows that a network is asked about at a time: of one level, where it takes but one, and at most `size`."""
    alike: dict[float, list[int]] = {}
    for row, level in enumerate(levels):
        alike.setdefault(level if one_level else 0.0, []).append(row)
    most = size or max(len(levels), 1)
    return [rows[first : first + most] for rows in alike.values() for first in range(0, len(rows), most)]


def _session(path: Path, device: Any) -> Any:
    """A session of ONNX Runtime."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise ModuleNotFoundError(
            f"opening {path.name} needs ONNX Runtime, which this environment has not: pip install onnxruntime (onnxruntime-gpu for a GPU)", name="onnxruntime"
        ) from None
    providers: list[Any] = ["CPUExecutionProvider"]
    if device is not None and str(device) != "cpu":
        kind, _, number = str(device).partition(":")
        there = runtime.get_available_providers()
        if kind != "cuda" or (number and not number.isdecimal()) or "CUDAExecutionProvider" not in there:
            raise NotKnown(f"device={device!r}: give 'cuda' or 'cuda:N', and an onnxruntime that has CUDA (pip install onnxruntime-gpu); this one has {', '.join(there)}")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    options = runtime.SessionOptions()
    # Else its threads wait for the next question by spinning, while the program computes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(os.fspath(path), options, providers=providers)
    except Exception as error:
        # Of kinds of its own.
        words = str(error).strip().splitlines()[:1]
        raise NotKnown(f"{path} is no network that ONNX Runtime opens ({': '.join([type(error).__name__, *words])[:300]})") from error

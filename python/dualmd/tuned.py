"""The pair of adapters that `dualmd tune` trains, as a pipeline of diffusers.

    pipe = dualmd.tuned_pair("out/")                        # the run's folder
    pipe("a red chair", num_inference_steps=25).images[0]

Whoever has the two files can do it by hand: one base, two LoRAs, and `dualmd.DualMDPipeline`, which lets them take turns.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any, Union

from .defense import DualMDPipeline
from .flags import apart, place

StrPath = Union[str, "os.PathLike[str]"]

_CONFIG, _FILE = "adapter_config.json", "pytorch_lora_weights.safetensors"
_NAMES = ("first", "second")


def tuned_pair(first: StrPath, second: StrPath | None = None, *, base: Any = None, **options: Any) -> Any:
    """A pipeline of diffusers over one base in which two adapters take turns from step to step.

    `first`: the folder of a run of `dualmd tune` (its pair is `models/teacher-1` and `models/teacher-2`), or the first adapter's folder
    or file, and `second` the other one's. `base`: a pipeline that is loaded already, or what `from_pretrained` takes; without it the
    folder that the first adapter names. `options` go to `from_pretrained` (`torch_dtype=...`). The sampler becomes DDIM.

    It protects images that are given out, not the adapters: each of them gives away the half that it was trained on.
    """
    if second is None:
        models = Path(place(first, "first")) / "models"
        places = [models / "teacher-1", models / "teacher-2"]
    else:
        places = [Path(place(first, "first")), Path(place(second, "second"))]
    files = [_file(place) for place in places]
    apart(files[0], files[1], "a pair")
    diffusers = importlib.import_module("diffusers")
    pipe = base
    if base is None or isinstance(base, (str, os.PathLike)):
        pipe = diffusers.DiffusionPipeline.from_pretrained(base or _base(files[0].parent), **options)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    for name, file in zip(_NAMES, files):
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name)
    return DualMDPipeline(pipe, adapters=_NAMES)


def _file(place: Path) -> Path:
    """The file of an adapter, or that of its folder."""
    file = place / _FILE if place.is_dir() else place
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: name the folder of a run of dualmd tune, or two adapters")
    return file


def _base(folder: Path) -> str:
    """The base that an adapter's folder names: as seen from there, or from here, or by its name on the hub."""
    config = folder / _CONFIG
    named = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path") if config.is_file() else None
    if not named:
        raise ValueError(f"{folder} names no base ({_CONFIG}): give it, base=...")
    return str(folder / named) if (folder / named).is_dir() else str(named)

"""PEFT's adapter folders as the LoRA files of diffusers that the program opens. Only the standard library is needed.

    dualmd.audit("stable-diffusion-v1-5/", lora="adapter/", members="train/", nonmembers="heldout/")
    python -m dualmd.convert adapter/ -o lora.safetensors

A folder of PEFT (`model.save_pretrained`) has `adapter_config.json` and `adapter_model.safetensors`; the file has the same numbers under the
names that diffusers gives them, with rank and alpha in its header.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from .engine import cache

StrPath = Union[str, "os.PathLike[str]"]

_CONFIG, _WEIGHTS, _FILE = "adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"
# Settings of PEFT under which an adapter is more than two matrices for a layer, or for another base.
_OTHER = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "layer_replication",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
# Beginnings that leave the base as it is. Others take a part of its weights away, which the folder does not hold.
_BEGINNINGS = ("gaussian", "eva", "orthogonal")
# Most bytes of a header, as in the format's own reader.
_HEADER = 100_000_000


class NoLora(ValueError):
    """The folder is no adapter that the program can add to a model; the text names the setting or tensor."""


def is_peft(place: StrPath) -> bool:
    """Is it an adapter folder of PEFT, and none that diffusers wrote?"""
    folder = Path(place)
    return (folder / _CONFIG).is_file() and not (folder / _FILE).is_file()


def from_peft(folder: StrPath, out: StrPath) -> Path:
    """Writes an adapter folder of PEFT as the file `out` and returns its path.

    Ranks and alphas may differ from layer to layer (`rank_pattern`, `alpha_pattern`). Refused by name are DoRA and other variants,
    `modules_to_save`, biases, and beginnings that changed the base (PiSSA, OLoRA, LoftQ, ...). Raises `NoLora`.
    """
    source, target = Path(folder), Path(out)
    settings = _settings(source)
    header, start = _header(source / _WEIGHTS)
    header.pop("__metadata__", None)
    if not header:
        raise NoLora(f"{source / _WEIGHTS} has no tensors")
    tensors = {f"unet.{_layer(name, source)}": place for name, place in header.items()}
    told = {f"unet.{name}": value for name, value in settings.items()}
    layers = sorted({re.sub(r"^unet\.|\.lora_[AB]\.weight$", "", name) for name in tensors})
    told["unet.target_modules"] = layers
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(told, sort_keys=True)}
    text = json.dumps({"__metadata__": metadata, **tensors}).encode()
    text += b" " * (-len(text) % 8)
    if target.is_dir():
        raise NoLora(f"{target} is a folder: name a file, as in {target / _FILE}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whoever looks meanwhile sees no half of it.
    descriptor, scratch = tempfile.mkstemp(dir=target.parent, prefix=".lora-")
    try:
        with os.fdopen(descriptor, "wb") as made, (source / _WEIGHTS).open("rb") as held:
            made.write(struct.pack("<Q", len(text)) + text)
            held.seek(start)
            shutil.copyfileobj(held, made, 1 << 20)
        os.chmod(scratch, 0o644)
        os.replace(scratch, target)
    except BaseException:
        os.unlink(scratch)
        raise
    return target


def opened(told: Any) -> Any:
    """The `lora` option of an audit with files in place of PEFT's folders: `PLACE`, `NAME=PLACE`, or several of them.

    A file lies in the cache folder under a name that follows from what is in the folder, so that the same call goes on with the same file.
    """
    if isinstance(told, (list, tuple)):
        return type(told)(_opened(one, len(told)) for one in told)
    return _opened(told, 1)


def _opened(told: Any, count: int) -> Any:
    if not isinstance(told, (str, os.PathLike)):
        return told
    text = os.fspath(told)
    name, sign, place = text.partition("=")
    # As the program reads it: a path may hold the sign as well.
    if not sign or "/" in name or is_peft(text):
        name, place = "", text
    if not is_peft(place):
        return told
    folder = Path(place).absolute()
    digest = hashlib.sha256()
    for part in (_CONFIG, _WEIGHTS):
        try:
            digest.update(hashlib.sha256((folder / part).read_bytes()).digest())
        except FileNotFoundError:
            digest.update(b"")
    file = cache() / "adapters" / f"{folder.name}-{digest.hexdigest()[:16]}" / _FILE
    if not file.is_file():
        from_peft(folder, file)
    # Several are called by their folders' names, which the file's place no longer has.
    name = name or (folder.name if count > 1 else "")
    return f"{name}={file}" if name else str(file)


def _settings(folder: Path) -> dict[str, Any]:
    """What the header says of scaling, in PEFT's own keys."""
    file = folder / _CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoLora(f"{file} cannot be read: {error}") from error
    if not isinstance(config, Mapping) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, Mapping) else None
        raise NoLora(f"{file}: peft_type is {kind!r}: only LORA can be added to a model here")
    for key in _OTHER:
        if config.get(key):
            raise NoLora(f"{file}: {key} = {json.dumps(config[key])} is not supported: train without it, or merge the adapter into its base (merge_and_unload)")
    if config.get("bias", "none") != "none":
        raise NoLora(f"{file}: bias = {config['bias']!r} is not supported: train with bias='none'")
    beginning = config.get("init_lora_weights")
    if beginning is not None and not isinstance(beginning, bool) and beginning not in _BEGINNINGS:
        raise NoLora(
            f"{file}: init_lora_weights = {beginning!r} changed the base's weights, which the folder does not hold: "
            "merge the adapter into its base (merge_and_unload)"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha", 8)
    for key, value in (("r", rank), ("lora_alpha", alpha)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise NoLora(f"{file}: {key} = {value!r} is not a number")
    patterns = {key: config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")}
    return {"r": rank, "lora_alpha": alpha, "use_rslora": bool(config.get("use_rslora")), "lora_bias": False, "use_dora": False, **patterns}


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its numbers begin."""
    try:
        with file.open("rb") as source:
            (size,) = struct.unpack("<Q", source.read(8))
            if size > _HEADER:
                raise NoLora(f"{file} is no safetensors file: its header would have {size} bytes")
            header = json.loads(source.read(size))
    except FileNotFoundError as error:
        raise NoLora(f"{file} is not there: save the adapter again with safe_serialization=True (adapter_model.bin is not opened)") from error
    except (OSError, struct.error, ValueError) as error:
        if isinstance(error, NoLora):
            raise
        raise NoLora(f"{file} cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise NoLora(f"{file} is no safetensors file: its header is no JSON object")
    return header, 8 + size


def _layer(name: str, folder: Path) -> str:
    """A tensor's name without PEFT's prefix."""
    if "lora_magnitude_vector" in name:
        raise NoLora(f"{folder / _WEIGHTS}: {name} belongs to DoRA, which is not supported: train with use_dora=False")
    if not name.endswith((".lora_A.weight", ".lora_B.weight")):
        raise NoLora(f"{folder / _WEIGHTS}: {name} is no matrix of a LoRA (modules_to_save, biases and embeddings are not supported)")
    inner = name.removeprefix("base_model.model.")
    if inner.startswith(("text_model.", "text_encoder", "encoder.")):
        raise NoLora(f"{folder / _WEIGHTS}: {name} belongs to a text encoder, which cannot have LoRA here: merge that adapter into its base")
    return inner.removeprefix("unet.")

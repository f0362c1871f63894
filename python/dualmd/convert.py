"""Checkpoints that papers published, as folders that `dualmd` and diffusers open.

    python -m dualmd.convert ckpt-step780000.pt -o ddpm-cifar10/ [--weights raw] [--image-size 32]

Read is the DDPM of the SecMI and PIA repositories (the network of w86763777/pytorch-ddpm): a file with `ema_model` and `net_model`, or the
weights alone. Everything but the size of the images is read off the weights. The pickle is opened with `weights_only=True`, which runs no code of
the file; torch is needed. Models of other code are audited as callables: see `dualmd.audit`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

StrPath = Union[str, "os.PathLike[str]"]
Weights = dict[str, Any]


class NotKnown(ValueError):
    """The file is no checkpoint that can be converted; the text says what is missing."""


def convert(checkpoint: StrPath, out: StrPath, *, weights: str = "ema", image_size: int = 32) -> Path:
    """Writes the diffusers folder of a checkpoint and returns its path.

    `weights`: `ema` or `raw`, of a file that holds both. `image_size`: side of the images in pixels, which the weights do not say.
    The schedule is the one of these repositories: linear betas from 0.0001 to 0.02, with as many steps as the checkpoint has.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r}: it is ema or raw")
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    loaded = importlib.import_module("torch").load(checkpoint, map_location="cpu", weights_only=True)
    config, tensors, steps = converted(_state(loaded, weights, Path(checkpoint)), image_size, str(checkpoint))
    unet, scheduler = folder / "unet", folder / "scheduler"
    for part in (unet, scheduler):
        part.mkdir(parents=True, exist_ok=True)
    _safetensors(unet / "diffusion_pytorch_model.safetensors", tensors)
    _json(unet / "config.json", config)
    schedule = {"_class_name": "DDPMScheduler", "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": steps}
    _json(scheduler / "scheduler_config.json", {**schedule, "prediction_type": "epsilon", "clip_sample": True, "variance_type": "fixed_large"})
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    _json(folder / "model_index.json", index)
    return folder


def _state(loaded: Any, weights: str, file: Path) -> Weights:
    """The network's tensors of what a file holds."""
    if not isinstance(loaded, Mapping):
        raise NotKnown(f"{file}: a {type(loaded).__name__} is no checkpoint: it is a dict of tensors, or of such")
    wanted = {"ema": "ema_model", "raw": "net_model"}[weights]
    held = [name for name in ("ema_model", "net_model") if name in loaded]
    if held and wanted not in held:
        raise NotKnown(f"{file} holds {' and '.join(held)}, and no {wanted}: pass weights={'raw' if weights == 'ema' else 'ema'!r}")
    state = loaded[wanted] if held else loaded
    # Of a network in torch.nn.DataParallel.
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def converted(state: Weights, image_size: int, place: str = "the checkpoint") -> tuple[dict[str, Any], Weights, int]:
    """Configuration of a UNet2DModel, its tensors, and the number of timesteps."""
    left = dict(state)

    def take(name: str) -> Any:
        if name not in left:
            raise NotKnown(f"{place}: no {name}: it is not the DDPM of the SecMI and PIA repositories; audit it as a callable (dualmd.audit)")
        return left.pop(name)

    out: Weights = {}

    def layer(old: str, new: str) -> None:
        out[f"{new}.weight"], out[f"{new}.bias"] = take(f"{old}.weight"), take(f"{old}.bias")

    def resnet(old: str, new: str) -> None:
        for a, b in (("block1.0", "norm1"), ("block1.2", "conv1"), ("temb_proj.1", "time_emb_proj"), ("block2.0", "norm2"), ("block2.3", "conv2")):
            layer(f"{old}.{a}", f"{new}.{b}")
        if f"{old}.shortcut.weight" in left:
            layer(f"{old}.shortcut", f"{new}.conv_shortcut")

    def attention(old: str, new: str) -> None:
        layer(f"{old}.group_norm", f"{new}.group_norm")
        for a, b in (("proj_q", "to_q"), ("proj_k", "to_k"), ("proj_v", "to_v"), ("proj", "to_out.0")):
            layer(f"{old}.{a}", f"{new}.{b}")
            # A 1 x 1 convolution is a linear layer.
            out[f"{new}.{b}.weight"] = out[f"{new}.{b}.weight"].flatten(1)

    steps = int(take("time_embedding.timembedding.0.weight").shape[0])
    layer("time_embedding.timembedding.1", "time_embedding.linear_1")
    layer("time_embedding.timembedding.3", "time_embedding.linear_2")
    # There sines and cosines take turns; in diffusers all sines come first.
    first = out["time_embedding.linear_1.weight"]
    out["time_embedding.linear_1.weight"] = importlib.import_module("torch").cat([first[:, 0::2], first[:, 1::2]], dim=1)
    layer("head", "conv_in")
    layer("tail.0", "conv_norm_out")
    layer("tail.2", "conv_out")

    levels = _levels(state, "downblocks", place)
    layers = {len(level) for level in levels}
    if len(layers) != 1:
        raise NotKnown(f"{place}: levels with {sorted(layers)} blocks: all have the same number in a UNet2DModel")
    channels: list[int] = []
    attended: list[bool] = []
    for n, level in enumerate(levels):
        attn = [f"downblocks.{block}.attn.proj_q.weight" in state for block in level]
        if any(attn) != all(attn):
            raise NotKnown(f"{place}: attention in a part of a level's blocks, which a UNet2DModel has in all or none")
        for k, block in enumerate(level):
            resnet(f"downblocks.{block}", f"down_blocks.{n}.resnets.{k}")
            if attn[k]:
                attention(f"downblocks.{block}.attn", f"down_blocks.{n}.attentions.{k}")
        channels.append(int(out[f"down_blocks.{n}.resnets.0.conv2.weight"].shape[0]))
        attended.append(attn[0])
        if n + 1 < len(levels):
            layer(f"downblocks.{level[-1] + 1}.main", f"down_blocks.{n}.downsamplers.0.conv")
    resnet("middleblocks.0", "mid_block.resnets.0")
    attention("middleblocks.0.attn", "mid_block.attentions.0")
    resnet("middleblocks.1", "mid_block.resnets.1")
    for n, level in enumerate(_levels(state, "upblocks", place)):
        for k, block in enumerate(level):
            resnet(f"upblocks.{block}", f"up_blocks.{n}.resnets.{k}")
            if f"upblocks.{block}.attn.proj_q.weight" in state:
                attention(f"upblocks.{block}.attn", f"up_blocks.{n}.attentions.{k}")
        if f"upblocks.{level[-1] + 1}.main.weight" in state:
            layer(f"upblocks.{level[-1] + 1}.main", f"up_blocks.{n}.upsamplers.0.conv")
    if left:
        raise NotKnown(f"{place}: {len(left)} tensors belong to no part of the network, {next(iter(left))} first: it is another one")
    config = {
        "_class_name": "UNet2DModel",
        "sample_size": image_size,
        "in_channels": int(out["conv_in.weight"].shape[1]),
        "out_channels": int(out["conv_out.weight"].shape[0]),
        "layers_per_block": layers.pop(),
        "block_out_channels": channels,
        "down_block_types": ["AttnDownBlock2D" if attn else "DownBlock2D" for attn in attended],
        "up_block_types": ["AttnUpBlock2D" if attn else "UpBlock2D" for attn in reversed(attended)],
        "attention_head_dim": None,
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "downsample_padding": 1,
        "flip_sin_to_cos": False,
        "freq_shift": 0,
        "act_fn": "silu",
        "time_embedding_type": "positional",
        "add_attention": True,
    }
    return config, out, steps


def _levels(state: Weights, side: str, place: str) -> list[list[int]]:
    """The residual blocks of each level, by their numbers: what lies between two changes of size."""
    found = (re.fullmatch(rf"{side}\.(\d+)\.block1\.0\.weight", name) for name in state)
    numbers = sorted(int(match.group(1)) for match in found if match)
    if not numbers:
        raise NotKnown(f"{place}: no {side}.0.block1.0.weight: it is not the DDPM of the SecMI and PIA repositories; audit it as a callable (dualmd.audit)")
    levels: list[list[int]] = [[]]
    for number in numbers:
        if levels[-1] and number != levels[-1][-1] + 1:
            levels.append([])
        levels[-1].append(number)
    return levels


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _safetensors(path: Path, tensors: Weights) -> None:
    """All tensors as f32, in the format's own words: a header with places, then the numbers."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    at = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().float().contiguous()
        data = tensor.numpy().astype("<f4", copy=False).tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in parts:
            file.write(part)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dualmd.convert", description="The DDPM of the SecMI and PIA repositories as a diffusers folder.")
    parser.add_argument("checkpoint", help="the .pt file")
    parser.add_argument("-o", "--out", required=True, help="the new folder")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="which of its weights (default: ema)")
    parser.add_argument("--image-size", type=int, default=32, help="side of the images in pixels (default: 32)")
    asked = parser.parse_args(arguments)
    try:
        print(convert(asked.checkpoint, asked.out, weights=asked.weights, image_size=asked.image_size))
    except (NotKnown, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (pickle.UnpicklingError, RuntimeError) as error:
        # What torch says of a file that is none of its own, or holds more than tensors.
        print(f"error: {asked.checkpoint}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

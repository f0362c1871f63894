"""Checkpoints of other projects: as folders that `dualmd` and diffusers open, or as denoisers for `dualmd.audit`.

    python -m dualmd.convert ckpt-step780000.pt -o ddpm-cifar10/ [--weights raw] [--image-size 32]
    python -m dualmd.convert cifar10_uncond_50M_500K.pt -o improved/ --heads 4 --schedule cosine --steps 4000 ...
    python -m dualmd.convert adapter/ -o lora.safetensors
    dualmd audit --denoiser "python -m dualmd.convert model-10.pt --serve --image-size 32" --members ... --nonmembers ... -o audit/

    found = dualmd.audit(dualmd.convert.load("model-10.pt", image_size=32), members="train/", nonmembers="heldout/")

| checkpoint of | `convert` writes a folder | `load` gives a denoiser |
|---|---|---|
| the SecMI and PIA repositories (w86763777/pytorch-ddpm): `ema_model`, `net_model` | yes | no: audit the folder |
| improved- and guided-diffusion (ADM): `input_blocks.0.0.weight` | where a UNet2DModel can be it | yes |
| denoising-diffusion-pytorch (lucidrains): `model-N.pt` of its trainer | no: no UNet2DModel is it | yes |
| EDM: a pickle, which holds code | no | `edm(network)`, of the network once it is loaded |
| an ONNX file | no | `onnx(file)`: needs onnxruntime, and no torch (help(dualmd.onnx)) |
| PEFT: an adapter folder | a LoRA file: `dualmd.lora.from_peft` | no: `dualmd.audit(base, lora="adapter/")` |

Whatever the weights say is read off them; the rest is told (`Told`). Pickles are opened with `weights_only=True`, which runs no code of the file;
torch is needed. Any other model is audited as a callable: see `dualmd.audit`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import pickle
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Union

from .denoiser import PREDICTIONS, Denoiser, betas_of, products, serve
from .lora import NoLora, from_peft, is_peft
from .networks import DenoisingDiffusionPytorch, GuidedDiffusion, NotKnown, Weights
from .onnx import is_onnx, onnx

StrPath = Union[str, "os.PathLike[str]"]

__all__ = ["NotKnown", "Told", "convert", "converted", "edm", "load", "main", "onnx", "preconditioned"]


@dataclass(frozen=True)
class Told:
    """What a checkpoint does not say of itself and its training was told. None: not said here.

    Of denoising-diffusion-pytorch:

    objective: pred_noise, pred_x0 or pred_v, where the file does not say (it does since version 1.9).

    Of improved- and guided-diffusion:

    heads: num_heads (4 where the training was not told) ...
    head_channels: ... or num_head_channels in its place.
    new_attention_order: use_new_attention_order (guided-diffusion).
    schedule: noise_schedule, linear (default) or cosine.
    steps: diffusion_steps (default: 1000).
    rescale_timesteps: must be said where there are not 1000 steps. improved-diffusion rescales unless it is told not to, guided-diffusion does not.
    predict_xstart: whether the network predicts the image.
    label: of a model that is told classes: the class of every image. Without it each image is asked about with a class of its own: served, its
        caption is the class's number; as a folder, its label is.
    """

    objective: str | None = None
    heads: int | None = None
    head_channels: int | None = None
    new_attention_order: bool | None = None
    schedule: str | None = None
    steps: int | None = None
    rescale_timesteps: bool | None = None
    predict_xstart: bool | None = None
    label: int | None = None


def convert(checkpoint: StrPath, out: StrPath, *, weights: str = "ema", image_size: int = 32, **told: Any) -> Path:
    """Writes the diffusers folder of a checkpoint and returns its path.

    `weights`: `ema` or `raw`, of a file that holds both. `image_size`: side of the images in pixels, which the weights do not say.
    The schedule of the SecMI and PIA repositories is the one of their code: linear betas from 0.0001 to 0.02, with as many steps as the checkpoint has.
    `told`: fields of `Told`. Raises `NotKnown` where no UNet2DModel is the network, with what can be done.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    file = Path(checkpoint)
    kind, state = _read(file, weights)
    if kind == _LUCIDRAINS:
        _of(kind, told, str(file))
        raise NotKnown(
            f"{file}: no UNet2DModel is the Unet of denoising-diffusion-pytorch: audit it by dualmd.audit(dualmd.convert.load({file.name!r}, "
            "image_size=...), ...), or in the shell by --serve"
        )
    if kind == _GUIDED:
        config, tensors, schedule = _guided_folder(state, _of(kind, told, str(file)), image_size, str(file))
    else:
        _of(kind, told, str(file))
        config, tensors, steps = converted(state, image_size, str(file))
        schedule = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": steps, "prediction_type": "epsilon"}
    unet, scheduler = folder / "unet", folder / "scheduler"
    for part in (unet, scheduler):
        part.mkdir(parents=True, exist_ok=True)
    _safetensors(unet / "diffusion_pytorch_model.safetensors", tensors)
    _json(unet / "config.json", config)
    _json(scheduler / "scheduler_config.json", {"_class_name": "DDPMScheduler", **schedule, "clip_sample": True, "variance_type": "fixed_large"})
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    _json(folder / "model_index.json", index)
    return folder


def load(checkpoint: StrPath, *, image_size: int | tuple[int, int], weights: str = "ema", device: Any = None, **told: Any) -> Denoiser:
    """The denoiser in a checkpoint, for `dualmd.audit` and `dualmd.serve`.

    `image_size`: side of the images, or (height, width), which the weights do not say. `weights`: `ema` or `raw`, of a file that holds both.
    `device`: where the network is to be. `told`: fields of `Told`. Images are in [-1, 1], as both projects train unless told otherwise.
    """
    file = Path(checkpoint)
    kind, state = _read(file, weights)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    place = str(file)
    if kind == _SECMI:
        raise NotKnown(f"{place} is of the SecMI and PIA repositories: write its folder (python -m dualmd.convert {file.name} -o FOLDER) and audit that")
    said = _of(kind, told, place)
    common: dict[str, Any] = {"name": file.name[:200], "fingerprint": _fingerprint(file, weights, told), "device": device, "clip": 1.0}
    if kind == _LUCIDRAINS:
        unet = DenoisingDiffusionPytorch(
            {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}, place, device
        )
        betas = state["betas"].double().tolist()
        prediction = _objective(state, said.objective, place)
        shape = (unet.channels, height, width)
        _fits(shape, 2 ** (unet.levels - 1), place)
        return Denoiser(
            lambda x, t, c: unet(x, t), shape=shape, prediction=prediction, schedule=products(betas), parameters=unet.count(), **common
        )
    network = _guided_network(state, said, place, device)
    shape = (network.channels, height, width)
    _fits(shape, 2 ** (network.levels - 1), place)
    steps, times = _times(said, place)

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        # The number of a step as the network was trained on it.
        at = t if times == 1.0 else t.float() * times
        if not network.classes:
            return network(x, at)
        labels = [said.label] * len(x) if said.label is not None else _classes(texts, network.classes)
        return network(x, at, network.torch.tensor(labels, device=x.device))

    table = products(_betas(said.schedule or "linear", steps, place))
    told_classes = bool(network.classes) and said.label is None

    def generate(seed: int, count: int, taken: int, texts: list[str], guidance: float) -> Any:
        """By DDIM, and without guidance: it would need an answer without a class."""
        torch = network.torch
        x = torch.randn(count, *shape, generator=torch.Generator("cpu").manual_seed(seed)).to(device)
        places = [n * steps // taken for n in reversed(range(taken))]
        for at, after in zip(places, [*places[1:], None]):
            signal, noise = math.sqrt(table[at]), math.sqrt(1 - table[at])
            said_there = ask(x, torch.full([count], at, device=x.device), texts)
            clean = said_there if said.predict_xstart else (x - noise * said_there) / signal
            clean = clean.clamp(-1, 1)
            eps = (x - signal * clean) / noise
            kept = table[after] if after is not None else 1.0
            x = math.sqrt(kept) * clean + math.sqrt(1 - kept) * eps
        return x

    return Denoiser(
        ask,
        shape=shape,
        prediction="x0" if said.predict_xstart else "eps",
        schedule=table,
        parameters=network.count(),
        texts=told_classes,
        # Else the program draws.
        generate=generate if told_classes else None,
        **common,
    )


def edm(network: Any, *, shape: Sequence[int] | None = None, classes: int | None = None, **settings: Any) -> Denoiser:
    """An EDM network D(x; sigma) as a denoiser: `pickle.load(file)["ema"]` of NVlabs' code, or any callable of that form.

    `shape` and `classes`: where the network has no `img_channels`, `img_resolution` and `label_dim`. A model with classes is given each image's
    caption as one of their numbers; an empty one is none of them, which such networks take for no class. `settings`: fields of `Denoiser`.
    """
    side, channels = getattr(network, "img_resolution", None), getattr(network, "img_channels", None)
    if shape is None:
        if not isinstance(side, int) or not isinstance(channels, int):
            raise TypeError(f"{type(network).__name__} does not say what it sees (img_channels, img_resolution): pass shape=(channels, height, width)")
        shape = (channels, side, side)
    known = int(getattr(network, "label_dim", 0)) if classes is None else classes
    if hasattr(network, "eval"):
        network.eval()

    def ask(x: Any, sigma: Any, texts: list[str] | None) -> Any:
        if not known:
            return network(x, sigma)
        torch = importlib.import_module("torch")
        labels = torch.zeros(len(x), known, device=x.device)
        for row, text in enumerate(texts or [""] * len(x)):
            if text:
                labels[row, _class(text, known)] = 1
        return network(x, sigma, labels)

    return Denoiser(ask, shape=shape, prediction="edm", texts=bool(known), **settings)


def preconditioned(network: Callable[..., Any], sigma_data: float = 0.5) -> Callable[..., Any]:
    """D(x; sigma) of a network F that was trained under EDM's preconditioning without holding it: `network(c_in x, ln(sigma) / 4, ...)`."""

    def denoised(x: Any, sigma: Any, *told: Any) -> Any:
        level = sigma.reshape(-1, 1, 1, 1)
        variance = level**2 + sigma_data**2
        said = network(x / variance.sqrt(), sigma.log() / 4, *told)
        return x * (sigma_data**2 / variance) + getattr(said, "sample", said) * (level * sigma_data / variance.sqrt())

    return denoised


_SECMI, _LUCIDRAINS, _GUIDED = "the DDPM of the SecMI and PIA repositories", "denoising-diffusion-pytorch", "improved- and guided-diffusion"
# Which fields of `Told` a format has a use for.
_USED = {_SECMI: set[str](), _LUCIDRAINS: {"objective"}, _GUIDED: {field.name for field in fields(Told)} - {"objective"}}


def _of(kind: str, told: Mapping[str, Any], place: str) -> Told:
    """What was told, if the format has a use for it."""
    known = {field.name for field in fields(Told)}
    for name, value in told.items():
        if name not in known:
            raise TypeError(f"{name} is not known: what can be told of a checkpoint is {', '.join(sorted(known))}")
        if value is not None and name not in _USED[kind]:
            raise NotKnown(f"{place} is a checkpoint of {kind}, which has no {name}: leave it out")
    return Told(**told)


def _torch(what: str) -> Any:
    """torch, or how to get it."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            f"{what} needs torch, which this environment has not: pip install torch (the libtorch of `dualmd setup` is the program's alone)", name="torch"
        ) from None


def _read(file: Path, weights: str) -> tuple[str, Weights]:
    """Whose checkpoint it is, and its tensors."""
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r}: it is ema or raw")
    if is_onnx(file):
        raise NotKnown(f"{file} is an ONNX file: pass dualmd.convert.onnx({file.name!r}) to dualmd.audit, in the shell --denoiser {file.name}")
    try:
        loaded = _torch(f"opening {file.name}").load(file, map_location="cpu", weights_only=True)
    except (OSError, ModuleNotFoundError):
        raise
    except Exception as error:
        # What torch says of a file that is none of its own is of any kind.
        said = str(error).rpartition("WeightsUnpickler error: ")[2]
        if isinstance(error, pickle.UnpicklingError) and (file.suffix == ".pkl" or re.search("unsupported (global|class)", said, re.IGNORECASE)):
            raise NotKnown(
                f"{file} is a pickle that holds code, as those of EDM do, and is not opened: load it with the code that wrote it and pass "
                "dualmd.convert.edm(network), or any callable, to dualmd.audit"
            ) from error
        words = ": ".join([type(error).__name__, *said.strip().splitlines()[:1]])
        raise NotKnown(f"{file} is no checkpoint that torch opens ({words[:200]})") from error
    if not isinstance(loaded, Mapping):
        raise NotKnown(f"{file} holds a value of type {type(loaded).__name__}: a checkpoint is a dict of tensors, or of such")
    if isinstance(loaded.get("model"), Mapping) and any("model.init_conv." in str(name) for name in loaded["model"]):
        return _LUCIDRAINS, _lucidrains(loaded, weights, file)
    plain = _unwrapped(loaded)
    if "model.init_conv.weight" in plain:
        return _LUCIDRAINS, _with_schedule(plain, file)
    if "input_blocks.0.0.weight" in plain:
        return _GUIDED, plain
    state = _state(loaded, weights, file)
    if not any(name.startswith("time_embedding.timembedding.") for name in state):
        raise NotKnown(_unknown(state, loaded, file))
    return _SECMI, state


def _unknown(state: Weights, loaded: Mapping[Any, Any], file: Path) -> str:
    """What is said of a checkpoint of none of the projects."""
    # One dict in another is how most trainers keep their weights.
    held = next((name for name, inner in loaded.items() if isinstance(inner, Mapping) and any(hasattr(value, "shape") for value in inner.values())), None)
    inner = _unwrapped(loaded[held]) if held is not None else state
    if "conv_in.weight" in inner or "pos_embed.proj.weight" in inner:
        where = f"torch.load({file.name!r}, weights_only=True)" + (f"[{held!r}]" if held is not None else "")
        return (
            f"{file} holds weights of a network of diffusers, and not how it is built: make the network (such as UNet2DModel(...)), "
            f"network.load_state_dict({where}), and pass a pipeline of it to dualmd.audit, or audit the folder that its save_pretrained writes"
        )
    names = [str(name) for name in inner][:3]
    return (
        f"{file} is of none of the projects that are known here ({_SECMI}; {_GUIDED}; {_LUCIDRAINS}); "
        + (f"it holds {', '.join(names)}, ...: " if names else "it is empty: ")
        + "audit it as a callable (dualmd.audit)"
    )


def _fingerprint(file: Path, weights: str, told: Mapping[str, Any]) -> str:
    """Tells these weights, as they are asked, from others."""
    digest = hashlib.sha256(json.dumps([weights, told], sort_keys=True).encode())
    with file.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _unwrapped(state: Mapping[Any, Any]) -> Weights:
    """Without the prefix that torch.nn.DataParallel puts before names."""
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _lucidrains(loaded: Mapping[str, Any], weights: str, file: Path) -> Weights:
    """The state of a `GaussianDiffusion` in a trainer's file."""
    if weights == "raw":
        return _with_schedule(_unwrapped(loaded["model"]), file)
    averaged = loaded.get("ema")
    prefix = "ema_model."
    found = {name.removeprefix(prefix): value for name, value in _unwrapped(averaged or {}).items() if name.startswith(prefix)}
    if not found:
        raise NotKnown(f"{file} has no averaged weights (ema): pass weights='raw'")
    return _with_schedule(_unwrapped(found), file)


def _with_schedule(state: Weights, file: Path) -> Weights:
    if "betas" not in state:
        raise NotKnown(f"{file} has no betas: it is not a GaussianDiffusion of denoising-diffusion-pytorch; audit it as a callable (dualmd.audit)")
    return state


_OBJECTIVES = {"pred_noise": "eps", "pred_x0": "x0", "pred_v": "v"}


def _objective(state: Weights, told: str | None, place: str) -> str:
    """What the network predicts: each objective weighs the loss at a timestep in its own way, and the file has the weights."""
    if told is not None:
        if told not in _OBJECTIVES:
            raise NotKnown(f"{place}: objective={told!r} is not known: it is one of {', '.join(_OBJECTIVES)}")
        return _OBJECTIVES[told]
    if "loss_weight" in state:
        abar = state["alphas_cumprod"].double()
        snr = abar / (1 - abar)
        weight = state["loss_weight"].double()
        # Without min-SNR weighting, and with it.
        for most in (math.inf, 5.0):
            capped = snr.clamp(max=most)
            for name, expected in (("eps", capped / snr), ("x0", capped), ("v", capped / (snr + 1))):
                if bool(((weight - expected).abs() <= 0.01 * expected).all()):
                    return name
    raise NotKnown(f"{place} does not say what its network predicts: pass objective=, one of {', '.join(_OBJECTIVES)}")


def _fits(shape: tuple[int, int, int], times: int, place: str) -> None:
    if any(side <= 0 or side % times for side in shape[1:]):
        raise NotKnown(f"{place}: image_size {shape[1]} x {shape[2]}: this network takes multiples of {times}")


def _betas(schedule: str, steps: int, place: str) -> list[float]:
    """The schedules of improved- and guided-diffusion by their names."""
    if schedule not in ("linear", "cosine"):
        raise NotKnown(f"{place}: schedule={schedule!r} is not known: it is linear or cosine")
    return betas_of(schedule, steps)


def _times(told: Told, place: str) -> tuple[int, float]:
    """How many timesteps there are, and by what a timestep is multiplied before the network sees it."""
    steps = 1000 if told.steps is None else told.steps
    if steps < 20:
        raise NotKnown(f"{place}: steps={steps}: with fewer than 20 the linear schedule has betas above 1")
    if steps == 1000:
        return steps, 1.0
    if told.rescale_timesteps is None:
        raise NotKnown(
            f"{place}: with {steps} steps rescale_timesteps must be said, True or False (improved-diffusion rescales unless told not to, "
            "guided-diffusion does not)"
        )
    return steps, 1000 / steps if told.rescale_timesteps else 1.0


def _guided_network(state: Weights, told: Told, place: str, device: Any = None) -> GuidedDiffusion:
    network = GuidedDiffusion(
        state, place, device, heads=told.heads, head_channels=told.head_channels, new_attention_order=bool(told.new_attention_order)
    )
    if told.label is not None and not 0 <= told.label < network.classes:
        of = f"classes 0 to {network.classes - 1}" if network.classes else "no classes"
        raise NotKnown(f"{place}: label={told.label}: the model has {of}")
    return network


def _class(text: str, classes: int) -> int:
    if not text.isdecimal() or int(text) >= classes:
        raise ValueError(f"caption {text!r} is no class of the model: give its number, 0 to {classes - 1}")
    return int(text)


def _classes(texts: list[str] | None, classes: int) -> list[int]:
    if texts is None:
        raise ValueError("this model is always told a class, and was asked without one: it has no answer to that")
    return [_class(text, classes) for text in texts]


def _guided_folder(state: Weights, told: Told, image_size: int, place: str) -> tuple[dict[str, Any], Weights, dict[str, Any]]:
    """Configuration of a UNet2DModel, its tensors and the schedule, of improved- or guided-diffusion."""
    network = _guided_network(state, told, place)
    _fits((network.channels, image_size, image_size), 2 ** (network.levels - 1), place)

    def other(what: str) -> NotKnown:
        return NotKnown(f"{place}: {what}: audit it by dualmd.audit(dualmd.convert.load({Path(place).name!r}, ...), ...), or in the shell by --serve")

    steps, times = _times(told, place)
    if times != 1.0:
        raise other(f"{steps} steps that are rescaled are nothing a UNet2DModel can be told")
    # Rows of queries, keys and values are in the newer order there.
    held, out = network.state, Weights()

    def layer(old: str, new: str) -> None:
        out[f"{new}.weight"], out[f"{new}.bias"] = held[f"{old}.weight"], held[f"{old}.bias"]

    def resnet(old: str, new: str) -> int:
        for a, b in (("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("emb_layers.1", "time_emb_proj"), ("out_layers.0", "norm2"), ("out_layers.3", "conv2")):
            layer(f"{old}.{a}", f"{new}.{b}")
        if f"{old}.skip_connection.weight" in held:
            layer(f"{old}.skip_connection", f"{new}.conv_shortcut")
        return int(out[f"{new}.conv2.weight"].shape[0])

    widths_of_heads: set[int] = set()

    def attention(old: str, new: str) -> bool:
        if old not in network.heads:
            return False
        layer(f"{old}.norm", f"{new}.group_norm")
        for part in ("weight", "bias"):
            for name, value in zip(("to_q", "to_k", "to_v"), held[f"{old}.qkv.{part}"].chunk(3)):
                out[f"{new}.{name}.{part}"] = value
        out[f"{new}.to_out.0.weight"], out[f"{new}.to_out.0.bias"] = held[f"{old}.proj_out.weight"].flatten(1), held[f"{old}.proj_out.bias"]
        widths_of_heads.add(int(out[f"{new}.to_q.bias"].shape[0]) // network.heads[old])
        return True

    layer("time_embed.0", "time_embedding.linear_1")
    layer("time_embed.2", "time_embedding.linear_2")
    if told.label is not None:
        # A class is added to the embedding of time; one that is the same for all images is a part of its last layer.
        out["time_embedding.linear_2.bias"] = out["time_embedding.linear_2.bias"] + held["label_emb.weight"][told.label]
    elif network.classes:
        out["class_embedding.weight"] = held["label_emb.weight"]
    layer("input_blocks.0.0", "conv_in")
    widths: list[int] = []
    attended: list[bool] = []
    for level in range(network.levels):
        parts = []
        for k in range(network.each - 1):
            block = f"input_blocks.{level * network.each + 1 + k}"
            width = resnet(f"{block}.0", f"down_blocks.{level}.resnets.{k}")
            parts.append(attention(f"{block}.1", f"down_blocks.{level}.attentions.{k}"))
        widths.append(width)
        attended.append(any(parts))
        if level + 1 < network.levels:
            halving = f"input_blocks.{(level + 1) * network.each}.0.op"
            if f"{halving}.weight" not in held:
                raise other("sizes change in residual blocks (resblock_updown) or without convolutions, which dualmd's UNet2DModel does not have")
            layer(halving, f"down_blocks.{level}.downsamplers.0.conv")
    resnet("middle_block.0", "mid_block.resnets.0")
    attention("middle_block.1", "mid_block.attentions.0")
    resnet("middle_block.2", "mid_block.resnets.1")
    for level in range(network.levels):
        for k in range(network.each):
            block = f"output_blocks.{level * network.each + k}"
            resnet(f"{block}.0", f"up_blocks.{level}.resnets.{k}")
            attends = attention(f"{block}.1", f"up_blocks.{level}.attentions.{k}")
        if level + 1 < network.levels:
            layer(f"{block}.{2 if attends else 1}.conv", f"up_blocks.{level}.upsamplers.0.conv")
    layer("out.0", "conv_norm_out")
    layer("out.2", "conv_out")
    # The other half of the channels, if there is one, is a variance, on which no prediction depends.
    for part in ("weight", "bias"):
        out[f"conv_out.{part}"] = out[f"conv_out.{part}"][: network.channels]
    first = int(out["conv_in.weight"].shape[0])
    if first != widths[0] or int(held["time_embed.0.weight"].shape[1]) != first:
        raise other("its first level is of another width than its embedding of time, which a UNet2DModel has alike")
    if len(widths_of_heads) > 1:
        raise other(f"heads of {' and '.join(map(str, sorted(widths_of_heads)))} channels at different levels, which a UNet2DModel has alike")
    config = {
        "_class_name": "UNet2DModel",
        "sample_size": image_size,
        "in_channels": network.channels,
        "out_channels": network.channels,
        "layers_per_block": network.each - 1,
        "block_out_channels": widths,
        "down_block_types": ["AttnDownBlock2D" if attn else "DownBlock2D" for attn in attended],
        "up_block_types": ["AttnUpBlock2D" if attn else "UpBlock2D" for attn in reversed(attended)],
        "attention_head_dim": next(iter(widths_of_heads), None),
        "norm_num_groups": 32,
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "act_fn": "silu",
        "time_embedding_type": "positional",
        "resnet_time_scale_shift": "scale_shift" if held["input_blocks.1.0.emb_layers.1.bias"].numel() == 2 * widths[0] else "default",
        "add_attention": True,
    }
    if network.classes and told.label is None:
        config["num_class_embeds"] = network.classes
    schedule = _betas(told.schedule or "linear", steps, place)
    linear = (told.schedule or "linear") == "linear"
    keys = {"beta_start": schedule[0], "beta_end": schedule[-1], "beta_schedule": "linear"} if linear else {"beta_schedule": "squaredcos_cap_v2"}
    return config, out, {**keys, "num_train_timesteps": steps, "prediction_type": "sample" if told.predict_xstart else "epsilon"}


def _state(loaded: Mapping[str, Any], weights: str, file: Path) -> Weights:
    """The network's tensors of what a file of the SecMI and PIA repositories holds."""
    wanted = {"ema": "ema_model", "raw": "net_model"}[weights]
    held = [name for name in ("ema_model", "net_model") if name in loaded]
    if held and wanted not in held:
        raise NotKnown(f"{file} holds {' and '.join(held)}, and no {wanted}: pass weights={'raw' if weights == 'ema' else 'ema'!r}")
    state = loaded[wanted] if held else loaded
    return _unwrapped(state)


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


def _shape(text: str) -> tuple[int, ...]:
    """`C,H,W` of the command line."""
    return tuple(int(side) for side in text.split(","))


def _onnx_of(file: StrPath, told: Mapping[str, Any], **settings: Any) -> Denoiser:
    """An ONNX file with a schedule of the command line."""
    for name in told:
        if name not in ("schedule", "steps"):
            raise NotKnown(f"{file} is an ONNX file, which has no {name}: leave it out")
    if told.get("steps", 1000) < 1:
        raise NotKnown(f"{file}: --steps {told['steps']} must be at least 1")
    table = products(_betas(told.get("schedule", "linear"), told.get("steps", 1000), str(file))) if told else None
    return onnx(file, schedule=table, **settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dualmd.convert",
        description="Checkpoints of the SecMI and PIA repositories, improved- and guided-diffusion as diffusers folders; these and those of "
        "denoising-diffusion-pytorch and ONNX files as servers for dualmd audit --denoiser; adapter folders of PEFT as LoRA files.",
    )
    parser.add_argument("checkpoint", help="the .pt or .onnx file, or an adapter folder of PEFT")
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("-o", "--out", help="the new folder, or of an adapter the new file")
    either.add_argument("--serve", action="store_true", help='answer dualmd audit --denoiser "python -m dualmd.convert FILE --serve ..."')
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="which of its weights (default: ema)")
    parser.add_argument("--image-size", type=int, default=32, help="side of the images in pixels (default: 32)")
    parser.add_argument("--device", help="where the network is to be, with --serve (default: the CPU)")
    parser.add_argument("--objective", choices=tuple(_OBJECTIVES), help="what the network predicts (denoising-diffusion-pytorch)")
    of_onnx = parser.add_argument_group("ONNX files, with --serve (of the options below --schedule and --steps are theirs, too)")
    of_onnx.add_argument("--prediction", choices=PREDICTIONS, help="what the network predicts (default: eps)")
    of_onnx.add_argument("--shape", type=_shape, metavar="C,H,W", help="of the images, where the file leaves it open")
    guided = parser.add_argument_group("improved- and guided-diffusion: what the training was told")
    guided.add_argument("--heads", type=int, help="num_heads (4 where it was not told)")
    guided.add_argument("--head-channels", type=int, help="num_head_channels, in place of it")
    guided.add_argument("--new-attention-order", action="store_true", default=None, help="use_new_attention_order")
    guided.add_argument("--schedule", choices=("linear", "cosine"), help="noise_schedule (default: linear)")
    guided.add_argument("--steps", type=int, help="diffusion_steps (default: 1000)")
    guided.add_argument("--rescale-timesteps", action=argparse.BooleanOptionalAction, help="must be said where there are not 1000 steps")
    guided.add_argument("--predict-xstart", action="store_true", default=None, help="predict_xstart")
    guided.add_argument("--label", type=int, help="the class of every image (without it: each image's caption, with --serve)")
    asked = parser.parse_args(arguments)
    told = {field.name: getattr(asked, field.name) for field in fields(Told) if getattr(asked, field.name) is not None}
    if asked.device and not asked.serve:
        parser.error("--device is for --serve")
    if not is_onnx(asked.checkpoint) and (asked.prediction or asked.shape):
        parser.error("--prediction and --shape are for .onnx files")
    try:
        if asked.out and is_peft(asked.checkpoint):
            if told:
                raise NoLora(f"{asked.checkpoint} is an adapter of PEFT, which has no {next(iter(told))}: leave it out")
            print(from_peft(asked.checkpoint, asked.out))
            return 0
        if asked.serve and is_onnx(asked.checkpoint):
            denoiser = _onnx_of(asked.checkpoint, told, shape=asked.shape, device=asked.device, prediction=asked.prediction or "eps")
        elif asked.serve:
            denoiser = load(asked.checkpoint, image_size=asked.image_size, weights=asked.weights, device=asked.device, **told)
        else:
            print(convert(asked.checkpoint, asked.out, weights=asked.weights, image_size=asked.image_size, **told))
            return 0
    except (NotKnown, NoLora, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # What torch says of tensors that are of other sizes than their names promise.
        print(f"error: {asked.checkpoint}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    try:
        serve(denoiser)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

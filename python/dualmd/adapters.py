"""Pipelines of diffusers as denoisers, chosen by the name of their class. Nothing of diffusers or torch is imported before one is there.

Each adapter says what the network is asked and how it answers. Networks are asked without guidance, as they were trained; guidance is for
`generate`. Latents are the mean of what the autoencoder says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .denoiser import Call, Denoiser, Evaluated, prediction_of


def _sides(size: Any) -> tuple[int, int]:
    """Height and width of a `sample_size`, which is a number or both."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _seeded(seed: int) -> Any:
    """A generator of torch for one call of a pipeline: on the CPU, as diffusers' documentation advises."""
    return importlib.import_module("torch").Generator("cpu").manual_seed(seed)


def _unit(images: Any) -> Any:
    """[-1, 1] and channels first, of a pipeline's numpy images in [0, 1], channels last."""
    return importlib.import_module("torch").from_numpy(images).permute(0, 3, 1, 2) * 2 - 1


def _name(pipe: Any) -> str:
    """The class, with where it was loaded from."""
    place = str(getattr(getattr(pipe, "config", None), "_name_or_path", "") or getattr(pipe, "name_or_path", "") or "")
    # Of a path the last part: folders above it may say more than a report should.
    return f"{type(pipe).__name__} {place.rstrip('/').rsplit('/', 1)[-1]}".strip()[:200]


def _of(pipe: Any, network: Any) -> dict[str, Any]:
    """What all adapters say."""
    scheduler = pipe.scheduler
    config = scheduler.config
    clips = bool(config.get("clip_sample", False))
    return {
        "schedule": scheduler,
        "prediction": prediction_of(scheduler) or "eps",
        "name": _name(pipe),
        "parameters": network.parameters(),
        "device": pipe.device,
        "clip": float(config.get("clip_sample_range", 1.0)) if clips else None,
    }


def _ddpm(pipe: Any) -> Denoiser:
    """`DDPMPipeline` and `DDIMPipeline`: any UNet2DModel of images."""
    unet = pipe.unet
    if getattr(unet.config, "num_class_embeds", None):
        return _with_classes(pipe, unet, int(unet.config.num_class_embeds))
    height, width = _sides(unet.config.sample_size)

    def generate(seed: int, count: int, steps: int) -> Any:
        return _unit(pipe(batch_size=count, generator=_seeded(seed), num_inference_steps=steps, output_type="np").images)

    return Denoiser(
        lambda x, t, c: unet(x.to(unet.dtype), t).sample,
        shape=(unet.config.in_channels, height, width),
        generate=generate,
        **_of(pipe, unet),
    )


def _with_classes(pipe: Any, unet: Any, classes: int) -> Denoiser:
    """A UNet2DModel that is told classes: a text is the number of one."""
    torch = importlib.import_module("torch")
    height, width = _sides(unet.config.sample_size)
    shape = (unet.config.in_channels, height, width)

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        if texts is None:
            raise ValueError("this model is always told a class, and was asked without one: it has no answer to that")
        for text in texts:
            if not text.isdecimal() or int(text) >= classes:
                raise ValueError(f"caption {text!r} is no class of the model: give its number, 0 to {classes - 1}")
        return unet(x.to(unet.dtype), t, class_labels=torch.tensor([int(text) for text in texts], device=x.device)).sample

    def generate(seed: int, count: int, steps: int, texts: list[str], guidance: float) -> Any:
        """By the pipeline's scheduler, and without guidance: it would need an answer without a class."""
        scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        scheduler.set_timesteps(steps)
        drawn = _seeded(seed)
        x = torch.randn(count, *shape, generator=drawn).to(pipe.device)
        for t in scheduler.timesteps:
            said = ask(x, t.expand(count).to(x.device), texts)
            x = scheduler.step(said.float(), t, x, generator=drawn).prev_sample
        return x

    made = Denoiser(ask, shape=shape, texts=True, generate=generate, **_of(pipe, unet))
    # The program tells models apart by an answer to a question without a text, which this one has not.
    drawn = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(pipe.device)
    with torch.no_grad():
        said = made.call(drawn, torch.tensor([100], device=pipe.device), ["0"])
    made.fingerprint = hashlib.sha256(repr(said.float().flatten().tolist()).encode()).hexdigest()
    return made


def _ldm(pipe: Any) -> Denoiser:
    """`LDMPipeline`: a UNet2DModel of the latents of a VQModel. Latents are the encoder's, before they are quantised."""
    unet, vae = pipe.unet, pipe.vqvae
    height, width = _sides(unet.config.sample_size)
    scale = float(getattr(vae.config, "scaling_factor", 1.0))
    times = 2 ** (len(vae.config.block_out_channels) - 1)

    def generate(seed: int, count: int, steps: int) -> Any:
        return _unit(pipe(batch_size=count, generator=_seeded(seed), num_inference_steps=steps, output_type="np").images)

    return Denoiser(
        lambda x, t, c: unet(x.to(unet.dtype), t).sample,
        shape=(unet.config.in_channels, height, width),
        image_shape=(vae.config.out_channels, height * times, width * times),
        encode=lambda images: vae.encode(images.to(vae.dtype)).latents * scale,
        decode=lambda latents: vae.decode(latents.to(vae.dtype) / scale).sample,
        generate=generate,
        **_of(pipe, unet),
    )


class _Embedded:
    """What a pipeline makes of texts, once for each text."""

    def __init__(self, encode: Callable[[list[str]], tuple[Any, ...]]) -> None:
        self.encode = encode
        self.known: dict[str, tuple[Any, ...]] = {}

    def __call__(self, texts: list[str] | None, n: int) -> list[Any]:
        """Tensors [n, ...]; without texts those of the empty one."""
        torch = importlib.import_module("torch")
        texts = [""] * n if texts is None else texts
        # Kept for questions to come: without the graph of the one that came first, which may ask for gradients.
        with torch.no_grad():
            for text in dict.fromkeys(texts):
                if text not in self.known:
                    self.known[text] = self.encode([text])
        return [torch.cat(rows) for rows in zip(*(self.known[text] for text in texts))]


def _autoencoder(vae: Any) -> dict[str, Any]:
    """Images to latents and back, for an AutoencoderKL."""
    scale, shift = float(vae.config.scaling_factor), float(getattr(vae.config, "shift_factor", None) or 0.0)
    return {
        "encode": lambda images: (vae.encode(images.to(vae.dtype)).latent_dist.mean - shift) * scale,
        "decode": lambda latents: vae.decode((latents / scale + shift).to(vae.dtype)).sample,
    }


def _with_texts(pipe: Any, network: Any, channels: int, sides: tuple[int, int], ask: Callable[[Any, Any, Any], Any], **generating: Any) -> Denoiser:
    """A model of latents that is told texts. `sides`: of the latents. `generating`: what the pipeline is told beside a prompt."""
    vae = pipe.vae
    times = 2 ** (len(vae.config.block_out_channels) - 1)
    height, width = sides

    def generate(seed: int, count: int, steps: int, texts: list[str], guidance: float) -> Any:
        size = {"height": height * times, "width": width * times, **generating}
        made = pipe(
            prompt=texts, guidance_scale=guidance, num_inference_steps=steps, generator=_seeded(seed), output_type="np", **size
        )
        return _unit(made.images)

    return Denoiser(
        ask,
        shape=(channels, height, width),
        image_shape=(vae.config.out_channels, height * times, width * times),
        texts=True,
        generate=generate,
        **_autoencoder(vae),
        **{**_of(pipe, network), "clip": None},
    )


def _sd(pipe: Any) -> Denoiser:
    """`StableDiffusionPipeline`: Stable Diffusion 1 and 2, eps or v."""
    unet = pipe.unet
    embedded = _Embedded(lambda texts: (pipe.encode_prompt(texts, pipe.device, 1, False)[0],))

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        (states,) = embedded(texts, len(x))
        return unet(x.to(unet.dtype), t, encoder_hidden_states=states).sample

    return _with_texts(pipe, unet, unet.config.in_channels, _sides(unet.config.sample_size), ask)


def _sdxl(pipe: Any) -> Denoiser:
    """`StableDiffusionXLPipeline`: two text encoders, and the size of the image as a condition (uncropped, the model's own size)."""
    unet = pipe.unet
    sides = _sides(unet.config.sample_size)
    size = tuple(side * pipe.vae_scale_factor for side in sides)

    def encode(texts: list[str]) -> tuple[Any, ...]:
        states, _, pooled, _ = pipe.encode_prompt(prompt=texts, device=pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False)
        return states, pooled

    embedded = _Embedded(encode)

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        states, pooled = embedded(texts, len(x))
        ids = pipe._get_add_time_ids(size, (0, 0), size, dtype=states.dtype, text_encoder_projection_dim=pooled.shape[-1])
        told = {"text_embeds": pooled, "time_ids": ids.to(x.device).repeat(len(x), 1)}
        return unet(x.to(unet.dtype), t, encoder_hidden_states=states, added_cond_kwargs=told).sample

    return _with_texts(pipe, unet, unet.config.in_channels, sides, ask)


def _sd3(pipe: Any) -> Denoiser:
    """`StableDiffusion3Pipeline`: a flow; its timestep is 1000 s."""
    network = pipe.transformer

    def encode(texts: list[str]) -> tuple[Any, ...]:
        states, _, pooled, _ = pipe.encode_prompt(texts, texts, texts, device=pipe.device, do_classifier_free_guidance=False)
        return states, pooled

    embedded = _Embedded(encode)

    def ask(x: Any, s: Any, texts: list[str] | None) -> Any:
        states, pooled = embedded(texts, len(x))
        return network(x.to(network.dtype), timestep=s * 1000, encoder_hidden_states=states, pooled_projections=pooled).sample

    return _with_texts(pipe, network, network.config.in_channels, _sides(network.config.sample_size), ask)


# Guidance that a distilled FLUX is told, as diffusers' training scripts have it.
_FLUX_GUIDANCE = 3.5


def _flux(pipe: Any, image_size: int | None = None) -> Denoiser:
    """`FluxPipeline`: a flow over latents in packs of 2 x 2. `image_size`: side of the images, which the network leaves open (1024)."""
    torch = importlib.import_module("torch")
    network = pipe.transformer
    times = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    side = (image_size // times) if image_size else int(pipe.default_sample_size)
    if side % 2:
        raise ValueError(f"image_size={image_size}: latents of {side} x {side} do not fall into packs of 2 x 2: give a multiple of {2 * times}")
    channels = network.config.in_channels // 4

    def encode(texts: list[str]) -> tuple[Any, ...]:
        states, pooled, _ = pipe.encode_prompt(texts, texts, device=pipe.device)
        return states, pooled

    embedded = _Embedded(encode)

    def ask(x: Any, s: Any, texts: list[str] | None) -> Any:
        n = len(x)
        states, pooled = embedded(texts, n)
        packed = x.reshape(n, channels, side // 2, 2, side // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, (side // 2) ** 2, channels * 4)
        row = torch.arange(side // 2, device=x.device)
        places = torch.stack([torch.zeros_like(row).repeat(side // 2), row.repeat_interleave(side // 2), row.repeat(side // 2)], 1)
        guidance = torch.full([n], _FLUX_GUIDANCE, device=x.device) if network.config.guidance_embeds else None
        made = network(
            hidden_states=packed.to(network.dtype),
            timestep=s,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=x.device),
            img_ids=places.to(torch.float32),
        ).sample
        return made.reshape(n, side // 2, side // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)

    return _with_texts(pipe, network, channels, (side, side), ask)


def _pixart(pipe: Any) -> Denoiser:
    """`PixArtAlphaPipeline` and `PixArtSigmaPipeline`. The half of the answer that is a variance is left."""
    torch = importlib.import_module("torch")
    network = pipe.transformer
    sides = _sides(network.config.sample_size)
    channels = network.config.in_channels
    size = [side * pipe.vae_scale_factor for side in sides]

    def encode(texts: list[str]) -> tuple[Any, ...]:
        states, mask, _, _ = pipe.encode_prompt(texts, do_classifier_free_guidance=False, num_images_per_prompt=1, device=pipe.device)
        return states, mask

    embedded = _Embedded(encode)

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        states, mask = embedded(texts, len(x))
        told: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
        if getattr(network.config, "sample_size", None) == 128 and type(pipe).__name__ == "PixArtAlphaPipeline":
            told["resolution"] = torch.tensor([size], dtype=states.dtype, device=x.device).repeat(len(x), 1)
            told["aspect_ratio"] = torch.tensor([[size[0] / size[1]]], dtype=states.dtype, device=x.device).repeat(len(x), 1)
        made = network(
            x.to(network.dtype), encoder_hidden_states=states, encoder_attention_mask=mask, timestep=t, added_cond_kwargs=told
        ).sample
        return made[:, :channels]

    return _with_texts(pipe, network, channels, sides, ask, use_resolution_binning=False)


def _dit(pipe: Any) -> Denoiser:
    """`DiTPipeline`: a text is a class, by its number or its label; the empty text is no class. The variance is left."""
    torch = importlib.import_module("torch")
    network, vae = pipe.transformer, pipe.vae
    height, width = _sides(network.config.sample_size)
    channels, nothing = network.config.in_channels, network.config.num_embeds_ada_norm
    times = 2 ** (len(vae.config.block_out_channels) - 1)

    def number(text: str) -> int:
        if text == "":
            return int(nothing)
        found = int(text) if text.isdigit() else getattr(pipe, "labels", {}).get(text)
        if found is None or found >= nothing:
            raise ValueError(f"caption {text!r} is no class of the model: give its number, 0 to {nothing - 1}, or its label")
        return int(found)

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        told = torch.tensor([number(text) for text in texts or [""] * len(x)], device=x.device)
        return network(x.to(network.dtype), timestep=t, class_labels=told).sample[:, :channels]

    def generate(seed: int, count: int, steps: int, texts: list[str], guidance: float) -> Any:
        told = [number(text) for text in texts]
        made = pipe(class_labels=told, guidance_scale=guidance, num_inference_steps=steps, generator=_seeded(seed), output_type="np")
        return _unit(made.images)

    return Denoiser(
        ask,
        shape=(channels, height, width),
        image_shape=(vae.config.out_channels, height * times, width * times),
        texts=True,
        generate=generate,
        **_autoencoder(vae),
        **{**_of(pipe, network), "clip": None},
    )


ADAPTERS: dict[str, Callable[..., Denoiser]] = {
    "DDPMPipeline": _ddpm,
    "DDIMPipeline": _ddpm,
    "LDMPipeline": _ldm,
    "DiTPipeline": _dit,
    "StableDiffusionPipeline": _sd,
    "StableDiffusionXLPipeline": _sdxl,
    "StableDiffusion3Pipeline": _sd3,
    "FluxPipeline": _flux,
    "PixArtAlphaPipeline": _pixart,
    "PixArtSigmaPipeline": _pixart,
}
"""The adapters by the names of the classes."""


def _networks(pipe: Any) -> list[Any]:
    """The parts of a pipeline that are networks."""
    return [part for part in getattr(pipe, "components", {}).values() if callable(getattr(part, "modules", None))]


@contextlib.contextmanager
def _silent(pipe: Any) -> Iterator[None]:
    """The pipeline shows no progress of its own in the block."""
    before = dict(getattr(pipe, "_progress_bar_config", None) or {})
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


def _left_as_it_was(pipe: Any, made: Denoiser) -> Denoiser:
    """A denoiser that asks the pipeline's networks in evaluation mode and without progress bars, and leaves the pipeline as it was."""
    networks, generate = _networks(pipe), made.generate

    def silently(*asked: Any) -> Any:
        assert generate is not None
        with _silent(pipe):
            return generate(*asked)

    own = {name: getattr(made, name) for name in ("call", "encode", "decode", "base")}
    own["generate"] = silently if generate is not None else None
    return dataclasses.replace(made, **{name: Evaluated(one, networks) for name, one in own.items() if one is not None})


def _adapters(pipe: Any) -> list[Any]:
    """The layers of a pipeline in which an adapter (LoRA) of PEFT is at work."""
    # A layer says whether its adapters are left out; of a whole network it is a method of this name.
    return [one for network in _networks(pipe) for one in network.modules() if getattr(one, "disable_adapters", None) is False]


def _base(layers: Sequence[Any], call: Call) -> Call:
    """The model without its adapters. `call`: a denoiser of the pipeline that no other question is put to, for it keeps embeddings of texts."""

    def ask(x: Any, t: Any, texts: list[str] | None) -> Any:
        # PEFT decides by that as well what is trained.
        before = [(parameter, parameter.requires_grad) for one in layers for parameter in one.parameters()]
        try:
            for one in layers:
                one.enable_adapters(False)
            return call(x, t, texts)
        finally:
            for one in layers:
                one.enable_adapters(True)
            for parameter, trained in before:
                parameter.requires_grad_(trained)

    return ask


def is_pipeline(model: Any) -> bool:
    """Is it a pipeline object of diffusers, known or not?"""
    return any(kind.__name__ == "DiffusionPipeline" or kind.__name__ in ADAPTERS for kind in type(model).__mro__)


def denoiser_of_pipeline(pipe: Any, **settings: Any) -> Denoiser:
    """The denoiser in a pipeline; of one with a LoRA also its base. `settings`: fields of `Denoiser` that are to be others, and for FLUX `image_size`.

    Raises `TypeError` for a class that no adapter is for, with those that there are.
    """
    for kind in type(pipe).__mro__:
        if kind.__name__ in ADAPTERS:
            own = {"image_size": settings.pop("image_size")} if "image_size" in settings else {}
            if own and ADAPTERS[kind.__name__] is not _flux:
                raise TypeError("image_size is for FluxPipeline: other networks say which size theirs is")
            make = ADAPTERS[kind.__name__]
            made = make(pipe, **own)
            if layers := _adapters(pipe):
                made = dataclasses.replace(made, base=_base(layers, make(pipe, **own).call))
            return dataclasses.replace(_left_as_it_was(pipe, made), **settings)
    raise TypeError(
        f"no adapter for {type(pipe).__name__}: there are some for {', '.join(ADAPTERS)}. Any other model is audited as a callable: "
        "dualmd.audit(lambda x, t, c: network(x, t).sample, shape=(3, 32, 32), schedule=pipe.scheduler, members=..., nonmembers=...)"
    )

"""Transformers that are told a class (DiT): tests/golden/dit.

    OMP_NUM_THREADS=1 python interop/make_dit_golden.py make tests/golden/dit       (torch, diffusers, numpy)
    python interop/make_dit_golden.py check FOLDER    a pipeline folder that dualmd wrote, with its answers beside it

Networks are small and random, and no parameter is what it begins as. Answers were computed in f64 from the f32 weights.

plain, gelu, geglu, sigmoid, larger     DiTTransformer2DModel of pixels with three classes: other activations, with and without biases of the
                                        attention, normalisations with parameters, other squares; larger: asked at twice its sample_size. x_t, t,
                                        label, eps
latents     DiTPipeline: one that also predicts a variance, over an AutoencoderKL, with names of its classes. image and latents (what the network
            sees of it: the scaled mean), x_t, t, label, eps (the first half); x_T, and sample: 10 steps of DDIM for the classes 2 and 0 at a
            guidance of 3, decoded, in [-1, 1]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

SMALL = dict(
    num_attention_heads=2, attention_head_dim=8, in_channels=3, out_channels=3, num_layers=2, sample_size=8, patch_size=2, num_embeds_ada_norm=3
)
AUTOENCODER = dict(
    in_channels=3, out_channels=3, latent_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
)  # fmt: skip
STEPS, GUIDANCE, NONE = 10, 3.0, 3


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def predict(network, x, t, label):
    with torch.no_grad():
        out = network.double()(torch.from_numpy(x).double(), timestep=torch.from_numpy(t), class_labels=torch.from_numpy(label)).sample
    return out[:, : network.config.in_channels].numpy()


def save(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array if array.dtype == np.int64 else array.astype(np.float32))


def shaken(network, seed):
    """No parameter is what it begins as, which a test might not see."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return network.eval()


def pixels(folder, seed, side=8, **other):
    """A transformer of pixels, for which diffusers has no pipeline: its parts, and an index."""
    torch.manual_seed(seed)
    network = shaken(DiTTransformer2DModel(**{**SMALL, **other}), seed)
    network.save_pretrained(folder / "transformer")
    DDIMScheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline", "transformer": ["diffusers", "DiTTransformer2DModel"], "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": [None, None],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    x, t, label = normal(1, 4, 3, side, side), np.array([0, 250, 600, 999]), np.array([2, 0, 2, 3])
    save(folder, x_t=x, t=t, label=label, eps=predict(network, x, t, label))


def latents(folder):
    torch.manual_seed(7)
    network = shaken(DiTTransformer2DModel(**{**SMALL, "out_channels": 6}), 7)
    vae = AutoencoderKL(**AUTOENCODER).eval()
    scheduler = DDIMScheduler(clip_sample=False)
    DiTPipeline(network, vae, scheduler).save_pretrained(folder)
    # As the published folders have them; the pipeline does not write them itself.
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {"0": "cat", "1": "hound, dog", "2": "owl"}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    x, t, label = normal(1, 4, 3, 8, 8), np.array([0, 250, 600, 999]), np.array([2, 0, 1, 3])
    image, start = np.tanh(normal(2, 2, 3, 16, 16)), normal(3, 2, 3, 8, 8)
    vae = vae.double()
    scheduler.set_timesteps(STEPS)
    made, told, nothing = torch.from_numpy(start).double(), np.array([2, 0]), np.full(2, NONE)
    with torch.no_grad():
        seen = vae.encode(torch.from_numpy(image).double()).latent_dist.mean * vae.config.scaling_factor
        for at in scheduler.timesteps:
            times = np.full(2, int(at))
            without, with_class = (torch.from_numpy(predict(network, made.numpy(), times, which)) for which in (nothing, told))
            made = scheduler.step(without + GUIDANCE * (with_class - without), at, made).prev_sample
        sample = vae.decode(made / vae.config.scaling_factor).sample.clamp(-1, 1)
    save(
        folder, x_t=x, t=t, label=label, eps=predict(network, x, t, label), image=image, latents=seen.numpy(), x_T=start, sample=sample.numpy()
    )  # fmt: skip


def make(folder):
    for name, seed, other in [
        ("plain", 1, {}),
        ("gelu", 2, {"num_layers": 1, "activation_fn": "gelu", "attention_bias": False}),
        ("geglu", 3, {"num_layers": 1, "activation_fn": "geglu", "norm_elementwise_affine": True, "norm_eps": 1e-3}),
        ("sigmoid", 4, {"num_layers": 1, "activation_fn": "geglu-approximate", "patch_size": 4}),
        ("larger", 5, {"num_layers": 1, "side": 16}),
    ]:
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels(folder / name, seed, **other)
    latents(folder / "latents")


def check(folder):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "DiTPipeline", index
    network, info = DiTTransformer2DModel.from_pretrained(folder / "transformer", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    network = network.eval()
    read = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    theirs = {"eps": predict(network, read["x_t"], read["t"], read["label"])}
    if index["vae"][0] is None:
        assert DiTPipeline.from_pretrained(folder, vae=None).transformer.config.num_embeds_ada_norm == network.config.num_embeds_ada_norm
    else:
        pipe = DiTPipeline.from_pretrained(folder)
        vae = pipe.vae.double()
        with torch.no_grad():
            picture = vae.decode(torch.from_numpy(read["latents"]).double() / vae.config.scaling_factor).sample.clamp(-1, 1)
        theirs["picture"] = picture.numpy()
    for name, expected in theirs.items():
        error = np.abs(read[name] - expected).max() / np.abs(expected).max()
        print(f"{name}: largest difference {error:.1e} of the largest value")
        assert error < 1e-5, (name, error)


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))

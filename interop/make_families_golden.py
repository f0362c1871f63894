"""Networks that are told a class, that also predict a variance, and that see latents without a text: tests/golden/families.

    OMP_NUM_THREADS=1 python interop/make_families_golden.py make tests/golden/families     (torch, diffusers, numpy, safetensors)
    python interop/make_families_golden.py check FOLDER    a pipeline folder that dualmd wrote, with its answers beside it

Networks are small and random. Answers were computed in f64 from the f32 weights.

classes     UNet2DModel with num_class_embeds = 4: three classes with names (id2label in model_index.json) and one for no label. x_t, t, label,
            eps; x_T, and sample: 10 steps of diffusers' DDIM with classifier-free guidance 3, classes 2, 0, 1
variance    UNet2DModel with twice as many channels out as in, and a scheduler with variance_type learned_range: x_t, t, eps (the first half)
vq          LDMPipeline: a UNet2DModel over a VQModel. image, z (its latents before the codebook), x_t, t, eps; x_T and sample: what the
            pipeline draws in 10 steps, in [-1, 1]
kl          The same classes with an AutoencoderKL in the VQModel's place; image, z: the mean
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel, VQModel

SMALL = dict(
    block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)
AUTOENCODER = dict(
    in_channels=3, out_channels=3, latent_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
)
STEPS, GUIDANCE = 10, 3.0


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shaken(model):
    """Norms begin as the identity, which a test would not see."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def predict(model, x, t, label=None):
    label = None if label is None else torch.from_numpy(label)
    with torch.no_grad():
        return model.double()(torch.from_numpy(x).double(), torch.from_numpy(t), class_labels=label).sample.numpy()


def save(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array if array.dtype == np.int64 else array.astype(np.float32))


def classes(folder):
    torch.manual_seed(11)
    model = shaken(UNet2DModel(sample_size=8, in_channels=1, out_channels=1, num_class_embeds=4, **SMALL))
    DDPMPipeline(model, DDPMScheduler()).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {"0": "cat", "1": "dog", "2": "owl"}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    x, t, label = normal(1, 4, 1, 8, 8), np.array([0, 400, 999, 400]), np.array([2, 0, 1, 3])
    x_t = normal(2, 3, 1, 8, 8)
    scheduler = DDIMScheduler(clip_sample=True)
    scheduler.set_timesteps(STEPS)
    sample, told, nothing = torch.from_numpy(x_t).double(), np.array([2, 0, 1]), np.full(3, 3)
    for at in scheduler.timesteps:
        times = np.full(3, int(at))
        without, with_class = (torch.from_numpy(predict(model, sample.numpy(), times, which)) for which in (nothing, told))
        sample = scheduler.step(without + GUIDANCE * (with_class - without), at, sample).prev_sample
    save(folder, x_t=x, t=t, label=label, eps=predict(model, x, t, label), x_T=x_t, sample=sample.clamp(-1, 1).numpy())


def variance(folder):
    torch.manual_seed(12)
    model = shaken(UNet2DModel(sample_size=8, in_channels=3, out_channels=6, **SMALL))
    DDPMPipeline(model, DDPMScheduler(variance_type="learned_range")).save_pretrained(folder)
    x, t = normal(3, 3, 3, 8, 8), np.array([0, 400, 999])
    save(folder, x_t=x, t=t, eps=predict(model, x, t)[:, :3])


def latent(folder, vqvae, encoded, seed):
    torch.manual_seed(seed)
    model = shaken(UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **SMALL))
    pipe = LDMPipeline(vqvae=vqvae, unet=model, scheduler=DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195))
    pipe.save_pretrained(folder)
    image = np.tanh(normal(4, 2, 3, 16, 16))
    with torch.no_grad():
        z = encoded(vqvae.double(), torch.from_numpy(image).double()).numpy()
    x, t = normal(5, 3, 3, 8, 8), np.array([0, 400, 999])
    start = normal(6, 2, 3, 8, 8)
    pipe.scheduler.set_timesteps(STEPS)
    drawn = torch.from_numpy(start).double()
    with torch.no_grad():
        for at in pipe.scheduler.timesteps:
            drawn = pipe.scheduler.step(model.double()(drawn, at).sample, at, drawn).prev_sample
        sample = vqvae.decode(drawn / vqvae.config.scaling_factor).sample.clamp(-1, 1)
    save(folder, image=image, z=z, x_t=x, t=t, eps=predict(model, x, t), x_T=start, sample=sample.numpy())


def make(folder):
    for name in ("classes", "variance", "vq", "kl"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    classes(folder / "classes")
    variance(folder / "variance")
    torch.manual_seed(13)
    vq = shaken(VQModel(num_vq_embeddings=16, **AUTOENCODER))
    with torch.no_grad():
        # As it comes, all codes lie within 1/16 of zero, and every latent would have the same few.
        vq.quantize.embedding.weight.normal_(0, 0.5)
    latent(folder / "vq", vq, lambda vq, x: vq.encode(x).latents, 14)
    torch.manual_seed(15)
    kl = shaken(AutoencoderKL(**AUTOENCODER))
    latent(folder / "kl", kl, lambda kl, x: kl.encode(x).latent_dist.mean, 16)


def check(folder):
    model, info = UNet2DModel.from_pretrained(folder / "unet", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    index = json.loads((folder / "model_index.json").read_text())
    kind = LDMPipeline if index["_class_name"] == "LDMPipeline" else DDPMPipeline
    pipe = kind.from_pretrained(folder)
    read = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    theirs = {"eps": predict(model, read["x_t"], read["t"], read.get("label"))}
    if kind is LDMPipeline:
        vqvae = pipe.vqvae.double()
        with torch.no_grad():
            theirs["picture"] = vqvae.decode(torch.from_numpy(read["latents"]).double() / vqvae.config.scaling_factor).sample.numpy()
    for name, expected in theirs.items():
        error = np.abs(read[name] - expected).max() / np.abs(expected).max()
        print(f"{name}: largest difference {error:.1e} of the largest value")
        assert error < 1e-5, (name, error)


{"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))

"""What denoising-diffusion-pytorch itself answers for checkpoints of its format: tests/golden/checkpoints/denoising-diffusion-pytorch.json.

    python interop/make_checkpoints_golden.py FOLDER     (torch, denoising-diffusion-pytorch 2.3.4 with einops, ema-pytorch, torchvision)

A variant of the file has the names and shapes of a `GaussianDiffusion`'s tensors, its schedule, and the network's answers. The weights are
no part of it: `weights` in check_networks.py makes them of their names and shapes, here and there.
"""

import json
import sys
from pathlib import Path

import torch
from check_networks import inputs, weights
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from denoising_diffusion_pytorch.learned_gaussian_diffusion import LearnedGaussianDiffusion

SIDE = 8
VARIANTS = {
    "v": ({}, {}),
    "noise": ({"init_dim": 12, "full_attn": (True, False)}, {"objective": "pred_noise", "beta_schedule": "linear", "min_snr_loss_weight": True}),
    "x0": ({"self_condition": True, "channels": 1}, {"objective": "pred_x0", "beta_schedule": "cosine", "min_snr_loss_weight": True}),
    "variance": ({"learned_variance": True, "dim_mults": (1, 2, 2)}, {"objective": "pred_noise", "beta_schedule": "cosine"}),
}


def variant(name, unet_options, diffusion_options):
    unet = Unet(**{"dim": 8, "dim_mults": (1, 2), "attn_heads": 2, "attn_dim_head": 4, **unet_options})
    kind = LearnedGaussianDiffusion if unet_options.get("learned_variance") else GaussianDiffusion
    diffusion = kind(unet, image_size=SIDE, timesteps=40, **diffusion_options)
    shapes = {key: list(value.shape) for key, value in unet.state_dict().items()}
    unet.load_state_dict(weights(shapes, 0))
    x, t = inputs(unet.channels, SIDE, 40)
    with torch.no_grad():
        out = unet.eval()(x, t)[:, : unet.channels]
    buffers = {key: value.tolist() for key, value in diffusion.state_dict().items() if not key.startswith("model.")}
    kept = {key: buffers[key] for key in ("betas", "alphas_cumprod", "loss_weight")}
    out = [float(f"{value:.9g}") for value in out.flatten().tolist()]
    return {"name": name, "channels": unet.channels, "side": SIDE, "buffers": kept, "tensors": shapes, "out": out}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = [variant(name, *options) for name, options in VARIANTS.items()]
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "denoising-diffusion-pytorch.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()

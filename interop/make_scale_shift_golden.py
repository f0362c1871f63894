"""Networks with resnet_time_scale_shift = "scale_shift" and attention in the middle: there diffusers' attention has no group norm.

    OMP_NUM_THREADS=1 python interop/make_scale_shift_golden.py make tests/golden/tiny-scale-shift     (torch, diffusers, numpy)
    python interop/make_scale_shift_golden.py check FOLDER    a pipeline folder that dualmd wrote, with x_t.npy, t.npy and its eps.npy

The network of the golden folder is small and random; eps.npy was computed in f64 from the f32 weights. Its scheduler has the cosine
schedule, squaredcos_cap_v2.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel


def predict(model, x, t):
    with torch.no_grad():
        return model.double()(torch.from_numpy(x).double(), torch.from_numpy(t)).sample.numpy()


def make(folder):
    torch.manual_seed(8)
    model = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        attention_head_dim=8, down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="scale_shift", add_attention=True,
    )
    names = [name for name, _ in model.named_parameters()]
    assert "mid_block.attentions.0.to_q.weight" in names and "mid_block.attentions.0.group_norm.weight" not in names
    with torch.no_grad():
        # Norms begin as the identity, which a test would not see. With this seed f32 is exact to 5e-7 of the largest value in PyTorch
        # itself; of others it is not, and 1e-6 would mean nothing.
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(0.1 * torch.randn_like(p))
    DDPMPipeline(model, DDPMScheduler(beta_schedule="squaredcos_cap_v2")).save_pretrained(folder)
    x, t = np.random.default_rng(7).standard_normal((3, 3, 8, 8)).astype(np.float32), np.array([0, 400, 999])
    np.save(folder / "x_t.npy", x)
    np.save(folder / "t.npy", t)
    np.save(folder / "eps.npy", predict(model, x, t).astype(np.float32))


def check(folder):
    pipeline = DDPMPipeline.from_pretrained(folder)
    model, info = UNet2DModel.from_pretrained(folder / "unet", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert type(pipeline.scheduler) is DDPMScheduler
    ours = np.load(folder / "eps.npy")
    theirs = predict(model, np.load(folder / "x_t.npy"), np.load(folder / "t.npy"))
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"largest difference {error:.1e} of the largest value")
    assert error < 1e-6, error


{"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))

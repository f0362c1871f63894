"""Numbers of diffusers for flow matching, which the Rust tests compare with (tests/golden/flow):

    python interop/make_flow_golden.py tests/golden

The networks are those of tests/golden/tiny-grey and tiny-grey-2 (interop/make_golden.py). Their outputs are taken for velocities:
what is compared is the arithmetic, for which any network will do. Written: for noisy images x_t at DDPM's timesteps t the noise
that the velocity means; and what ten Euler steps of FlowMatchEulerDiscreteScheduler (shift 3) make of x_T, with one network and
with two that take turns, and one step (shift 1).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel

STEPS, SHIFT, IMAGES = 10, 3.0, 4


def normal(seed):
    return torch.randn((IMAGES, 1, 16, 16), generator=torch.Generator().manual_seed(seed))


def euler(networks, x, steps, shift):
    """diffusers' own sampler; the networks take turns."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    for i, t in enumerate(scheduler.timesteps):
        velocity = networks[i % len(networks)](x, t).sample
        x = scheduler.step(velocity, t, x).prev_sample
    return x


@torch.no_grad()
def main(out):
    torch.set_num_threads(1)
    one, two = (UNet2DModel.from_pretrained(out / name / "unet").eval() for name in ("tiny-grey", "tiny-grey-2"))
    folder = out / "flow"
    folder.mkdir(exist_ok=True)
    x_t, x_T = normal(70), normal(71)
    t = torch.tensor([0, 100, 258, 999])
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[t].view(-1, 1, 1, 1)
    a, b = abar.sqrt(), (1 - abar).sqrt()
    s = b / (a + b)
    x_s = (x_t / (a + b)).float()
    eps = x_s + (1 - s).float() * one(x_s, (1000 * s).float().view(-1)).sample
    files = {
        "x_t": x_t, "t": t, "eps": eps, "x_T": x_T,
        "euler_10": euler([one], x_T, STEPS, SHIFT),
        "pair_10": euler([one, two], x_T, STEPS, SHIFT),
        "euler_1": euler([one], x_T, 1, 1.0),
    }
    for name, tensor in files.items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    versions = {"torch": torch.__version__.split("+")[0], "diffusers": __import__("diffusers").__version__}
    about = {"schema": 1, "made_by": "interop/make_flow_golden.py", "versions": versions, "steps": STEPS, "shift": SHIFT,
             "note": "raw, nothing clipped; euler_1 has shift 1"}
    (folder / "golden.json").write_text(json.dumps(about, indent=1) + "\n")
    for name in ("euler_10", "pair_10", "euler_1", "eps"):
        print(name, float(files[name].abs().max()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

"""Does Python's diffusers read a pipeline folder of dualmd and compute the same numbers?

    python interop/check_diffusers.py MODEL_DIR X.npy T.npy EPS.npy [--noise X_T.npy --sample SAMPLE.npy] [--steps 10]

X: [N, C, H, W] f32, T: [N] i64, EPS: what dualmd predicted for them; equal within 1e-5. With --noise and --sample also a
DDIM sample (eta 0, no clipping of x_0; the result clipped to [-1, 1] on both sides) within 1e-4.
Prints the largest errors; exit code 0 = equal, 1 = not equal. The Rust test that calls this is told where Python is by
the environment variable DUALMD_TEST_PYTHON.
"""

import argparse
import sys

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline


def compare(what, ours, theirs, limit):
    if ours.shape != theirs.shape:
        print(f"{what}: shapes differ: diffusers {ours.shape}, file {theirs.shape}")
        return False
    error = float(np.abs(ours - theirs).max())
    good = error <= limit  # a NaN is not
    print(f"{what}: max error {error:.3e} (limit {limit:.0e}): {'ok' if good else 'DIFFERENT'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "x", "t", "eps"):
        parser.add_argument(name)
    parser.add_argument("--noise")
    parser.add_argument("--sample")
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    if bool(args.noise) != bool(args.sample):
        parser.error("--noise and --sample go together")

    torch.set_num_threads(1)
    pipeline = DDPMPipeline.from_pretrained(args.model, use_safetensors=True)
    unet = pipeline.unet.eval()
    with torch.no_grad():
        eps = unet(torch.from_numpy(np.load(args.x)), torch.from_numpy(np.load(args.t))).sample
        good = compare("eps", eps.numpy(), np.load(args.eps), 1e-5)
        if args.noise:
            scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
            scheduler.set_timesteps(args.steps)
            x = torch.from_numpy(np.load(args.noise))
            for t in scheduler.timesteps:
                x = scheduler.step(unet(x, t).sample, t, x, eta=0.0).prev_sample
            sample = np.load(args.sample)
            good &= compare(f"{args.steps}-step DDIM sample", x.clamp(-1, 1).numpy(), sample.clip(-1, 1), 1e-4)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

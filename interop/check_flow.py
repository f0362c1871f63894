"""Does Python's diffusers read a flow of dualmd, and draw with its own scheduler what dualmd draws?

    python interop/check_flow.py MODEL_DIR X.npy T.npy EPS.npy --noise X_T.npy --step STEP.npy --sample SAMPLE.npy [--steps 10]

MODEL_DIR: a folder trained with train.objective = "flow", UNet2DModel and FlowMatchEulerDiscreteScheduler. X: [N, C, H, W] f32,
T: [N] i64 timesteps of DDPM's linear schedule, EPS: the noise that dualmd predicted, here the one that the velocity at the same
signal-to-noise ratio means (docs/flow.md); equal within 1e-5 times 1 + |value|. STEP: what one Euler step makes of X_T, equal within
1e-5. SAMPLE: what --steps of them make of it, equal within 1e-4. Both are clipped to [-1, 1] on both sides.
Also shown: the pipeline's own call draws images, and the folder's scheduler is left unshifted.
Prints the largest errors; exit code 0 = equal, 1 = not equal. The Rust test that calls this is told where Python is by the
environment variable DUALMD_TEST_PYTHON.
"""

import argparse
import sys

import numpy as np
import torch
from diffusers import DDPMPipeline, FlowMatchEulerDiscreteScheduler, UNet2DModel


def compare(what, ours, theirs, limit, relative=False):
    if ours.shape != theirs.shape:
        print(f"{what}: shapes differ: diffusers {ours.shape}, file {theirs.shape}")
        return False
    error = np.abs(ours - theirs) / (1 + np.abs(theirs) if relative else 1)
    error = float(error.max())
    good = error <= limit  # a NaN is not
    print(f"{what}: max error {error:.3e} (limit {limit:.0e}): {'ok' if good else 'DIFFERENT'}")
    return good


def noise_of_velocity(unet, x_t, t):
    """eps at DDPM's timestep t: s = b / (a + b), x_s = x_t / (a + b), eps = x_s + (1 - s) v."""
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[t].view(-1, 1, 1, 1)
    a, b = abar.sqrt(), (1 - abar).sqrt()
    s = b / (a + b)
    x_s = (x_t / (a + b)).float()
    velocity = unet(x_s, (1000 * s).float().view(-1)).sample
    return (x_s + (1 - s) * velocity).float()


def euler(pipeline, x, steps):
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(pipeline.unet(x, t).sample, t, x).prev_sample
    return x.clamp(-1, 1).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "x", "t", "eps"):
        parser.add_argument(name)
    for name in ("--noise", "--step", "--sample"):
        parser.add_argument(name, required=True)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()

    torch.set_num_threads(1)
    pipeline = DDPMPipeline.from_pretrained(args.model, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    kinds = (type(pipeline.unet), type(pipeline.scheduler))
    good = kinds == (UNet2DModel, FlowMatchEulerDiscreteScheduler) and pipeline.scheduler.config.shift == 1.0
    print(f"{kinds[0].__name__} with {kinds[1].__name__}: {'ok' if good else 'DIFFERENT'}")
    if not good:
        return 1
    unet = pipeline.unet.eval()
    x, t, noise = (torch.from_numpy(np.load(path)) for path in (args.x, args.t, args.noise))
    with torch.no_grad():
        good &= compare("eps", noise_of_velocity(unet, x, t).numpy(), np.load(args.eps), 1e-5, relative=True)
        good &= compare("one Euler step", euler(pipeline, noise, 1), np.load(args.step).clip(-1, 1), 1e-5)
        sample = np.load(args.sample).clip(-1, 1)
        good &= compare(f"{args.steps} Euler steps", euler(pipeline, noise, args.steps), sample, 1e-4)
    drawn = pipeline(batch_size=2, num_inference_steps=3, output_type="np").images
    fits = drawn.shape[0] == 2 and bool(np.isfinite(drawn).all())
    print(f"the pipeline draws: {'ok' if fits else 'DIFFERENT'}")
    return 0 if good and fits else 1


if __name__ == "__main__":
    sys.exit(main())

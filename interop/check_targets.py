"""DistillMD's student by the Rust trainer and by dualmd.DistillMD: the same step.

    python interop/check_targets.py FOLDER

dualmd trains two teachers and two students for a few steps and keeps each step's checkpoint. A checkpoint has the weights and Adam's first moments; two
of them in a row tell the gradient between them. Here that gradient is computed anew: the step's images, timesteps and noise from dualmd's
streams (streams.py), the targets by dualmd.DistillMD(...).target, the loss and its gradient by torch, the update by torch.optim.Adam. Called by check_defense.py.
"""

import json
import sys
from pathlib import Path

import numpy as np
import streams
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

import dualmd

SIDE, BATCH, STEPS, RATE = 8, 6, 3, 1e-3
EXPERIMENT = f"""
seed = 5
[data]
source = "fashion"
image_size = {SIDE}
members = 10
nonmembers = 8
[model]
preset = "tiny"
dropout = 0.0
[train]
steps = {STEPS}
batch = {BATCH}
learning_rate = {RATE}
warmup = 0
decay_fraction = 0.0
clip = 0.0
dtype = "f32"
checkpoint_every = 1
keep_checkpoints = 9
eval_every = 0
[[models]]
name = "iteration"
defense = "distillmd"
[[models]]
name = "example"
defense = "distillmd"
distill = {{ routing = "example" }}
"""


def pictures(split, folder):
    """Tensors [C, H, W] in [-1, 1] by the images' ids."""
    held = {}
    for side in ("member", "nonmember"):
        out = folder / f"images-{side}"
        dualmd.call(["export", "images", f"fashion#{side}", "--split", str(split), "--image-size", str(SIDE), "-o", str(out)], quiet=True)
        for line in (out / "metadata.jsonl").read_text().splitlines():
            told = json.loads(line)
            pixels = np.asarray(Image.open(out / told["file_name"]), dtype=np.float32) / 127.5 - 1
            held[told["id"]] = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[None])
    return held


def drawn(student, step, split, seed):
    """The ids of a step's images, in order: all of one half, or of both."""
    d1, d2 = ([image.id for image in half] for half in (split.d1, split.d2))
    if student == "example":
        return streams.order(seed, "train/order", [*d1, *d2], step, BATCH)
    half, purpose = ((d1, "train/order-d1"), (d2, "train/order-d2"))[step % 2]
    return streams.order(seed, purpose, half, step // 2, BATCH)


def checkpoint(run, student, step):
    folder = run / f"checkpoints/{student}/checkpoint-{step}"
    raw, state = load_file(folder / "unet/diffusion_pytorch_model.safetensors"), load_file(folder / "optimizer.safetensors")
    return raw, state


def check(folder):
    streams.check()
    folder = Path(folder)
    run = folder / "run"
    (folder / "targets.toml").write_text(EXPERIMENT)
    dualmd.call(["run", str(folder / "targets.toml"), "--out", str(run), "--until", "train", "-q"], quiet=True)
    split = dualmd.Split(run / "split.json")
    images = pictures(run / "split.json", folder)
    teachers = [UNet2DModel.from_pretrained(run / f"models/teacher-{n}", subfolder="unet") for n in (1, 2)]
    distill = dualmd.DistillMD(*teachers, split)
    scheduler = DDPMScheduler.from_pretrained(run / "models/teacher-1", subfolder="scheduler")
    # The scheduler's own product is an f32.
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    assert scheduler.config.num_train_timesteps == 1000 and scheduler.config.prediction_type == "epsilon"
    for student in ("iteration", "example"):
        network = UNet2DModel.from_config(UNet2DModel.load_config(run / f"models/{student}", subfolder="unet")).train()
        seed = json.loads((run / f"models/{student}/training.json").read_text())["seed"]
        for step in range(1, STEPS):
            (before, moments), (after, moved) = (checkpoint(run, student, n) for n in (step, step + 1))
            network.load_state_dict(before)
            network.zero_grad()
            names = drawn(student, step, split, seed)
            x0 = torch.stack([images[name] for name in names])
            t = torch.tensor(streams.Stream(seed, "train/t", step).integers(1000, BATCH))
            noise = streams.Stream(seed, "train/noise", step)
            eps = torch.tensor([noise.normal() for _ in range(x0.numel())]).reshape(x0.shape)
            a = abar[t].view(-1, 1, 1, 1)
            x_t = x0 * a.sqrt().float() + eps * (1 - a).sqrt().float()
            target = distill.target(x_t, t, None, names)
            # It is neither the noise nor what the other teacher says.
            assert float((target - eps).square().mean()) > 1e-3
            optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
            named = dict(network.named_parameters())
            for name, parameter in named.items():
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)), "exp_avg": moments[f"first/{name}"].clone(), "exp_avg_sq": moments[f"second/{name}"].clone(),
                }  # fmt: skip
            torch.nn.functional.mse_loss(network(x_t, t).sample, target).backward()
            worst, largest = 0.0, 0.0
            for name, parameter in named.items():
                theirs = (moved[f"first/{name}"].double() - 0.9 * moments[f"first/{name}"].double()) / (1 - 0.9)
                worst = max(worst, float((parameter.grad - theirs).abs().max()))
                largest = max(largest, float(theirs.abs().max()))
            # By another teacher the gradient is another one: what the comparison could miss.
            others = dualmd.DistillMD(teachers[1], teachers[0], split).target(x_t, t, None, names)
            swapped = torch.autograd.grad(torch.nn.functional.mse_loss(network(x_t, t).sample, others), list(named.values()))
            wrong = max(float((p.grad - g).abs().max()) for p, g in zip(named.values(), swapped, strict=True))
            optimizer.step()
            apart = max(float((parameter.detach() - after[name]).abs().max()) for name, parameter in named.items())
            print(
                f"{student}, step {step}: gradients differ by {worst / largest:.1e} of the largest (swapped teachers: {wrong / largest:.1e}), "
                f"weights after it by {apart / RATE:.1e} of the rate"
            )
            assert worst < 1e-5 * largest and wrong > 1e-2 * largest and apart < 0.05 * RATE


if __name__ == "__main__":
    torch.set_num_threads(1)
    check(sys.argv[1])

"""Membership attacks on a rectified flow, without dualmd: what train_flow.py compares dualmd's own scores with.

    python interop/attack_flow.py MODEL MEMBERS NONMEMBERS [--draws 8] [--repeats 8] [--seed 0]

MODEL: a UNet2DModel that answers the velocity eps - x0 at (1 - s) x0 + s eps and is told 1000 s. MEMBERS, NONMEMBERS: folders of PNG files, grey or
in colour, of the model's size. Prints JSON: the AUC of each attack, the scores of those that draw nothing, and the AUCs of the loss under noise drawn
anew. The formulas are those of docs/attacks, with DDPM's linear schedule of 1,000 timesteps.
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch
from diffusers import UNet2DModel
from PIL import Image


def images(folder):
    """Tensors [1, C, H, W] in [-1, 1] by the files' names."""
    held = {}
    for file in sorted(pathlib.Path(folder).glob("*.png")):
        pixels = np.asarray(Image.open(file), dtype=np.float32) / 127.5 - 1
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        held[file.name] = torch.from_numpy(np.ascontiguousarray(pixels))[None]
    return held


class Flow:
    """Noise in place of velocity, so that attacks on noise predictors can ask a flow."""

    def __init__(self, network):
        self.network = network
        kept, self.signal, self.noise = 1.0, [], []
        for step in range(1000):
            kept *= 1 - (0.0001 + (0.02 - 0.0001) * step / 999)
            self.signal.append(math.sqrt(kept))
            self.noise.append(math.sqrt(1 - kept))

    def mixed(self, x, eps, step):
        return self.signal[step] * x + self.noise[step] * eps

    def eps(self, x, step):
        total = self.signal[step] + self.noise[step]
        s = self.noise[step] / total
        z = x / total
        with torch.no_grad():
            velocity = self.network(z, torch.full([len(z)], 1000 * s)).sample
        # z = (1 - s) x0 + s eps, velocity = eps - x0
        return z + (1 - s) * velocity


def total(residual, power):
    """Of each image."""
    return residual.double().abs().pow(power).flatten(1).sum(1)


def loss(flow, x, noise):
    """Mean squared error at step 200, over draws `noise` [draws, N, C, H, W]."""
    errors = [(flow.eps(flow.mixed(x, eps, 200), 200) - eps).double().square().flatten(1).mean(1) for eps in noise]
    return -sum(errors) / len(errors)


def pia(flow, x, normalised=False):
    first = flow.eps(x, 0)
    if normalised:
        first = first * (math.sqrt(2 / math.pi) / first.abs().mean((1, 2, 3), keepdim=True))
    return -total(first - flow.eps(flow.mixed(x, first, 200), 200), 4)


def sima(flow, x):
    return -total(flow.eps(x, 100), 4)


def secmi(flow, x):
    def moved(z, a, b):
        eps = flow.eps(z, a)
        return flow.mixed((z - flow.noise[a] * eps) / flow.signal[a], eps, b)

    for a in range(0, 90, 10):
        x = moved(x, a, a + 10)
    return -total(moved(moved(x, 90, 100), 100, 90) - x, 2)


EXACT = {"pia": pia, "pian": lambda flow, x: pia(flow, x, True), "sima": sima, "secmi": secmi}


def auc(inside, outside):
    """Share of pairs in which the member scores higher; a tie is half."""
    wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    return wins / (len(inside) * len(outside))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "members", "nonmembers"):
        parser.add_argument(name)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    flow = Flow(UNet2DModel.from_pretrained(asked.model).eval())
    sides = [images(asked.members), images(asked.nonmembers)]
    names, x = [name for side in sides for name in side], torch.cat([image for side in sides for image in side.values()])
    inside = len(sides[0])

    def found(scores):
        return auc(scores[:inside].tolist(), scores[inside:].tolist())

    scores = {name: attack(flow, x) for name, attack in EXACT.items()}
    generator = torch.Generator().manual_seed(asked.seed)
    losses = [found(loss(flow, x, torch.randn(asked.draws, *x.shape, generator=generator))) for _ in range(asked.repeats)]
    aucs = {**{name: found(held) for name, held in scores.items()}, "loss": sum(losses) / len(losses)}
    by_name = {name: dict(zip(names, held.tolist())) for name, held in scores.items()}
    print(json.dumps({"auc": aucs, "losses": losses, "scores": by_name}))


if __name__ == "__main__":
    main()

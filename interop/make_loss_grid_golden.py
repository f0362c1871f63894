"""Features of the attack loss-grid on a linear model, for crates/attack/tests/golden.rs: nothing but Python, and the streams of streams.py.

    python interop/make_loss_grid_golden.py tests/golden/attacks/loss-grid.json
"""

import json
import math
import struct
import sys
from pathlib import Path

from streams import Stream

RATIOS = [4.0**k for k in (4, 3, 2, 1, 0, -1, -2, -3)]
DRAWS, SEED, SIDE, IMAGES = 4, 7, 4, 3
SLOPE, OFFSET = 0.5, 0.1


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def alphas():
    """abar of the DDPM schedule: 1000 betas from 1e-4 to 0.02."""
    out, kept = [], 1.0
    for t in range(1000):
        kept *= 1.0 - (1e-4 + (0.02 - 1e-4) * t / 999)
        out.append(kept)
    return out


def image(i):
    return [f32(((16 * i + j) * 37 % 64 - 32) / 40) for j in range(SIDE * SIDE)]


def shared(k):
    """The noise of all images."""
    stream = Stream(SEED, "attack/loss-grid", k)
    return [f32(stream.normal()) for _ in range(SIDE * SIDE)]


def feature(x, noises, abar):
    error = 0.0
    for e in noises:
        for xi, ei in zip(x, e):
            noisy = math.sqrt(abar) * xi + math.sqrt(1 - abar) * ei
            error += (ei - (SLOPE * noisy + OFFSET)) ** 2
    return math.log(error / (len(noises) * len(x)))


def main(path):
    abar = alphas()
    levels = [min(range(1000), key=lambda t: abs(math.log(abar[t] / (1 - abar[t]) / ratio))) for ratio in RATIOS]
    noises = [shared(k) for k in range(DRAWS)]
    images = [image(i) for i in range(IMAGES)]
    found = {
        "slope": SLOPE, "offset": OFFSET, "seed": SEED, "side": SIDE, "timesteps": levels, "images": images,
        "features": [[feature(x, noises, abar[t]) for t in levels] for x in images],
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

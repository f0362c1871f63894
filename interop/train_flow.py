"""A rectified flow that Python trained, audited by dualmd and attacked by a script that knows nothing of dualmd.

    python interop/train_flow.py FOLDER [--members 48] [--nonmembers 200] [--steps 500] [--seed 0] [--repeats 8]

Draws a split of the bundled photographs at 16 px, trains a small UNet2DModel of diffusers on the members' velocities, and audits it with
dualmd.audit(callable, prediction="flow"). attack_flow.py computes the same attacks on the same model. Those that draw nothing have to give every image
the same score; the AUC of the loss has to lie among those of other draws of noise. At least three attacks have to find the leak. Prints the
table of docs/results/trust.md. Run by crates/cli/tests/denoiser.rs.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time

import attack_flow
import torch
from diffusers import UNet2DModel

import dualmd

# Scores of one network over two paths, each rounded in f32 and raised to the fourth power.
APART = 1e-3


def train(pictures, steps, seed):
    """Velocities at places of the path that are drawn evenly."""
    torch.manual_seed(seed)
    channels, side = pictures.shape[1], pictures.shape[-1]
    unet = UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=16,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(unet.parameters(), lr=3e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 50, 1.0, (steps - step) / (0.4 * steps)))
    for step in range(steps):
        x = pictures[torch.randint(len(pictures), (32,))]
        noise, s = torch.randn_like(x), torch.rand(len(x))
        at = s[:, None, None, None]
        loss = torch.nn.functional.mse_loss(unet((1 - at) * x + at * noise, 1000 * s).sample, noise - x)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", file=sys.stderr, flush=True)
    return unet.eval()


def scores(audit):
    """By attack and by the file's name, which is that of the folder `photos` with what lies between."""
    with (audit.folder / "scores/model.csv").open() as file:
        rows = list(csv.DictReader(file))
    held = {}
    for row in rows:
        held.setdefault(row["attack"], {})[row["name"].replace("/", "_")] = float(row["score"])
    return held


def compare(audit, other):
    """dualmd's audit and what the other script printed, as a table."""
    ours = scores(audit)
    results = audit.models["model"].attacks
    print("| attack | AUC by dualmd | 95 % interval | AUC by the other script | largest difference of a score |")
    print("|---|---|---|---|---|")
    for name in ("loss", "secmi", "pia", "pian", "sima"):
        found = results[name]
        low, high = found.interval
        row = f"| `{name}` | {found.auc:.4f} | {low:.3f}-{high:.3f} |"
        if name == "loss":
            losses = other["losses"]
            print(f"{row} {other['auc'][name]:.4f} ({min(losses):.4f}-{max(losses):.4f} in {len(losses)} draws) | other noise |")
            continue
        theirs = other["scores"][name]
        assert ours[name].keys() == theirs.keys(), (name, sorted(ours[name])[:3], sorted(theirs)[:3])
        apart = max(abs(score - ours[name][image]) / abs(score) for image, score in theirs.items())
        print(f"{row} {other['auc'][name]:.4f} | {apart:.1e} of it |")
        assert apart < APART, (name, apart)
        assert abs(found.auc - other["auc"][name]) < 1e-3, (name, found.auc, other["auc"][name])
    # One more draw of noise: it lies within four deviations of the others' mean.
    spread = statistics.stdev(losses)
    assert abs(results["loss"].auc - statistics.mean(losses)) < 4 * spread + 1e-3, (results["loss"].auc, losses)
    print(f"\nThe AUC of the loss has a deviation of {spread:.4f} between draws of noise.")
    leaks = [name for name, result in results.items() if result.interval is not None and result.interval[0] > 0.5]
    print(f"Above chance: {', '.join(leaks)}.", *audit.verdict.summary)
    assert len(leaks) >= 3, leaks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--members", type=int, default=48)
    parser.add_argument("--nonmembers", type=int, default=200)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = asked.folder
    dualmd.call(["export", "images", "fashion", "--image-size", "16", "-o", str(folder / "photos")], quiet=True)
    dualmd.split(
        folder / "photos", members=asked.members, nonmembers=asked.nonmembers, out=folder / "split.json", copy_to=folder / "sides", seed=asked.seed
    )
    members, others = folder / "sides/members", folder / "sides/nonmembers"
    began = time.process_time()
    unet = train(torch.cat(list(attack_flow.images(members).values())), asked.steps, asked.seed)
    print(f"{asked.steps} steps, {sum(p.numel() for p in unet.parameters()):,} parameters, {time.process_time() - began:.0f} s of one core", file=sys.stderr)
    unet.save_pretrained(folder / "model")

    audit = dualmd.audit(
        lambda x, s, c: unet(x, 1000 * s).sample, prediction="flow", shape=tuple(next(iter(attack_flow.images(members).values())).shape[1:]), name="flow",
        members=members, nonmembers=others, out=folder / "audit", attacks=["loss", "secmi", "pia", "pian", "sima"], images=16, steps=10, features="none",
        quiet=True,
    )  # fmt: skip
    script = pathlib.Path(attack_flow.__file__)
    command = [sys.executable, script, folder / "model", members, others, "--repeats", asked.repeats, "--seed", asked.seed + 1]
    other = json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)

    compare(audit, other)


if __name__ == "__main__":
    main()

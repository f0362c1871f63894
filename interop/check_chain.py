"""From photographs to a verdict: split, folders to train from, two trainings with diffusers, audits, their comparison, a report that may leave the house.

    check_chain.py FOLDER

Run by crates/cli/tests/denoiser.rs.
"""

import json
import sys
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")

from PIL import Image  # noqa: E402
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # noqa: E402

import dualmd  # noqa: E402


def train(folder, steps, out):
    """As diffusers' own tutorial does: noise, a prediction, its error."""
    # The form of Hugging Face's imagefolder.
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert all(line["original"] and line["id"] for line in lines), lines[:2]
    pictures = [Image.open(folder / line["file_name"]).convert("L") for line in lines]
    x = torch.stack([torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8).view(1, 16, 16) for p in pictures])
    x = x.float() / 127.5 - 1
    torch.manual_seed(0)
    unet = UNet2DModel(sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=2e-3)
    for _ in range(steps):
        t = torch.randint(0, 1000, (len(x),))
        noise = torch.randn_like(x)
        loss = torch.nn.functional.mse_loss(unet(scheduler.add_noise(x, noise, t), t).sample, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    DDPMPipeline(unet, scheduler).save_pretrained(out)


def main():
    folder = Path(sys.argv[1])
    dualmd.call(["export", "images", "fashion", "--image-size", "16", "-o", str(folder / "photos")], quiet=True)
    split = dualmd.split(folder / "photos", members=24, nonmembers=200, out=folder / "split.json", copy_to=folder / "sides", seed=5)
    members, others = folder / "sides/members", folder / "sides/nonmembers"
    # Names are those of the first folder, whatever lies between.
    assert {image.name.replace("/", "_") for image in split.members} == {file.name for file in members.glob("*.png")}, split.members[:2]

    audits = {}
    for name, steps in (("long", 900), ("short", 20)):
        train(members, steps, folder / name)
        audits[name] = dualmd.audit(
            folder / name, members=members, nonmembers=others, out=folder / f"audit-{name}", attacks=["loss", "sima", "nn"], images=32, steps=10,
            features="none", quiet=True)
        scores = audits[name].scores()
        names = {row["name"] for row in (scores if isinstance(scores, list) else scores.to_dict("records"))}
        assert {image.name for image in split.members} <= names, sorted(names)[:5]
    both = dualmd.compare(audits["long"], audits["short"], out=folder / "both", names=["long", "short"], no_images=True, quiet=True)
    found = {model.model: model.finding for model in both.verdict.models}
    assert found["long"] == "leak" and set(both.models) == {"long", "short"}, found
    lines = {(line.model, line.what): line for line in both.verdict.releases}
    assert lines["long", "weights"].advice == "withhold" and lines["long", "weights"].found.total == 24
    page = (folder / "both/report.html").read_text()
    assert "This page contains training images" not in page and "<img" not in page, "nothing of single images"
    assert json.loads((folder / "both/report.json").read_text())["run"]["compared"]
    dualmd.call(["report", str(folder / "audit-long"), "--no-images", "--also", f"annex={folder / 'annex.md'}"], quiet=True)
    assert "<img" not in (folder / "audit-long/report.html").read_text()
    assert "do not publish" in (folder / "annex.md").read_text().lower()
    print("; ".join(f"{line.model}, {line.what}: {line.advice}" for line in both.verdict.releases))


if __name__ == "__main__":
    main()

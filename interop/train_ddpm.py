"""Trains a small unconditional model with diffusers alone, for an audit of a model that dualmd did not train.

    python interop/train_ddpm.py TRAIN_DIR MODEL_DIR [--steps 1600] [--seed 0]

TRAIN_DIR holds PNG files of one size. Plain DDPM training: AdamW, batches of 32, no augmentation, no moving average; then
pipeline.save_pretrained(MODEL_DIR), which is what `dualmd audit MODEL_DIR` opens.
"""

import argparse
import pathlib

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    files = sorted(pathlib.Path(args.train).glob("*.png"))
    images = np.stack([np.asarray(Image.open(f)) for f in files]).astype(np.float32) / 127.5 - 1
    images = torch.from_numpy(images)
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    unet = UNet2DModel(
        sample_size=images.shape[-1],
        in_channels=images.shape[1],
        out_channels=images.shape[1],
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=32,
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 50, 1.0, (args.steps - s) / (0.4 * args.steps))
    )
    for step in range(args.steps):
        x = images[torch.randint(len(images), (32,))]
        noise, t = torch.randn_like(x), torch.randint(1000, (len(x),))
        loss = torch.nn.functional.mse_loss(unet(scheduler.add_noise(x, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(args.model, safe_serialization=True)


if __name__ == "__main__":
    main()

"""Fine-tunes a text-to-image folder with diffusers and transformers alone, for an audit of a model that dualmd did not train.

    python interop/train_text_to_image.py BASE_DIR TRAIN_DIR MODEL_DIR [--steps 600] [--seed 0]

BASE_DIR is a pixel-space folder in diffusers' layout (unet/, text_encoder/, tokenizer/, scheduler/; no VAE). TRAIN_DIR holds PNG
files of one size and metadata.jsonl ({"file_name", "text"}; of a list of captions the first is taken). What diffusers'
train_text_to_image.py does: AdamW, one caption per image, no augmentation, no moving average; then the parts are saved in
MODEL_DIR, the first of the five lines.
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=pathlib.Path)
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    lines = [json.loads(line) for line in (args.train / "metadata.jsonl").read_text().splitlines() if line.strip()]
    captions = [line["text"] if isinstance(line["text"], str) else line["text"][0] for line in lines]
    pictures = [np.asarray(Image.open(args.train / line["file_name"]).convert("RGB")) for line in lines]
    images = torch.from_numpy(np.stack(pictures).astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)

    unet = UNet2DConditionModel.from_pretrained(args.base / "unet", use_safetensors=True)
    text_encoder = CLIPTextModel.from_pretrained(args.base / "text_encoder", use_safetensors=True).eval()
    tokenizer = CLIPTokenizer.from_pretrained(args.base / "tokenizer")
    scheduler = DDPMScheduler.from_pretrained(args.base / "scheduler")
    with torch.no_grad():
        tokens = tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt")
        texts = text_encoder(tokens.input_ids)[0]

    optimizer = torch.optim.AdamW(unet.parameters(), lr=args.learning_rate, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 50, 1.0, (args.steps - s) / (0.4 * args.steps))
    )
    for step in range(args.steps):
        rows = torch.randint(len(images), (args.batch,))
        x, noise = images[rows], torch.randn(args.batch, *images.shape[1:])
        t = torch.randint(scheduler.config.num_train_timesteps, (args.batch,))
        predicted = unet(scheduler.add_noise(x, noise, t), t, texts[rows]).sample
        loss = torch.nn.functional.mse_loss(predicted, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    unet.save_pretrained(args.model / "unet", safe_serialization=True)
    text_encoder.save_pretrained(args.model / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(args.model / "tokenizer")
    scheduler.save_pretrained(args.model / "scheduler")
    shutil.copy(args.base / "model_index.json", args.model / "model_index.json")


if __name__ == "__main__":
    main()

"""Makes tests/golden/clip: a tiny CLIP folder, and the cosines that Python's transformers computes with it.

    OMP_NUM_THREADS=1 python interop/make_clip_golden.py tests/golden/clip

The tokenizer is that of tests/golden/conditional/sd1. All weights are random: the folder shows that arithmetic and files
agree, nothing else. golden.safetensors holds square pictures [H, W, 3] and cosines [pictures, prompts]; golden.json the prompts.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SIDE, PATCH, LENGTH = 16, 4, 16
PROMPTS = ["a cat on a red mat", "Two  DOGS, and it's 42!", "",
           "a very long prompt about cats and dogs that does not fit into the positions"]
SIDES = [16, 11, 40]


def pictures():
    rng = np.random.default_rng(7)
    made = {}
    for i, side in enumerate(SIDES):
        y, x = np.mgrid[:side, :side]
        slope = (x[..., None] * (3 + np.arange(3)) + y[..., None] * 5) % 256
        noise = rng.integers(-120, 121, (side, side, 3))
        made[f"picture.{i}"] = torch.from_numpy(np.clip(slope + noise, 0, 255).astype(np.uint8))
    return made


def main(out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    source = out.parent / "conditional" / "sd1" / "tokenizer"
    tokenizer = CLIPTokenizer.from_pretrained(source)
    torch.manual_seed(3)
    text = dict(vocab_size=len(tokenizer), hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3,
                max_position_embeddings=LENGTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id)
    vision = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE,
                  patch_size=PATCH, hidden_act="gelu")
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    model.eval().save_pretrained(out)
    for file in source.iterdir():
        shutil.copyfile(file, out / file.name)
    images = [Image.fromarray(picture.numpy()) for picture in pictures().values()]
    pixels = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})(
        images, return_tensors="pt")["pixel_values"]
    tokens = tokenizer(PROMPTS, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        seen = model.double()(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
                              pixel_values=pixels.double())
    cosines = seen.image_embeds @ seen.text_embeds.T
    save_file({**pictures(), "cosines": cosines.contiguous()}, out / "golden.safetensors")
    (out / "golden.json").write_text(json.dumps({"prompts": PROMPTS}, indent=1) + "\n")
    print(cosines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

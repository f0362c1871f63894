"""Makes tests/golden/vit: tiny ViT and DeiT folders, and the hidden states that Python's transformers computes with them.

    OMP_NUM_THREADS=1 python interop/make_vit_golden.py tests/golden/vit

All weights are random: the folders show that arithmetic and files agree, nothing else. golden.safetensors holds square pictures
[H, W, 3], what the networks see of them, and the last hidden states.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from make_clip_golden import pictures
from PIL import Image
from safetensors.torch import save_file
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher, ViTConfig, ViTModel
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SIDE = 16
SHAPE = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=4)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# As facebook/deit-base-distilled-patch16-384 has them, in small (438 and 384 there), and as ViT folders have them.
SETTINGS = {
    "deit": dict(crop_size=SIDE, do_center_crop=True, do_normalize=True, do_resize=True, image_mean=MEAN, image_std=STD, resample=3,
                 size=SIDE + 3),
    "vit": dict(do_normalize=True, do_resize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2, size=SIDE),
}


def main(out):
    shutil.rmtree(out, ignore_errors=True)
    images = [Image.fromarray(picture.numpy()) for picture in pictures().values()]
    for name, processor in ("vit", ViTImageProcessorPil), ("deit", DeiTImageProcessorPil):
        torch.manual_seed(3)
        model = ViTModel(ViTConfig(**SHAPE)) if name == "vit" else DeiTForImageClassificationWithTeacher(DeiTConfig(**SHAPE, num_labels=3))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.3 * torch.randn(parameter.shape)
        folder = out / name
        model.eval().save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS[name], indent=2) + "\n")
        pixels = processor.from_pretrained(folder)(images, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            states = (model if name == "vit" else model.deit)(pixels).last_hidden_state
        save_file({**pictures(), "pixels": pixels.contiguous(), "states": states.contiguous()}, folder / "golden.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

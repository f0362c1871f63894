"""Text-to-image folders from Python to dualmd and back: written by diffusers, fine-tuned by dualmd, read by diffusers.

    python interop/check_finetune.py make FOLDERS
    python interop/check_finetune.py check START TUNED [START TUNED ...]

`make` writes tiny random-weight folders: FOLDERS/sd1 and FOLDERS/sd2 as make_conditional_golden.py has them (with an
AutoencoderKL, eps and v, DDIM and PNDM, one file and f16 shards), FOLDERS/pixels without an autoencoder.
`check` compares folders that dualmd fine-tuned with those that it started from: every tensor of the network has
changed, in unet/ and in unet_raw/, and these two differ; the tensors of text encoder and autoencoder are what they were.
TUNED/probe.safetensors holds what `dualmd predict` and `dualmd sample` made of the folder for the prompt of
TUNED/probe.json: x_t, t, eps (unet/), eps_raw (unet_raw/), and for models with an autoencoder x_T and sample. eps equal
within 1e-5 of 1 + |value|, samples within 1e-4. Prints the largest errors; exit code 0 = equal, 1 = not equal.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from make_conditional_golden import LENGTH, WIDTH, shaken, write_folder, write_json

LIMIT, SAMPLE_LIMIT = 1e-5, 1e-4


def make(out):
    for name in ("sd1", "sd2", "pixels"):
        write_folder(out / name, name == "sd2")
    folder = out / "pixels"
    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=WIDTH, attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
    for part in ("unet", "vae"):
        shutil.rmtree(folder / part)
    shaken(unet, 20).save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    write_json(folder / "model_index.json", {**index, "vae": [None, None]})


class Check:
    def __init__(self):
        self.good = True

    def that(self, is_so, otherwise):
        if not is_so:
            print(f"DIFFERENT: {otherwise}")
            self.good = False

    def equal(self, what, ours, theirs, limit):
        if ours.shape != theirs.shape:
            return self.that(False, f"{what}: {tuple(ours.shape)} here, {tuple(theirs.shape)} in dualmd")
        error = float(((ours - theirs).abs() / (1 + theirs.abs())).max())
        print(f"{what}: max error {error:.3e} (limit {limit:.0e})")
        self.that(error <= limit, what)  # a NaN is not


def noise_of(output, x_t, t, scheduler):
    """eps of a network's output; dualmd predict gives eps whatever the network predicts."""
    if scheduler.config.prediction_type == "epsilon":
        return output
    assert scheduler.config.prediction_type == "v_prediction"
    abar = scheduler.alphas_cumprod.double()[t].float().view(-1, 1, 1, 1)
    return abar.sqrt() * output + (1 - abar).sqrt() * x_t


def check(start, tuned):
    print(tuned)
    check = Check()
    settings = json.loads((tuned / "probe.json").read_text())
    given = load_file(tuned / "probe.safetensors")
    before = UNet2DConditionModel.from_pretrained(start / "unet", torch_dtype=torch.float32).state_dict()
    ema, raw = (UNet2DConditionModel.from_pretrained(tuned / part, use_safetensors=True).eval() for part in ("unet", "unet_raw"))
    for what, network in (("unet", ema), ("unet_raw", raw)):
        now = network.state_dict()
        check.that(now.keys() == before.keys(), f"{what}: other tensors than before")
        same = [name for name in now if torch.equal(now[name], before[name])]
        check.that(not same, f"{what}: {len(same)} tensors are as they were, the first is {same[:1]}")
        furthest = max(float((now[name] - before[name]).abs().max()) for name in now)
        print(f"{what}: {len(now)} tensors, moved by up to {furthest:.1e}")
    check.that(any(not torch.equal(a, b) for a, b in zip(ema.parameters(), raw.parameters())), "unet and unet_raw are the same")

    pixels = json.loads((tuned / "model_index.json").read_text())["vae"][1] is None
    if pixels:  # diffusers has no pipeline for them
        tokenizer = CLIPTokenizer.from_pretrained(tuned / "tokenizer")
        encoder = CLIPTextModel.from_pretrained(tuned / "text_encoder").eval()
        scheduler = DDIMScheduler.from_pretrained(tuned / "scheduler")
        old = {"text_encoder": CLIPTextModel.from_pretrained(start / "text_encoder")}
        new = {"text_encoder": encoder}
    else:
        pipe, first = (StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
                       for folder in (tuned, start))
        pipe.set_progress_bar_config(disable=True)
        tokenizer, encoder, scheduler = pipe.tokenizer, pipe.text_encoder, pipe.scheduler
        old, new = ({"text_encoder": p.text_encoder, "vae": p.vae} for p in (first, pipe))
    for part in new:
        a, b = old[part].state_dict(), new[part].state_dict()
        check.that(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a), f"{part} was changed")

    def embedding(prompt):
        ids = tokenizer([prompt], padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids
        return encoder(ids)[0]

    with torch.no_grad():
        x_t, t = given["x_t"], given["t"]
        text = embedding(settings["prompt"]).expand(len(x_t), -1, -1)
        for name, network in (("eps", ema), ("eps_raw", raw)):
            check.equal(name, noise_of(network(x_t, t, text).sample, x_t, t, scheduler), given[name], LIMIT)
        other = noise_of(ema(x_t, t, embedding("").expand(len(x_t), -1, -1)).sample, x_t, t, scheduler)
        check.that(float((other - given["eps"]).abs().max()) > 1e-3, "the prompt does not matter, so nothing was shown")
        if not pixels:
            pipe.scheduler = DDIMScheduler.from_config(scheduler.config, clip_sample=False)
            x_T = given["x_T"]
            picture = pipe([settings["prompt"]] * len(x_T), latents=x_T.clone(), num_inference_steps=settings["steps"],
                           guidance_scale=settings["guidance"], eta=0.0, output_type="pt").images
            check.equal("sample", picture * 2 - 1, given["sample"].clamp(-1, 1), SAMPLE_LIMIT)
    return check.good


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["make", out]:
            make(Path(out))
        case ["check", _, _, *_] if len(sys.argv) % 2 == 0:
            folders = [Path(arg) for arg in sys.argv[2:]]
            results = [check(start, tuned) for start, tuned in zip(folders[::2], folders[1::2])]
            sys.exit(0 if all(results) else 1)
        case _:
            sys.exit(__doc__)

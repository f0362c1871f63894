"""Folders and LoRA files of Stable Diffusion XL's kind that dualmd wrote, in Python's diffusers; and a file of diffusers' for dualmd.

    python interop/check_sdxl.py pipeline MODEL_DIR PROBE.safetensors
    python interop/check_sdxl.py lora MODEL_DIR LORA_DIR PROBE.safetensors
    python interop/check_sdxl.py make MODEL_DIR OUT_DIR

`pipeline`: PROBE has noise and what dualmd drew from it in STEPS guided steps of DDIM for the prompts below, sample; and step, the same in
one step. `lora`: LORA_DIR has dualmd's pytorch_lora_weights.safetensors and kohya.safetensors; PROBE has x_t, t, text, pooled, size and what
the network with them answers, output. `make` writes a file with layers on the network and on both text encoders, and into
expected.safetensors what the pipeline with it tells the network of the prompts, and its answer to x_t and t. Equal within 1e-5 of
1 + |value| (five steps: 1e-4). Exit code 0 = equal, 1 = not equal. Needs peft.
"""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

PROMPTS = ["a cat", "a red dog, 42!"]
GUIDANCE, STEPS = 4.0, 5
GOOD = True


def fresh(folder):
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def compare(what, ours, theirs, limit=1e-5):
    global GOOD
    error = float(((ours - theirs).abs() / (1 + theirs.abs())).max())
    GOOD &= error <= limit  # a NaN is not
    print(f"{what}: max error {error:.3e} (limit {limit:.0e}): {'ok' if error <= limit else 'DIFFERENT'}")


def answer(pipe, x, t, text, pooled, size):
    return pipe.unet(x, t, text, added_cond_kwargs={"text_embeds": pooled, "time_ids": size}).sample


def pipeline(folder, probe):
    given = load_file(probe)
    for steps, name, limit in ((1, "step", 1e-5), (STEPS, "sample", 1e-4)):
        drawn = fresh(folder)(
            PROMPTS, num_inference_steps=steps, guidance_scale=GUIDANCE, latents=given["noise"].clone(), output_type="latent"
        ).images
        compare(f"{steps} steps of the pipeline", drawn, given[name], limit)


def lora(folder, files, probe):
    given = load_file(probe)
    inputs = [given[name] for name in ("x_t", "t", "text", "pooled", "size")]
    plain = answer(fresh(folder), *inputs)
    if float((plain - given["output"]).abs().max()) < 1e-3:
        print("DIFFERENT: the LoRA changes nothing, so nothing was shown")
        sys.exit(1)
    for name in ("pytorch_lora_weights.safetensors", "kohya.safetensors"):
        pipe = fresh(folder)
        pipe.load_lora_weights(files, weight_name=name)
        compare(name, answer(pipe, *inputs), given["output"])


def make(folder, out):
    pipe = fresh(folder)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    layers = {}
    for seed, (part, targets) in enumerate((("unet", ["to_q", "to_out.0"]), ("text_encoder", ["q_proj", "fc1"]), ("text_encoder_2", ["v_proj", "out_proj"]))):
        model = getattr(pipe, part)
        model.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets, init_lora_weights="gaussian"))
        generator = torch.Generator().manual_seed(seed)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
        layers[part] = get_peft_model_state_dict(model)
    StableDiffusionXLPipeline.save_lora_weights(
        out, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"], text_encoder_2_lora_layers=layers["text_encoder_2"]
    )
    text, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    side = (pipe.unet.config.sample_size * pipe.vae_scale_factor,) * 2
    size = pipe._get_add_time_ids(side, (0, 0), side, dtype=text.dtype, text_encoder_projection_dim=pooled.shape[-1]).repeat(len(text), 1)
    channels, latent = pipe.unet.config.in_channels, pipe.unet.config.sample_size
    x = torch.randn(len(PROMPTS), channels, latent, latent, generator=torch.Generator().manual_seed(9))
    t = torch.tensor([900, 100])
    output = answer(pipe, x, t, text, pooled, size)
    named = {"x_t": x, "t": t, "text": text, "pooled": pooled, "size": size, "output": output}
    save_file({name: value.contiguous() for name, value in named.items()}, out / "expected.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    match sys.argv[1:]:
        case ["pipeline", folder, probe]:
            pipeline(folder, probe)
        case ["lora", folder, files, probe]:
            lora(folder, files, probe)
        case ["make", folder, out]:
            make(folder, out)
        case _:
            sys.exit(__doc__)
    sys.exit(0 if GOOD else 1)

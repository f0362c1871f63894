"""Makes tests/golden/lora: LoRA files as Python's diffusers and PEFT write and wrote them, for the networks of
tests/golden/conditional, and what diffusers computes with them.

    OMP_NUM_THREADS=1 python interop/make_lora_golden.py tests/golden/conditional tests/golden/lora

Needs peft besides the rest (pip install --no-deps peft).
today: save_lora_weights of PEFT's tensors with metadata, alpha twice the rank.
script: as train_text_to_image_lora.py saves, `lora.down.weight`, no metadata: alpha is the rank.
processors: `processor.to_q_lora.down.weight`, as diffusers saved before PEFT.
kohya: `lora_unet_..`, with an alpha for every layer and ranks that differ. (One alpha, because diffusers 0.42 with PEFT
    0.21 takes the commonest for all layers: its alpha_pattern still has the keys of processors, which match nothing.)
adapter: unet.save_lora_adapter for the network of Stable Diffusion 2's kind, without prefix, more kinds of layers, ranks
and alphas by pattern.
All weights are random. golden.safetensors holds the outputs for x_t, t and the first four text embeddings of
tests/golden/conditional, and the gradients of the mean square distance to target there: for today, and for adapter in the middle block.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
FILE = "pytorch_lora_weights.safetensors"
FILES = {"today": "sd1", "script": "sd1", "processors": "sd1", "kohya": "sd1", "adapter": "sd2"}


def open_pipeline(conditional, name):
    return StableDiffusionPipeline.from_pretrained(conditional / name, torch_dtype=torch.float32, use_safetensors=True)


def shake(unet, seed):
    """Away from B = 0, so that everything matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def with_adapter(pipe, seed, **config):
    pipe.unet.add_adapter(LoraConfig(init_lora_weights="gaussian", **config))
    shake(pipe.unet, seed)
    return get_peft_model_state_dict(pipe.unet)


def metadata(unet):
    config = unet.peft_config["default"].to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}


def write(conditional, folder, name):
    pipe = open_pipeline(conditional, FILES[name])
    if name == "today":
        layers = with_adapter(pipe, 1, r=4, lora_alpha=8, target_modules=ATTENTION)
        pipe.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata(pipe.unet))
    elif name == "script":
        layers = with_adapter(pipe, 2, r=2, lora_alpha=2, target_modules=ATTENTION)
        pipe.save_lora_weights(folder, unet_lora_layers=convert_state_dict_to_diffusers(layers))
    elif name == "processors":
        layers = convert_state_dict_to_diffusers(with_adapter(pipe, 3, r=2, lora_alpha=2, target_modules=ATTENTION))
        old = {}
        for key, value in layers.items():
            for layer in ATTENTION:
                short = layer.removesuffix(".0")
                key = key.replace(f".{layer}.lora.", f".processor.{short}_lora.")
            old[f"unet.{key}"] = value
        folder.mkdir(parents=True)
        save_file(old, folder / FILE)
    elif name == "kohya":
        pattern = {"attn1.to_q": 2, "attn2.to_v": 6}
        layers = with_adapter(pipe, 4, r=4, lora_alpha=4, target_modules=ATTENTION, rank_pattern=pattern,
                              alpha_pattern=pattern)
        flat = {}
        for key, value in layers.items():
            layer, part, _ = key.rsplit(".", 2)
            flat_name = "lora_unet_" + layer.replace(".", "_")
            flat[f"{flat_name}.{'lora_down' if part == 'lora_A' else 'lora_up'}.weight"] = value
            flat[f"{flat_name}.alpha"] = torch.tensor(3.0)
        folder.mkdir(parents=True)
        save_file(flat, folder / FILE)
    elif name == "adapter":
        with_adapter(pipe, 5, r=3, lora_alpha=6, rank_pattern={"attn2.to_k": 2, r"^mid_block\.attentions\.0\.proj_in": 1},
                     alpha_pattern={"attn1.to_v": 1.5, "^mid_block.attentions.0.proj_in": 4},
                     target_modules=[*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"])
        pipe.unet.save_lora_adapter(folder)


def compute(conditional, folder, name):
    pipe = open_pipeline(conditional, FILES[name])
    if name == "adapter":
        pipe.unet.load_lora_adapter(folder, prefix=None, use_safetensors=True)
    else:
        pipe.load_lora_weights(folder)
    given = load_file(conditional / FILES[name] / "golden.safetensors")
    output = lambda: pipe.unet(given["x_t"], given["t"], given["text"][:4]).sample
    out = {"output": output().detach()}
    assert (out["output"] - given["output"]).abs().max() > 0.01, f"{name}: the file changes nothing"
    if name in ("today", "adapter"):
        pipe.unet.requires_grad_(False)
        lora = {key: p for key, p in pipe.unet.named_parameters() if "lora_" in key}
        for parameter in lora.values():
            parameter.requires_grad_(True)
        loss = (output() - given["target"]).square().mean()
        loss.backward()
        out["loss"] = loss.detach()[None]
        for key, parameter in lora.items():
            if name == "today" or key.startswith("mid_block"):
                out["grad." + key.replace(".default_0.", ".")] = parameter.grad
    return {f"{name}.{key}": value.contiguous() for key, value in out.items()}


def main(conditional, out):
    shutil.rmtree(out, ignore_errors=True)
    golden = {}
    for name in FILES:
        write(conditional, out / name, name)
        golden |= compute(conditional, out / name, name)
    save_file(golden, out / "golden.safetensors")
    (out / "golden.json").write_text(json.dumps({
        "schema": 1, "made_by": "interop/make_lora_golden.py", "files": FILES,
        "versions": {module: __import__(module).__version__.split("+")[0] for module in ("torch", "diffusers", "peft")}},
        indent=2) + "\n")
    print(sum(path.stat().st_size for path in out.rglob("*") if path.is_file()), "bytes", len(golden), "tensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

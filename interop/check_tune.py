"""What `dualmd tune` wrote, in diffusers, PEFT and a stand-in for ComfyUI.

    python interop/check_tune.py BASE RUN PROBE.safetensors

BASE: a text-to-image folder with an autoencoder. RUN: a run of `dualmd tune` on it. PROBE: x_t, t, and what `dualmd predict` made of them
for the prompt "a cat" with models/plain, models/teacher-1 and models/teacher-2: plain, first, second. The adapter of `plain` is read in
each of its three forms. The pair is asked as diffusers' pipeline and as ComfyUI's node asks it, step by step, and one model answers each.
Equal within 1e-5 of 1 + |value|. Prints the largest errors; exit code 0 = equal, 1 = not equal. Needs peft, and the
package installed.
"""

import importlib.util
import sys
import types
from pathlib import Path

import dualmd
import torch
from diffusers import StableDiffusionPipeline
from peft import PeftModel
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1e-5
GOOD = True


def compare(what, ours, theirs):
    global GOOD
    error = float(((ours - theirs).abs() / (1 + theirs.abs())).max())
    GOOD &= error <= LIMIT  # a NaN is not
    print(f"{what}: max error {error:.3e} (limit {LIMIT:.0e}): {'ok' if error <= LIMIT else 'DIFFERENT'}")


def fresh(base):
    return StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, use_safetensors=True, safety_checker=None)


def told(pipe, rows):
    length = min(pipe.tokenizer.model_max_length, pipe.text_encoder.config.max_position_embeddings)
    ids = pipe.tokenizer(["a cat"] * rows, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    return pipe.text_encoder(ids)[0]


def node():
    """The node's module, over stand-ins for what it imports of ComfyUI."""
    loras = {}

    def keys(model, found):
        for name in model.state_dict():
            if name.endswith(".weight"):
                layer = name.removesuffix(".weight").removeprefix("diffusion_model.")
                found["lora_unet_" + layer.replace(".", "_")] = name
        return found

    comfy = types.ModuleType("comfy")
    comfy.lora, comfy.utils = types.ModuleType("comfy.lora"), types.ModuleType("comfy.utils")
    comfy.lora.model_lora_keys_unet = keys
    comfy.utils.load_torch_file = lambda path, safe_load: load_file(path)
    paths = types.ModuleType("folder_paths")
    paths.get_filename_list = lambda kind: sorted(loras)
    paths.get_full_path = lambda kind, name: loras[name]
    sys.modules.update({"comfy": comfy, "comfy.lora": comfy.lora, "comfy.utils": comfy.utils, "folder_paths": paths})
    spec = importlib.util.spec_from_file_location("dualmd_pair", ROOT / "python/comfyui/dualmd_pair.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, loras


class Patcher:
    """As ComfyUI's ModelPatcher, as far as the node looks."""

    def __init__(self, model):
        self.model, self.model_options = model, {}

    def clone(self):
        return Patcher(self.model)

    def set_model_unet_function_wrapper(self, wrapper):
        self.model_options["model_function_wrapper"] = wrapper


def main(base, run, probe):
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    models = Path(run) / "models"
    given = load_file(probe)
    x, t = given["x_t"], given["t"]
    pipe = fresh(base)
    text = told(pipe, len(x))
    plain = pipe.unet(x, t, text).sample
    if float((plain - given["plain"]).abs().max()) < 1e-3:
        print("DIFFERENT: the adapter changes nothing, so nothing was shown")
        return 1

    pipe.load_lora_weights(models / "plain")
    compare("diffusers' file", pipe.unet(x, t, text).sample, given["plain"])
    pipe = fresh(base)
    pipe.load_lora_weights(models / "plain", weight_name="kohya.safetensors")
    compare("kohya's file", pipe.unet(x, t, text).sample, given["plain"])
    adapted = PeftModel.from_pretrained(fresh(base).unet, str(models / "plain"))
    compare("PEFT's folder", adapted(x, t, text).sample, given["plain"])

    # Timesteps of a run: each lower one is a new step. The probe's own is what the numbers are compared at.
    pair = dualmd.tuned_pair(run, torch_dtype=torch.float32).unet
    at = lambda step: (x[step : step + 1], t[step : step + 1], text[:1])  # noqa: E731
    order = sorted(range(len(t)), key=lambda row: -int(t[row]))
    for turn, row in enumerate(order):
        name = ("first", "second")[turn % 2]
        compare(f"the pair, step {turn}, {name}", pair(*at(row)).sample, given[name][row : row + 1])

    module, loras = node()
    for name, folder in (("a", "teacher-1"), ("b", "teacher-2")):
        loras[name] = str(models / folder / "kohya.safetensors")
    whole = torch.nn.Module()
    whole.diffusion_model = fresh(base).unet
    assert module.DualMDPair.INPUT_TYPES()["required"]["first"] == (["a", "b"],)
    (patched,) = module.DualMDPair().pair(Patcher(whole), "a", "b", 1.0)
    wrapper = patched.model_options["model_function_wrapper"]
    ask = lambda x, t, text: whole.diffusion_model(x, t, text).sample  # noqa: E731
    # Twice: a higher timestep begins a new image, with the first model again.
    for again in range(2):
        for turn, row in enumerate(order):
            name = ("first", "second")[turn % 2]
            x_t, now, c = at(row)
            said = wrapper(ask, {"input": x_t, "timestep": now, "c": {"text": c}})
            compare(f"ComfyUI's node, image {again}, step {turn}, {name}", said, given[name][row : row + 1])
    x_t, now, c = at(0)
    compare("ComfyUI's model afterwards", ask(x_t, now, c), plain[:1])
    return 0 if GOOD else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

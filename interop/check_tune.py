"""What `dualmd tune` wrote, in diffusers, PEFT and a stand-in for ComfyUI.

    python interop/check_tune.py BASE RUN [PROBE.safetensors]

BASE: a text-to-image folder. RUN: a run of `dualmd tune` on it. PROBE: x_t, t, and what `dualmd predict` made of them for the prompt
"a cat" with models/plain, models/teacher-1, models/teacher-2 and models/student: plain, first, second, student; without PROBE the program `dualmd`
is asked. The adapter of `plain` is read in each of its three forms. The pair is asked as diffusers' pipeline and as ComfyUI's node asks it,
step by step, and one model answers each. diffusers has no pipeline for a base without an autoencoder: there every adapter is put on the U-Net, in
diffusers' form and in PEFT's. Equal within 1e-5 of 1 + |value|. Prints the largest errors; exit code 0 = equal, 1 = not equal. Needs peft, and
the package installed.
"""

import importlib.util
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import dualmd
import numpy
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import PeftModel
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1e-5
PROMPT = "a cat"
MODELS = {"plain": "plain", "first": "teacher-1", "second": "teacher-2", "student": "student"}
GOOD = True


def compare(what, ours, theirs):
    global GOOD
    error = float(((ours - theirs).abs() / (1 + theirs.abs())).max())
    GOOD &= error <= LIMIT  # a NaN is not
    print(f"{what}: max error {error:.3e} (limit {LIMIT:.0e}): {'ok' if error <= LIMIT else 'DIFFERENT'}")


def fresh(base):
    return StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, use_safetensors=True, safety_checker=None)


def told(tokenizer, encoder, rows):
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    ids = tokenizer([PROMPT] * rows, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    return encoder(ids)[0]


def asked(base, models):
    """What PROBE has, by the program."""
    config = UNet2DConditionModel.load_config(base, subfolder="unet")
    shape = (2, config["in_channels"], config["sample_size"], config["sample_size"])
    x = numpy.sin(numpy.arange(numpy.prod(shape)) * 0.7).reshape(shape).astype(numpy.float32)
    t = numpy.array([700, 100])
    given = {"x_t": torch.from_numpy(x), "t": torch.from_numpy(t)}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("x.npy", "t.npy", "eps.npy")]
        for file, values in zip(files, (x, t)):
            numpy.save(file, values)
        for name, model in MODELS.items():
            command = ["dualmd", "predict", models / model, "--x", files[0], "--t", files[1], "--prompt", PROMPT, "--dtype", "f32"]
            subprocess.run([*command, "-o", files[2]], check=True)
            given[name] = torch.from_numpy(numpy.load(files[2])).float()
    return given


def pixels(base, models, given):
    """Every adapter on the U-Net of a base that has no autoencoder."""
    network = lambda: UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32, use_safetensors=True)  # noqa: E731
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    encoder = CLIPTextModel.from_pretrained(base, subfolder="text_encoder", torch_dtype=torch.float32).eval()
    x, t = given["x_t"], given["t"]
    text = told(tokenizer, encoder, len(x))
    plain = network()(x, t, text).sample
    for name, model in MODELS.items():
        if float((plain - given[name]).abs().max()) < 1e-4:
            print(f"DIFFERENT: {model} changes nothing, so nothing was shown")
            return 1
        adapted = network()
        adapted.load_lora_adapter(str(models / model), prefix="unet", weight_name="pytorch_lora_weights.safetensors")
        compare(f"{model}: diffusers' file", adapted(x, t, text).sample, given[name])
        adapted = PeftModel.from_pretrained(network(), str(models / model))
        compare(f"{model}: PEFT's folder", adapted(x, t, text).sample, given[name])
    return 0 if GOOD else 1


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


def main(base, run, probe=None):
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    models = Path(run) / "models"
    given = load_file(probe) if probe else asked(base, models)
    if not (Path(base) / "vae").is_dir():
        return pixels(base, models, given)
    x, t = given["x_t"], given["t"]
    pipe = fresh(base)
    text = told(pipe.tokenizer, pipe.text_encoder, len(x))
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
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

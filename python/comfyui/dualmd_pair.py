"""A ComfyUI node: two adapters over one model that take turns from step to step (DualMD).

Copy this file into ComfyUI/custom_nodes, and the two `kohya.safetensors` of `dualmd tune` (models/teacher-1 and models/teacher-2) under
names of their own into ComfyUI/models/loras. The node stands between the checkpoint loader and the sampler. Choose a sampler that keeps
no earlier predictions (ddim, euler): others would mix both models'. What it does is the low-rank addition itself, while the network
runs; the model's weights stay as they are, and are there once. It protects images that are given out, not the two files.
"""

import comfy.lora
import comfy.utils
import folder_paths


def layers_of(model, file):
    """(module, A, B, alpha / rank) of every layer of a LoRA file for the network of `model`."""
    keys = comfy.lora.model_lora_keys_unet(model, {})
    modules = dict(model.named_modules())
    found = []
    for name in sorted({key.rsplit(".lora_down.", 1)[0] for key in file if ".lora_down." in key}):
        place = keys.get(name)
        module = modules.get(place.rsplit(".weight", 1)[0]) if isinstance(place, str) else None
        if module is None:
            raise ValueError(f"{name}: the model has no such layer; the file belongs to another network")
        down, up = file[f"{name}.lora_down.weight"], file[f"{name}.lora_up.weight"]
        alpha = float(file.get(f"{name}.alpha", down.shape[0]))
        found.append((module, down, up, alpha / down.shape[0]))
    if not found:
        raise ValueError("no LoRA layers of kohya's form in the file: use the kohya.safetensors of dualmd tune")
    return found


class Turns:
    """Stands around each call of the network. A lower timestep than the last is a new step; a higher one begins a new image."""

    def __init__(self, pair, strength, inner=None):
        self.pair, self.strength, self.inner = pair, strength, inner
        self.last, self.turn = None, 0

    def __call__(self, apply_model, args):
        now = float(args["timestep"].flatten()[0])
        if self.last is None or now > self.last:
            self.turn = 0
        elif now < self.last:
            self.turn = 1 - self.turn
        self.last = now
        hooks = [module.register_forward_hook(self.addition(*rest)) for module, *rest in self.pair[self.turn]]
        try:
            if self.inner is not None:
                return self.inner(apply_model, args)
            return apply_model(args["input"], args["timestep"], **args["c"])
        finally:
            for hook in hooks:
                hook.remove()

    def addition(self, down, up, scale):
        def hook(_module, inputs, output):
            x = inputs[0]
            a, b = (part.to(device=x.device, dtype=x.dtype) for part in (down, up))
            return output + (x @ a.T @ b.T) * (scale * self.strength)

        return hook


class DualMDPair:
    """The node."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "pair"
    CATEGORY = "loaders"

    @classmethod
    def INPUT_TYPES(cls):
        loras = (folder_paths.get_filename_list("loras"),)
        strength = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.01})
        return {"required": {"model": ("MODEL",), "first": loras, "second": loras, "strength": strength}}

    def pair(self, model, first, second, strength):
        paths = [folder_paths.get_full_path("loras", name) for name in (first, second)]
        files = [comfy.utils.load_torch_file(path, safe_load=True) for path in paths]
        pair = [layers_of(model.model, file) for file in files]
        model = model.clone()
        inner = model.model_options.get("model_function_wrapper")
        model.set_model_unet_function_wrapper(Turns(pair, strength, inner))
        return (model,)


NODE_CLASS_MAPPINGS = {"DualMDPair": DualMDPair}
NODE_DISPLAY_NAME_MAPPINGS = {"DualMDPair": "DualMD pair (two LoRAs that take turns)"}

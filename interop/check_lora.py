"""Does Python's diffusers read LoRA files of dualmd and compute the same numbers with them?

    python interop/check_lora.py MODEL_DIR LORA_DIR PROBE.safetensors

MODEL_DIR: a text-to-image folder. LORA_DIR: a folder with dualmd's pytorch_lora_weights.safetensors. PROBE: x_t, t, text
and what dualmd computed with the network and the LoRA, output; and fused, the same with the LoRA merged into the
weights. Equal within 1e-5 of 1 + |value|. Prints the largest errors; exit code 0 = equal, 1 = not equal. Needs peft.
"""

import sys

import torch
from safetensors.torch import load_file

LIMIT = 1e-5


def main(model, lora, probe):
    from diffusers import StableDiffusionPipeline

    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, use_safetensors=True)
    given = load_file(probe)
    good = True

    def compare(what, theirs):
        nonlocal good
        with torch.no_grad():
            ours = pipe.unet(given["x_t"], given["t"], given["text"]).sample
        error = float(((ours - theirs).abs() / (1 + theirs.abs())).max())
        good &= error <= LIMIT  # a NaN is not
        print(f"{what}: max error {error:.3e} (limit {LIMIT:.0e}): {'ok' if error <= LIMIT else 'DIFFERENT'}")
        return ours

    with torch.no_grad():
        plain = pipe.unet(given["x_t"], given["t"], given["text"]).sample
    pipe.load_lora_weights(lora)
    ours = compare("output", given["output"])
    if float((ours - plain).abs().max()) < 0.01:
        print("DIFFERENT: the LoRA changes nothing, so nothing was shown")
        good = False
    pipe.fuse_lora()
    compare("fused", given["fused"])
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
